"""Softmaxes: over n, n-1 comparisons for the maximum, n differences, n exps, n-1 sums, n quotients."""

from __future__ import annotations

from .base import Terms, existing_dimension, flops, mix_along, rows_along, rule, tensor
from .op import Op, Operand
from .promotion import is_floating


def _output(op: Op) -> tuple[Operand, ...] | None:
    x = op.operand()
    dtype = op.at(2) if isinstance(op.at(2), str) else x.dtype
    fits = is_floating(dtype) and is_floating(x.dtype) and op.at(2) is not True
    return (tensor(x.shape, dtype),) if fits and existing_dimension(op.at(1), len(x.shape) or 1) is not None else None


@rule("_softmax", "softmax", "_safe_softmax", output=_output, window=mix_along(1))
def softmax(op: Op) -> Terms:
    """5n - 2 a row: max n-1, difference n, exp n, sum n-1, quotient n."""
    return (flops("max, difference, exp, sum, quotient", "R·(5·n - 2)", **rows_along(op.operand(), op.at(1))),)


@rule("_log_softmax", "log_softmax", output=_output, window=mix_along(1))
def log_softmax(op: Op) -> Terms:
    """5n - 1 a row: max n-1, difference n, exp n, sum n-1, log 1, difference n."""
    return (flops("max, difference, exp, sum, log, difference", "R·(5·n - 1)", **rows_along(op.operand(), op.at(1))),)
