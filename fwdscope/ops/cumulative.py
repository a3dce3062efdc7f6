"""Cumulative operators: n - 1 results for each row of n."""

from __future__ import annotations

from collections.abc import Callable

from .base import Output, Rule, Terms, dimension, flops, register, tensor
from .op import Op, Operand
from .positions import Passage, mix
from .promotion import is_complex, is_floating, is_whole

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


def _terms(count: int, what: str, of_complex: int) -> Callable[[Op], Terms]:
    def terms(op: Op) -> Terms:
        x = op.operand()
        n = x.shape[dimension(op.at(1), len(x.shape))] if x.shape else 1
        if not n:
            return ()
        if is_complex(x.dtype) and not of_complex:
            return None
        results = of_complex if is_complex(x.dtype) else count
        formula = f"{results}·R·(n - 1)" if results > 1 else "R·(n - 1)"
        return (flops(what, formula, R=x.numel // n, n=n),)

    return terms


def _output(op: Op) -> tuple[Operand, ...] | None:
    x, dim, dtype = op.operand(), op.at(1), op.keyword("dtype")
    ndim = max(len(x.shape), 1)
    found = dtype or ("int64" if is_whole(x.dtype) else x.dtype)
    if not isinstance(dim, int) or not -ndim <= dim < ndim or is_complex(found) or is_complex(x.dtype):
        return None
    return (tensor(x.shape, found),) if is_whole(found) or is_floating(found) else None


def _window(op: Op, tensor: int) -> Passage:
    return mix(len(op.operand().shape), (op.at(1, -1),))


_OUTPUTS: dict[str, Output] = {"cumsum": _output, "cumprod": _output}

for _name, _step in _STEPS.items():
    register((_name,), Rule(_terms(*_step), _OUTPUTS.get(_name), window=_window))
