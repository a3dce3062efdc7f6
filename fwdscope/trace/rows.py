"""Trace → rows of the report: equal copies folded, rounds of a loop merged, parameters counted once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property, lru_cache
from typing import Any

from torch import Tensor, nn

from fwdscope.report import LayerRow, Shape, TensorInfo
from fwdscope.trace.memory import Mark
from fwdscope.trace.parameters import named_parameters, named_tensors
from fwdscope.trace.record import Node, OpRecord, Trace

# What most steps have none of: one list for all, which is never written to.
_NONE: list[Any] = []


@dataclass(eq=False, slots=True)
class _Step:
    """A node on its way to a row: what it stands for, and its figures with those of all inside it.

    Its lists are replaced, never changed: they may be the node's own.
    """

    node: Node
    kind: str
    label: str
    ops: list[OpRecord]
    children: list[_Step]
    own: list[tuple[str, Tensor]]
    own_buffers: list[tuple[str, Tensor]]
    # Tensors of layers elsewhere that it reads.
    reads: tuple[str, ...]
    calls: int
    repeat: int
    varies: bool
    # Nodes that this step stands for beside its own.
    others: list[Node]
    # What :attr:`cost` and :attr:`elements` gave; a ``cached_property`` would take a lock for each.
    _cost: tuple[int, ...] | None = field(init=False, default=None)
    _elements: tuple[int, int, int] | None = field(init=False, default=None)

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
    return tuple(row for row, _ in rows_with_nodes(trace))


def rows_with_nodes(trace: Trace) -> tuple[tuple[LayerRow, tuple[Node, ...]], ...]:
    """The rows of a trace, and with each the nodes that it stands for: copies and calls, in the order they ran."""
    seen: dict[int, tuple[str, str]] = {}
    steps = _folded([_step(child, seen) for child in trace.root.children])
    flat: list[tuple[_Step, int]] = []
    _flatten(steps, 1, flat)
    index: dict[Node, int] = {}
    for i, (step, _) in enumerate(flat):
        index.setdefault(step.node, i)
        for node in step.others:
            index.setdefault(node, i)
    return tuple(
        (
            _row(step, depth, index, trace),
            tuple(sorted((step.node, *step.others), key=_order)) if step.others else (step.node,),
        )
        for step, depth in flat
    )


def _order(node: Node) -> int:
    return node.step


def _step(node: Node, seen: dict[int, tuple[str, str]]) -> _Step:
    """A node and all inside it, in order of execution; ``seen`` are the paths and names of tensors counted so far."""
    step = _Step(node, node.kind, node.label, node.ops, _NONE, _NONE, _NONE, (), 1, 1, False, _NONE)
    if node.rounds is not None:
        rounds = [[_step(child, seen) for child in turn] for turn in node.rounds]
        step.children, step.calls = _merged_rounds(rounds), len(rounds)
    elif node.children:
        step.children = _folded([_step(child, seen) for child in node.children])
    own, buffers = _own(node)
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


_Named = list[tuple[str, Tensor]]


def _own(node: Node) -> tuple[_Named, _Named]:
    """Parameters and buffers of a node's module, those of inner modules that had no row of their own among them."""
    if node.tensor is not None:
        own = [(node.label, node.tensor)]
        return (own, []) if isinstance(node.tensor, nn.Parameter) else ([], own)
    module = node.module
    if module is None:
        return [], []
    return named_parameters(module), named_tensors(module, "buffers") if module._buffers or module._modules else []


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
        node.promise, node.note, node.call, step.calls, step.repeat, tuple((n, tuple(t.shape),
        t.requires_grad) for n, t in (*step.own, *step.own_buffers)), tuple(_signature(child) for child in
        step.children),
    )  # fmt: skip


@dataclass(eq=False)
class _Copy:
    """A step that may be a copy of its neighbour. Most are not, and then a look at their texts is enough."""

    step: _Step
    place: Any

    @cached_property
    def signature(self) -> Any:
        """All that two copies share."""
        return _signature(self.step)

    def equals(self, other: _Copy) -> bool:
        """Whether both are copies of one."""
        mine, theirs = self.step.node, other.step.node
        if (self.place, mine.type, mine.text) != (other.place, theirs.type, theirs.text):
            return False
        if _shapes(mine.outputs) != _shapes(theirs.outputs):
            return False
        return bool(self.signature == other.signature)


def _folded(steps: list[_Step]) -> list[_Step]:
    """Neighbours of one place of the text as one row: equal copies with ``repeat``, calls of a layer with ``calls``."""
    if len(steps) < 2:
        return steps
    result: list[_Step] = []
    previous: _Copy | None = None
    for step in steps:
        last = result[-1] if result else None
        if last is not None and _same_layer(last, step):
            if previous is not None:
                _ = previous.signature  # as it was before its calls were joined
            _join_rounds(last, step)
            continue
        # Modules of Python's have no place; they are copies where they are numbered.
        place = step.node.span or (step.label.rpartition(".")[0] if step.label[-1:].isdigit() else None)
        copy = _Copy(step, place) if step.node.module is not None and place is not None else None
        if last is not None and copy is not None and previous is not None and copy.equals(previous):
            _absorb(last, step)
            last.repeat += 1
        else:
            result.append(step)
        previous = copy
    for step in result:
        if step.repeat > 1:
            last_label = step.others[step.repeat - 2].label
            step.kind, step.label = "copies", f"{step.label}–{last_label.rpartition('.')[2]}"
    return result


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
    node, outputs = step.node, step.node.outputs
    sources = None if step.children else _places(node.sources, index)
    copies = len(node.children) if node.kind == "stack" else 0
    # A copy of all fields' defaults, of which most rows keep a third.
    values = _DEFAULTS.copy()
    values["path"] = node.path
    values["type"] = node.type
    values["kind"] = step.kind
    values["depth"] = depth
    values["text"] = (
        f"{copies} × {node.text}" if copies and len({c.node.type for c in step.children}) == 1 else node.text
    )
    values["label"] = step.label
    if node.span and trace.source:
        values["line"], values["column"] = trace.source.place(node.span.start)
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
    if trace.fields:
        values["receptive_field"] = _receptive_field(step, trace)
    values["uncounted"] = tuple(step.uncounted())
    values["calls"] = step.calls
    values["repeat"] = step.repeat
    values["call"] = node.call
    values["varies"] = step.varies
    values["reads"] = step.reads
    if step.own:
        values["parameters"] = tuple([_information(n, t.shape, t.dtype) for n, t in step.own])
    values["sources"] = sources
    values["promise"] = node.promise
    values["note"] = node.note
    row: LayerRow = object.__new__(LayerRow)
    # As LayerRow(**values), which for being frozen sets its fields one by one and takes ten times as long.
    object.__setattr__(row, "__dict__", values)
    return row


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
