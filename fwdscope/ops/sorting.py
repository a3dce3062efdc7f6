"""Sorting and selection: n·log2(n) comparisons a row, rounded; top-k takes at least n - 1."""

from __future__ import annotations

from fwdscope.formula import replace_size, set_size

from .base import ResultSizes, Terms, existing_dimension, flops, is_dense, mix_along, rows_along, rule, tensor
from .op import Op, Operand
from .reductions import reduced_sizes


@rule("sort", "argsort", "msort", window=mix_along(1))
def sort(op: Op) -> Terms:
    """n·log2(n) comparisons a row."""
    rows = rows_along(op.operand(), op.keyword("dim", op.at(1, -1)))
    return (flops("comparisons", "R·round(n·log2(n))", **rows),)


def _topk_output(op: Op) -> tuple[Operand, ...] | None:
    x, k = op.operand(), op.at(1)
    dim = existing_dimension(op.at(2, -1), len(x.shape))
    if dim is None or not is_dense(x) or not 0 <= k <= x.shape[dim]:
        return None
    shape = (*x.shape[:dim], k, *x.shape[dim + 1 :])
    return tensor(shape, x.dtype), tensor(shape, "int64")


def _topk_sizes(op: Op) -> ResultSizes:
    x = op.operand().shape
    dim = op.at(2, -1) % max(len(x), 1)
    return [replace_size(x, dim, set_size(f"size_{dim}", "k", op.at(1)))] * 2 if x else ()


@rule("topk", output=_topk_output, sizes=_topk_sizes, window=mix_along(2))
def topk(op: Op) -> Terms:
    """At least n - 1 comparisons a row."""
    rows = rows_along(op.operand(), op.at(2, -1))
    return (flops("comparisons, at least", "R·(n - 1)", **rows),) if rows["n"] else ()


@rule("mode", sizes=reduced_sizes)
def mode(op: Op) -> Terms:
    """A sort, and a comparison of neighbours."""
    rows = rows_along(op.operand(), op.at(1, -1))
    return (flops("comparisons", "R·(round(n·log2(n)) + n - 1)", **rows),) if rows["n"] else ()


@rule("_unique", "_unique2", "unique_dim", "unique_consecutive")
def unique(op: Op) -> Terms:
    """A sort, and a comparison of neighbours."""
    n = op.operand().numel
    return (flops("comparisons", "round(n·log2(n)) + n - 1", n=n),) if n else ()


@rule("searchsorted", "bucketize")
def search(op: Op) -> Terms:
    """A binary search for each value: ⌈log2(n + 1)⌉ comparisons."""
    boundaries = op.operand(0 if "searchsorted" in op.name else 1)
    n = boundaries.shape[-1] if boundaries.shape else 1
    return (flops("comparisons", "N·ceil(log2(n + 1))", N=op.output.numel, n=n),)
