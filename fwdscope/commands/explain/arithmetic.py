"""Make the explanation of a step: formulas of its shapes, weights and costs, with the numbers inserted."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from fwdscope.commands.explain.explanation import (
    Explanation,
    Formula,
    InnerStep,
    InputTensor,
    OperatorCost,
    OutputTensor,
    Weight,
)
from fwdscope.commands.explain.steps import find, inside, is_single, layer_type, same_step, steps, tensors
from fwdscope.formula import Size, equation, insert_numbers
from fwdscope.functions.functions import FUNCTIONS
from fwdscope.functions.methods import METHODS
from fwdscope.layers import LAYERS, Layer, layer_of, output_sizes, page, parameter_size
from fwdscope.layers.base import input_names, required_inputs
from fwdscope.ops import result_sizes
from fwdscope.report import Shape

if TYPE_CHECKING:
    from fwdscope.ops import Cost, Op
    from fwdscope.trace import Node, OpRecord, Trace


def explain(trace: Trace, layer: str) -> Explanation:
    """Explain one step of a trace, by its path (``layer1.0.conv2``) or its line in the file (``line 17``, ``:17``).

    Raises LookupError, with the nearest path, if there is no such step.
    """
    node, beside = find(trace, layer)
    calls = [one for one in steps(trace.root) if same_step(one, node)]
    records = list(node.records())
    line, column = trace.source.place(node.span.start) if node.span and trace.source else (None, None)
    return Explanation(
        path=node.path,
        type=node.type,
        text=node.text,
        kind=node.kind,
        sentence=_sentence(node),
        inputs=tuple(_inputs(node)),
        outputs=_outputs(node),
        parameters=tuple(_weights(node, trace, "parameters")),
        buffers=tuple(_weights(node, trace, "buffers")),
        operators=tuple(_operators(records if is_single(node) else node.ops)),
        parts=() if is_single(node) else tuple(_inner_steps(node)),
        params=_params(node),
        output_bytes=sum(t.nbytes for t in node.outputs),
        uncounted=tuple(dict.fromkeys(r.op.name for r in records if r.cost is None)),
        receptive_field=_receptive_field(trace, node),
        source=trace.source.name if trace.source else None,
        line=line,
        column=column,
        calls=len(calls),
        macs_of_calls=sum(_sum(one.records(), "macs") for one in calls),
        flops_of_calls=sum(_sum(one.records(), "flops") for one in calls),
        beside=beside,
        sources=tuple(one.path or one.text for one in node.sources),
        reads=node.reads,
        note=node.note,
        **{of: _sum(records, of) for of in ("macs", "flops", "bytes_read", "bytes_written")},
    )


# --- description ------------------------------------------------------------------------------------------------------


_KINDS = {
    "block": "A block of the file: its cost is the sum of the steps inside.",
    "stack": "Layers in series, each with its own weights: its cost is the sum of its members.",
    "part": "A named part of the network: its cost is the sum of the steps inside.",
    "loop": "Lines that run repeatedly with the same weights: their cost is the sum of the rounds.",
    "parameter": "A tensor of the network itself: it exists before anything runs, and costs nothing.",
}


def _sentence(node: Node) -> str:
    type_name = layer_type(node)
    if type_name is not None:
        return page(LAYERS[type_name]).partition("\n")[0]
    if node.kind in _KINDS and (node.kind != "block" or node.span is not None):
        return _KINDS[node.kind]
    if node.module is not None and inside(node):
        return "A module of your own: its cost is the sum of what runs inside."
    if node.module is not None:
        return "A module of your own: its cost is that of its operators."
    doc = _WORDS.get(node.type) or _doc(node.type)
    return f"{node.type}: {doc}." if doc else "An expression of the file, computed operator by operator."


def _doc(name: str) -> str:
    function = FUNCTIONS.get(name) or METHODS.get(name)
    return function.doc.rstrip(".") if function is not None else ""


# Python's operators, by the words that the report names them with.
_WORDS = {
    "add": "the sum, element by element",
    "sub": "the difference, element by element",
    "mul": "the product, element by element",
    "div": "the quotient, element by element",
    "pow": "the power, element by element",
    "neg": "the negative of each element",
    "index": "a part of a tensor, by indices and slices",
    "compare": "a comparison, element by element",
}


# --- in and out ------------------------------------------------------------------------------------------------------


# The source of a tensor that no step made.
NETWORK_INPUT = "the network's input"


def _inputs(node: Node) -> Iterator[InputTensor]:
    names = _input_names(node)
    # Each source is listed once, so that sources match inputs only if there is one for each.
    matched = len(node.sources) == len(node.inputs)
    for i, one in enumerate(node.inputs):
        source = node.sources[i] if matched else None
        made_by = (source.path or source.text) if source is not None else None if node.sources else NETWORK_INPUT
        yield InputTensor(one.shape, one.dtype, names[i] if i < len(names) else "", made_by)


def _input_names(node: Node) -> tuple[str, ...]:
    """The names of a layer's inputs; of a state with several tensors only the first is named."""
    type_name = layer_type(node)
    if type_name is None:
        return ()
    cls = LAYERS[type_name]
    names = input_names(cls) if len(node.inputs) > len(required_inputs(cls)) else required_inputs(cls)
    return names if len(names) >= len(node.inputs) and len(node.inputs) <= len(required_inputs(cls)) else names[:1]


