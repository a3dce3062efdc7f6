"""Look-ups in a table: rows are moved, not computed. The bytes read are the indices and the rows looked up."""

from __future__ import annotations

from collections.abc import Iterator

from fwdscope.formula import kept_sizes, set_size

from .base import ResultSizes, Rule, Term, flops, like, no_terms, register, rule
from .op import Op, Operand
from .positions import Passage


def looked_up(op: Op) -> tuple[int, int]:
    """Read the indices and the rows looked up, each as often as it is; write the results."""
    table, *indices = op.operands
    found = op.output.numel * table.itemsize
    return found + sum(x.nbytes for x in indices), sum(x.nbytes for x in op.outputs)


def _output(op: Op) -> tuple[Operand, ...] | None:
    weight, indices = op.operand(0), op.operand(1)
    if len(weight.shape) != 2 or indices.dtype not in ("int64", "int32"):
        return None
    return (like(weight, (*indices.shape, weight.shape[1])),)


def _sizes(op: Op) -> ResultSizes:
    return ([*kept_sizes(op.operand(1).shape), set_size("features", "embedding_dim", op.operand().shape[-1])],)


def _window(op: Op, tensor: int) -> Passage | None:
    return Passage((*range(len(op.operand(1).shape)), None)) if tensor == 1 else None


register(("embedding",), Rule(no_terms, _output, looked_up, _sizes, _window))


def _bag_traffic(op: Op) -> tuple[int, int]:
    table, *indices = op.operands
    rows = op.operand(1).numel * table.shape[1] * table.itemsize
    # The other results are a kernel's bookkeeping, which differs between devices.
    return rows + sum(x.nbytes for x in indices), op.output.nbytes


@rule("_embedding_bag", "_embedding_bag_forward_only", "embedding_bag", traffic=_bag_traffic)
def embedding_bag(op: Op) -> Iterator[Term]:
    """The rows of a bag are summed (0), averaged (1) or compared (2): one result fewer than it has rows."""
    indices, out, mode = op.operand(1), op.output, op.at(4, 0)
    numbers = {"n": indices.numel, "bags": out.shape[0], "D": out.shape[1]}
    # Empty bags need nothing, but shapes do not tell how many there are.
    if numbers["n"] > numbers["bags"]:
        yield flops("comparisons" if mode == 2 else "sums", "(n - bags)·D", **numbers)
    if mode == 1:
        yield flops("quotient", "bags·D", bags=out.shape[0], D=out.shape[1])
    if op.at(6) is not None:
        yield flops("weights", "n·D", n=indices.numel, D=out.shape[1])
