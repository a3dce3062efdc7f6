"""Operators that compute each element from the elements at the same place: what they compute, as Python writes it.

The parameters are those of ATen's operator, in its order. A tensor's element goes by its tensor's name in a formula, a
setting by the name of its parameter, unless that is a single letter.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch

from .quantity import Quantity, atom, erf, exp, function, holds, largest, least, log, sigmoid, sqrt, tanh, when


def _gelu(x: Quantity, approximate: str = "none") -> Quantity:
    if approximate == "tanh":
        return 0.5 * x * (1 + tanh(sqrt(atom(2) / atom(math.pi, "π")) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + erf(x / sqrt(2)))


def _elu(x: Quantity, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Quantity:
    inner = x if _is(input_scale, 1) else input_scale * x
    found = when(x, 0, x, alpha * (exp(inner) - 1))
    return found if _is(scale, 1) else (scale * found).noted(found.note)


def _is(value: Any, other: float) -> bool:
    return (value.value if isinstance(value, Quantity) else value) == other


def _scaled(alpha: Any, y: Any) -> Any:
    return y if _is(alpha, 1) else alpha * y


def _clamp(x: Any, min: Any = None, max: Any = None) -> Quantity:
    low = x if min is None else largest(x, min)
    return low if max is None else least(low, max)


def _binary_cross_entropy(x: Quantity, y: Quantity, weight: Any = None, reduction: int = 0) -> Quantity:
    # torch keeps the logarithms at −100 or above.
    found = -(y * largest(log(x), -100) + (1 - y) * largest(log(1 - x), -100))
    return found if weight is None else weight * found


def _with_logits(x: Quantity, y: Quantity, weight: Any = None, pos_weight: Any = None, reduction: int = 0) -> Quantity:
    positive = y * log(sigmoid(x))
    found = -((positive if pos_weight is None else pos_weight * positive) + (1 - y) * log(1 - sigmoid(x)))
    return found if weight is None else weight * found


def _lerp(x: Quantity, end: Quantity, weight: Quantity) -> Quantity:
    return x + weight * (end - x)


_is_zero = holds("=", operator.eq)
_ROUNDINGS = {name: function(name, getattr(torch, name)) for name in ("floor", "trunc")}

Function = Callable[..., Any]

# Losses that may be reduced to a mean or a sum; ``reduction`` is 0 for neither, 1 for the mean, 2 for the sum.
LOSSES: dict[str, Function] = {
    "mse_loss": lambda x, y, reduction=0: (x - y) ** 2,
    "smooth_l1_loss": lambda x, y, reduction=0, beta=1: when(
        abs(x - y), beta, abs(x - y) - 0.5 * beta, (x - y) ** 2 / (2 * beta), True
    ),
    "huber_loss": lambda x, y, reduction=0, delta=1: when(
        abs(x - y), delta, delta * (abs(x - y) - 0.5 * delta), 0.5 * (x - y) ** 2
    ),
    "binary_cross_entropy": _binary_cross_entropy,
    "binary_cross_entropy_with_logits": _with_logits,
    "soft_margin_loss": lambda x, y, reduction=0: log(1 + exp(-y * x)),
}

ACTIVATIONS: dict[str, Function] = {
    "relu": lambda x: largest(0, x),
    "leaky_relu": lambda x, negative_slope=0.01: when(x, 0, x, negative_slope * x),
    "_prelu_kernel": lambda x, weight: when(x, 0, x, weight * x),
    "rrelu_with_noise": lambda x, noise, lower=1 / 8, upper=1 / 3, *_: when(x, 0, x, (lower + upper) / 2 * x),
    "elu": _elu,
    "celu": lambda x, alpha=1: when(x, 0, x, alpha * (exp(x / alpha) - 1)),
    "gelu": _gelu,
    "silu": lambda x: x * sigmoid(x),
    "sigmoid": lambda x: 1 / (1 + exp(-x)),
    "tanh": tanh,
    "mish": lambda x: x * tanh(log(1 + exp(x))),
    "softplus": lambda x, beta=1, threshold=20: when(
        _scaled(beta, x), threshold, x, log(1 + exp(x)) if _is(beta, 1) else log(1 + exp(beta * x)) / beta
    ),
    "log_sigmoid_forward": lambda x: -log(1 + exp(-x)) if x.value > -500 else x,
    "hardtanh": lambda x, min_val=-1, max_val=1: least(max_val, largest(min_val, x)),
    "hardsigmoid": lambda x: least(1, largest(0, (x + 3) / 6)),
    "hardswish": lambda x: x * least(1, largest(0, (x + 3) / 6)),
    "hardshrink": lambda x, lambd=0.5: when(abs(x), lambd, x, 0),
    "softshrink": lambda x, lambd=0.5: when(abs(x), lambd, x - lambd if x.value > 0 else x + lambd, 0),
    "threshold": lambda x, threshold, value: when(x, threshold, x, value),
}

ELEMENTWISE: dict[str, Function] = {
    **ACTIVATIONS,
    **LOSSES,
    "add": lambda x, y, alpha=1: x + _scaled(alpha, y),
    "sub": lambda x, y, alpha=1: x - _scaled(alpha, y),
    "rsub": lambda x, y, alpha=1: y - _scaled(alpha, x),
    "mul": lambda x, y: x * y,
    "div": lambda x, y, rounding_mode=None: _ROUNDINGS[rounding_mode](x / y) if rounding_mode else x / y,
    "logical_not": lambda x: _is_zero(x, 0),
    "pow": lambda x, y: x**y,
    "square": lambda x: x**2,
    "neg": lambda x: -x,
    "abs": abs,
    "exp": exp,
    "log": log,
    "sqrt": sqrt,
    "rsqrt": lambda x: 1 / sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "erf": erf,
    "clamp": _clamp,
    "clamp_min": largest,
    "clamp_max": least,
    "maximum": largest,
    "minimum": least,
    "lerp": _lerp,
    "addcmul": lambda x, y, z, value=1: x + _scaled(value, y * z),
    "addcdiv": lambda x, y, z, value=1: x + _scaled(value, y / z),
    "xlogy": lambda x, y: x * log(y) if x.value else 0 * y,
    "eq": holds("=", operator.eq),
    "ne": holds("≠", operator.ne),
    "lt": holds("<", operator.lt),
    "le": holds("≤", operator.le),
    "gt": holds(">", operator.gt),
    "ge": holds("≥", operator.ge),
    **{
        name: function(name, getattr(torch, name))
        for name in (
            "sin", "cos", "tan", "sinh", "cosh", "asin", "acos", "atan", "atan2", "log1p", "log2", "log10", "expm1",
            "erfc", "erfinv", "lgamma", "digamma", "sinc", "exp2", "asinh", "acosh", "atanh", "hypot", "heaviside",
            "logit", "sign", "sgn", "floor", "floor_divide", "ceil", "round", "trunc", "remainder", "fmod", "logaddexp",
        )
    },
}  # fmt: skip
