"""The roofline: what bounds a step on a device, how near a measured one came, and the time of a network elsewhere.

A step of F FLOPs that moves B bytes takes at least max(F / peak FLOP/s, B / peak bytes/s) (Williams, Waterman and
Patterson, "Roofline", CACM 52(4), 2009). It is memory-bound if its intensity F / B is
below the ridge, peak FLOP/s over peak bytes/s, and compute-bound above.

The bytes of a step are the report's: each operand read once and each result written once, by every operator. Caches and
fused kernels need less, so that a memory-bound step may exceed its roofline. So may causal attention, whose masked half
is counted and need not be computed. :func:`estimate` has a bound of a whole network that holds for these too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from fwdscope.report import (
    PHASES,
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
from fwdscope.report.training import PhaseName


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
    moved, peak = _moved(row), peak_of(row, peaks)
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


def peak_of(row: LayerRow, peaks: Peaks) -> float | None:
    """The peak FLOP/s for a row: that of convolutions if it may contain one, so that it is never too low.

    A report does not say which rows convolve. Those that do have a weight with dimensions for the window or, if the
    weight belongs to another row, a receptive field.
    """
    if peaks.convolution_flops is None or not row.macs:
        return peaks.flops
    windowed = any(len(weight.shape) > 2 for weight in row.parameters) or row.receptive_field is not None
    return max(peaks.convolution_flops, peaks.flops or 0.0) if windowed else peaks.flops


# What a device reaches of its peaks where nothing is published of that: about the median of those of which it is.
REACHED_FLOPS, REACHED_BANDWIDTH = 0.8, 0.85
# Seconds between two kernels where Python begins each, as eager torch does: those of gpt-fast's starting point, 25.5
# tokens a second of Llama 2 7B on an A100 (pytorch.org/blog/accelerating-generative-ai-2), for about 2,050 kernels.
LAUNCH = 20e-6


class _Work(NamedTuple):
    """What is done so many times: FLOPs and bytes, None if not known, kernels, and the peak FLOP/s for it."""

    flops: int | None
    moved: int | None
    kernels: int
    times: int
    peak: float | None

    def arithmetic(self) -> float | None:
        """The seconds of its arithmetic at the peak."""
        return None if self.flops is None or not self.peak else self.flops * self.times / self.peak

    def reached(self, peaks: Peaks) -> float | None:
        """Its seconds at the rates that a device reaches."""
        compute = self.arithmetic()
        if compute is None or self.moved is None or not peaks.bandwidth:
            return None
        memory = self.moved * self.times / peaks.bandwidth / (peaks.achieved_bandwidth or REACHED_BANDWIDTH)
        return max(compute / (peaks.achieved_flops or REACHED_FLOPS), memory)

    def launched(self, peaks: Peaks) -> float | None:
        """The seconds in which its kernels are launched."""
        return LAUNCH * self.kernels * self.times


def _forward(row: LayerRow, times: int, peaks: Peaks) -> _Work:
    return _Work(row.flops, _moved(row), row.kernels, times, peak_of(row, peaks))


def _backward(row: LayerRow, times: int, peaks: Peaks) -> Iterator[_Work]:
    if (one := row.backward) is not None:
        yield _Work(one.flops, _moved(one), one.kernels, times, peak_of(row, peaks))


def _works(report: Report, peaks: Peaks) -> dict[PhaseName, list[_Work]]:
    """What is done in each phase, that of a forward alone among them."""
    step, turns = report.training, report.training.accumulate if report.training else 1
    every = [(row, times * turns) for row, times in steps(report.layers)]
    works: dict[PhaseName, list[_Work]] = {"forward": [_forward(row, times, peaks) for row, times in every]}
    if step is not None:
        works["backward"] = [work for row, times in every for work in _backward(row, times, peaks)]
        for phase in step.phases:  # and what is done in none of the layers
            found = works.setdefault(phase.name, [])
            flops = phase.flops - sum((one.flops or 0) * one.times for one in found)
            moved = (_moved(phase) or 0) - sum((one.moved or 0) * one.times for one in found)
            found.append(_Work(max(0, flops), max(0, moved), 0, 1, peaks.flops))
    return works


def is_launch_bound(report: Report, peaks: Peaks) -> bool:
    """Whether launching all kernels takes longer than running them: they queue, so that only the whole decides."""
    return launch_slack(report, peaks) > 0


def launch_slack(report: Report, peaks: Peaks) -> float:
    """The seconds by which launching all kernels takes longer than running them; 0 if it does not, or is not known."""
    works = [one for works in _works(report, peaks).values() for one in works]
    run = _sum([one.reached(peaks) for one in works])
    return max(0.0, (_sum([one.launched(peaks) for one in works]) or 0.0) - run) if run is not None else 0.0


def _eager(report: Report, peaks: Peaks) -> Callable[[_Work, Peaks], float | None]:
    """How long a part of the whole takes if it is run eagerly."""
    return _Work.launched if is_launch_bound(report, peaks) else _Work.reached


def estimate(report: Report, peaks: Peaks) -> Estimate:
    """The time of a forward or a training step on a device, fused and eager, and whether it fits into its memory.

    ``seconds`` is a lower bound, however well the operators are fused: in each phase all arithmetic at the peak, or
    what moves at least (:func:`fused_bytes`) at full bandwidth. An algorithm with fewer multiplications than the
    convention counts, as Winograd's, is not in it. ``eager_seconds`` is an estimate: the sum over all layers, each at
    the rates that the device reaches, or the time in which all kernels are launched if that is longer.
    Operators that were not counted are left out, of the time and of the memory needed. Seconds are None if the report
    did not count or the device's peak is not known.
    """
    step, eager = report.training, _eager(report, peaks)
    phases = []
    for name, works in _works(report, peaks).items():
        compute, moved = _sum([one.arithmetic() for one in works]), fused_bytes(report, name, peaks.cache)
        if compute is not None and name == "forward" and report.totals.fused is not None and peaks.flops:
            turns = step.accumulate if step is not None else 1
            compute = max(0.0, compute - turns * report.totals.fused.skipped_flops / peaks.flops)
        memory = moved / peaks.bandwidth if moved is not None and peaks.bandwidth else None
        seconds = max(compute, memory) if compute is not None and memory is not None else None
        phases.append(PhaseEstimate(name, seconds, compute, memory, _sum([eager(one, peaks) for one in works])))
    phases.sort(key=lambda one: PHASES.index(one.name))
    figures = ("seconds", "compute_seconds", "memory_seconds", "eager_seconds")
    least, compute, memory, eagerly = (_sum([getattr(one, name) for one in phases]) for name in figures)
    needed = step.peak_memory if step is not None else report.totals.peak_memory
    fits = needed <= peaks.memory if needed is not None and peaks.memory is not None else None
    return Estimate(
        peaks, least, compute, memory, eagerly, needed, fits, phases=tuple(phases) if step is not None else ()
    )


def fused_bytes(report: Report, phase: PhaseName, cache: int | None) -> int | None:
    """The bytes that a phase moves at least; None if that is not known.

    A forward reads weights and inputs, writes outputs, and what no fusion keeps on the chip is written and read, but
    for what the cache holds: all of it, if its size is not known. A backward writes the gradients of the weights; an
    optimizer reads them, and reads and writes its state and the weights that it trains.
    """
    fused, step = report.totals.fused, report.training
    if fused is None:
        return None
    turns = step.accumulate if step is not None else 1
    if phase == "forward":
        between = sum(n * max(0, size - cache) for size, n in fused.between) if cache is not None else 0
        return turns * (fused.weights + fused.ends + 2 * between)
    if step is None or phase == "loss":
        return 0
    if phase == "backward":
        return turns * step.gradient_bytes
    return 3 * step.gradient_bytes + 2 * step.state_bytes


def arithmetic_seconds(report: Report, peaks: Peaks) -> float | None:
    """The seconds of all arithmetic that is counted at the peaks, of a forward or of a training step."""
    return _sum([one.arithmetic() for works in _works(report, peaks).values() for one in works])


def _sum(values: Sequence[float | None]) -> float | None:
    """The sum of some times; None if any of them is not known."""
    return None if None in values else sum(value or 0.0 for value in values)


# Fields of a row, and of its backward, that add up over rows.
_ADDING = ("params", "trainable_params", "buffers", "macs", "flops", "bytes_read", "bytes_written", "kernels")
_OF_BACKWARD = ("macs", "flops", "bytes_read", "bytes_written", "saved_bytes", "kernels")


def steps(rows: Sequence[LayerRow], depth: int | None = None) -> Iterator[tuple[LayerRow, int]]:
    """The rows that contain no other down to ``depth``, with how many equal ones each stands for.

    What a container does by itself is a step too, so that all steps together are the network.
    """
    return ((row, times) for _, row, times in _numbered_steps(rows, depth))


def with_eager(report: Report, peaks: Peaks) -> Report:
    """The report with the eager time of each row on a device; what contains others takes as long as they do."""
    eager = _eager(report, peaks)
    rows, times, turns = report.layers, [(0.0, 0.0)] * len(report.layers), getattr(report.training, "accumulate", 1)
    for index, row, _ in _numbered_steps(rows):
        forward = eager(_forward(row, turns, peaks), peaks)
        backward = _sum([eager(work, peaks) for work in _backward(row, turns, peaks)])
        if forward is None or backward is None:
            return report
        times[index] = forward + backward, backward
    for index, around in reversed(list(enumerate(parents(rows)))):
        if around is not None:
            (whole, backward), n = times[index], rows[index].repeat
            times[around] = times[around][0] + n * whole, times[around][1] + n * backward
    layers = [
        replace(row, eager=whole, backward=row.backward and replace(row.backward, eager=backward))
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
            bare = replace(row, text=text, uncounted=unknown, output_bytes=None, stats=None, latency=None, eager=None)
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
    compute = arithmetic_seconds(report, peaks)
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
