"""The times in a report: a few passes of the whole untouched, and a few of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import fx, nn

from fwdscope.device import host
from fwdscope.device.local import LocalDevice
from fwdscope.model.modules import Network
from fwdscope.model.process_state import torch_default_dtype
from fwdscope.model.straight import NotStraight
from fwdscope.report import Latency, LayerRow
from fwdscope.run.forward import Forward
from fwdscope.timing.clock import clock_for
from fwdscope.timing.layers import PASSES, latencies, straight_with_steps, with_latencies
from fwdscope.timing.sampling import Plan, measure

# Seconds for the whole and for the layers each; a forward that takes longer runs once all the same.
BUDGET = 2.0


@dataclass(frozen=True)
class Timed:
    """Rows with their latencies, that of the whole, the layers' sum, and the device's own peak of memory."""

    rows: tuple[LayerRow, ...]
    whole: Latency | None = None
    layers: float | None = None
    peak_memory: int | None = None
    notes: tuple[str, ...] = ()


def timed(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], forward: Forward, device: LocalDevice
) -> Timed:
    """Time a network or module that ran already: the whole first, then layer by layer. Ctrl-C ends it."""
    place = torch.device(device.device)
    graph = _straight(module, args) if isinstance(module, Network) else None
    dtype = module.blueprint.dtype if isinstance(module, Network) else torch.get_default_dtype()
    if device.kind == "cuda":
        torch.cuda.reset_peak_memory_stats(place)
    with torch.inference_mode(), torch_default_dtype(dtype):
        run = partial(graph or module, *args, **kwargs)
        samples = measure(run, clock_for(place), Plan(repeats=PASSES, budget=BUDGET))
        peak = torch.cuda.max_memory_allocated(place) if device.kind == "cuda" else None
        times = latencies(module, args, kwargs, passes=PASSES, budget=BUDGET, graph=graph)
    if samples.interrupted or times.interrupted:
        raise KeyboardInterrupt
    rows, layers = with_latencies(forward.pairs, times)
    return Timed(rows, samples.latency if samples.times else None, layers, peak, beside(device))


def beside(device: LocalDevice) -> tuple[str, ...]:
    """A note where other programs want the processor too."""
    if device.kind != "cpu" or not host.busy():
        return ()
    return ("other programs keep the processor busy: times are longer, and vary more, than they would alone",)


def _straight(network: Network, args: Sequence[Any]) -> fx.GraphModule | None:
    """The network as plain calls; None where the data decide which lines run, so that only the lines can tell."""
    try:
        with torch.inference_mode(), torch_default_dtype(network.blueprint.dtype):
            return straight_with_steps(network, args)
    except NotStraight:
        return None
