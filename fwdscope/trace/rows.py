"""Trace → rows of the report: equal copies folded, rounds of a loop merged, parameters counted once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from typing import Any

from torch import Tensor, nn

from fwdscope.report import LayerRow, Shape, TensorInfo
from fwdscope.trace.memory import Mark
from fwdscope.trace.parameters import named_parameters, named_tensors, packs
from fwdscope.trace.record import Node, Trace

_Named = list[tuple[str, Tensor]]
# What most steps have none of: one list for all, which is never written to.
_NONE: list[Any] = []


class _Step:
    """A node on its way to a row: what it stands for, and its figures with those of all inside it.

    Its lists are replaced, never changed: they may be the node's own. What few steps have is the class's until it is
    set: a long trace makes many.
    """

    children: list[_Step] = _NONE
    calls = 1
    repeat = 1
    varies = False
    # Nodes that this step stands for beside its own.
    others: list[Node] = _NONE
    # Its parameters and buffers that no earlier step has.
    own: _Named = _NONE
    own_buffers: _Named = _NONE
    # What :attr:`cost` and :attr:`elements` gave; a ``cached_property`` would take a lock for each.
    _cost: tuple[int, ...] | None = None
    _elements: tuple[int, int, int] | None = None

    def __init__(self, node: Node) -> None:
        self.node = node
        self.kind = node.kind
        self.label = node.label
        self.ops = node.ops
        # Tensors of layers elsewhere that it reads.
        self.reads = node.reads

    @property
    def cost(self) -> tuple[int, ...]:
        """MACs, FLOPs, bytes read and written of the operators here and inside, of one copy, all calls together.

        To be asked when nothing is folded any more.
        """
        if self._cost is None:
            self._cost = self._summed()
        return self._cost

    def _summed(self) -> tuple[int, ...]:
        macs = flops = read = written = 0
        for record in self.ops:
            own = record.figures
            macs, flops, read, written = macs + own[0], flops + own[1], read + own[2], written + own[3]
        for child in self.children:
            n, inside = child.repeat, child.cost
            macs, flops = macs + n * inside[0], flops + n * inside[1]
            read, written = read + n * inside[2], written + n * inside[3]
        return macs, flops, read, written

    def uncounted(self) -> dict[str, None]:
        """Names of operators here and inside that no rule knows."""
        names: dict[str, None] = {}
        for record in self.ops:
            if record.cost is None:
                names[record.op.name] = None
        for child in self.children:
            names |= child.uncounted()
        return names

    @property
    def elements(self) -> tuple[int, int, int]:
        """Elements of parameters, of those that are trained and of buffers, here and inside, of one copy."""
        if self._elements is None:
            self._elements = self._counted()
        return self._elements

    def _counted(self) -> tuple[int, int, int]:
        params = trained = buffers = 0
        for _, tensor in self.own:
            n = tensor.numel()
            params += n
            if tensor.requires_grad:
                trained += n
        for _, tensor in self.own_buffers:
            buffers += tensor.numel()
        for child in self.children:
            more = child.elements
            params, trained = params + child.repeat * more[0], trained + child.repeat * more[1]
            buffers += child.repeat * more[2]
        return params, trained, buffers


def rows(trace: Trace) -> tuple[LayerRow, ...]:
    """The rows of a trace, in order of execution, a parent before what it contains."""
    flat, index = _in_order(trace)
    return tuple([_row(step, depth, index, trace) for step, depth in flat])


def rows_with_nodes(trace: Trace) -> tuple[tuple[LayerRow, tuple[Node, ...]], ...]:
    """The rows of a trace, and with each the nodes that it stands for: copies and calls, in the order they ran."""
    flat, index = _in_order(trace)
    return tuple(
        (
            _row(step, depth, index, trace),
            tuple(sorted((step.node, *step.others), key=_order)) if step.others else (step.node,),
        )
        for step, depth in flat
    )


def _in_order(trace: Trace) -> tuple[list[tuple[_Step, int]], dict[Node, int]]:
    """The steps that become rows, with how deep they lie, and the row of each node."""
    seen: dict[int, tuple[str, str]] = {}
    steps = _folded([_step(child, seen) for child in trace.root.children])
    flat: list[tuple[_Step, int]] = []
    _flatten(steps, 1, flat)
    index: dict[Node, int] = {}
    for i, (step, _) in enumerate(flat):
        index.setdefault(step.node, i)
        for node in step.others:
            index.setdefault(node, i)
    return flat, index


def _order(node: Node) -> int:
    return node.step


def _step(node: Node, seen: dict[int, tuple[str, str]]) -> _Step:
    """A node and all inside it, in order of execution; ``seen`` are the paths and names of tensors counted so far."""
    step = _Step(node)
    if node.rounds is not None:
        rounds = [[_step(child, seen) for child in turn] for turn in node.rounds]
        step.children, step.calls = _merged_rounds(rounds), len(rounds)
    elif node.children:
        step.children = _folded([_step(child, seen) for child in node.children])
    if step.children and node.module is not None and node.tensor is None and _are_seen(node.module, seen):
        return step
    own, buffers = _held(node)
    # A layer of its own that has another's tensor is tied to it; one that is called again is the same layer.
    if node.call == 1 and own and not step.children:
        tied = [".".join(filter(None, seen[id(t)])) for _, t in own if id(t) in seen]
        step.reads = (*node.reads, *tied)
    else:
        step.reads = node.reads
    if own:
        step.own = _unseen(own, node.path, seen)
    if buffers:
        step.own_buffers = _unseen(buffers, node.path, seen)
    return step


def _held(node: Node) -> tuple[_Named, _Named]:
    """Parameters and buffers of a node's module, those of inner modules that had no row of their own among them."""
    if node.tensor is not None:
        own = [(node.label, node.tensor)]
        return (own, []) if isinstance(node.tensor, nn.Parameter) else ([], own)
    module = node.module
    if module is None:
        return [], []
    return named_parameters(module), named_tensors(module, "buffers") if module._buffers or module._modules else []