def _outputs(node: Node) -> tuple[OutputTensor, ...]:
    sizes = _result_sizes(node)
    return tuple(
        OutputTensor(one.shape, one.dtype, one.nbytes, None if found is None else tuple(map(_formula, found)))
        for one, found in zip(node.outputs, sizes, strict=True)
    )


def _result_sizes(node: Node) -> Sequence[Sequence[Size] | None]:
    """The formulas of the results' sizes: the layer's own, else those of the only operator that ran."""
    outputs = [one.shape for one in node.outputs]
    if layer_type(node) is not None and node.module is not None:
        return output_sizes(node.module, [one.shape for one in node.inputs], outputs)
    # Of several operators each shows its own, since its input need not be the expression's.
    if len(node.ops) == 1 and [y.shape for y in node.ops[0].op.outputs] == outputs:
        return result_sizes(node.ops[0].op)
    return [None] * len(outputs)


def _formula(size: Size) -> Formula:
    symbols = re.sub(r"size_\d+", "size", size.formula)
    return Formula(_plain_name(size.name), symbols, size.with_numbers, size.value, size.note, size.is_plain)


def _plain_name(name: str) -> str:
    return re.sub(r"^size_(\d+)$", r"dimension \1", name)


def _receptive_field(trace: Trace, node: Node) -> Shape | None:
    """How much of the input the first result depends on, if known: height and width, or a length."""
    axes = trace.fields.get(id(node.outputs[0].ref)) if node.outputs else None
    return tuple(axis.size for axis in axes) if axes is not None else None


# --- weights ---------------------------------------------------------------------------------------------------------


def _weights(node: Node, trace: Trace, what: str) -> Iterator[Weight]:
    # Weights of inner steps are explained there.
    apart = {id(tensor) for step in steps(node) for _, tensor in tensors(step, what)}
    layer = _layer(node)
    users = _users(trace, node)
    for name, tensor in tensors(node, what):
        if id(tensor) in apart:
            continue
        shape = tuple(tensor.shape)
        yield Weight(
            name,
            shape,
            str(tensor.dtype).removeprefix("torch."),
            _formula(parameter_size(layer, name, shape)),
            tensor.numel() * tensor.element_size(),
            tensor.requires_grad,
            tuple(users.get(id(tensor), ())),
        )


def _layer(node: Node) -> Layer | None:
    return layer_of(node.module) if node.module is not None and layer_type(node) is not None else None


