"""Sorting and selection: n·log2(n) comparisons a row, rounded; top-k takes at least n - 1."""

from __future__ import annotations

from fwdscope.formula import replace_size, set_size

from .base import ResultSizes, existing_dimension, is_dense, mix_along, register_formula, rows_along, rows_of, tensor
from .op import Op, Operand
from .reductions import reduced_sizes

register_formula(
    "sort argsort msort", "comparisons", "R·round(n·log2(n))",
    lambda op: rows_along(op.operand(), op.keyword("dim", op.at(1, -1))), window=mix_along(1),
)  # fmt: skip
# A sort, and a comparison of neighbours.
register_formula("mode", "comparisons", "R·(round(n·log2(n)) + n - 1)", rows_of(1, -1), sizes=reduced_sizes)
register_formula(
    "_unique _unique2 unique_dim unique_consecutive",
    "comparisons", "round(n·log2(n)) + n - 1", lambda op: {"n": max(op.operand().numel, 1)},
)  # fmt: skip


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


register_formula(
    "topk", "comparisons, at least", "R·(n - 1)", rows_of(2, -1),
    output=_topk_output, sizes=_topk_sizes, window=mix_along(2),
)  # fmt: skip


def _boundaries(op: Op) -> dict[str, int]:
    shape = op.operand(0 if "searchsorted" in op.name else 1).shape
    return {"N": op.output.numel, "n": shape[-1] if shape else 1}


# A binary search for each value.
register_formula("searchsorted bucketize", "comparisons", "N·ceil(log2(n + 1))", _boundaries)
