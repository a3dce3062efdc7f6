"""The measuring itself: the whole first and untouched, then its layers, on the same weights and inputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from fwdscope.commands.bench.notes import notes_on
from fwdscope.commands.bench.subject import Subject
from fwdscope.device.peaks import peaks
from fwdscope.model.process_state import torch_default_dtype
from fwdscope.report import Peaks, Report, Run
from fwdscope.run.batch import batch_of
from fwdscope.run.forward import in_mode, out_of_memory_said
from fwdscope.run.latency import beside
from fwdscope.run.roofs import held
from fwdscope.settings import BenchSettings
from fwdscope.timing import Clock, LayerTimes, Samples, clock_for, latencies, measure, with_latencies
from fwdscope.timing.sampling import Plan

# Passes over the layers, within the budget.
PASSES = 20


@dataclass(frozen=True)
class Measured:
    """The report with its run; ``interrupted`` where Ctrl-C ended it before all was measured."""

    report: Report
    samples: Samples
    interrupted: bool


def bench(subject: Subject, settings: BenchSettings, clock: Clock | None = None) -> Measured:
    """Measure a forward of the subject. What Ctrl-C leaves is in the report all the same."""
    place = torch.device(subject.device.device)
    clock = clock or clock_for(place)
    with _as_set(settings), _ready(subject, settings), out_of_memory_said():
        known = _peaks(subject, settings)
        run = _whole(subject, settings)
        if place.type == "cuda":
            torch.cuda.reset_peak_memory_stats(place)
        samples = measure(run, clock, _plan(settings), _telling(settings))
        peak = torch.cuda.max_memory_allocated(place) if place.type == "cuda" else None
        times = LayerTimes(())
        if settings.layers and not samples.interrupted:
            settings.on_progress("timing the layers")
            times = latencies(
                subject.module,
                subject.args,
                subject.kwargs,
                passes=settings.repeats or PASSES,
                budget=settings.budget,
                clock=clock,
                graph=subject.graph,
            )
        rows, together = with_latencies(subject.pairs, times)
        if samples.times and not samples.interrupted:
            known = held(known, subject.device, subject.report, rows, samples.latency.median)
        threads = torch.get_num_threads() if place.type == "cpu" else None
    ran = Run(
        device=subject.device.device,
        device_name=subject.device.name,
        dtype=settings.dtype if settings.autocast else subject.report.dtype,
        seed=settings.seed,
        weights=str(settings.weights) if settings.weights else None,
        latency=samples.latency if samples.times else None,
        layers_latency=together,
        peak_memory=peak,
        peaks=known,
        precision="autocast" if settings.autocast else "cast" if settings.dtype != "float32" else None,
        compiled=settings.compiled,
        channels_last=settings.channels_last,
        threads=threads,
        batch=batch_of(subject.report),
        notes=(*beside(subject.device), *notes_on(subject, settings, samples, together, clock)),
    )
    report = replace(subject.report, layers=rows, run=ran)
    return Measured(report, samples, samples.interrupted or times.interrupted)


def _plan(settings: BenchSettings) -> Plan:
    return Plan(settings.warmup, settings.repeats, settings.precision, settings.budget)


def _telling(settings: BenchSettings) -> Callable[[int, float | None], None]:
    def tell(repeats: int, width: float | None) -> None:
        known = f", median ±{100 * width:.1f} %" if width is not None else ""
        settings.on_progress(f"{repeats:,} repeats{known}")

    return tell


def _whole(subject: Subject, settings: BenchSettings) -> Callable[[], Any]:
    """One forward of the whole; what compiles has compiled."""
    module: Callable[..., Any] = subject.graph or subject.module
    args, kwargs = subject.args, subject.kwargs
    if settings.compiled:
        settings.on_progress("compiling")
        module = torch.compile(module)
        module(*args, **kwargs)
    return lambda: module(*args, **kwargs)


def _peaks(subject: Subject, settings: BenchSettings) -> Peaks:
    """The device's roofs at the dtype that is computed in."""
    settings.on_progress(f"measuring what {subject.device.device} can do")
    dtype = settings.dtype if settings.autocast else subject.report.dtype
    return peaks(subject.device, dtype)


@contextlib.contextmanager
def _as_set(settings: BenchSettings) -> Iterator[None]:
    """With as many threads as are asked for; put back afterwards."""
    before = torch.get_num_threads()
    try:
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _ready(subject: Subject, settings: BenchSettings) -> Iterator[None]:
    """Without gradients, in the network's dtype or under autocast."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch_default_dtype(subject.dtype))
        stack.enter_context(in_mode(subject.module, training=False))
        if settings.autocast:
            dtype = getattr(torch, settings.dtype)
            stack.enter_context(torch.autocast(subject.device.kind, dtype=dtype))
        yield
