"""The times of ``inspect``: a few passes of the whole, and a few over its layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from fwdscope.device import host
from fwdscope.device.local import LocalDevice
from fwdscope.model.process_state import torch_default_dtype
from fwdscope.report import Latency, LayerRow, Totals
from fwdscope.run.context import in_mode
from fwdscope.run.prepare import Prepared, RowNodes
from fwdscope.timing.clock import clock_for
from fwdscope.timing.layers import PASSES, LayerTimes, latencies, with_latencies
from fwdscope.timing.sampling import SamplingPlan, measure

# Seconds for the whole, and for the layers. A forward that takes longer runs once all the same.
BUDGET = 2.0


def peak_memory(place: torch.device, totals: Totals, run: Callable[[], object]) -> int | None:
    """Bytes at the peak of a forward that has run before: by the device's allocator, on a CPU by the process's growth.

    None where neither says.
    """
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats(place)
        run()
        return torch.cuda.max_memory_allocated(place)
    grown = host.memory_growth(run) if place.type == "cpu" else None
    held = (totals.param_bytes, totals.buffer_bytes, totals.input_bytes, totals.kv_cache)
    return grown + sum(size or 0 for size in held) if grown else None


class Times(NamedTuple):
    """Rows with their latencies, that of the whole, the layers' sum, and the peak memory that the device reports."""

    rows: tuple[LayerRow, ...]
    whole: Latency | None = None
    layers: float | None = None
    peak_memory: int | None = None
    notes: tuple[str, ...] = ()
    # Whether Ctrl-C ended it early.
    interrupted: bool = False


def time_forward(ready: Prepared, rows: RowNodes) -> Times:
    """Time a prepared network that ran before: first the whole, then its layers. Ctrl-C keeps what there is."""
    subject, place = ready.subject, ready.place
    module, args, kwargs = ready.call
    samples, peak, times, interrupted = None, None, LayerTimes(()), False
    try:
        graph, _ = subject.straight_graph(ready.call)
        run = partial(graph or module, *args, **kwargs)
        with (
            in_mode(module, bool(subject.training)),
            torch.inference_mode(),
            torch_default_dtype(subject.default_dtype),
        ):
            samples = measure(run, clock_for(place), SamplingPlan(repeats=PASSES, budget=BUDGET))
            if not samples.interrupted:
                peak = peak_memory(place, subject.totals(subject.trace), run)
                times = latencies(module, args, kwargs, passes=PASSES, budget=BUDGET, graph=graph)
    except KeyboardInterrupt:
        interrupted = True
    interrupted = interrupted or times.interrupted or (samples is not None and samples.interrupted)
    timed_rows, layers = with_latencies(rows, times)
    whole = samples.latency if samples is not None and samples.times else None
    notes = ("noisy times: other programs are running",) if is_shared(ready.device) else ()
    return Times(timed_rows, whole, layers, peak, notes, interrupted)


def is_shared(device: LocalDevice) -> bool:
    """Whether other programs use the processor that is measured."""
    return device.kind == "cpu" and host.is_busy()
