"""Softmaxes: over n, n-1 comparisons for the maximum, n differences, n exps, n-1 sums, n quotients."""

from __future__ import annotations

from .base import Terms, dimension, flops, rule, tensor
from .op import Op, Operand
from .positions import Passage, mix
from .promotion import is_floating


def _rows(op: Op) -> dict[str, int]:
    x = op.operand()
    n = x.shape[dimension(op.at(1), len(x.shape))] if x.shape else 1
    return {"R": x.numel // n if n else 0, "n": n}


def _output(op: Op) -> tuple[Operand, ...] | None:
    x, dim = op.operand(), op.at(1)
    dtype = op.at(2) if isinstance(op.at(2), str) else x.dtype
    ndim = max(len(x.shape), 1)
    if not is_floating(dtype) or not is_floating(x.dtype) or not -ndim <= dim < ndim or op.at(2) is True:
        return None
    return (tensor(x.shape, dtype),)


def _window(op: Op, tensor: int) -> Passage:
    return mix(len(op.operand().shape), (op.at(1),))


@rule("_softmax", "softmax", "_safe_softmax", output=_output, window=_window)
def softmax(op: Op) -> Terms:
    """5n - 2 a row: max n-1, difference n, exp n, sum n-1, quotient n."""
    return (flops("max, difference, exp, sum, quotient", "R·(5·n - 2)", **_rows(op)),)


@rule("_log_softmax", "log_softmax", output=_output, window=_window)
def log_softmax(op: Op) -> Terms:
    """5n - 1 a row: max n-1, difference n, exp n, sum n-1, log 1, difference n."""
    return (flops("max, difference, exp, sum, log, difference", "R·(5·n - 1)", **_rows(op)),)
