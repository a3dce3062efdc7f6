"""How the figures of a step come about: the formulas of its sizes and weights, and the costs of its operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from fwdscope.formula import Formula, equation, insert_numbers, size_lines
from fwdscope.layers import LAYERS, layer_of, output_sizes, parameter_size
from fwdscope.ops import result_sizes
from fwdscope.report import OperatorCost

if TYPE_CHECKING:
    from torch import Tensor

    from fwdscope.ops.dispatch import OpRecord
    from fwdscope.trace.record import Node

# Of a step that runs more operators than these the rest is one.
MOST_OPERATORS = 40
# The settings, formulas and operators of a step.
_Arithmetic = tuple[str, tuple[str, ...], tuple[OperatorCost, ...]]


def layer_type(node: Node) -> str | None:
    """The layer type of a node's module; None for a user's own class."""
    if node.module is None:
        return None
    cls = type(node.module)
    ours = cls.__module__.startswith(("torch.nn.", "fwdscope.layers."))
    return cls.__name__ if ours and cls.__name__ in LAYERS else None


def result_formulas(node: Node) -> list[tuple[Formula, ...] | None]:
    """The formulas of each result's sizes: the layer's own, else those of the only operator that ran."""
    outputs = [one.shape for one in node.outputs]
    if layer_type(node) is not None and node.module is not None:
        found = output_sizes(node.module, [one.shape for one in node.inputs], outputs)
    # Each of several operators has its own, since its input may differ from the expression's.
    elif len(node.ops) == 1 and [y.shape for y in node.ops[0].op.outputs] == outputs:
        found = result_sizes(node.ops[0].op)
    else:
        return [None] * len(outputs)
    return [None if sizes is None else tuple(map(Formula.of, sizes)) for sizes in found]


def operator_costs(records: Sequence[OpRecord]) -> tuple[OperatorCost, ...]:
    """The operators that ran, equal ones as one, and of very many the rest as one."""
    if len(records) == 1:  # as mostly
        return (_operator_cost(records[0]),)
    costs = [replace(found, times=times) for found, times in Counter(map(_operator_cost, records)).items()]
    if not (rest := costs[MOST_OPERATORS:]):
        return tuple(costs)
    many = sum([one.times for one in rest])
    macs, flops, read, written = (
        sum([(getattr(one, name) or 0) * one.times for one in rest])
        for name in ("macs", "flops", "bytes_read", "bytes_written")
    )
    texts = [f"{figure:,}" if figure else "" for figure in (macs, flops)]
    last = OperatorCost(f"{many:,} more operators", (), (), (), texts[0], texts[1], macs, flops, read, written)
    return (*costs[:MOST_OPERATORS], last)


def backward_costs(records: Sequence[OpRecord]) -> tuple[OperatorCost, ...]:
    """The operators of a backward, without views, which cost nothing."""
    return operator_costs([record for record in records if record.cost is None or any(record.figures)])


@lru_cache(maxsize=4096)
def _operator_cost(record: OpRecord) -> OperatorCost:
    op, cost = record.op, record.cost
    # The formulas of its first result alone.
    sizes = [Formula.of(size) for size in (result_sizes(op) or (None,))[0] or ()]
    computed = [size for size in sizes if not size.plain and (size.note or size.numbers != f"{size.value:,}")]
    terms = [term for term in cost.terms if term.macs] if cost is not None else []
    symbols = " + ".join(term.formula for term in terms)
    numbers = " + ".join(insert_numbers(term.formula, term.numbers) for term in terms)
    return OperatorCost(
        name=op.name.removeprefix("aten."),
        inputs=tuple(x.shape for x in op.operands),
        outputs=tuple(y.shape for y in op.outputs),
        sizes=tuple(size_lines(computed)),
        macs_formula=equation(symbols, numbers, f"{cost.macs:,}") if cost is not None and terms else "",
        flops_formula=cost.text if cost is not None and cost.terms else "",
        macs=cost.macs if cost is not None else None,
        flops=cost.flops if cost is not None else None,
        bytes_read=cost.bytes_read if cost is not None else None,
        bytes_written=cost.bytes_written if cost is not None else None,
    )


class Arithmetic:
    """The arithmetic of the rows of a report, that of equal layers made once."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[str, ...]] = {}

    def of(self, node: Node, own: Sequence[tuple[str, Tensor]]) -> _Arithmetic:
        """The settings, formulas and operators of one call of a step, which has the parameters ``own``."""
        type_name, operators = layer_type(node), operator_costs(node.ops)
        layer = layer_of(node.module) if type_name is not None and node.module is not None else None
        settings = "" if layer is None else repr(layer)
        if type_name is None and len(node.ops) != 1:
            return settings, (), operators
        weights = [(name, tuple(tensor.shape)) for name, tensor in own] if not node.children else []
        inputs = tuple([one.shape for one in node.inputs])
        alike = (type_name or node.ops[0].op, settings, inputs, tuple([one.shape for one in node.outputs]), *weights)
        if alike not in self._known:
            lines: dict[str, None] = {}
            found = result_formulas(node)
            for i, (result, sizes) in enumerate(zip(node.outputs, found, strict=True)):
                which = f"output {i}: " if len(found) > 1 else ""
                lines |= dict.fromkeys([which + line for line in size_lines(sizes or (), result.shape in inputs)])
            for name, shape in weights:
                count = Formula.of(parameter_size(layer, name, shape))
                if len(shape) > 1 or count.symbols != count.numbers:
                    lines[f"{name} = {count.text}"] = None
            self._known[alike] = tuple(lines)
        return settings, self._known[alike], operators
