"""Matrix products: M·K·N multiply-accumulates, four times as many for complex numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fwdscope.formula import Size, broadcast_sizes, kept_size, kept_sizes, set_size

from .base import ResultSizes, Term, Terms, Window, complex_factor, flops, like, macs, rule
from .layout import Shape, broadcast
from .op import Op, Operand
from .positions import Passage


def product(a: Operand, b: Operand, sizes: str, **numbers: int) -> Term:
    """Make the term of a matrix product with a formula in these symbols."""
    parts = complex_factor(a, b)
    return macs("matrix product", f"{parts}·{sizes}" if parts > 1 else sizes, **numbers)


def _added(op: Op, sizes: str, **numbers: int) -> list[Term]:
    """beta·c + alpha·(the product): one sum for each result, and a product with each factor that is not 1."""
    sizes = f"2·{sizes}" if complex_factor(*op.operands) > 1 else sizes
    if not op.keywords:
        return [flops("sum", sizes, **numbers)]
    alpha, beta = op.keyword("alpha", 1), op.keyword("beta", 1)
    found = [] if alpha == 1 else [flops("product with alpha", sizes, **numbers)]
    if beta not in (0, 1):
        found.append(flops("product with beta", sizes, **numbers))
    if beta != 0:
        found.append(flops("sum", sizes, **numbers))
    return found


def _matrices(a: Operand, b: Operand) -> bool:
    """Whether two matrices, or two batches of as many, can be multiplied."""
    left, right = a.shape, b.shape
    same = a.dtype == b.dtype and len(left) == len(right) and left[:-2] == right[:-2]
    return same and len(left) > 1 and left[-1] == right[-2]


def _product_output(op: Op) -> tuple[Operand, ...] | None:
    a, b = op.operand(0), op.operand(1)
    dims = 3 if op.name == "aten.bmm" else 2
    if len(a.shape) != dims or not _matrices(a, b) or op.keywords or len(op.arguments) > 2:
        return None
    return (like(a, (*a.shape[:-1], b.shape[-1])),)


def _added_output(op: Op) -> tuple[Operand, ...] | None:
    c, a, b = op.operand(0), op.operand(1), op.operand(2)
    dims = 3 if op.name == "aten.baddbmm" else 2
    if len(a.shape) != dims or not _matrices(a, b) or c.dtype != a.dtype:
        return None
    shape = (*a.shape[:-1], b.shape[-1])
    fits = c.shape in (shape, shape[-1:]) or broadcast((c.shape, shape)) == shape
    return (like(a, shape),) if fits else None


def _matrix_sizes(one: Shape, other: Shape) -> ResultSizes:
    """(…, M, K) by (…, K, N): K is summed over."""
    batch = broadcast_sizes(one[:-2], other[:-2]) if len(one) > 2 or len(other) > 2 else ()
    rows = [kept_size("M", one[-2], f"K = {one[-1]:,} is summed over")] if len(one) > 1 else []
    return ([*batch, *rows, *([kept_size("N", other[-1])] if len(other) > 1 else [])],)


def _sizes(op: Op) -> ResultSizes:
    return _matrix_sizes(op.operand(0).shape, op.operand(1).shape)


def _added_sizes(op: Op) -> ResultSizes:
    return _matrix_sizes(op.operand(1).shape, op.operand(2).shape)


def _summed_sizes(op: Op) -> ResultSizes:
    return _matrix_sizes(op.operand(1).shape[1:], op.operand(2).shape[1:])


def _linear_sizes(op: Op) -> ResultSizes:
    features: list[Size] = [set_size("features", "rows_of_weight", n) for n in op.operand(1).shape[:-1]]
    return ([*kept_sizes(op.operand().shape[:-1]), *features],)


def _factor(first: int) -> Window:
    """One factor of a product by weights, which begins at a position; the dimension summed over is mixed."""

    def window(op: Op, tensor: int) -> Passage | None:
        rank = len(op.output.shape)
        if tensor not in (first, first + 1) or len(op.operands[tensor].shape) != rank or rank < 2:
            return None
        if tensor == first:
            return Passage((*range(rank - 1), None), (rank - 1,))
        return Passage((*range(rank - 2), None, rank - 1), (rank - 2,))

    return window


@rule("mm", output=_product_output, sizes=_sizes, window=_factor(0))
def mm(op: Op) -> Terms:
    """Two matrices."""
    a, b = op.operand(0), op.operand(1)
    return (product(a, b, "M·K·N", M=a.shape[0], K=a.shape[1], N=b.shape[1]),)


@rule("_int_mm", sizes=_sizes)
def int_mm(op: Op) -> Terms:
    """Two matrices of eight-bit numbers, summed in 32 bits."""
    return mm(op)


@rule("_scaled_mm")
def scaled_mm(op: Op) -> Iterator[Term]:
    """Two matrices in eight-bit floating point, each with a scale, and a bias."""
    a, b = op.operand(0), op.operand(1)
    numbers = {"M": a.shape[0], "K": a.shape[1], "N": b.shape[1]}
    yield product(a, b, "M·K·N", **numbers)
    yield flops("two scales", "2·M·N", M=numbers["M"], N=numbers["N"])
    if op.at(4) is not None:
        yield flops("bias", "M·N", M=numbers["M"], N=numbers["N"])


@rule("bmm", output=_product_output, sizes=_sizes, window=_factor(0))
def bmm(op: Op) -> Terms:
    """Two batches of matrices."""
    a, b = op.operand(0), op.operand(1)
    return (product(a, b, "B·M·K·N", B=a.shape[0], M=a.shape[1], K=a.shape[2], N=b.shape[2]),)


@rule("addmm", output=_added_output, sizes=_added_sizes, window=_factor(1))
def addmm(op: Op) -> Terms:
    """A matrix product added to a matrix or a row: a linear layer with its bias."""
    a, b = op.operand(1), op.operand(2)
    m, k, n = *a.shape, b.shape[1]
    return [product(a, b, "M·K·N", M=m, K=k, N=n), *_added(op, "M·N", M=m, N=n)]


@rule("_addmm_activation", sizes=_added_sizes)
def addmm_activation(op: Op) -> Iterator[Term]:
    """The same with a relu, or a gelu by tanh, behind it."""
    yield from addmm(op) or ()
    m, n = op.output.shape
    yield flops("gelu" if op.keyword("use_gelu") else "relu", "9·M·N" if op.keyword("use_gelu") else "M·N", M=m, N=n)


@rule("baddbmm", output=_added_output, sizes=_added_sizes, window=_factor(1))
def baddbmm(op: Op) -> Iterator[Term]:
    """Products of a batch of matrices added to others."""
    a, b = op.operand(1), op.operand(2)
    batch, m, k, n = *a.shape, b.shape[2]
    yield product(a, b, "B·M·K·N", B=batch, M=m, K=k, N=n)
    yield from _added(op, "B·M·N", B=batch, M=m, N=n)


@rule("addbmm", sizes=_summed_sizes)
def addbmm(op: Op) -> Iterator[Term]:
    """Products of a batch of matrices, all summed and added to a matrix: one long inner dimension."""
    a, b = op.operand(1), op.operand(2)
    batch, m, k, n = *a.shape, b.shape[2]
    yield product(a, b, "B·M·K·N", B=batch, M=m, K=k, N=n)
    yield from _added(op, "M·N", M=m, N=n)


def _mv_output(op: Op) -> tuple[Operand, ...] | None:
    a, v = op.operand(0), op.operand(1)
    fits = len(a.shape) == 2 and v.shape == a.shape[1:] and a.dtype == v.dtype
    return (like(a, a.shape[:1]),) if fits else None


@rule("mv", output=_mv_output, sizes=_sizes)
def mv(op: Op) -> Terms:
    """A matrix and a vector."""
    a = op.operand(0)
    return (product(a, op.operand(1), "M·K", M=a.shape[0], K=a.shape[1]),)


@rule("addmv", sizes=_added_sizes)
def addmv(op: Op) -> Iterator[Term]:
    """A matrix times a vector added to a vector."""
    a = op.operand(1)
    yield product(a, op.operand(2), "M·K", M=a.shape[0], K=a.shape[1])
    yield from _added(op, "M", M=a.shape[0])


def _dot_output(op: Op) -> tuple[Operand, ...] | None:
    a, b = op.operand(0), op.operand(1)
    return (like(a, ()),) if a.shape == b.shape and len(a.shape) == 1 and a.dtype == b.dtype else None


@rule("dot", "vdot", output=_dot_output, sizes=_sizes)
def dot(op: Op) -> Terms:
    """Two vectors: K products and K sums, the first of them onto nothing."""
    return (product(op.operand(0), op.operand(1), "K", K=op.operand(0).numel),)


@rule("addr")
def addr(op: Op) -> Iterator[Term]:
    """An outer product added to a matrix: one product for each element, which is no inner product and so no MAC."""
    m, n = op.operand(1).numel, op.operand(2).numel
    yield flops("outer product", "M·N", M=m, N=n)
    yield from _added(op, "M·N", M=m, N=n)


@rule("linear", sizes=_linear_sizes, window=_factor(0))
def linear(op: Op) -> Iterator[Term]:
    """x·Wᵀ + b over the last dimension."""
    x, weight, bias = op.operand(0), op.operand(1), op.at(2)
    n, m = (weight.shape[0] if len(weight.shape) == 2 else 1), math.prod(x.shape[:-1])
    yield product(x, weight, "M·K·N", M=m, K=x.shape[-1], N=n)
    if bias is not None:
        yield flops("bias", "M·N", M=m, N=n)


@rule("matmul", sizes=_sizes, window=_factor(0))
def matmul(op: Op) -> Terms:
    """``a @ b``, whatever their dimensions: a vector is a matrix of one row or column, batches broadcast."""
    a, b = op.operand(0), op.operand(1)
    left = a.shape if len(a.shape) > 1 else (1, *a.shape)
    right = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    batch = broadcast((left[:-2], right[:-2]))
    if batch is None:
        return None
    numbers = {"B": math.prod(batch), "M": left[-2], "K": left[-1], "N": right[-1]}
    return (product(a, b, "B·M·K·N", **numbers),)


@rule("_trilinear")
def trilinear(op: Op) -> Iterator[Term]:
    """Three tensors multiplied and summed, as nn.Bilinear does: the first two are contracted, then the third.

    Each is expanded by the dimensions that it lacks; a dimension that is summed and missing in the third is
    summed in the first contraction.
    """
    sides = [_expanded(op.operand(i), op.at(3 + i)) for i in range(3)]
    present = [{d for d in range(len(side)) if d not in op.at(3 + i)} for i, side in enumerate(sides)]
    sizes = [max(column) for column in zip(*sides, strict=True)]
    both = present[0] | present[1]
    gone = {d for d in op.at(6) if d not in present[2]}
    first, second = (math.prod(sizes[d] for d in dims) for dims in (both, (both - gone) | present[2]))
    parts = complex_factor(*op.operands)
    yield macs("first contraction", f"{parts}·P" if parts > 1 else "P", P=first)
    yield macs("second contraction", f"{parts}·Q" if parts > 1 else "Q", Q=second)


def _expanded(x: Operand, dims: tuple[int, ...]) -> list[int]:
    shape = list(x.shape)
    for dim in sorted(dims):
        shape.insert(dim, 1)
    return shape


@rule("_weight_int8pack_mm")
def int8_weight(op: Op) -> Iterator[Term]:
    """x·Wᵀ with weights in eight bits, and a scale for each column."""
    x, weight = op.operand(0), op.operand(1)
    m, k, n = x.shape[0], x.shape[1], weight.shape[0]
    yield product(x, x, "M·K·N", M=m, K=k, N=n)
    yield flops("scale", "M·N", M=m, N=n)


@rule("_grouped_mm")
def grouped_mm(op: Op) -> Terms:
    """Rows in groups, each multiplied by the matrix of its group, as in a mixture of experts."""
    a, b = op.operand(0), op.operand(1)
    if len(b.shape) != 3:
        return None
    rows, n = math.prod(a.shape[:-1]), b.shape[-1]
    terms = [product(a, b, "M·K·N", M=rows, K=a.shape[-1], N=n)]
    return terms if op.at(3) is None else [*terms, flops("bias", "M·N", M=rows, N=n)]


@rule("quantized.linear_dynamic", "quantized.linear", "quantized.linear_relu", "quantized.linear_relu_dynamic")
def quantized_linear(op: Op) -> Iterator[Term]:
    """A linear layer in eight bits. Its weight and bias are packed away, so the bias is taken to be there."""
    x, out = op.operand(0), op.output
    m, n = math.prod(x.shape[:-1]), out.shape[-1]
    yield product(x, out, "M·K·N", M=m, K=x.shape[-1], N=n)
    yield flops("bias", "M·N", M=m, N=n)
    if "relu" in op.name:
        yield flops("relu", "M·N", M=m, N=n)
