"""The cost and the results of each ATen operator: one rule an operator, a family per file.

:func:`cost` counts a call, :func:`infer` states its results; both are functions of plain data. A rule is registered
under the operator's name, whatever the overload, in place or not. torch is loaded only by :mod:`fwdscope.ops.dispatch`,
which reads calls of torch's dispatcher as such data and runs them on meta, ``nested``, ``watch`` and ``registered``.
"""

from . import (
    attention,
    backward,
    convolution,
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
    quantized,
    random,
    recurrent,
    reductions,
    rows,
    sorting,
    sparse,
    views,
    vision,
)
from .base import RULES, Cost, Rule, Term, cost, find, infer, result_sizes, rule
from .op import Op, Operand

# One for each kind of operator; a family that is not imported has no rules.
FAMILIES = (
    attention, backward, convolution, embedding, factorisation, fft, interpolation, losses, movement, norms,
    pointwise, pooling, products, quantized, random, recurrent, reductions, rows, sorting, sparse, views, vision,
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
