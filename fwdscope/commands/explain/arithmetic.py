"""Make the explanation of a step: formulas of its shapes, weights and costs, with the numbers inserted."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from fwdscope.arithmetic import backward_costs, layer_type, operator_costs, result_formulas
from fwdscope.commands.explain.explanation import Explanation, InnerStep, InputTensor, OutputTensor, Weight
from fwdscope.formula import Formula
from fwdscope.functions.functions import FUNCTIONS
from fwdscope.functions.methods import METHODS
from fwdscope.layers import LAYERS, layer_of, page, parameter_size
from fwdscope.layers.base import input_names, required_inputs
from fwdscope.report import Backward, TensorInfo
from fwdscope.report.stored import bytes_as_stored, bytes_saved_by, bytes_saved_inside, cached_as_stored
from fwdscope.trace.rows import rows_with_nodes
from fwdscope.trace.steps import find, inside, steps, tensors

if TYPE_CHECKING:
    from fwdscope.storage import Stored
    from fwdscope.trace import Node, OpRecord, Trace


def explain(trace: Trace, layer: str) -> Explanation:
    """Explain one step of a trace, by its path (``layer1.0.conv2``) or its line in the file (``line 17``, ``:17``).

    Raises LookupError, with the nearest path, if there is no such step.
    """
    node, beside = find(trace, layer)
    calls = [one for one in steps(trace.root) if _is_call_of(one, node)]
    records = list(node.records())
    own = [node, *(one for one in inside(node) if not one.is_step())]
    axes = trace.fields.get(id(node.outputs[0].ref)) if node.outputs else None
    line, column = trace.source.place(node.span.start) if node.span and trace.source else (None, None)
    return Explanation(
        path=node.path,
        type=node.type,
        text=node.text,
        kind=node.kind,
        sentence=_sentence(node),
        inputs=tuple(_inputs(node)),
        outputs=tuple(_outputs(node)),
        parameters=tuple(_weights(node, trace, "parameters")),
        buffers=tuple(_weights(node, trace, "buffers")),
        # Those of a step with parts are the ones that are in no part.
        operators=operator_costs([op for one in own for op in one.ops]),
        parts=tuple(_inner_steps(node)),
        params=_params(node),
        output_bytes=sum(t.nbytes for t in node.outputs),
        uncounted=tuple(dict.fromkeys(r.op.name for r in records if r.cost is None)),
        receptive_field=tuple(axis.size for axis in axes) if axes is not None else None,
        source=trace.source.name if trace.source else None,
        line=line,
        column=column,
        calls=len(calls),
        macs_of_calls=sum(_sum(one.records(), "macs") for one in calls),
        flops_of_calls=sum(_sum(one.records(), "flops") for one in calls),
        beside=beside,
        sources=tuple(one.path or one.text for one in node.sources if one.kind != "input"),
        reads=node.reads,
        note=node.note,
        weights_format=None,
        cache_format=None,
        formulas=(),
        checked=(),
        cached=tuple(Counter(tensor for one in node.nodes() for tensor in one.cached).items()),
        backward=_backward(node) if trace.step is not None else None,
        backward_operators=backward_costs([op for one in own for op in one.backward]),
        **{of: _sum(records, of) for of in ("macs", "flops", "bytes_read", "bytes_written")},
    )


def as_stored(one: Explanation, trace: Trace, layer: str, stored: Stored) -> Explanation:
    """An explanation with the bytes of weights and of the cache as they are stored."""
    node, pairs = find(trace, layer)[0], rows_with_nodes(trace)
    index = next((i for i, (_, nodes) in enumerate(pairs) if node in nodes), None)
    weights = [TensorInfo(each.name, each.shape, each.dtype) for each in one.parameters]
    saved = [bytes_saved_by(ran, weights, stored.weights) for ran in one.operators]
    kept = [tensor for tensor, _ in one.cached]
    fewer = cached_as_stored(kept, stored.cache)
    # What is kept is read by the operator with an input as large, alone or with the new positions.
    past, new = (trace.past.positions, trace.past.new or 0) if trace.past is not None else (1, 0)
    inputs = [[math.prod(shape) * past for shape in ran.inputs] if ran.bytes_read else [] for ran in one.operators]
    for tensor, less in zip(kept, fewer, strict=True):
        sizes = math.prod(tensor.shape) * past, math.prod(tensor.shape) * (past + new)
        i, size = next(((i, n) for i, of in enumerate(inputs) for n in sizes if n in of), (None, 0))
        if i is not None:
            inputs[i].remove(size)
            saved[i] += tensor.nbytes - less.nbytes
    inside = bytes_saved_inside([row for row, _ in pairs], index, stored) if index is not None else sum(saved)
    return dataclasses.replace(
        one,
        weights_format=str(stored.weights) if stored.weights else None,
        cache_format=str(stored.cache) if stored.cache else None,
        parameters=tuple(
            dataclasses.replace(each, bytes=bytes_as_stored(each.bytes, each.shape, each.dtype, stored.weights))
            for each in one.parameters
        ),
        operators=tuple(
            dataclasses.replace(ran, bytes_read=ran.bytes_read - less) if ran.bytes_read else ran
            for ran, less in zip(one.operators, saved, strict=True)
        ),
        cached=tuple(zip(fewer, [times for _, times in one.cached], strict=True)),
        bytes_read=one.bytes_read - inside,
    )


def _is_call_of(one: Node, other: Node) -> bool:
    """Whether two steps are calls of one layer, or rounds of one line."""
    if not other.is_step():
        return one is other
    if other.module is not None:
        return one.module is other.module
    return (one.path, one.kind, one.type, one.span) == (other.path, other.kind, other.type, other.span)


def _backward(node: Node) -> Backward:
    every = list(node.nodes())
    saved = sum(one.saved for one in every)
    uncounted = dict.fromkeys(r.op.name for one in every for r in one.backward if r.cost is None)
    kernels = sum(r.figures[2:] != (0, 0) for one in every for r in one.backward)
    return Backward(*node.backward_cost(), saved, tuple(uncounted), *node.recomputed_cost()[:2], kernels)


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
    function = FUNCTIONS.get(node.type) or METHODS.get(node.type)
    doc = _PYTHON_OPERATORS.get(node.type) or (function.doc.rstrip(".") if function is not None else "")
    return f"{node.type}: {doc}." if doc else "An expression of the file, computed operator by operator."


# Python's operators, by their names in the report.
_PYTHON_OPERATORS = {
    "add": "the sum, element by element",
    "sub": "the difference, element by element",
    "mul": "the product, element by element",
    "div": "the quotient, element by element",
    "pow": "the power, element by element",
    "neg": "the negative of each element",
    "index": "a part of a tensor, by indices and slices",
    "compare": "a comparison, element by element",
}


def _inputs(node: Node) -> Iterator[InputTensor]:
    names: tuple[str, ...] = ()
    if type_name := layer_type(node):
        required = required_inputs(LAYERS[type_name])
        names = required if len(node.inputs) <= len(required) else input_names(LAYERS[type_name])
        # Of a state with several tensors only the first is named.
        names = names if len(node.inputs) <= min(len(names), len(required)) else names[:1]
    # Each source is listed once, so that sources match inputs only if there is one for each.
    matched = len(node.sources) == len(node.inputs)
    for i, one in enumerate(node.inputs):
        source = node.sources[i] if matched else None
        unmade = None if any(one.kind != "input" for one in node.sources) else "the network's input"
        made_by = (source.path or source.text) if source is not None else unmade
        yield InputTensor(one.shape, one.dtype, names[i] if i < len(names) else "", made_by)


def _outputs(node: Node) -> Iterator[OutputTensor]:
    for one, sizes in zip(node.outputs, result_formulas(node), strict=True):
        yield OutputTensor(one.shape, one.dtype, one.nbytes, sizes)


def _weights(node: Node, trace: Trace, what: str) -> Iterator[Weight]:
    # Weights of inner steps are explained there.
    apart = {id(tensor) for step in steps(node) for _, tensor in tensors(step, what)}
    layer = layer_of(node.module) if node.module is not None and layer_type(node) is not None else None
    users = _users(trace, node)
    for name, tensor in tensors(node, what):
        if id(tensor) in apart:
            continue
        shape = tuple(tensor.shape)
        yield Weight(
            name,
            shape,
            str(tensor.dtype).removeprefix("torch."),
            Formula.of(parameter_size(layer, name, shape)),
            tensor.numel() * tensor.element_size(),
            tensor.requires_grad,
            tuple(users.get(id(tensor), ())),
        )


def _users(trace: Trace, node: Node) -> dict[int, dict[str, None]]:
    """The paths of other leaf steps that have a tensor of this step, by the tensor's identity."""
    found: dict[int, dict[str, None]] = {id(tensor): {} for _, tensor in tensors(node, "parameters")}
    for other in steps(trace.root) if found else ():
        if inside(other) or other.path == node.path or other.module is node.module:
            continue
        for name, tensor in tensors(other, "parameters"):
            if id(tensor) in found:
                found[id(tensor)][f"{other.path}.{name}"] = None
    return found


