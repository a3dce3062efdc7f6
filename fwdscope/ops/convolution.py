"""Convolutions: for each output, every tap of the kernel times every input channel of its group is a MAC.

Taps on padding count. In a transposed convolution each input is multiplied by each tap. The bias is a sum per output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache

from fwdscope.formula import (
    SPATIAL,
    Size,
    count_windows,
    kept_size,
    set_size,
    span_windows,
    window_count,
    window_span,
)

from .base import ResultSizes, Rule, Term, Terms, complex_factor, flops, like, macs, per_dimension, register, rule
from .op import Op, Operand
from .positions import Passage, Slide, Spread, over_last

_SPATIAL = {1: "L_{}", 2: "H_{}·W_{}", 3: "D_{}·H_{}·W_{}"}
_KERNEL = {1: "k", 2: "k_h·k_w", 3: "k_d·k_h·k_w"}


@cache
def _formula(d: int, transposed: bool, grouped: bool) -> tuple[str, tuple[str, ...]]:
    """The formula of a convolution with d dimensions, and its symbols in order."""
    name, other = ("in", "out") if transposed else ("out", "in")
    spatial = _SPATIAL[d].replace("{}", name)
    symbols = ("N", f"C_{name}", *spatial.split("·"), f"C_{other}", *_KERNEL[d].split("·"))
    formula = f"N·C_{name}·{spatial}·C_{other}·{_KERNEL[d]}"
    return (f"{formula}/groups", (*symbols, "groups")) if grouped else (formula, symbols)


def convolution_terms(op: Op, bias: Operand | None, groups: int, transposed: bool) -> Iterator[Term]:
    """The terms of a batch or a sample, with a weight (C_out, C_in/groups, …) or transposed (C_in, C_out/groups, …)."""
    x, weight, out = op.operand(0), op.operand(1), op.output
    d = len(weight.shape) - 2
    side, seen = (x, out) if transposed else (out, x)
    formula, symbols = _formula(d, transposed, groups != 1)
    sizes = (math.prod(side.shape[: -d - 1]), *side.shape[-d - 1 :], seen.shape[-d - 1], *weight.shape[2:], groups)
    numbers = dict(zip(symbols, sizes, strict=False))  # of which groups is left out where it is 1
    parts = complex_factor(x, weight)
    yield macs("convolution", f"{parts}·{formula}" if parts > 1 else formula, **numbers)
    if bias is not None:
        sums = f"N·C_out·{_SPATIAL[d].replace('{}', 'out')}"
        sizes = (math.prod(out.shape[: -d - 1]), *out.shape[-d - 1 :])
        yield flops("bias", sums if parts == 1 else f"2·{sums}", **dict(zip(sums.split("·"), sizes, strict=True)))


def gradient(what: str, x: Operand, weight: Operand, out: Operand, groups: int, transposed: bool) -> Term:
    """The term of the gradient of the input or of the weight: as many MACs as the convolution."""
    op = Op("aten.convolution", "default", (x, weight), (), (out,))
    return next(convolution_terms(op, None, groups, transposed))._replace(what=what)


def _columns(op: Op) -> Iterator[tuple[int, ...]]:
    """Size, kernel, stride, padding, dilation and output padding of each dimension."""
    x, weight = op.operand(0).shape, op.operand(1).shape
    d = len(weight) - 2
    return zip(x[-d:], weight[2:], *(per_dimension(op.at(i), d) for i in (3, 4, 5, 7)), strict=True)


def _output(op: Op) -> tuple[Operand, ...] | None:
    x, weight, bias = op.operand(0), op.operand(1), op.at(2)
    d, groups, transposed = len(weight.shape) - 2, op.at(8), op.at(6)
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    fits = (
        len(x.shape) == d + 2
        and d in _SPATIAL
        and x.shape[1] == (weight.shape[0] if transposed else weight.shape[1] * groups)
        and weight.shape[0] % groups == 0
        and x.dtype == weight.dtype
        and (bias is None or (bias.shape == (channels,) and bias.dtype == x.dtype))
    )
    if not fits or 0 in x.shape or 0 in weight.shape:
        return None
    lengths = [window_span(*column) if transposed else window_count(*column[:-1]) for column in _columns(op)]
    return (like(x, (x.shape[0], channels, *lengths)),) if min(lengths) > 0 else None


def _sizes(op: Op) -> ResultSizes:
    x, weight = op.operand(0).shape, op.operand(1).shape
    batch = [kept_size("N", x[0])] * (len(x) == len(weight))
    columns = zip(SPATIAL[len(weight) - 2], _columns(op), strict=True)
    if op.at(6):
        channels = Size("C", f"{weight[1]:,}·groups", {"groups": op.at(8)})
        return ([*batch, channels, *(span_windows(name, *column) for name, column in columns)],)
    windows = [count_windows(name, *column[:-1]) for name, column in columns]
    return ([*batch, set_size("C", "filters", weight[0]), *windows],)


def _window(op: Op, tensor: int) -> Passage | None:
    if tensor:
        return None
    reading = Spread if op.at(6) else Slide
    return over_last(len(op.operand().shape), [reading(*column[1:-1]) for column in _columns(op)])


@rule(
    "convolution", "_convolution", "convolution_overrideable",
    output=_output, sizes=_sizes, window=_window, slides=True,
)  # fmt: skip
def convolution(op: Op) -> Terms:
    """Any convolution in torch's dispatcher: one, two or three dimensions, grouped, dilated, transposed."""
    return convolution_terms(op, op.at(2), op.at(8), op.at(6))


def _library(
    names: str, bias: int | None, groups: Callable[[Op], int] = lambda op: 1, transposed: bool = False
) -> None:
    """Register convolutions of one library, with the position of their bias, if any, and the number of groups."""

    def terms(op: Op) -> Terms:
        return convolution_terms(op, None if bias is None else op.at(bias), groups(op), transposed)

    register(names.split(), Rule(terms))


_library("mkldnn_convolution", 2, lambda op: op.at(6))  # padding stands before stride
# Another operator adds the bias.
_library("cudnn_convolution", None, lambda op: op.at(5))
_library("cudnn_convolution_transpose", None, lambda op: op.at(6), transposed=True)
# Each channel is a group, and the weight has one input channel.
_library("conv_depthwise3d _conv_depthwise2d", 3, lambda op: op.operand().shape[1])
_library("slow_conv3d_forward _slow_conv2d_forward thnn_conv2d slow_conv3d", 3)
