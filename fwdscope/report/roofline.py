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
from typing import Literal, NamedTuple, TypeAlias

from fwdscope.report import (
    Backward,
    Estimate,
    LayerRow,
    Peaks,
    Phase,
    PhaseEstimate,
    Report,
    multiplicities,
    parents,
)


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


def _moved(row: LayerRow | Backward | Phase) -> int | None:
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


_Seconds: TypeAlias = tuple[float | None, float | None, float | None]


class _Work(NamedTuple):
    """What is done so many times: FLOPs and bytes, None if not known, and the peak FLOP/s for it."""

    flops: int | None
    moved: int | None
    times: int
    peak: float | None


def estimate(report: Report, peaks: Peaks) -> Estimate:
    """The least time of a forward, or of a training step, on a device, and whether it fits into its memory.

    ``seconds`` is the sum of :func:`roofline`'s ``least`` over the layers, one after the other, in each phase.
    Operators that were not counted are left out, of the time and of the memory needed. Seconds are None if the report
    did not count or the device's peak is not known.
    """
    step, turns = report.training, report.training.accumulate if report.training else 1
    every = [(row, times * turns, _peak(row, peaks)) for row, times in steps(report.layers)]
    works = {"forward": [_Work(row.flops, _moved(row), times, peak) for row, times, peak in every]}
    if step is not None:
        backwards = [(row.backward, times, peak) for row, times, peak in every if row.backward is not None]
        works["backward"] = [_Work(one.flops, _moved(one), times, peak) for one, times, peak in backwards]
        for phase in step.phases:  # and what is done in none of the layers
            found = works.setdefault(phase.name, [])
            flops = phase.flops - sum((one.flops or 0) * one.times for one in found)
            moved = (_moved(phase) or 0) - sum((one.moved or 0) * one.times for one in found)
            found.append(_Work(max(0, flops), max(0, moved), 1, peaks.flops))
    times = {name: _sums([_seconds(one, peaks) for one in found]) for name, found in works.items()}
    phases = tuple([PhaseEstimate(one.name, *times[one.name]) for one in step.phases]) if step is not None else ()
    needed = step.peak_memory if step is not None else report.totals.peak_memory
    fits = needed <= peaks.memory if needed is not None and peaks.memory is not None else None
    return Estimate(peaks, *_sums([*times.values()]), needed, fits, phases=phases)


def _seconds(work: _Work, peaks: Peaks) -> _Seconds:
    """The least seconds of a work, those of its arithmetic, and those of its traffic."""
    compute, memory = (
        None if amount is None or not rate else amount * work.times / rate
        for amount, rate in ((work.flops, work.peak), (work.moved, peaks.bandwidth))
    )
    return None if compute is None or memory is None else max(compute, memory), compute, memory


def _sums(times: Sequence[_Seconds]) -> _Seconds:
    """The sums of some times; None if any of them is not known."""

    def total(of: int) -> float | None:
        values = [one[of] for one in times]
        return None if None in values else sum(value or 0.0 for value in values)

    return total(0), total(1), total(2)


# Fields of a row, and of its backward, that add up over rows.
_ADDING = ("params", "trainable_params", "buffers", "macs", "flops", "bytes_read", "bytes_written")
_OF_BACKWARD = ("macs", "flops", "bytes_read", "bytes_written", "saved_bytes")


def steps(rows: Sequence[LayerRow], depth: int | None = None) -> Iterator[tuple[LayerRow, int]]:
    """The rows that contain no other down to ``depth``, with how many equal ones each stands for.

    What a container does by itself is a step too, so that all steps together are the network.
    """
    return ((row, times) for _, row, times in _numbered_steps(rows, depth))


def with_least(report: Report, peaks: Peaks) -> Report:
    """The report with the least time of each row on a device; what contains others takes as long as they do."""
    rows, times, turns = report.layers, [(0.0, 0.0)] * len(report.layers), getattr(report.training, "accumulate", 1)
    for index, row, _ in _numbered_steps(rows):
        peak, of_backward = _peak(row, peaks), row.backward
        forward = _seconds(_Work(row.flops, _moved(row), turns, peak), peaks)[0]
        backward = (
            0.0
            if of_backward is None
            else _seconds(_Work(of_backward.flops, _moved(of_backward), turns, peak), peaks)[0]
        )
        if forward is None or backward is None:
            return report
        times[index] = forward + backward, backward
    for index, around in reversed(list(enumerate(parents(rows)))):
        if around is not None:
            (whole, backward), n = times[index], rows[index].repeat
            times[around] = times[around][0] + n * whole, times[around][1] + n * backward
    layers = [
        replace(row, least=whole, backward=row.backward and replace(row.backward, least=backward))
        for row, (whole, backward) in zip(rows, times, strict=True)
    ]
    return replace(report, layers=tuple(layers))


def _numbered_steps(rows: Sequence[LayerRow], depth: int | None = None) -> Iterator[tuple[int, LayerRow, int]]:
    inside: dict[int, list[LayerRow]] = {}
    for row, around in zip(rows, parents(rows), strict=True):
        if around is not None and (depth is None or row.depth <= depth):
            inside.setdefault(around, []).append(row)
    for index, (row, times) in enumerate(zip(rows, multiplicities(rows), strict=True)):
        children = inside.get(index)
        if children is None:
            if depth is None or row.depth <= depth:
                yield index, row, times
            continue
        own = _without(row, [(child, child.repeat) for child in children], _ADDING)
        unknown = tuple(name for name in row.uncounted if not any(name in child.uncounted for child in children))
        backward, its_own = row.backward, dict[str, int]()
        if backward is not None:
            parts = [(child.backward, child.repeat) for child in children if child.backward is not None]
            its_own = _without(backward, parts, _OF_BACKWARD)
            left = tuple(name for name in backward.uncounted if not any(name in one.uncounted for one, _ in parts))
            backward = replace(backward, **dict.fromkeys(_OF_BACKWARD, 0) | its_own, uncounted=left)
        if unknown or any(own.values()) or any(its_own.values()) or (backward and backward.uncounted):
            text = f"{row.text or row.type}, itself"
            # Its values and its time are those of what it contains.
            bare = replace(row, text=text, uncounted=unknown, output_bytes=None, stats=None, latency=None, least=None)
            # Not typed by its fields' names: they are those of `_ADDING`, all counts.
            yield index, replace(bare, backward=backward, **own), times  # type: ignore[arg-type]


def _without(whole: object, parts: Sequence[tuple[object, int]], names: Sequence[str]) -> dict[str, int]:
    """Figures of a whole without its parts, each so many times; those that the whole does not have are left out."""
    return {
        name: max(0, value - sum((getattr(part, name) or 0) * times for part, times in parts))
        for name in names
        if (value := getattr(whole, name))
    }


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
