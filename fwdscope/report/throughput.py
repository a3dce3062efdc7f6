"""How many samples or tokens a forward or a training step takes, read off its report."""

from __future__ import annotations

import math

from fwdscope.report.report import Report


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
    """The dtype that matrix products run in: that of the report, unless autocast casts to another."""
    return (report.training and report.training.autocast) or report.dtype
