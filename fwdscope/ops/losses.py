"""Losses: results for each element, then their sum or mean, by ``reduction``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from .base import Rule, Term, Terms, flops, like, register, rule
from .layout import broadcast
from .op import Op, Operand
from .promotion import is_floating

_NONE, _MEAN, _SUM = 0, 1, 2


def _reduction(kind: int, n: int) -> Iterator[Term]:
    if kind == _MEAN:
        yield flops("mean", "N", N=n)
    elif kind == _SUM and n:
        yield flops("sum", "N - 1", N=n)


def _output(op: Op, position: int) -> tuple[Operand, ...] | None:
    x, target = op.operand(0), op.operand(1)
    fits = x.shape == target.shape and x.dtype == target.dtype and is_floating(x.dtype)
    return (like(x, ()),) if fits and op.at(position, _MEAN) in (_MEAN, _SUM) else None


def _elementwise(name: str, position: int, parts: Callable[[Op], Iterator[tuple[str, int]]], stated: bool) -> None:
    """Register a loss of each element, its reduction at a position: ``parts`` are what is computed and how many."""

    def terms(op: Op) -> Iterator[Term]:
        n = math.prod(broadcast((op.operand(0).shape, op.operand(1).shape)) or ())
        for what, count in parts(op):
            yield flops(what, f"{count}·N" if count > 1 else "N", N=n)
        yield from _reduction(op.at(position, _MEAN), n)

    register((name,), Rule(terms, (lambda op: _output(op, position)) if stated else None))


def _smooth(op: Op, factor: str) -> Iterator[tuple[str, int]]:
    """½·d²/β below β, |d| - ½·β above: both sides are counted, the factor only if it is not 1."""
    scaled = op.at(3, 1.0) != 1
    yield "difference, abs, comparison, square, ·½, -" + f", {factor}" * scaled, 6 + scaled


def _cross_entropy(op: Op) -> Iterator[tuple[str, int]]:
    """-(y·log(x) + (1 - y)·log(1 - x)), each logarithm kept above -100."""
    yield "two logs, two bounds, 1-x, 1-y, two products, sum, negation", 10
    if op.at(2) is not None:
        yield "weight", 1


def _cross_entropy_of_logits(op: Op) -> Iterator[tuple[str, int]]:
    """(1 - y)·x - logsigmoid(x), the latter times 1 + (w - 1)·y with a weight of the positive ones."""
    yield "1-y, product, logsigmoid 4, difference", 7
    if op.at(3) is not None:
        yield "w-1, product, 1+, product", 4
    if op.at(2) is not None:
        yield "weight", 1


_elementwise("mse_loss", 2, lambda op: iter([("difference, square", 2)]), True)
_elementwise("smooth_l1_loss", 2, lambda op: _smooth(op, "/β"), True)
_elementwise("huber_loss", 2, lambda op: _smooth(op, "·δ"), True)
_elementwise("soft_margin_loss", 2, lambda op: iter([("product, negation, exp, log1p", 4)]), True)
_elementwise("binary_cross_entropy", 3, _cross_entropy, False)
_elementwise("binary_cross_entropy_with_logits", 4, _cross_entropy_of_logits, False)


def _nll_output(op: Op) -> tuple[Operand, ...] | None:
    x, target, weight, kind = op.operand(0), op.operand(1), op.at(2), op.at(3)
    fits = target.shape == x.shape[:-1] and target.dtype == "int64" and is_floating(x.dtype) and x.shape
    if op.name != "aten.nll_loss_forward" or not fits or kind == _NONE:
        return None
    weighted = weight is None or (weight.shape == x.shape[-1:] and weight.dtype == x.dtype)
    return (like(x, ()), like(x, ())) if weighted else None


@rule("nll_loss_forward", "nll_loss2d_forward", "nll_loss", "nll_loss2d", output=_nll_output)
def nll_loss(op: Op) -> Iterator[Term]:
    """A look-up, and a negation for each target; with weights a product, and the sum of the weights for the mean."""
    n, kind, weighted = op.operand(1).numel, op.at(3, _MEAN), op.at(2) is not None
    yield flops("negation, weight", "2·N", N=n) if weighted else flops("negation", "N", N=n)
    if weighted and kind == _MEAN and n:
        yield flops("sum of weights", "N - 1", N=n)
    yield from _reduction(kind, n)


@rule("multi_margin_loss")
def multi_margin_loss(op: Op) -> Iterator[Term]:
    """For each class but the right one max(0, margin - x[y] + x[c]), powers and weights of it, their sum over C."""
    x, power, weighted = op.operand(), op.at(2, 1), op.at(4) is not None
    rows, classes = op.operand(1).numel, x.shape[-1] if x.shape else 1
    count = 4 + (power == 2) + weighted
    yield flops("difference, sum, max, sum", f"{count}·R·(C - 1)", R=rows, C=classes)
    yield flops("quotient", "R", R=rows)
    if op.at(5, _MEAN) != _NONE:
        yield from _reduction(op.at(5, _MEAN), rows)


@rule("multilabel_margin_loss_forward")
def multilabel_margin_loss(op: Op) -> Iterator[Term]:
    """For each target and each other class max(0, 1 - x[t] + x[c]); the number of targets depends on the data.

    One target a row is counted.
    """
    x = op.operand()
    classes = x.shape[-1] if x.shape else 1
    rows = x.numel // classes if classes else 0
    yield flops("one target: difference, sum, max, sum", "4·R·(C - 1)", R=rows, C=classes)
    yield flops("quotient", "R", R=rows)
    yield from _reduction(op.at(2, _MEAN), rows)


@rule("_ctc_loss", "_cudnn_ctc_loss")
def ctc_loss(op: Op) -> Terms:
    """The forward variables of Graves et al. 2006, at each of T steps for each of 2·S + 1 labels with blanks.

    Each is a log-sum-exp of three, which is two comparisons, three differences, three exps, two sums, a log and a sum,
    and the sum with a log-probability.
    """
    steps, batch = op.operand(0).shape[0], op.operand(0).shape[1] if len(op.operand(0).shape) > 2 else 1
    lengths, targets = op.at(3), op.operand(1)
    is_listed = isinstance(lengths, tuple) and not isinstance(lengths, Operand)
    longest = max(lengths, default=0) if is_listed else targets.shape[-1]
    return (flops("log-sum-exp of three, log-probability", "13·T·B·(2·S + 1)", T=steps, B=batch, S=longest),)
