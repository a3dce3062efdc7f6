"""The times of ``inspect``: a few passes of the whole, and a few over its layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch

from fwdscope.device import host
from fwdscope.device.local import LocalDevice
from fwdscope.device.nvml import device_state
from fwdscope.device.precision import tf32_of
from fwdscope.model.process_state import torch_default_dtype
from fwdscope.report import DeviceState, Latency, LayerRow, Totals
from fwdscope.run.context import in_mode
from fwdscope.run.prepare import Prepared, RowNodes
from fwdscope.timing.clock import clock_for
from fwdscope.timing.layers import PASSES, LayerTimes, latencies, with_latencies
from fwdscope.timing.sampling import SamplingPlan, measure
from fwdscope.torch_private import allocated_peak

# Seconds for the whole, and for the layers. A forward that takes longer runs once all the same.
BUDGET = 2.0


def peak_memory(place: torch.device, totals: Totals, run: Callable[[], object]) -> int | None:
    """Bytes at the peak of a forward that has run before, by the device's allocator; None where it does not say."""
    if place.type == "cuda":
        torch.cuda.empty_cache()  # what earlier work has left is not this forward's
        torch.cuda.reset_peak_memory_stats(place)
        run()
        return torch.cuda.max_memory_allocated(place)
    given = allocated_peak(run) if place.type == "cpu" else None
    held = (totals.param_bytes, totals.buffer_bytes, totals.input_bytes, totals.kv_cache)
    return None if given is None else given + sum(size or 0 for size in held)


class Times(NamedTuple):
    """Rows with their latencies, that of the whole, the layers' sum, and the peak memory that the device reports."""

    rows: tuple[LayerRow, ...]
    whole: Latency | None = None
    layers: float | None = None
    peak_memory: int | None = None
    reserved_memory: int | None = None
    notes: tuple[str, ...] = ()
    # Whether Ctrl-C ended it early.
    interrupted: bool = False
    # Seconds below which the time of a layer's call is not known; None if layers were not timed.
    noise: float | None = None
    # Whether forwards were queued one behind another, and the device's state behind the last.
    queued: bool = False
    state: DeviceState | None = None


def how_computed(device: LocalDevice, backends: Any = torch.backends) -> dict[str, Any]:
    """The fields of a run that say how a CUDA device computes now; none for another."""
    if device.kind != "cuda":
        return {}
    return {"tf32": tf32_of(backends), "cudnn_benchmark": backends.cudnn.benchmark}


def reserved_memory(place: torch.device) -> int | None:
    """The most bytes that a device's allocator held since :func:`peak_memory`; None where it does not tell."""
    return torch.cuda.max_memory_reserved(place) if place.type == "cuda" else None


def time_forward(ready: Prepared, rows: RowNodes) -> Times:
    """Time a prepared network that ran before: first the whole, then its layers. Ctrl-C keeps what there is."""
    subject, place = ready.subject, ready.place
    module, args, kwargs = ready.call
    samples, peak, held, state, times, interrupted = None, None, None, None, LayerTimes(()), False
    clock = clock_for(place)
    try:
        graph, _ = subject.straight_graph(ready.call)
        run = partial(graph or module, *args, **kwargs)
        with (
            in_mode(module, bool(subject.training)),
            torch.inference_mode(),
            torch_default_dtype(subject.default_dtype),
        ):
            samples = measure(run, clock, SamplingPlan(repeats=PASSES, budget=BUDGET))
            state = device_state(ready.device.uuid)
            if not samples.interrupted:
                peak = peak_memory(place, subject.totals(subject.trace), run)
                held = reserved_memory(place)
                times = latencies(module, args, kwargs, passes=PASSES, budget=BUDGET, graph=graph)
    except KeyboardInterrupt:
        interrupted = True
    interrupted = interrupted or times.interrupted or (samples is not None and samples.interrupted)
    timed_rows, layers = with_latencies(rows, times)
    whole = samples.latency if samples is not None and samples.times else None
    notes = ["noisy times: other programs are running"] if is_shared(ready.device) else []
    notes += note_on_exposed(times, rows)
    noise = times.noise if times.passes else None
    queued = clock.asynchronous and whole is not None
    return Times(timed_rows, whole, layers, peak, held, tuple(notes), interrupted, noise, queued, state)


def note_on_exposed(times: LayerTimes, rows: RowNodes) -> list[str]:
    """A note on the layers whose times have launching in them."""
    names = [row.path for row, nodes in rows if any(node.step in times.exposed for node in nodes)]
    if not names:
        return []
    named = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return [f"the time of {named} includes launching: it waits for the device, or launches more than the queue holds"]


def is_shared(device: LocalDevice) -> bool:
    """Whether other programs use the processor that is measured."""
    return device.kind == "cpu" and host.is_busy()
