"""What generation keeps of earlier positions, read off a report (``--past``)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from fwdscope.report.report import CachedTensor, Estimate, GenerationEstimate, Report, multiplicities
from fwdscope.report.roofline import estimate

# The report of the same step with so many sequences behind so many positions; None where it cannot be made.
StepAt = Callable[[int, int], "Report | None"]
# How many times more sequences are looked at: enough that all experts have some.
_WIDER = 512


def kept_tensors(report: Report) -> tuple[tuple[CachedTensor, int], ...]:
    """The tensors that are kept, each with how many rows have its like."""
    rows = zip(report.layers, multiplicities(report.layers), strict=True)
    return tuple([(one, times) for row, times in rows for one in row.cached])


def bytes_kept(report: Report, kind: str) -> int:
    """Bytes of the tensors of one kind: ``past``, ``window``, ``encoder`` or ``state``."""
    return sum(one.nbytes * times for one, times in kept_tensors(report) if one.kind == kind)


def sequences(report: Report) -> int:
    """The sequences that are generated at once: the first size of the first input."""
    return report.inputs[0].shape[0] if report.inputs and report.inputs[0].shape else 1


def bytes_a_position(report: Report) -> float | None:
    """Bytes that one more position of one sequence keeps; None without earlier positions."""
    return bytes_kept(report, "past") / report.past / sequences(report) if report.past else None


def items(report: Report) -> tuple[int | None, str]:
    """How many items a forward of a run takes, and what they are: tokens in a step of generation."""
    if report.past and report.new_positions:
        return report.new_positions * sequences(report), "tokens"
    return report.run.batch if report.run else None, "items"


def with_generation(report: Report, one: Estimate, step_at: StepAt, prompt: Report | None) -> Estimate:
    """The estimate of a step with what follows for other batches and lengths.

    Arithmetic, traffic and memory are lines in the number of sequences, and memory one in that of positions: through
    the step and another, and through two of many sequences.
    """
    past, number = report.past or 0, sequences(report)
    rate = report.new_positions / one.seconds if one.seconds and report.new_positions else None
    wide, wider = (step_at(n * number, past) for n in (_WIDER, 2 * _WIDER))
    longer = step_at(number, 2 * past)
    turns, stays = _compute_bound_from(one, _WIDER * number, wide, wider)
    return replace(
        one,
        generation=GenerationEstimate(
            prompt_seconds=estimate(prompt, one.peaks).seconds if prompt is not None else None,
            rate=rate,
            rate_of_all=rate * number if rate else None,
            compute_bound_from=turns,
            stays_memory_bound=stays,
            most_sequences=_most(one, number, wide, _WIDER),
            most_positions=_most(one, past, longer, 2),
        ),
    )


def _most(one: Estimate, amount: int, more: Report | None, times: int) -> int | None:
    """The largest amount that fits, from the bytes needed with an amount and with so many times more."""
    needed = more.totals.peak_memory if more is not None else None
    if one.needed is None or needed is None or one.peaks.memory is None or needed <= one.needed:
        return None
    return max(0, (one.peaks.memory - one.needed) * amount * (times - 1) // (needed - one.needed) + amount)


def _compute_bound_from(
    one: Estimate, number: int, wide: Report | None, wider: Report | None
) -> tuple[int | None, bool | None]:
    """The batch from which arithmetic takes longer than traffic, and whether there is none; both None if not known."""
    gaps = []
    for report in (wide, wider):
        times = estimate(report, one.peaks) if report is not None else None
        if times is None or times.compute_seconds is None or times.memory_seconds is None:
            return None, None
        gaps.append(times.compute_seconds - times.memory_seconds)
    if gaps[1] <= gaps[0]:
        return None, True
    return max(1, math.ceil(number - gaps[0] * number / (gaps[1] - gaps[0]))), False
