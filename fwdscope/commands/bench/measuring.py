"""Measure a workload: first the whole as it is, then its layers, with the same weights and inputs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch

from fwdscope import disk
from fwdscope.commands.bench.extras import extras, on_one_thread
from fwdscope.commands.bench.layer_turns import compare_layers
from fwdscope.commands.bench.notes import notes_on, notes_on_turns
from fwdscope.commands.bench.workload import Workload
from fwdscope.device.local import LocalDevice
from fwdscope.device.nvml import device_state
from fwdscope.device.peaks import find_peaks
from fwdscope.device.precision import in_precision
from fwdscope.interrupt import undone
from fwdscope.model.process_state import torch_default_dtype
from fwdscope.report import DeviceState, Latency, Peaks, Report, Run
from fwdscope.report.versus import LayerTurns, Versus
from fwdscope.run.conditions import captured, flusher
from fwdscope.run.context import in_mode, out_of_memory_as_run_error
from fwdscope.run.exceeded import check_against_peak
from fwdscope.run.latency import how_computed, is_shared, note_on_exposed, peak_memory, reserved_memory
from fwdscope.run.prepare import Prepared
from fwdscope.settings import BenchSettings
from fwdscope.timing.clock import Clock, clock_for
from fwdscope.timing.layers import LayeredCall, LayerTimes, in_turn, latencies, with_latencies
from fwdscope.timing.sampling import Samples, SamplingPlan, measure, time_repeats
from fwdscope.timing.turns import Contender, measure_in_turn
from fwdscope.torch_private import uncompiled

T = TypeVar("T")
Pair: TypeAlias = tuple[T, T]
# Passes over the layers, within the budget.
PASSES = 20
# Forwards that are timed the other way, alone or queued, and how often a device is asked for its state.
OTHERS, MAX_STATES = 50, 100


@dataclass(frozen=True)
class Measured:
    """The report with its run; ``interrupted`` if Ctrl-C ended it early."""

    report: Report
    samples: Samples
    interrupted: bool


def bench(
    workload: Workload,
    settings: BenchSettings,
    clock: Clock | None = None,
    peaks: Callable[[LocalDevice, str], Peaks] | None = None,
    watch: Callable[[str], DeviceState | None] = device_state,
) -> Measured:
    """Measure a forward. What was measured before Ctrl-C is in the report all the same."""
    ready, place = workload.ready, workload.ready.place
    clock = clock or clock_for(place)
    # The clock of the repeats, and the other of the device's two.
    timed, other = (clock.waiting(), clock) if settings.latency else (clock, clock.waiting())
    states: list[DeviceState] = []
    dtype = settings.dtype if settings.autocast else workload.report.dtype
    alone, notes, more = None, list[str](), dict[str, Any]()

    def report_progress(repeats: int, width: float | None) -> None:
        known = f", median ±{100 * width:.1f} %" if width is not None else ""
        settings.on_progress(f"{repeats:,} repeats{known}")
        if clock.asynchronous and len(states) < MAX_STATES and (state := watch(ready.device.uuid)) is not None:
            states.append(state)

    with _ready_to_run(ready, settings), out_of_memory_as_run_error():
        settings.on_progress(f"measuring the peaks of {ready.device.device}")
        known = (peaks or find_peaks)(ready.device, dtype)
        run, compiling = _whole(workload, settings)
        plan = _plan(settings, place)
        samples = measure(run, timed, plan, report_progress)
        others: tuple[float, ...] = ()
        if clock.asynchronous and not samples.interrupted:
            others = measure(run, other, replace(plan, warmup=1, repeats=OTHERS, budget=settings.budget / 5)).times
        peak = None if samples.interrupted else peak_memory(place, workload.report.totals, run)
        held = None if peak is None else reserved_memory(place)
        times = LayerTimes(())
        if settings.layers and not samples.interrupted:
            settings.on_progress("timing the layers")
            module, args, kwargs = ready.call
            passes, budget = settings.repeats or PASSES, settings.budget
            times = latencies(
                uncompiled(module), args, kwargs, passes=passes, budget=budget, clock=clock, graph=workload.graph,
                during=partial(_autocast, ready, settings),
            )  # fmt: skip
        rows, layers = with_latencies(workload.rows, times)
        if samples.times and not samples.interrupted:
            known = check_against_peak(known, ready.device, workload.report, rows, samples.latency.median)
        threads = torch.get_num_threads() if place.type == "cpu" else None
        ran = run_of(workload, settings, samples.times, threads)
        if samples.times and not (samples.interrupted or times.interrupted):
            alone = on_one_thread(run, clock, samples, threads)
            more, notes = extras(workload, settings, run, clock, samples)
    ran = replace(
        ran,
        compile_seconds=compiling,
        **more,
        repeats_are="queued" if timed.asynchronous else "alone",
        other_latency=Latency.of(others).median if others else None,
        state=_middle(states),
        reserved_memory=held,
        layers_latency=layers,
        clock_noise=times.noise if times.passes else None,
        peak_memory=peak,
        peaks=known,
        notes=(
            *notes_on(workload, settings, samples, layers, clock, is_shared(ready.device), alone),
            *notes,
            *note_on_exposed(times, workload.rows),
        ),
    )
    report = replace(workload.report, layers=rows, run=ran)
    return Measured(report, samples, samples.interrupted or times.interrupted)


def _middle(states: Sequence[DeviceState]) -> DeviceState | None:
    """The state at the median clock, with all that ever held the clock down."""
    if not states:
        return None
    middle = sorted(states, key=lambda one: one.clock or 0)[len(states) // 2]
    return replace(middle, slowed_by=tuple(dict.fromkeys(word for one in states for word in one.slowed_by)))


def run_of(workload: Workload, settings: BenchSettings, times: Sequence[float], threads: int | None) -> Run:
    """How a workload was run, with the times of its repeats."""
    ready = workload.ready
    return Run(
        device=ready.device.device,
        device_name=ready.device.name,
        dtype=settings.dtype if settings.autocast else workload.report.dtype,
        seed=settings.seed,
        weights=str(settings.weights) if settings.weights else None,
        latency=Latency.of(times) if times else None,
        precision="autocast" if settings.autocast else "cast" if settings.dtype != "float32" else None,
        compiled=settings.compiled,
        compile_mode=settings.compile_mode,
        is_graph=settings.graph,
        is_cold=settings.flush_l2,
        channels_last=settings.channels_last,
        threads=threads,
        batch=ready.batch,
        **how_computed(ready.device),
    )


def bench_in_turn(
    workloads: Pair[Workload], settings: Pair[BenchSettings], labels: Pair[str], clock: Clock | None = None
) -> Versus:
    """Measure two workloads in turn. The rounds before Ctrl-C count all the same; ``Versus.interrupted`` says so."""
    ready, first = [one.ready for one in workloads], settings[0]
    clock = clock or clock_for(ready[0].place)
    timed = clock.waiting() if first.latency else clock
    threads: list[int | None] = []
    runs: list[Run] = []

    def report_progress(rounds: int, width: float | None) -> None:
        first.on_progress(f"{rounds:,} rounds" + (f", ratio ±{100 * width:.1f} %" if width is not None else ""))

    with out_of_memory_as_run_error():
        contenders = []
        for workload, given in zip(workloads, settings, strict=True):
            during = partial(_ready_to_run, workload.ready, given)
            with during():
                contenders.append(Contender(_whole(workload, given)[0], during))
                threads.append(torch.get_num_threads() if workload.ready.place.type == "cpu" else None)
                run = run_of(workload, given, (), threads[-1])
                runs.append(replace(run, repeats_are="queued" if timed.asynchronous else "alone"))
        plan = _plan(first, ready[0].place)
        pair = contenders[0], contenders[1]
        order = random.Random(first.seed)
        turns = measure_in_turn(pair, timed, plan, order, report_progress)
        layered: list[LayerTimes] = []
        if first.layers and not turns.interrupted and not any(given.compiled for given in settings):
            first.on_progress("timing the layers in turn")
            calls = [
                LayeredCall(*one.ready.call, graph=one.graph, during=partial(_ready_for_layers, one.ready, given))
                for one, given in zip(workloads, settings, strict=True)
            ]
            layered = in_turn(calls, clock, first.repeats or PASSES, first.budget, order)
    taken = list(zip(*turns.rounds, strict=True)) or [(), ()]
    reports = [
        replace(one.report, run=replace(run, latency=Latency.of(each) if each else None))
        for one, run, each in zip(workloads, runs, taken, strict=True)
    ]
    notes = [*notes_on_turns(workloads, turns, first, threads, is_shared(ready[0].device))]
    layers: tuple[LayerTurns, ...] = ()
    if layered and layered[0].passes:
        for i, (one, times) in enumerate(zip(workloads, layered, strict=True)):
            rows, together = with_latencies(one.rows, times)
            run = replace(reports[i].run or runs[i], layers_latency=together, clock_noise=times.noise)
            reports[i] = replace(reports[i], layers=rows, run=run)
            notes += note_on_exposed(times, one.rows)
        a, b = workloads
        layers = compare_layers((a.report.layers, b.report.layers), (a.rows, b.rows), (layered[0], layered[1]))
    elif first.layers and any(given.compiled for given in settings):
        notes.append("layers are not compared: compiling fuses them")
    interrupted = turns.interrupted or any(one.interrupted for one in layered)
    return Versus((reports[0], reports[1]), turns.rounds, turns.forwards, labels, tuple(notes), interrupted, layers)


def _plan(settings: BenchSettings, place: torch.device) -> SamplingPlan:
    before = flusher(place) if settings.flush_l2 else None
    return SamplingPlan(settings.warmup, settings.repeats, settings.precision, settings.budget, before=before)


def _whole(workload: Workload, settings: BenchSettings) -> tuple[Callable[[], Any], float | None]:
    """The forward as it is to be run, and the seconds of the first one if that compiles."""
    module: Callable[..., Any] = workload.graph or workload.ready.call.module
    _, args, kwargs = workload.ready.call
    if settings.compiled:
        settings.on_progress("compiling")
        module = torch.compile(module, mode=settings.compile_mode)

    def run() -> Any:
        # Autocast keeps weights that it has cast until it ends: each forward casts them, as those of a program do.
        with _autocast(workload.ready, settings):
            return module(*args, **kwargs)

    seconds = None
    if settings.compiled:
        clock = clock_for(workload.ready.place).waiting()
        (seconds,) = time_repeats(run, clock, 1, 1)
    return (captured(run, workload.ready.place) if settings.graph else run), seconds


def _autocast(ready: Prepared, settings: BenchSettings) -> AbstractContextManager[object]:
    if not settings.autocast:
        return contextlib.nullcontext()
    return torch.autocast(ready.device.kind, dtype=getattr(torch, settings.dtype))


def _kill_children(pid: int) -> None:
    """Kill what torch.compile started, which would go on for half a minute; known on Linux alone."""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended
            for child in map(int, disk.read_text(file).split()):
                _kill_children(child)
                os.kill(child, signal.SIGKILL)


@contextlib.contextmanager
def _ready_for_layers(ready: Prepared, settings: BenchSettings) -> Iterator[None]:
    with _ready_to_run(ready, settings), _autocast(ready, settings):
        yield


@contextlib.contextmanager
def _ready_to_run(ready: Prepared, settings: BenchSettings) -> Iterator[None]:
    """With the threads and precision asked for, in evaluation mode without gradients, in the network's dtype."""
    with contextlib.ExitStack() as stack:
        if settings.compiled:
            stack.enter_context(undone(partial(_kill_children, os.getpid())))
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch_default_dtype(ready.subject.default_dtype))
        stack.enter_context(in_mode(ready.call.module, training=False))
        stack.enter_context(in_precision(settings.tf32, settings.cudnn_benchmark))
        yield
