"""How many samples or tokens a forward or a training step takes, and the share of the peak that a measured one used."""

from __future__ import annotations

import math

from fwdscope.report.report import MeasuredStep, Peaks, Report
from fwdscope.report.roofline import arithmetic_seconds
from fwdscope.report.training import TrainingStep


def batch_of(report: Report) -> int | None:
    """The first size of the first input, if the first output has it too; None otherwise."""
    if not report.inputs or not report.outputs:
        return None
    first, result = report.inputs[0].shape, report.outputs[0].shape
    return first[0] if first and result and first[0] == result[0] else None


def items(report: Report) -> tuple[int, str] | None:
    """The number of tokens if the first input is of whole numbers, else of samples: its first size. None without it.

    Those of a training step are of all its micro-batches.
    """
    first, times = report.inputs[0] if report.inputs else None, report.training.accumulate if report.training else 1
    if first is None or not first.shape:
        return None
    if "int" in first.dtype:
        return times * math.prod(first.shape[:2]), "tokens"
    return times * first.shape[0], "samples"


def dtype_of_products(report: Report) -> str:
    """The dtype that matrix products run in: that of the report, unless they are cast to another."""
    return (report.training and report.training.autocast) or report.products or report.dtype


def measured_step(report: Report, step: TrainingStep, seconds: float, peaks: Peaks, devices: int) -> MeasuredStep:
    """The utilisation of some devices by the step of a report, which took so many seconds."""
    sums, found = report.totals, items(report)
    attention, masked = 6 * step.attention_macs, 6 * step.masked_macs
    if found is not None and found[1] == "tokens":
        model = 6 * (sums.active_params or sums.params) * found[0] + attention
    else:
        model = 6 * step.phase("forward").macs
    hardware, hidden = step.flops, 2 * (step.masked_macs + step.masked_backward_macs)
    # Convolutions may have a peak of their own: the least time of all arithmetic has each at its own.
    least = arithmetic_seconds(report, peaks)
    peak = hardware / least if least else None

    def share(flops: int) -> float | None:
        return flops / (seconds * devices * peak) if peak else None

    flops = (model, model - masked, hardware, hardware - hidden)
    return MeasuredStep(seconds, devices, peaks, *flops, *map(share, flops))
