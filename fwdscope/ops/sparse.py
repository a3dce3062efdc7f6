"""Sparse tensors, of which only the stored elements are computed with. ``numel`` of such an operand is their number.

What stands here as ``sparse.mm`` is the operator ``aten.mm`` on operands of which one is sparse.
"""

from __future__ import annotations

from collections.abc import Iterator

from .base import Rule, Term, Terms, flops, no_terms, register, rule
from .op import Op, SparseOperand
from .products import added, factors, product


def _traffic(op: Op) -> tuple[int, int]:
    return sum(x.nbytes for x in op.operands), sum(x.nbytes for x in op.outputs)


@rule("sparse.mm", "sparse.mv", "sparse.bmm", "sparse.addmm", "sparse.addmv", "sparse._sparse_addmm", traffic=_traffic)
@rule("sparse._sparse_sparse_matmul", traffic=_traffic)
def matrices(op: Op) -> Iterator[Term]:
    """Each stored element times a row, or a column, of the other matrix, or the elements of two that meet."""
    a, b = factors(op)
    if not isinstance(a, SparseOperand):
        yield product(a, b, M=a.shape[-2], stored=b.numel)
    elif not isinstance(b, SparseOperand):
        yield product(a, b, stored=a.numel, N=b.shape[-1] if len(b.shape) > 1 else 1)
    else:
        yield product(a, b, pairs=op.at(2 + ("add" in op.name)))
    if "add" in op.name:
        yield from added(op, N=op.output.numel)


@rule("sparse.sparse_sampled_addmm", traffic=_traffic)
def sampled(op: Op) -> Iterator[Term]:
    """A product of two matrices where the first operand has elements."""
    yield product(op.operand(1), op.operand(2), stored=op.operand().numel, K=op.operand(1).shape[-1])
    yield from added(op, stored=op.operand().numel)


def _each(names: str, what: str, count: int = 1) -> None:
    def terms(op: Op) -> Terms:
        return (flops(what, f"{count}·N" if count > 1 else "N", N=op.operand().numel),)

    register([f"sparse.{name}" for name in names.split()], Rule(terms, traffic=_traffic))


_each("mul", "product")
_each("div", "quotient")
_each("neg", "negation")
_each("relu threshold_backward", "comparison")
_each("abs sgn sign sqrt sin tan tanh asin atan sinh asinh atanh expm1 log1p erf pow", "result")
_each("leaky_relu", "comparison, product", 2)
# What only puts together, takes apart or copies.
_NAMES = """_to_dense to_dense _to_sparse _to_sparse_csr _to_sparse_csc _to_sparse_bsr _to_sparse_bsc to_sparse
_sparse_coo_tensor_with_dims_and_tensors _sparse_coo_tensor_unsafe _sparse_compressed_tensor_with_dims
sparse_compressed_tensor sparse_mask _sparse_mask_projection clone _to_copy copy_ t transpose permute unsqueeze
index_select narrow_copy zeros empty zeros_like empty_like cat stack"""
register([f"sparse.{name}" for name in _NAMES.split()], Rule(no_terms, traffic=_traffic))
_VIEWS = """_indices _values indices values crow_indices col_indices ccol_indices row_indices _nnz is_coalesced
_coalesced detach alias view_as _dimI sparse_dim dense_dim"""
register([f"sparse.{name}" for name in _VIEWS.split()], Rule(no_terms, traffic=lambda op: (0, 0), free=True))


@rule("sparse._coalesce", "sparse.coalesce", "sparse._sparse_sum", "sparse.sum", traffic=_traffic)
def sums(op: Op) -> Terms:
    """Each element but one for each result is added."""
    return (flops("sums", "N - M", N=op.operand().numel, M=op.output.numel),)


@rule("sparse.add", "sparse.sub", traffic=_traffic)
def add(op: Op) -> Terms:
    """A sum for each two elements that meet; in a dense tensor all of them do."""
    stored = [x.numel for x in op.operands if isinstance(x, SparseOperand)]
    if len(stored) < 2:
        return (flops("sums", "N", N=sum(stored)),)
    return (flops("sums", "A + B - M", A=stored[0], B=stored[1], M=op.output.numel),)