def _are_seen(module: nn.Module, seen: Mapping[int, tuple[str, str]]) -> bool:
    """Whether all tensors of a module were counted, as nearly all are by the rows of what is inside."""
    for tensor in (*module._parameters.values(), *module._buffers.values()):
        if tensor is not None and id(tensor) not in seen:
            return False
    if packs(module):
        return False
    return all(child is None or _are_seen(child, seen) for child in module._modules.values())


def _unseen(tensors: _Named, path: str, seen: dict[int, tuple[str, str]]) -> _Named:
    fresh = []
    for one in tensors:
        identity = id(one[1])
        if identity not in seen:
            seen[identity] = path, one[0]
            fresh.append(one)
    return fresh


# --- folding ---------------------------------------------------------------------------------------------------------


def _signature(step: _Step) -> Any:
    """What two copies have to share to be one row."""
    node = step.node
    return (
        node.kind, node.type, node.text, _shapes(node.inputs), _shapes(node.outputs), step.reads,
        node.promise, node.note, node.call, step.calls, step.repeat, _tensors(step),
        tuple([_signature(child) for child in step.children]),
    )  # fmt: skip


def _tensors(step: _Step) -> tuple[tuple[str, Shape, bool], ...]:
    """Of the tensors that are met in a step first their names, shapes and whether they are trained."""
    held = (*step.own, *step.own_buffers)
    return tuple([(name, tuple(tensor.shape), tensor.requires_grad) for name, tensor in held])


def _folded(steps: list[_Step]) -> list[_Step]:
    """Neighbours of one place of the text as one row: equal copies with ``repeat``, calls of a layer with ``calls``."""
    if len(steps) < 2:
        return steps
    result: list[_Step] = []
    last: _Step | None = None
    # The step before, and what its copies share, of which no more is asked than is needed.
    before: _Step | None = None
    signature: Any = None
    for step in steps:
        if last is not None and _same_layer(last, step):
            if before is not None and signature is None:
                signature = _signature(before)  # as it was before its calls were joined
            _join_rounds(last, step)
            continue
        if last is not None and before is not None and _may_be_copies(before, step):
            wanted, signature = signature or _signature(before), _signature(step)
            before = step
            if wanted == signature:
                _absorb(last, step)
                last.repeat += 1
                continue
        else:
            before, signature = step, None
        result.append(step)
        last = step
    for step in result:
        if step.repeat > 1:
            last_label = step.others[step.repeat - 2].label
            step.kind, step.label = "copies", f"{step.label}–{last_label.rpartition('.')[2]}"
    return result


def _may_be_copies(one: _Step, other: _Step) -> bool:
    """Whether two neighbours can be copies of one. Most cannot, and then a look at their texts is enough."""
    first, second = one.node, other.node
    if first.text != second.text or first.type != second.type or first.module is None or second.module is None:
        return False
    place = _place(first)
    return place is not None and place == _place(second) and _shapes(first.outputs) == _shapes(second.outputs)


def _place(node: Node) -> Any:
    """Where in the text copies stand. Modules of Python's have no place; they are copies where they are numbered."""
    return node.span or (node.label.rpartition(".")[0] if node.label[-1:].isdigit() else None)


def _same_layer(one: _Step, other: _Step) -> bool:
    """Whether two neighbours are calls of one layer from one place, as in ``[fc(x[:, t]) for t in range(T)]``."""
    first, second = one.node, other.node
    same = first.module is not None and first.module is second.module
    return same and first.span is not None and first.span == second.span


def _absorb(kept: _Step, other: _Step) -> None:
    """One step stands for another of the same structure."""
    kept.others = [*kept.others[: kept.repeat - 1], other.node, *kept.others[kept.repeat - 1 :], *other.others]
    for mine, theirs in zip(kept.children, other.children, strict=True):
        _absorb(mine, theirs)


