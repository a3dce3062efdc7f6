"""Convolutions: for each output, every tap of the kernel times every input channel of its group is a MAC.

Taps on padding count. In a transposed convolution each input is multiplied by each tap. The bias is a sum per output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from fwdscope.formula import SPATIAL, Size, count_windows, kept_size, set_size

from .base import ResultSizes, Term, Terms, complex_factor, flops, like, macs, rule
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


def _terms(
    x: Operand, weight: Operand, bias: Operand | None, out: Operand, groups: int, transposed: bool
) -> list[Term]:
    """The terms of a batch or a sample, with a weight (C_out, C_in/groups, …) or transposed (C_in, C_out/groups, …)."""
    d = len(weight.shape) - 2
    side, seen = (x, out) if transposed else (out, x)
    formula, symbols = _formula(d, transposed, groups != 1)
    sizes = (math.prod(side.shape[: -d - 1]), *side.shape[-d - 1 :], seen.shape[-d - 1], *weight.shape[2:], groups)
    numbers = dict(zip(symbols, sizes, strict=False))  # of which groups is left out where it is 1
    parts = complex_factor(x, weight)
    found = [macs("convolution", f"{parts}·{formula}" if parts > 1 else formula, **numbers)]
    return found if bias is None else [*found, _bias(out, d, parts)]


_BIAS = {d: f"N·C_out·{spatial.replace('{}', 'out')}" for d, spatial in _SPATIAL.items()}


def _bias(out: Operand, d: int, parts: int) -> Term:
    formula = _BIAS[d] if parts == 1 else f"2·{_BIAS[d]}"
    sizes = (math.prod(out.shape[: -d - 1]), *out.shape[-d - 1 :])
    return flops("bias", formula, **dict(zip(_BIAS[d].split("·"), sizes, strict=True)))


def _full(sizes: Sequence[int], d: int) -> Sequence[int]:
    """A setting for each dimension, where one for all may be given."""
    return tuple(sizes) * d if len(sizes) == 1 else sizes


def _lengths(op: Op, d: int) -> list[int]:
    """⌊(n + 2·padding - dilation·(k - 1) - 1) / stride⌋ + 1; its inverse plus the output padding where transposed."""
    x, weight, transposed = op.operand(0), op.operand(1), op.at(6)
    found = []
    settings = [_full(op.at(i), d) for i in (3, 4, 5, 7)]
    for n, k, stride, padding, dilation, more in zip(x.shape[2:], weight.shape[2:], *settings, strict=True):
        if transposed:
            found.append((n - 1) * stride - 2 * padding + dilation * (k - 1) + more + 1)
        else:
            found.append((n + 2 * padding - dilation * (k - 1) - 1) // stride + 1)
    return found


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
    lengths = _lengths(op, d)
    return (like(x, (x.shape[0], channels, *lengths)),) if min(lengths) > 0 else None


def _sizes(op: Op) -> ResultSizes:
    x, weight = op.operand(0).shape, op.operand(1).shape
    d = len(weight) - 2
    batch = [kept_size("N", x[0])] * (len(x) == len(weight))
    columns = zip(SPATIAL[d], x[-d:], weight[2:], *(_full(op.at(i), d) for i in (3, 4, 5, 7)), strict=True)
    if op.at(6):
        channels = Size("C", f"{weight[1]:,}·groups", {"groups": op.at(8)})
        spread = [Size(n, f"({s} − 1)·{st} − 2·{p} + {e}·({k} − 1) + 1 + {o}") for n, s, k, st, p, e, o in columns]
        return ([*batch, channels, *spread],)
    windows = [count_windows(n, s, k, st, p, e) for n, s, k, st, p, e, _ in columns]
    return ([*batch, set_size("C", "filters", weight[0]), *windows],)


def _window(op: Op, tensor: int) -> Passage | None:
    if tensor:
        return None
    kernel = op.operand(1).shape[2:]
    columns = zip(kernel, *(_full(op.at(i), len(kernel)) for i in (3, 4, 5)), strict=True)
    return over_last(len(op.operand().shape), [(Spread if op.at(6) else Slide)(*column) for column in columns])


@rule(
    "convolution", "_convolution", "convolution_overrideable",
    output=_output, sizes=_sizes, window=_window, slides=True,
)  # fmt: skip
def convolution(op: Op) -> Terms:
    """Any convolution in torch's dispatcher: one, two or three dimensions, grouped, dilated, transposed."""
    return _terms(op.operand(0), op.operand(1), op.at(2), op.output, op.at(8), op.at(6))


@rule("mkldnn_convolution")
def mkldnn(op: Op) -> Terms:
    """oneDNN's convolution, with padding before stride."""
    return _terms(op.operand(0), op.operand(1), op.at(2), op.output, op.at(6), False)


@rule("cudnn_convolution")
def cudnn(op: Op) -> Terms:
    """cuDNN's convolution; the bias is added by another operator."""
    return _terms(op.operand(0), op.operand(1), None, op.output, op.at(5), False)


@rule("cudnn_convolution_transpose")
def cudnn_transposed(op: Op) -> Terms:
    """cuDNN's transposed convolution."""
    return _terms(op.operand(0), op.operand(1), None, op.output, op.at(6), True)


@rule("conv_depthwise3d", "_conv_depthwise2d")
def depthwise(op: Op) -> Terms:
    """Depthwise: each channel is a group, and the weight has one input channel."""
    return _terms(op.operand(0), op.operand(1), op.at(3), op.output, op.operand(0).shape[1], False)


@rule("slow_conv3d_forward", "_slow_conv2d_forward", "thnn_conv2d", "slow_conv3d")
def slow(op: Op) -> Terms:
    """The implementation without a library."""
    return _terms(op.operand(0), op.operand(1), op.at(3), op.output, 1, False)
