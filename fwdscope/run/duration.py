"""Estimates how long a run takes, from the operators of the trace and what the device does in a second.

The device is measured in a tenth of a second, which is remembered. The weights of the sum are fitted to networks of all
kinds; ``tests/benchmarks/run_estimates.py`` compares it with the time that runs take.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from fwdscope.device.local import LocalDevice
from fwdscope.device.peaks import DeviceTimer, Gauge, cache_file, convolution_rate, fastest, find_peaks, product_rate
from fwdscope.report import Peaks, Totals
from fwdscope.run.latency import BUDGET
from fwdscope.settings import RunSettings
from fwdscope.timing.layers import PASSES
from fwdscope.timing.sampling import MIN_REPEATS_OVER_BUDGET, WARM_SECONDS
from fwdscope.trace import Node

# Seconds for each figure of a device.
_MEASURED = 0.03
# Parameters that are initialised in a second, which one core of the CPU does, and seconds to launch an operator.
_INITIALISED = 1.65e8
_LAUNCH = {"cpu": 6e-6, "cuda": 2e-5, "mps": 4e-5}
# Seconds for an operator that is observed, and to write it into the graph that is timed.
_OBSERVED = 2e-4
# Times that the statistics of a result read it.
_READS_OF_STATISTICS = 10
# Seconds of any run.
_LEAST = 8e-3


@dataclass(frozen=True)
class Work:
    """What a forward does: FLOPs of products and of convolutions, bytes that these and that other operators move."""

    products: int = 0
    convolutions: int = 0
    operands: int = 0
    moved: int = 0
    operators: int = 0

    @classmethod
    def of(cls, root: Node) -> Work:
        """The work of a trace."""
        sums = [0, 0, 0, 0, 0]
        waiting = [(root, 1)]
        while waiting:
            node, times = waiting.pop()
            times *= node.repeat
            for record in node.ops:
                macs, flops, read, written = record.figures
                sums["convolution" in record.op.name] += times * flops * (macs > 0)
                sums[2 if macs else 3] += times * (read + written)
                sums[4] += times
            waiting += [(inner, times) for inner in node.inside()]
        return cls(*sums)


def measure_speeds(device: LocalDevice, dtype: str) -> Peaks:
    """What a device does in a second; published peaks, or measured quickly and remembered."""
    file = cache_file()
    quick = Gauge(
        partial(product_rate, budget=_MEASURED),
        partial(convolution_rate, budget=_MEASURED),
        _result_rate,
        file=file and file.with_name("speeds.json"),
        age_if_doubtful=0.0,
    )
    return find_peaks(device, dtype, gauge=quick)


def _result_rate(device: LocalDevice, timer: DeviceTimer) -> float:
    """Bytes per second read and written by an operator, which allocates its result."""
    values = torch.ones(2**22, device=device.device)
    with torch.inference_mode():
        return 2 * values.nbytes / fastest(values.relu, timer, _MEASURED)


def estimate_run(work: Work, totals: Totals, speeds: Peaks, kind: str, settings: RunSettings) -> float:
    """Seconds for making the weights, the observed forward and the times, on a device of a kind."""
    flops, moved = speeds.flops or 1e9, speeds.bandwidth or 1e9
    forward = (
        1.1 * work.products / flops
        + 1.5 * work.convolutions / (speeds.convolution_flops or flops)
        + (0.3 * work.operands + 0.9 * work.moved) / moved
        + _LAUNCH[kind] * work.operators
    )
    seconds = _LEAST + (totals.params + totals.buffers) / _INITIALISED + forward + _OBSERVED * work.operators
    if settings.stats:
        seconds += _READS_OF_STATISTICS * (totals.bytes_written or 0) / moved
    if settings.latency:
        # The graph, two to warm up, the repeats and the peak memory; one to warm up and the passes over the layers.
        seconds += WARM_SECONDS if kind == "cuda" else 0.0
        within = BUDGET / forward if forward else PASSES
        repeats = min(PASSES, max(MIN_REPEATS_OVER_BUDGET, within - 1))
        seconds += (4 + repeats + 1 + min(PASSES, max(1, within))) * forward + _OBSERVED * work.operators
    return seconds
