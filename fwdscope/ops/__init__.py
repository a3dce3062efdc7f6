"""What each ATen operator costs and returns: one rule per operator, a family per file.

``cost(op)`` is what a call costs, None where no rule knows; ``infer(op)`` what it returns, None where torch has to be
asked. Both are functions of plain data. :mod:`fwdscope.ops.dispatch`, which alone loads torch, reads calls of the
dispatcher as such data and runs them on meta.
"""

from . import (
    attention,
    convolution,
    cumulative,
    embedding,
    factorisation,
    fft,
    interpolation,
    losses,
    movement,
    norms,
    pointwise,
    pooling,
    products,
    random,
    recurrent,
    reductions,
    softmax,
    sorting,
    views,
)
from .base import RULES, Cost, Rule, Term, cost, find, infer, result_sizes, rule
from .op import Op, Operand

# One for each kind of operator; a family that is not imported has no rules.
FAMILIES = (
    attention, convolution, cumulative, embedding, factorisation, fft, interpolation, losses, movement, norms,
    pointwise, pooling, products, random, recurrent, reductions, softmax, sorting, views,
)  # fmt: skip

__all__ = [
    "FAMILIES",
    "RULES",
    "Cost",
    "Op",
    "Operand",
    "Rule",
    "Term",
    "cost",
    "find",
    "infer",
    "result_sizes",
    "rule",
]
