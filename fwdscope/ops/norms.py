"""Normalisations, by two passes: the mean, the differences from it, their squares, the mean of these, eps and root."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .base import Term, Terms, flops, is_dense, like, rule
from .op import Op, Operand
from .pointwise import elementwise_result
from .positions import Passing
from .promotion import is_floating


def _standardised(rows: int, n: int) -> Term:
    """For each of R rows of n: mean n, difference n, square n, mean n, +eps, rsqrt, product n."""
    return flops("mean, difference, square, mean, +eps, rsqrt, product", "R·(5·n + 2)", R=rows, n=n)


def _affine(op: Op, n: int, weight: int = 2, bias: int = 3) -> list[Term]:
    given = (("weight", weight), ("bias", bias))
    return [flops(what, "N", N=n) for what, position in given if op.at(position) is not None]


def _same_type(x: Operand, *others: Operand | None) -> bool:
    return is_floating(x.dtype) and {x.dtype}.issuperset([other.dtype for other in others if other is not None])


def _layer_norm_output(op: Op) -> tuple[Operand, ...] | None:
    x, shape, weight, bias = op.operand(), op.at(1), op.at(2), op.at(3)
    fits = shape and x.shape[-len(shape) :] == shape and all(w is None or w.shape == shape for w in (weight, bias))
    if not fits or not _same_type(x, weight, bias) or x.dtype in ("float16", "bfloat16"):
        return None
    statistics = like(x, (*x.shape[: -len(shape)], *(1,) * len(shape)))
    return like(x), statistics, statistics


@rule("native_layer_norm", output=_layer_norm_output, window=Passing.SAME)
@rule("layer_norm", window=Passing.SAME)
def layer_norm(op: Op) -> Terms:
    """Over the last dimensions, then weight and bias."""
    elements, n = op.operand().numel, math.prod(op.at(1))
    return [_standardised(elements // n if n else 0, n), *_affine(op, elements)]


@rule("rms_norm", "_fused_rms_norm", window=Passing.SAME)
def rms_norm(op: Op) -> Iterator[Term]:
    """x / √(mean(x²) + eps): square n, mean n, +eps, rsqrt, product n, and the weight (Zhang and Sennrich 2019)."""
    x, n = op.operand(), math.prod(op.at(1))
    yield flops("square, mean, +eps, rsqrt, product", "R·(3·n + 2)", R=x.numel // n if n else 0, n=n)
    if op.at(2) is not None:
        yield flops("weight", "N", N=x.numel)


def _group_norm_output(op: Op) -> tuple[Operand, ...] | None:
    x, weight, bias = op.operand(), op.at(1), op.at(2)
    batch, channels, groups = op.at(3), op.at(4), op.at(6)
    fits = x.shape[:2] == (batch, channels) and channels % groups == 0 and is_dense(x) and 0 not in x.shape
    if not fits or any(w is not None and w.shape != (channels,) for w in (weight, bias)):
        return None
    if not _same_type(x, weight, bias) or x.dtype in ("float16", "bfloat16"):
        return None
    return like(x), like(x, (batch, groups)), like(x, (batch, groups))


@rule("native_group_norm", output=_group_norm_output, window=Passing.SAME)
def group_norm(op: Op) -> Iterator[Term]:
    """Over the channels and positions of each group, then weight and bias for each channel."""
    x = op.operand()
    rows = op.at(3) * op.at(6)
    yield _standardised(rows, x.numel // rows if rows else 0)
    yield from _affine(op, x.numel, 1, 2)


_EVALUATION, _UPDATE = "aten._native_batch_norm_legit_no_training", "aten._batch_norm_with_update"


def _batch_norm_output(op: Op) -> tuple[Operand, ...] | None:
    """In evaluation the saved statistics are empty on a CPU and on meta; in training their dtype varies by device."""
    x, settings = op.operand(), op.arguments[1:5]
    training = False if op.name == _EVALUATION else op.at(5)
    if training is not False and (training is not True or x.dtype not in ("float32", "float64")):
        return None
    given = [s for s in settings if isinstance(s, Operand)]
    channels = x.shape[1:2]
    if not channels or not _same_type(x, *given) or not {channels}.issuperset([s.shape for s in given]):
        return None
    saved = like(x, channels if training else (0,))
    out = elementwise_result((x,), x.dtype)
    return None if out is None else (*out, saved, saved)


@rule("native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm", "batch_norm", _EVALUATION,
      output=_batch_norm_output, window=Passing.SAME)  # fmt: skip
@rule(_UPDATE, window=Passing.SAME)
def batch_norm(op: Op) -> list[Term]:
    """In evaluation by the running statistics: difference and product, and +eps and rsqrt for each channel."""
    x, elements = op.operand(), op.operand().numel
    channels, has_statistics = x.shape[1], op.overload != "no_stats"
    is_training = op.name == _UPDATE or (op.name != _EVALUATION and op.at(5 if has_statistics else 3))
    if is_training:
        found = [_standardised(channels, elements // channels if channels else 0)]
        if op.name == _UPDATE or (has_statistics and op.at(3) is not None):
            found.append(flops("running mean and variance: two products and a sum each", "6·C", C=channels))
    else:
        found = [flops("difference, product", "2·N", N=elements), flops("+eps, rsqrt", "2·C", C=channels)]
    return found + _affine(op, elements, 1, 2)


@rule("_weight_norm_interface")
def weight_norm(op: Op) -> Iterator[Term]:
    """g·v / ‖v‖: squares, sums and root of each row, a quotient, and a product for each weight."""
    v, rows = op.operand(0), op.operand(1).numel
    n = v.numel // rows if rows else 0
    yield flops("norm: squares, sums, root", "R·2·n", R=rows, n=n)
    yield flops("quotient, product", "R·(n + 1)", R=rows, n=n)


@rule("renorm")
def renorm(op: Op) -> Terms:
    """Each row above a norm is scaled down to it: norm, comparison, quotient, product."""
    x = op.operand()
    rows = x.shape[op.at(2)]
    return (flops("norm, comparison, +eps, quotient, product", "R·(3·n + 3)", R=rows, n=x.numel // max(rows, 1)),)
