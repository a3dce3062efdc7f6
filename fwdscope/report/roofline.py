"""The roofline: what bounds a step on a device, the least time it can take there, and how near a measured one came.

A step of F FLOPs that moves B bytes takes at least max(F / peak FLOP/s, B / peak bytes/s) (Williams, Waterman and
Patterson, "Roofline", CACM 52(4), 2009). It is memory-bound if its intensity F / B is
below the ridge, peak FLOP/s over peak bytes/s, and compute-bound above.

The bytes are the report's: each operand read once and each result written once, by every operator. Caches and fused
kernels need less, so that a memory-bound step may exceed its roofline. So may causal attention, whose masked half is
counted and need not be computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fwdscope.report import Estimate, LayerRow, Peaks, Report, multiplicities, parents


@dataclass(frozen=True)
class Roofline:
    """The roofline of one step on a device."""

    # FLOPs per byte; None if the step moves nothing.
    intensity: float | None
    bound: Literal["compute", "memory"]
    # The least seconds it takes.
    least: float
    # ``least`` over the time taken; None if it was not timed.
    share: float | None


def roofline(row: LayerRow, peaks: Peaks) -> Roofline | None:
    """The roofline of a row on a device.

    None if an operator was not counted, the row neither computes nor moves anything, or the peaks are not known.
    """
    moved, peak = _moved(row), _peak(row, peaks)
    if row.uncounted or row.flops is None or moved is None or not (row.flops or moved):
        return None
    if not peak or not peaks.bandwidth:
        return None
    compute, memory = row.flops / peak, moved / peaks.bandwidth
    least = max(compute, memory)
    return Roofline(
        intensity=row.flops / moved if moved else None,
        bound="compute" if compute >= memory else "memory",
        least=least,
        share=least / row.latency if row.latency else None,
    )


def ridge(peaks: Peaks) -> float | None:
    """The FLOPs per byte above which a step is compute-bound."""
    return peaks.flops / peaks.bandwidth if peaks.flops and peaks.bandwidth else None


def _moved(row: LayerRow) -> int | None:
    if row.bytes_read is None or row.bytes_written is None:
        return None
    return row.bytes_read + row.bytes_written


def _peak(row: LayerRow, peaks: Peaks) -> float | None:
    """The peak FLOP/s for a row: that of convolutions if it may contain one, so that it is never too low.

    A report does not say which rows convolve. Those that do have a weight with dimensions for the window or, if the
    weight belongs to another row, a receptive field.
    """
    if peaks.convolution_flops is None or not row.macs:
        return peaks.flops
    windowed = any(len(weight.shape) > 2 for weight in row.parameters) or row.receptive_field is not None
    return max(peaks.convolution_flops, peaks.flops or 0.0) if windowed else peaks.flops


def estimate(report: Report, peaks: Peaks) -> Estimate:
    """The least time of a forward on a device, and whether it fits into its memory.

    ``seconds`` is the sum of :func:`roofline`'s ``least`` over the steps, one after the other. Operators that were not
    counted are left out, of the time and of the memory needed. Seconds are None if the report did not count or the
    device's peak is not known.
    """
    every = list(steps(report.layers))
    compute = _seconds((row.flops, times, _peak(row, peaks)) for row, times in every)
    memory = _seconds((_moved(row), times, peaks.bandwidth) for row, times in every)
    each: float | None = None
    if compute is not None and memory is not None:
        known = ((roofline(replace(row, uncounted=()), peaks), times) for row, times in every)
        each = sum(times * one.least for one, times in known if one)
    needed = report.totals.peak_memory
    fits = needed <= peaks.memory if needed is not None and peaks.memory is not None else None
    return Estimate(peaks, each, compute, memory, needed, fits)


def _seconds(parts: Iterator[tuple[int | None, int, float | None]]) -> float | None:
    """The sum of amounts over their rates; None if any of them is not known."""
    total = 0.0
    for amount, times, rate in parts:
        if amount is None or not rate:
            return None
        total += amount * times / rate
    return total


# Fields of a row that add up over rows.
_ADDING = ("params", "trainable_params", "buffers", "macs", "flops", "bytes_read", "bytes_written")


def steps(rows: Sequence[LayerRow], depth: int | None = None) -> Iterator[tuple[LayerRow, int]]:
    """The rows that contain no other down to ``depth``, with how many equal ones each stands for.

    What a container does by itself is a step too, so that all steps together are the network.
    """
    inside: dict[int, list[LayerRow]] = {}
    for row, around in zip(rows, parents(rows), strict=True):
        if around is not None and (depth is None or row.depth <= depth):
            inside.setdefault(around, []).append(row)
    for index, (row, times) in enumerate(zip(rows, multiplicities(rows), strict=True)):
        children = inside.get(index)
        if children is None:
            if depth is None or row.depth <= depth:
                yield row, times
            continue
        own: dict[str, int] = {}
        for name in _ADDING:
            if whole := getattr(row, name):
                own[name] = max(0, whole - sum((getattr(child, name) or 0) * child.repeat for child in children))
        unknown = tuple(name for name in row.uncounted if not any(name in child.uncounted for child in children))
        if unknown or any(own.values()):
            text = f"{row.text or row.type}, itself"
            # Its values and its time are those of what it contains.
            bare = replace(row, text=text, uncounted=unknown, output_bytes=None, stats=None, latency=None)
            # Not typed by its fields' names: they are those of `_ADDING`, all counts.
            yield replace(bare, **own), times  # type: ignore[arg-type]


def fastest_first(report: Report) -> Report:
    """The report with its estimates by time, those without one at the end."""
    order = sorted(report.estimates, key=lambda one: math.inf if one.seconds is None else one.seconds)
    return replace(report, estimates=tuple(order))


def utilisation(report: Report, peaks: Peaks, seconds: float) -> float | None:
    """The share of the peak FLOP/s that a forward of so many seconds used (MFU, model FLOPs utilisation).

    None if the peak is not known, or not all FLOPs are counted.
    """
    compute = estimate(report, peaks).compute_seconds
    return compute / seconds if compute is not None and not report.uncounted and seconds else None


def whole_time(report: Report) -> float | None:
    """The seconds that shares of time refer to: the whole forward, or the sum of its layers if that is longer.

    None if no layer was timed. Layers are measured one by one and with noise, so that the sums over outer and over
    inner rows differ too; shares of the largest never add up to more than 100 %.
    """
    if report.run is None or all(row.latency is None for row in report.layers):
        return None
    around = set(parents(report.layers))
    times = list(zip(report.layers, multiplicities(report.layers), strict=True))
    outer = sum((row.latency or 0.0) * n for row, n in times if row.depth == 1)
    inner = sum((row.latency or 0.0) * n for index, (row, n) in enumerate(times) if index not in around)
    return max(report.run.latency.median if report.run.latency else 0.0, report.run.layers_latency or 0.0, outer, inner)