def _merged_rounds(rounds: list[list[_Step]]) -> list[_Step]:
    """The rounds of a loop as one list: what stands at the same path is one row, its calls counted."""
    merged: dict[tuple[str, str, int], _Step] = {}
    for turn in rounds:
        numbers: dict[tuple[str, str], int] = {}
        for step in turn:
            place = (step.node.path, step.node.type)
            numbers[place] = numbers.get(place, -1) + 1
            key = (*place, numbers[place])
            if key in merged:
                _join_rounds(merged[key], step)
            else:
                merged[key] = step
    return list(merged.values())


def _join_rounds(kept: _Step, later: _Step) -> None:
    kept.varies |= later.varies or _shapes(kept.node.outputs) != _shapes(later.node.outputs)
    kept.calls += later.calls
    kept.ops = [*kept.ops, *later.ops]
    kept.own = [*kept.own, *later.own]
    kept.own_buffers = [*kept.own_buffers, *later.own_buffers]
    kept.others = [*kept.others, kept.node, *later.others]
    kept._cost = kept._elements = None
    later.node.call = kept.node.call
    kept.node = later.node
    kept.children = _merged_rounds([kept.children, later.children])


# --- rows ------------------------------------------------------------------------------------------------------------


def _flatten(steps: list[_Step], depth: int, found: list[tuple[_Step, int]]) -> None:
    """Put all steps into a list in order, a parent before what it contains, with how deep they lie."""
    for step in steps:
        found.append((step, depth))
        if step.children:
            _flatten(step.children, depth + 1, found)


def _row(step: _Step, depth: int, index: dict[Node, int], trace: Trace) -> LayerRow:
    node = step.node
    values = _values(step)
    values["path"] = node.path
    values["type"] = node.type
    values["text"] = node.text
    if node.kind == "stack" and node.children and len({child.node.type for child in step.children}) == 1:
        values["text"] = f"{len(node.children)} × {node.text}"
    values["kind"] = step.kind
    values["depth"] = depth
    values["label"] = step.label
    if node.span and trace.source:
        values["line"], values["column"] = trace.source.place(node.span.start)
    if trace.fields:
        values["receptive_field"] = _receptive_field(step, trace)
    values["repeat"] = step.repeat
    values["reads"] = step.reads
    values["sources"] = None if step.children else _places(node.sources, index)
    values["promise"] = node.promise
    values["note"] = node.note
    row: LayerRow = object.__new__(LayerRow)
    # As LayerRow(**values), which for being frozen sets its fields one by one and takes ten times as long.
    object.__setattr__(row, "__dict__", values)
    return row


def _values(step: _Step) -> dict[str, Any]:
    """A row's fields, but for where it stands and what only its own call says."""
    node, outputs = step.node, step.node.outputs
    # A copy of all fields' defaults, of which most rows keep a third.
    values = _DEFAULTS.copy()
    values["input_shapes"] = _shapes(node.inputs)
    if len(outputs) == 1:  # as nearly always
        shape, dtype, nbytes, _ = outputs[0]
        values["output_shapes"], values["output_dtypes"], values["output_bytes"] = (shape,), (dtype,), nbytes
    else:
        values["output_shapes"] = _shapes(outputs)
        values["output_dtypes"] = tuple([t.dtype for t in outputs])
        values["output_bytes"] = sum([t.nbytes for t in outputs])
    values["params"], values["trainable_params"], values["buffers"] = step.elements
    values["macs"], values["flops"], values["bytes_read"], values["bytes_written"] = step.cost
    values["uncounted"] = tuple(step.uncounted())
    values["calls"] = step.calls
    values["call"] = node.call
    values["varies"] = step.varies
    if step.own:
        values["parameters"] = tuple([_information(n, t.shape, t.dtype) for n, t in step.own])
    return values


def _places(nodes: tuple[Node, ...], index: Mapping[Node, int]) -> tuple[int, ...]:
    """The rows that stand for nodes, each once."""
    if len(nodes) == 1 and nodes[0] in index:
        return (index[nodes[0]],)
    return tuple(dict.fromkeys([index[n] for n in nodes if n in index]))


# In the order of the fields; those without a default are always set.
_DEFAULTS: dict[str, Any] = {one.name: None if one.default is MISSING else one.default for one in fields(LayerRow)}


def _receptive_field(step: _Step, trace: Trace) -> tuple[int, ...] | None:
    """The largest of all that the step stands for, which is the last one's."""
    nodes = (step.node, *step.others)
    found = [trace.fields.get(id(node.outputs[0].ref)) if node.outputs else None for node in nodes]
    sizes = [tuple(axis.size for axis in axes) for axes in found if axes is not None]
    if len(sizes) < len(found) or len({len(size) for size in sizes}) != 1:
        return None
    return tuple(map(max, zip(*sizes, strict=True)))


@lru_cache(maxsize=4096)
def _information(name: str, shape: Shape, dtype: Any) -> TensorInfo:
    """A parameter for the report: many layers have the same."""
    return TensorInfo(name, tuple(shape), str(dtype).removeprefix("torch."))


def _shapes(tensors: tuple[Mark, ...]) -> tuple[Shape, ...]:
    return (tensors[0][0],) if len(tensors) == 1 else tuple([t.shape for t in tensors])
