"""The roofline: what bounds a step on a device, the least time it can take there, and how near a measured one came.

A step of F FLOPs that moves B bytes takes at least max(F / peak FLOP/s, B / peak bytes/s) (Williams, Waterman and
Patterson, "Roofline", CACM 52(4), 2009). Its intensity F / B lies below the ridge, peak FLOP/s over peak bytes/s, where
memory bounds it, and above where arithmetic does.

The bytes are the report's: each operand read once and each result written once, by every operator. Caches and fused
kernels can do with less, so that a step which memory bounds may come out above its roof. So may causal attention, whose
masked half counts and need not be computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fwdscope.report import Estimate, LayerRow, Peaks, Report, multiplicities, parents


@dataclass(frozen=True)
class Roofline:
    """One step under the roof of a device."""

    # FLOPs for each byte, of the step and where the device's two roofs meet; None where the step moves nothing.
    intensity: float | None
    ridge: float
    bound: Literal["compute", "memory"]
    # Seconds that it takes at least.
    least: float
    # FLOP/s that it reached, and the part of the roof that is: ``least`` over the time taken. None where none was.
    achieved: float | None
    share: float | None


def roofline(row: LayerRow, peaks: Peaks) -> Roofline | None:
    """A row under the roof of a device.

    None where an operator was not counted, where the row neither computes nor moves anything, or where the device's
    peaks are not known.
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
        ridge=peak / peaks.bandwidth,
        bound="compute" if compute >= memory else "memory",
        least=least,
        achieved=row.flops / row.latency if row.latency else None,
        share=least / row.latency if row.latency else None,
    )


def ridge(peaks: Peaks) -> float | None:
    """FLOPs for each byte above which arithmetic bounds a step."""
    return peaks.flops / peaks.bandwidth if peaks.flops and peaks.bandwidth else None


def _moved(row: LayerRow) -> int | None:
    if row.bytes_read is None or row.bytes_written is None:
        return None
    return row.bytes_read + row.bytes_written


def _peak(row: LayerRow, peaks: Peaks) -> float | None:
    """The arithmetic's roof over a row: the convolutions' own where it may hold one, so that it is never too low.

    A report does not say which rows convolve. Those that do have a weight with dimensions for the window or, where the
    weight stands elsewhere, a receptive field.
    """
    if peaks.convolution_flops is None or not row.macs:
        return peaks.flops
    windowed = any(len(weight.shape) > 2 for weight in row.parameters) or row.receptive_field is not None
    return max(peaks.convolution_flops, peaks.flops or 0.0) if windowed else peaks.flops


# --- the whole -------------------------------------------------------------------------------------------------------


def estimate(report: Report, peaks: Peaks) -> Estimate:
    """What a forward takes at least on a device, and whether its memory holds it.

    ``seconds`` is the sum over the steps, one after the other, of :func:`roofline`'s least. Where operators were not
    counted, it is without them, and what is needed may be more too. Seconds are None where the report did not count or
    the device's peak is not known.
    """
    steps = list(_steps(report))
    compute = _seconds((row.flops, times, _peak(row, peaks)) for row, times in steps)
    memory = _seconds((_moved(row), times, peaks.bandwidth) for row, times in steps)
    each: float | None = None
    if compute is not None and memory is not None:
        each = sum(times * _least(row, peaks) for row, times in steps)
    needed = report.totals.peak_memory
    fits = needed <= peaks.memory if needed is not None and peaks.memory is not None else None
    return Estimate(peaks, each, compute, memory, needed, fits)


def _seconds(parts: Iterator[tuple[int | None, int, float | None]]) -> float | None:
    """The sum of amounts at their rates; None where one of either is not known."""
    total = 0.0
    for amount, times, rate in parts:
        if amount is None or not rate:
            return None
        total += amount * times / rate
    return total


def _least(row: LayerRow, peaks: Peaks) -> float:
    known = roofline(replace(row, uncounted=()), peaks)
    return known.least if known else 0.0


def _steps(report: Report) -> Iterator[tuple[LayerRow, int]]:
    """The rows that contain no other, with how many equal ones each stands for, and what containers do by themselves,
    so that the steps together are the network."""
    rows, times = report.layers, multiplicities(report.layers)
    inside: dict[int, list[LayerRow]] = {}
    for row, around in zip(rows, parents(rows), strict=True):
        if around is not None:
            inside.setdefault(around, []).append(row)
    for index, row in enumerate(rows):
        yield (_itself(row, inside[index]) if index in inside else row), times[index]


_COSTS = ("macs", "flops", "bytes_read", "bytes_written")


def _itself(row: LayerRow, children: Sequence[LayerRow]) -> LayerRow:
    own: dict[str, int] = {}
    for name in _COSTS:
        whole = getattr(row, name)
        if whole is not None:
            own[name] = max(0, whole - sum((getattr(child, name) or 0) * child.repeat for child in children))
    # Not typed by its fields' names: they are those of `_COSTS`, all counts.
    return replace(row, **own)  # type: ignore[arg-type]


def estimated(report: Report, devices: Sequence[Peaks]) -> Report:
    """The report with an estimate for each device."""
    return replace(report, estimates=tuple(estimate(report, peaks) for peaks in devices))


def fastest_first(report: Report) -> Report:
    """The report with its estimates by time, those without one at the end."""
    order = sorted(report.estimates, key=lambda one: math.inf if one.seconds is None else one.seconds)
    return replace(report, estimates=tuple(order))


def utilisation(report: Report, peaks: Peaks, seconds: float) -> float | None:
    """The part of the peak FLOP/s that a forward of so many seconds used (MFU, model FLOPs utilisation).

    None where the peak is not known, or not all FLOPs are counted.
    """
    compute = estimate(report, peaks).compute_seconds
    return compute / seconds if compute is not None and not report.uncounted and seconds else None


def whole_time(report: Report) -> float | None:
    """The seconds that shares of time refer to: the whole forward, or the sum of its layers where that is longer.

    None where no layer was timed. Layers are measured one by one and with noise, so that the sums over outer and over
    inner rows differ too; shares of the largest never add up to more than 100 %.
    """
    if report.run is None or all(row.latency is None for row in report.layers):
        return None
    around = set(parents(report.layers))
    times = list(zip(report.layers, multiplicities(report.layers), strict=True))
    outer = sum((row.latency or 0.0) * n for row, n in times if row.depth == 1)
    inner = sum((row.latency or 0.0) * n for index, (row, n) in enumerate(times) if index not in around)
    return max(report.run.latency.median if report.run.latency else 0.0, report.run.layers_latency or 0.0, outer, inner)
