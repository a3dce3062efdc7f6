"""Reductions of n elements to one: n - 1 results, and the arithmetic on each element before and on the result after."""

from __future__ import annotations

import math
from collections.abc import Callable

from fwdscope.formula import Size, broadcast_sizes, kept_size, kept_sizes, shape_of

from .base import (
    Output,
    ResultSizes,
    Rule,
    Term,
    Terms,
    elements,
    existing_dimension,
    flops,
    register,
    register_formula,
    rule,
)
from .base import tensor as contiguous_tensor
from .op import Op, Operand
from .positions import Passage
from .promotion import is_complex, is_floating, is_whole

_EACH = "R·(n - 1)"


def _rows(op: Op) -> dict[str, int]:
    """R rows of n elements, from the input and the output."""
    n, results = op.operand().numel, op.output.numel
    return {"R": results, "n": n // results if results else 0}


def _reduce(what: str, formula: str, complex_formula: str = "") -> Callable[[Op], Terms]:
    def terms(op: Op) -> Terms:
        numbers = _rows(op)
        if not numbers["n"]:
            return ()
        if is_complex(op.operand().dtype):
            return (flops(f"{what}, of both parts", complex_formula, **numbers),) if complex_formula else None
        return (flops(what, formula, **numbers),)

    return terms


# -- what they return -------------------------------------------------------------------------------------------------


def _dims(dim: object, ndim: int) -> set[int] | None:
    if dim is None or dim == ():
        return set(range(ndim))
    named = dim if isinstance(dim, tuple) else (dim,)
    found = {existing_dimension(d, ndim or 1) for d in named}
    return found if None not in found and len(found) == len(named) else None  # type: ignore[return-value]


def _output(dtype: Callable[[Operand], str | None], results: int = 1) -> Callable[[Op], tuple[Operand, ...] | None]:
    """Results of a dtype, where ``dim`` and ``keepdim`` are the arguments behind the tensor."""

    def output(op: Op) -> tuple[Operand, ...] | None:
        x, given = op.operand(), op.keyword("dtype")
        if (
            is_complex(x.dtype)
            or len(op.arguments) > 3
            or any(name not in ("dtype", "correction", "keepdim") for name, _ in op.keywords)
        ):
            return None
        found, gone = given or dtype(x), _dims(op.at(1), len(x.shape))
        # For empty tensors torch decides which reductions have a value.
        if gone is None or 0 in x.shape or not isinstance(found, str) or not (is_whole(found) or is_floating(found)):
            return None
        keepdim = op.keyword("keepdim", op.at(2, False))
        shape = (1 if i in gone else size for i, size in enumerate(x.shape) if keepdim or i not in gone)
        return (contiguous_tensor(shape, found),) * results

    return output


def _float_type(x: Operand) -> str | None:
    return x.dtype if is_floating(x.dtype) else None


def reduced_sizes(op: Op) -> ResultSizes:
    """The sizes that a reduction leaves, by the first argument that may be dimensions and gives what came out."""
    x, rank = kept_sizes(op.operand().shape), len(op.operand().shape)
    for dims in (op.at(1), op.keyword("dim"), op.at(2), ()):
        if rank == 0 or type(dims) not in (int, tuple) or (gone := _dims(dims, rank)) is None:
            continue
        left = [size for i, size in enumerate(x) if i not in gone]
        ones = [Size(size.name, "1", note="keepdim=True") if i in gone else size for i, size in enumerate(x)]
        for sizes in (left, ones):
            if shape_of(sizes) == op.output.shape:
                return [sizes] * len(op.outputs)
    return ()


def _window(op: Op, tensor: int) -> Passage | None:
    """Reduced dimensions are no longer followed, the others stay."""
    dims = op.at(1)
    rank = len(op.operand().shape)
    gone = _dims(dims if (isinstance(dims, int) and not isinstance(dims, bool)) or type(dims) is tuple else None, rank)
    if gone is None:
        return None
    keeps = len(op.output.shape) == rank
    return Passage(tuple(None if i in gone else i for i in range(rank) if keeps or i not in gone))


# -- the table --------------------------------------------------------------------------------------------------------


def _register(names: str, what: str, formula: str, output: Output | None = None, complex_formula: str = "") -> None:
    register(names.split(), Rule(_reduce(what, formula, complex_formula), output, sizes=reduced_sizes, window=_window))


_register("sum", "sums", _EACH, _output(lambda x: "int64" if is_whole(x.dtype) else x.dtype), "2·R·(n - 1)")
_register("nansum", "comparisons, sums", "R·(2·n - 1)")
_register("mean", "sums, quotient", "R·n", _output(_float_type), "2·R·n")
_register("prod", "products", _EACH, None, "6·R·(n - 1)")
_register("amax amin", "comparisons", _EACH, _output(lambda x: x.dtype))
_register("argmax argmin", "comparisons", _EACH, _output(lambda x: None if x.dtype == "bool" else "int64"))
_register(
    "all any _is_all_true _is_any_true", "logic", _EACH, _output(lambda x: None if x.dtype == "uint8" else "bool")
)
_register("aminmax _aminmax", "comparisons", "2·R·(n - 1)")
_register("count_nonzero", "comparisons, sums", "R·(2·n - 1)")
# A median or the k-th value is found without sorting; at least every element is compared, as in top-k.
_register("median nanmedian kthvalue", "comparisons, at least", _EACH)
# torch's kernels disagree on an empty list of dimensions.
_register("logsumexp", "max, difference, exp, sum, log, sum", "R·4·n",
          lambda op: None if op.at(1) == () else _output(_float_type)(op))  # fmt: skip
_register("var", "mean, difference, square, sum, quotient", "R·4·n", _output(_float_type))
_register("std", "mean, difference, square, sum, quotient, root", "R·(4·n + 1)", _output(_float_type))
_register("var_mean", "mean, difference, square, sum, quotient", "R·4·n", _output(_float_type, 2))
_register("std_mean", "mean, difference, square, sum, quotient, root", "R·(4·n + 1)", _output(_float_type, 2))


def _extreme_output(op: Op) -> tuple[Operand, ...] | None:
    found = _output(lambda x: x.dtype)(op) if op.overload in ("default", "dim") else None
    if found is None or op.overload == "default":
        return found
    return found[0], contiguous_tensor(found[0].shape, "int64")


@rule("max", "min", output=_extreme_output, sizes=reduced_sizes, window=_window)
def extreme(op: Op) -> Terms:
    """n - 1 comparisons a row; one for each element of two tensors."""
    if op.overload in ("other", "out") and isinstance(op.at(1), Operand):
        return (flops("comparison", "N", N=op.output.numel),)
    return _reduce("comparisons", _EACH)(op)


def _norm_output(op: Op) -> tuple[Operand, ...] | None:
    if op.overload == "Scalar" or isinstance(op.at(1), str) or op.keyword("dtype") is not None:
        return None
    return _output(_float_type)(op._replace(arguments=(op.arguments[0], *op.arguments[2:])))


@rule("linalg_vector_norm", "norm", output=_norm_output, sizes=reduced_sizes)
def norm(op: Op) -> Terms:
    """‖x‖ₚ: squares, sums and a root for 2; absolute values before sums or comparisons for 1 and ∞."""
    order = op.at(1, 2)
    return _norm_terms(2.0 if order is None else order, **_rows(op))


# Squares n, sums n - 1, root; |x| n, sums or comparisons n - 1; comparisons with 0 and their sum.
_NORMS = {
    2.0: ("squares, sums, root", "R·2·n"),
    1.0: ("abs, sums", "R·(2·n - 1)"),
    math.inf: ("abs, comparisons", "R·(2·n - 1)"),
    -math.inf: ("abs, comparisons", "R·(2·n - 1)"),
    0.0: ("comparisons, sums", "R·(2·n - 1)"),
}


def _norm_terms(order: float, **numbers: int) -> list[Term]:
    what, formula = _NORMS.get(float(order), ("abs, powers, sums, root", "R·3·n"))
    return [flops(what, formula, **numbers)] if numbers["n"] else []


@rule("dist")
def dist(op: Op) -> Terms:
    """The norm of a difference."""
    n = op.operand().numel
    return [flops("difference", "n", n=n), *_norm_terms(op.at(2, 2), R=1, n=n)]


register_formula("trace", "sums", "n - 1", lambda op: {"n": max(min(op.operand().shape), 1)})  # of the diagonal
register_formula("equal nonzero nonzero_static", "comparisons", "N", elements)
register_formula("linalg_cross", "two products, difference", "3·N")
register_formula("bincount", "sums", "N", elements)
register_formula(
    "histc", "difference, product, rounding, sum", "4·N", elements
)  # a place for each element, and its count
register_formula(
    "isin", "comparisons", "N", lambda op: {"N": math.prod(x.numel for x in op.operands)}
)  # each with each


def _cdist_sizes(op: Op) -> ResultSizes:
    one, other = op.operand(0).shape, op.operand(1).shape
    batch = broadcast_sizes(one[:-2], other[:-2]) if len(one) > 2 else ()
    return ([*batch, kept_size("P", one[-2]), kept_size("R", other[-2])],)


def _distances(op: Op, order: float) -> list[Term]:
    """For each of R pairs of points of width n: n differences and their norm."""
    numbers = {"R": op.output.numel, "n": op.operand().shape[-1]}
    return [flops("differences", "R·n", **numbers), *_norm_terms(order, **numbers)]


register(("_cdist_forward", "cdist"), Rule(lambda op: _distances(op, op.at(2, 2.0)), sizes=_cdist_sizes))
register(("_euclidean_dist",), Rule(lambda op: _distances(op, 2.0), sizes=_cdist_sizes))
register(("_pdist_forward",), Rule(
    lambda op: _distances(op, op.at(1, 2.0)),
    sizes=lambda op: ([Size("pairs", "N·(N − 1) / 2", {"N": op.operand().shape[0]})],),
))  # fmt: skip
