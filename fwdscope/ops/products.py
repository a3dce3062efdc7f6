"""Matrix products: M·K·N multiply-accumulates, four times as many for complex numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fwdscope.formula import Size, broadcast_sizes, kept_size, kept_sizes, set_size

from .base import ResultSizes, Term, Terms, complex_factor, flops, like, macs, rule
from .layout import broadcast
from .op import Op, Operand
from .positions import Passage


def product(a: Operand, b: Operand, **numbers: int) -> Term:
    """Make the term of a matrix product, the product of these numbers."""
    sizes, parts = "·".join(numbers), complex_factor(a, b)
    return macs("matrix product", f"{parts}·{sizes}" if parts > 1 else sizes, **numbers)


def added(op: Op, **numbers: int) -> Iterator[Term]:
    """beta·c + alpha·(the product): one sum for each result, and a product with each factor that is not 1."""
    sizes, alpha, beta = "·".join(numbers), op.keyword("alpha", 1), op.keyword("beta", 1)
    sizes = f"2·{sizes}" if complex_factor(*op.operands) > 1 else sizes
    if alpha != 1:
        yield flops("product with alpha", sizes, **numbers)
    if beta not in (0, 1):
        yield flops("product with beta", sizes, **numbers)
    if beta != 0:
        yield flops("sum", sizes, **numbers)


def factors(op: Op) -> tuple[Operand, Operand]:
    """The two matrices; in ``addmm`` and the like they stand behind the tensor to which their product is added."""
    first = "add" in op.name
    return op.operand(first), op.operand(first + 1)


def _output(op: Op) -> tuple[Operand, ...] | None:
    (a, b), dims = factors(op), 3 if "bmm" in op.name else 2
    if a.dtype != b.dtype and op.overload == "default":  # which every device refuses, but not torch on meta
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {a.dtype} != {b.dtype}")
    fits = a.dtype == b.dtype and len(a.shape) == len(b.shape) == dims and a.shape[:-2] == b.shape[:-2]
    if not fits or a.shape[-1] != b.shape[-2]:
        return None
    shape = (*a.shape[:-1], b.shape[-1])
    if "add" in op.name:
        c = op.operand()
        fits = c.dtype == a.dtype and (c.shape in (shape, shape[-1:]) or broadcast((c.shape, shape)) == shape)
    else:
        fits = not op.keywords and len(op.arguments) == 2
    return (like(a, shape),) if fits else None


def _vector_output(op: Op) -> tuple[Operand, ...] | None:
    a, v = op.operand(0), op.operand(1)
    fits = len(a.shape) == (2 if op.name == "aten.mv" else 1) and v.shape == a.shape[-1:] and a.dtype == v.dtype
    return (like(a, a.shape[:-1]),) if fits else None


def _sizes(op: Op) -> ResultSizes:
    """(…, M, K) by (…, K, N): K is summed over."""
    one, other = (x.shape[1:] if op.name.startswith("aten.addbmm") else x.shape for x in factors(op))
    batch = broadcast_sizes(one[:-2], other[:-2]) if len(one) > 2 or len(other) > 2 else ()
    rows = [kept_size("M", one[-2], f"K = {one[-1]:,} is summed over")] if len(one) > 1 else []
    return ([*batch, *rows, *([kept_size("N", other[-1])] if len(other) > 1 else [])],)


def _linear_sizes(op: Op) -> ResultSizes:
    features: list[Size] = [set_size("features", "rows_of_weight", n) for n in op.operand(1).shape[:-1]]
    return ([*kept_sizes(op.operand().shape[:-1]), *features],)


def _window(op: Op, tensor: int) -> Passage | None:
    """One factor of a product by weights; the dimension summed over is mixed."""
    rank, first = len(op.output.shape), int("add" in op.name)
    if tensor not in (first, first + 1) or len(op.operands[tensor].shape) != rank or rank < 2:
        return None
    if tensor == first:
        return Passage((*range(rank - 1), None), (rank - 1,))
    return Passage((*range(rank - 2), None, rank - 1), (rank - 2,))


@rule("mm", "bmm", "addmm", "baddbmm", output=_output, sizes=_sizes, window=_window)
@rule("mv", "dot", "vdot", output=_vector_output, sizes=_sizes)
@rule("_int_mm", "addbmm", "addmv", sizes=_sizes)
def matrices(op: Op) -> Iterator[Term]:
    """A product of two matrices, two batches of them, or vectors, which may be added to another tensor.

    ``addbmm`` sums the products of a batch too: one long inner dimension.
    """
    a, b = factors(op)
    # (B, M, K) by (B, K, N), of which any but K may be missing.
    numbers = dict(zip("BMK"[-len(a.shape) :], a.shape, strict=True))
    if len(b.shape) > 1:
        numbers["N"] = b.shape[-1]
    yield product(a, b, **numbers)
    if "add" in op.name:
        summed = ("K", "B") if op.name.startswith("aten.addbmm") else ("K",)
        yield from added(op, **{symbol: n for symbol, n in numbers.items() if symbol not in summed})


@rule("_scaled_mm")
def scaled_mm(op: Op) -> Iterator[Term]:
    """Two matrices in eight-bit floating point, each with a scale, and a bias."""
    a, b = op.operand(0), op.operand(1)
    (m, k), n = a.shape, b.shape[1]
    yield product(a, b, M=m, K=k, N=n)
    yield flops("two scales", "2·M·N", M=m, N=n)
    if op.at(4) is not None:
        yield flops("bias", "M·N", M=m, N=n)


@rule("_addmm_activation", sizes=_sizes)
def addmm_activation(op: Op) -> Iterator[Term]:
    """``addmm`` with a relu, or a gelu by tanh, behind it."""
    yield from matrices(op)
    m, n = op.output.shape
    yield flops("gelu" if op.keyword("use_gelu") else "relu", "9·M·N" if op.keyword("use_gelu") else "M·N", M=m, N=n)


@rule("addr")
def addr(op: Op) -> Iterator[Term]:
    """An outer product added to a matrix: one product for each element, which is no inner product and so no MAC."""
    m, n = op.operand(1).numel, op.operand(2).numel
    yield flops("outer product", "M·N", M=m, N=n)
    yield from added(op, M=m, N=n)


@rule("linear", sizes=_linear_sizes, window=_window)
def linear(op: Op) -> Iterator[Term]:
    """x·Wᵀ + b over the last dimension."""
    x, weight, bias = op.operand(0), op.operand(1), op.at(2)
    n, m = (weight.shape[0] if len(weight.shape) == 2 else 1), math.prod(x.shape[:-1])
    yield product(x, weight, M=m, K=x.shape[-1], N=n)
    if bias is not None:
        yield flops("bias", "M·N", M=m, N=n)


@rule("matmul", sizes=_sizes, window=_window)
def matmul(op: Op) -> Terms:
    """``a @ b``, whatever their dimensions: a vector is a matrix of one row or column, batches broadcast."""
    a, b = op.operand(0), op.operand(1)
    left = a.shape if len(a.shape) > 1 else (1, *a.shape)
    right = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    batch = broadcast((left[:-2], right[:-2]))
    if batch is None:
        return None
    return (product(a, b, B=math.prod(batch), M=left[-2], K=left[-1], N=right[-1]),)


@rule("_trilinear")
def trilinear(op: Op) -> Iterator[Term]:
    """Three tensors multiplied and summed, as nn.Bilinear does: the first two are contracted, then the third.

    Each is expanded by the dimensions that it lacks; a dimension that is summed and missing in the third is
    summed in the first contraction.
    """
    sides = [list(op.operand(i).shape) for i in range(3)]
    for i, side in enumerate(sides):
        for dim in sorted(op.at(3 + i)):
            side.insert(dim, 1)
    present = [{d for d in range(len(side)) if d not in op.at(3 + i)} for i, side in enumerate(sides)]
    sizes = [max(column) for column in zip(*sides, strict=True)]
    both = present[0] | present[1]
    gone = {d for d in op.at(6) if d not in present[2]}
    first, second = (math.prod(sizes[d] for d in dims) for dims in (both, (both - gone) | present[2]))
    parts = complex_factor(*op.operands)
    yield macs("first contraction", f"{parts}·P" if parts > 1 else "P", P=first)
    yield macs("second contraction", f"{parts}·Q" if parts > 1 else "Q", Q=second)


@rule("_weight_int8pack_mm")
def int8_weight(op: Op) -> Iterator[Term]:
    """x·Wᵀ with weights in eight bits, and a scale for each column."""
    x, weight = op.operand(0), op.operand(1)
    m, k, n = x.shape[0], x.shape[1], weight.shape[0]
    yield product(x, x, M=m, K=k, N=n)
    yield flops("scale", "M·N", M=m, N=n)


def _grouped_output(op: Op) -> tuple[Operand, ...] | None:
    """Rows by the matrix of their group. torch asks for bfloat16 on meta, and nowhere else."""
    if op.keywords or len(op.arguments) > 3:
        return None
    a, b, groups = op.operand(0), op.operand(1), op.at(2) or op.operand(0)
    fits = a.dtype == b.dtype and "float" in a.dtype and len(b.shape) == 3 and a.shape[-1] == b.shape[1]
    if not fits or groups.shape[0] != b.shape[0] or any(max(x.stride) * x.itemsize % 16 for x in (a, b)):
        return None
    return (like(a, (*a.shape[:-1], b.shape[2])),)


@rule("_grouped_mm", output=_grouped_output)
def grouped_mm(op: Op) -> Terms:
    """Rows, or columns, in groups, each multiplied by the matrix of its group, as in a mixture of experts."""
    a, b = op.operand(0), op.operand(1)
    rows = math.prod(a.shape[:-1]) if len(b.shape) == 3 else a.shape[-2]
    terms = [product(a, b, M=rows, K=a.shape[-1], N=b.shape[-1])]
    return terms if op.at(3) is None else [*terms, flops("bias", "M·N", M=rows, N=b.shape[-1])]
