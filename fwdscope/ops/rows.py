"""Operators along a dimension, a row at a time: softmaxes, and cumulative operators, which give n - 1 results for n.

A softmax of n is n - 1 comparisons for the maximum, n differences, n exps, n - 1 sums and n quotients.
"""

from __future__ import annotations

from typing import Any

from .base import Rule, Terms, existing_dimension, flops, mix_along, register, register_formula, rows_along, rows_of
from .base import tensor as contiguous_tensor
from .op import Op, Operand
from .promotion import is_complex, is_floating, is_whole


def _softmax_output(op: Op) -> tuple[Operand, ...] | None:
    x = op.operand()
    dtype = op.at(2) if isinstance(op.at(2), str) else x.dtype
    fits = is_floating(dtype) and is_floating(x.dtype) and op.at(2) is not True
    return (
        (contiguous_tensor(x.shape, dtype),)
        if fits and existing_dimension(op.at(1), len(x.shape) or 1) is not None
        else None
    )


_SOFTMAX: dict[str, Any] = {"numbers": rows_of(1), "output": _softmax_output, "window": mix_along(1)}
# max n-1, difference n, exp n, sum n-1, quotient n
register_formula("_softmax softmax _safe_softmax", "max, difference, exp, sum, quotient", "R·(5·n - 2)", **_SOFTMAX)
# max n-1, difference n, exp n, sum n-1, log 1, difference n
register_formula("_log_softmax log_softmax", "max, difference, exp, sum, log, difference", "R·(5·n - 1)", **_SOFTMAX)

# Results of a step, their name, and the real results of a complex step (0: unknown).
_STEPS = {
    "cumsum": (1, "sum", 2),
    "cumprod": (1, "product", 6),
    "cummax": (1, "comparison", 0),
    "cummin": (1, "comparison", 0),
    "_cummax_helper": (1, "comparison", 0),
    "_cummin_helper": (1, "comparison", 0),
    "logcumsumexp": (7, "max, difference, abs, negation, exp, log1p, sum", 0),
}


def _terms(op: Op) -> Terms:
    count, what, of_complex = _STEPS[op.name.removeprefix("aten.").removesuffix("_")]
    rows = rows_along(op.operand(), op.at(1))
    results = of_complex if is_complex(op.operand().dtype) else count
    if not rows["n"] or not results:
        return None if rows["n"] else ()
    return (flops(what, f"{results}·R·(n - 1)" if results > 1 else "R·(n - 1)", **rows),)


def _cumulative_output(op: Op) -> tuple[Operand, ...] | None:
    x = op.operand()
    found = op.keyword("dtype") or ("int64" if is_whole(x.dtype) else x.dtype)
    if existing_dimension(op.at(1), len(x.shape) or 1) is None or is_complex(found) or is_complex(x.dtype):
        return None
    return (contiguous_tensor(x.shape, found),) if is_whole(found) or is_floating(found) else None


register(("cumsum", "cumprod"), Rule(_terms, _cumulative_output, window=mix_along(1)))
register(_STEPS.keys() - {"cumsum", "cumprod"}, Rule(_terms, window=mix_along(1)))