def _users(trace: Trace, node: Node) -> dict[int, list[str]]:
    """The paths of other leaf steps that have a tensor of this step, by the tensor's identity."""
    mine = {id(tensor) for _, tensor in tensors(node, "parameters")}
    found: dict[int, list[str]] = {}
    if not mine:
        return found
    for other in steps(trace.root):
        if inside(other) or other.path == node.path or other.module is node.module:
            continue
        for name, tensor in tensors(other, "parameters"):
            if id(tensor) in mine:
                found.setdefault(id(tensor), []).append(f"{other.path}.{name}")
    return {key: list(dict.fromkeys(paths)) for key, paths in found.items()}


def _params(node: Node) -> int:
    """The elements of all parameters of a step and its inner steps, each counted once."""
    unique = {id(t): t.numel() for one in (node, *steps(node)) for _, t in tensors(one, "parameters")}
    return sum(unique.values())


# --- costs -----------------------------------------------------------------------------------------------------------


def _sum(records: Iterable[OpRecord], of: str) -> int:
    return sum(getattr(record.cost, of) for record in records if record.cost is not None)


def _operators(records: Iterable[OpRecord]) -> Iterator[OperatorCost]:
    """The operators in order of their first call; equal calls are one."""
    times: dict[OperatorCost, int] = {}
    for record in records:
        found = _operator(record)
        times[found] = times.get(found, 0) + 1
    for found, number in times.items():
        yield dataclasses.replace(found, times=number)


def _operator(record: OpRecord) -> OperatorCost:
    op, cost = record.op, record.cost
    return OperatorCost(
        name=op.name.removeprefix("aten."),
        inputs=tuple(x.shape for x in op.operands),
        outputs=tuple(y.shape for y in op.outputs),
        sizes=_operator_sizes(op),
        macs_formula=_macs_formula(cost) if cost is not None else "",
        flops_formula=cost.text if cost is not None and cost.terms else "",
        macs=cost.macs if cost is not None else None,
        flops=cost.flops if cost is not None else None,
        bytes_read=cost.bytes_read if cost is not None else None,
        bytes_written=cost.bytes_written if cost is not None else None,
    )


def _macs_formula(cost: Cost) -> str:
    """``M·K·N = 1,024·768·2,304 = 1,811,939,328``."""
    terms = [term for term in cost.terms if term.macs]
    symbols = " + ".join(term.formula for term in terms)
    numbers = " + ".join(insert_numbers(term.formula, term.numbers) for term in terms)
    return equation(symbols, numbers, f"{cost.macs:,}") if terms else ""


def _operator_sizes(op: Op) -> tuple[Formula, ...] | None:
    """The formulas of its first result."""
    found = result_sizes(op)
    return tuple(map(_formula, found[0])) if found and found[0] is not None else None


def _inner_steps(node: Node) -> Iterator[InnerStep]:
    """The steps inside, in order; equal ones in a row are one, as the copies of a stack or the rounds of a loop."""
    rounds = [list(map(_inner_step, turn)) for turn in node.rounds or ()]
    if rounds and all(len(turn) == len(rounds[0]) for turn in rounds):
        yield from _merged_rounds(rounds)
        return
    last: InnerStep | None = None
    for part in map(_inner_step, inside(node)):
        if last is not None and _are_equal(last, part):
            last = dataclasses.replace(last, times=last.times + 1)
            continue
        if last is not None:
            yield last
        last = part
    if last is not None:
        yield last


def _merged_rounds(rounds: list[list[InnerStep]]) -> Iterator[InnerStep]:
    """Each line of a loop once if every round costs the same; else round by round."""
    for column in zip(*rounds, strict=True):
        if all(_are_equal(column[0], part) for part in column):
            yield dataclasses.replace(column[0], times=len(column))
        else:
            yield from column


def _inner_step(node: Node) -> InnerStep:
    records = list(node.records())
    return InnerStep(node.path, node.text or node.type, _params(node), _sum(records, "macs"), _sum(records, "flops"))


def _are_equal(one: InnerStep, other: InnerStep) -> bool:
    first, second = (dataclasses.replace(part, path="", times=1) for part in (one, other))
    return first == second and re.sub(r"\d+$", "", one.path) == re.sub(r"\d+$", "", other.path)