def _sum(records: Iterable[OpRecord], of: str) -> int:
    return sum(getattr(record.cost, of) for record in records if record.cost is not None)


def _inner_steps(node: Node) -> Iterator[InnerStep]:
    """The steps inside, in order; equal ones in a row are one, as the copies of a stack or the rounds of a loop."""
    rounds = [list(map(_inner_step, turn)) for turn in node.rounds or ()]
    if rounds and all(len(turn) == len(rounds[0]) for turn in rounds):
        # Each line of a loop once if every round costs the same.
        for column in zip(*rounds, strict=True):
            alike = len(set(map(_without_number, column))) == 1
            yield from [dataclasses.replace(column[0], times=len(column))] if alike else column
        return
    for _, group in groupby((_inner_step(one) for one in inside(node) if one.is_step()), _without_number):
        first, *others = group
        yield dataclasses.replace(first, times=1 + len(others))


def _inner_step(node: Node) -> InnerStep:
    records = list(node.records())
    return InnerStep(node.path, node.text or node.type, _params(node), _sum(records, "macs"), _sum(records, "flops"))


def _params(node: Node) -> int:
    # Each counts once.
    return sum({id(t): t.numel() for one in (node, *steps(node)) for _, t in tensors(one, "parameters")}.values())


def _without_number(step: InnerStep) -> InnerStep:
    """A step without the number at the end of its path, in which equal steps differ."""
    return dataclasses.replace(step, path=re.sub(r"\d+$", "", step.path))
