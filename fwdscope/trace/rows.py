"""The rows of a trace: calls of one layer and rounds of a loop joined, equal copies folded, parameters counted once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from functools import lru_cache
from itertools import chain
from operator import attrgetter, is_, itemgetter
from typing import Any, NamedTuple

from torch import Tensor, nn

from fwdscope.arithmetic import Arithmetic, backward_costs
from fwdscope.model.events import ROUND
from fwdscope.ops.dispatch import OpRecord
from fwdscope.report import Backward, LayerRow, Shape, TensorInfo
from fwdscope.trace.memory import Mark, mark
from fwdscope.trace.parameters import named_modules, named_parameters, named_tensors, packs
from fwdscope.trace.record import Node, OwnWork, Trace, sum_figures

_Named = list[tuple[str, Tensor]]
# Most steps have no children and no tensors: one empty list for all, which is never changed.
_NONE: list[Any] = []


class _Step:
    """One row in the making: the nodes that it stands for, and its figures with those of all inside it.

    Its lists are replaced, never changed: they may be the node's own. Attributes that few steps set are the class's, as
    a long trace makes many steps.
    """

    children: list[_Step] = _NONE
    # Where these were kept with a node: the path that it had. Equal copies among them are one step already.
    folded_at: str | None = None
    # The equal copies of itself.
    copies: list[_Step] = _NONE
    calls = 1
    varies = False
    # Its parameters and buffers that no earlier step has.
    own: _Named = _NONE
    own_buffers: _Named = _NONE
    _figures: tuple[int, int, int, int, int, int] | None = None
    _backward_figures: tuple[int, ...] | None = None
    _elements: tuple[int, int] | None = None
    _kept: int | None = None

    def __init__(self, node: Node) -> None:
        # The node that gives the row its shapes: of the last call that was joined, in the first copy.
        self.node = node
        # All nodes that it stands for.
        self.nodes: Sequence[Node] = (node,)
        self.kind = node.kind
        self.label = node.label
        self.call = node.call
        self.repeat = node.repeat
        self.ops = node.ops
        self.backward = node.backward
        self.saved = node.saved
        self.recomputed = node.recomputed
        # Those of all calls that were joined.
        self.sources = node.sources
        # Tensors of layers elsewhere that it reads.
        self.reads = node.reads
        # What it keeps itself between steps of generation, all calls together.
        self.cached = node.cached

    @property
    def figures(self) -> tuple[int, int, int, int, int, int]:
        """Parameters, MACs, FLOPs, bytes read and bytes written here and inside, of one copy, all its calls together.

        And how many operators move anything.
        """
        if self._figures is None:
            params = sum([tensor.numel() for _, tensor in self.own]) if self.own else 0
            macs = flops = read = written = kernels = 0
            for record in self.ops:
                one = record.figures
                macs, flops, read, written = macs + one[0], flops + one[1], read + one[2], written + one[3]
                if one[2] or one[3]:
                    kernels += 1
            for child in self.children:
                n, more = child.repeat, child._figures or child.figures
                params, macs, flops = params + n * more[0], macs + n * more[1], flops + n * more[2]
                read, written, kernels = read + n * more[3], written + n * more[4], kernels + n * more[5]
            self._figures = params, macs, flops, read, written, kernels
        return self._figures

    @property
    def backward_figures(self) -> tuple[int, ...]:
        """Those of the backward, without parameters; the bytes kept for it, and MACs and FLOPs of the forward in it."""
        if self._backward_figures is None:
            kernels = sum([record.figures[2:] != (0, 0) for record in self.backward])
            own = (*sum_figures(self.backward), kernels, self.saved, *sum_figures(self.recomputed)[:2])
            inside = [(child.repeat, child.backward_figures) for child in self.children]
            figures = [n + sum([times * one[i] for times, one in inside]) for i, n in enumerate(own)]
            self._backward_figures = tuple(figures)
        return self._backward_figures

    @property
    def elements(self) -> tuple[int, int]:
        """Elements of trainable parameters and of buffers, here and inside, of one copy."""
        if self._elements is None:
            trainable = sum([tensor.numel() for _, tensor in self.own if tensor.requires_grad])
            buffers = sum([tensor.numel() for _, tensor in self.own_buffers])
            for child in self.children:
                n, more = child.repeat, child.elements
                trainable, buffers = trainable + n * more[0], buffers + n * more[1]
            self._elements = trainable, buffers
        return self._elements

    @property
    def kept(self) -> int:
        """Bytes that are kept between steps of generation, here and inside, of one copy."""
        if self._kept is None:
            own = sum([one.nbytes for one in self.cached])
            self._kept = own + sum([child.repeat * child.kept for child in self.children])
        return self._kept

    def uncounted(self, backward: bool = False) -> dict[str, None]:
        """Names of operators here and inside that have no rule, of the forward or the backward."""
        records = self.backward if backward else self.ops
        names = dict.fromkeys([record.op.name for record in records if record.cost is None])
        for child in self.children:
            names |= child.uncounted(backward)
        return names


def rows(trace: Trace) -> tuple[LayerRow, ...]:
    """The rows of a trace, in order of execution, a parent before what it contains."""
    return tuple([row for row, _ in rows_with_nodes(trace)])


def rows_with_nodes(trace: Trace) -> tuple[tuple[LayerRow, tuple[Node, ...]], ...]:
    """The rows of a trace, each with the nodes that it stands for: its copies and calls."""
    flat = _flat_steps(_steps_with_nodes(trace))
    index: dict[Node, int] = {}
    for i, (step, _) in enumerate(flat):
        for node in step.nodes:
            index[node] = i
    made: dict[int, list[int]] = {}
    for number, maker in enumerate(trace.makers):
        for i in _rows_of(() if maker is None else (maker,), index):
            made.setdefault(i, []).append(number)
    arithmetic = Arithmetic()
    return tuple(
        [
            (_row(step, depth, index, made.get(i, ()), trace, arithmetic), tuple(step.nodes))
            for i, (step, depth) in enumerate(flat)
        ]
    )


class RowFigures(NamedTuple):
    """What a row is and its figures, of one copy, named as those of :class:`LayerRow`."""

    path: str
    type: str
    kind: str
    depth: int
    call: int
    has_children: bool
    kv_cache: int
    repeat: int
    params: int
    macs: int
    flops: int
    bytes_read: int
    bytes_written: int
    kernels: int
    # The FLOPs of forward and backward in a training step, and what is kept between them.
    train_flops: int = 0
    saved_bytes: int = 0


def figures(trace: Trace) -> list[RowFigures]:
    """The figures of the rows of a trace, without all that is for reading: a third of the time."""
    found = []
    keeps, is_step, make = trace.past is not None, trace.step is not None, tuple.__new__
    # Steps that were kept with another node have its path, and are moved to their own, those inside others first.
    waiting: list[tuple[_Step, int, tuple[tuple[int, str], ...]]]
    waiting = [(step, 1, ()) for step in reversed(_top_steps(trace, _Seen(remembers=True)))]
    while waiting:
        step, depth, moves = waiting.pop()
        node, figures = step.node, step._figures or step.figures
        path = node.path
        if step.children:
            inside = moves
            if step.folded_at is not None and step.folded_at != path:
                inside = ((len(step.folded_at), path), *moves)
            waiting += [(child, depth + 1, inside) for child in reversed(step.children)]
        for length, after in moves:
            path = after + path[length:]
        kept, backward = step.kept if keeps else 0, (0, 0)
        if is_step:
            backward = figures[2] + step.backward_figures[1], step.backward_figures[5]
        of = path, node.type, step.kind, depth, step.call, bool(step.children), kept, step.repeat
        # As RowFigures(…), which is a function of Python's that does this.
        found.append(make(RowFigures, of + figures + backward))
    return found


class RowOperators(NamedTuple):
    """What a row ran, of one copy and without what is inside: the row's place, its operators, and all figures."""

    path: str
    # How many equal rows it stands for: its copies, and those of the rows around it.
    times: int
    # The nodes that it stands for, and the parameters that it is the first to have.
    nodes: Sequence[Node]
    own: Sequence[tuple[str, Tensor]]
    # Weights of layers elsewhere that it reads.
    reads: Sequence[str]
    ops: Sequence[OpRecord]
    backward: Sequence[OpRecord]
    # Bytes that it is the first to keep for its backward, and that it keeps between steps of generation.
    saved: int
    kept: int
    # The number of rows inside it, which follow.
    inside: int


def row_operators(trace: Trace) -> list[RowOperators]:
    """What the rows of a trace ran, a parent before what it contains."""
    found: list[RowOperators] = []

    def add(steps: Sequence[_Step], times: int) -> None:
        for step in steps:
            place, many = len(found), times * step.repeat
            kept = sum([one.nbytes for one in step.cached])
            of = step.node.path, many, step.nodes, step.own, step.reads, step.ops, step.backward, step.saved, kept
            found.append(RowOperators(*of, 0))
            add(step.children, many)
            found[place] = found[place]._replace(inside=len(found) - place - 1)

    add(_steps_with_nodes(trace), 1)
    return found


def _flat_steps(top: Sequence[_Step]) -> list[tuple[_Step, int]]:
    """The steps of all rows with their depths, a parent before what it contains."""
    found = []
    waiting = [(step, 1) for step in reversed(top)]
    while waiting:
        one = waiting.pop()
        found.append(one)
        step, depth = one
        if step.children:
            waiting += [(child, depth + 1) for child in reversed(step.children)]
    return found


class _Seen(dict[int, tuple[str, str]]):
    """The tensors that earlier steps have by id, with their paths and names.

    With ``remembers`` the steps inside a node are kept with it, for figures of other networks that take over the node.
    """

    def __init__(self, remembers: bool = False) -> None:
        self.remembers = remembers
        # Modules of which they have all, and whether weights of modules elsewhere were read.
        self.modules: set[nn.Module] = set()
        self.reads_others = False

    def covers(self, module: nn.Module) -> bool:
        """Whether earlier steps have all tensors of a module, as the steps inside it nearly always do."""
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None and id(tensor) not in self:
                return False
        if packs(module):
            return False
        for child in module._modules.values():
            if child is not None and child not in self.modules and not self.covers(child):
                return False
        self.modules.add(module)
        return True


class _Inside(NamedTuple):
    """The steps inside a node at a path, and the tensors that they are the first to have."""

    nodes: list[Node]
    path: str
    steps: list[_Step]
    seen: _Seen


def _steps_with_nodes(trace: Trace) -> list[_Step]:
    steps = _top_steps(trace, _Seen())
    for step in steps:
        _take_nodes_of_copies(step)
    return steps


def _top_steps(trace: Trace, seen: _Seen) -> list[_Step]:
    steps = _fold(_join_calls(_steps(trace.root.children, seen)))
    if (whole := trace.root.module) is not None:
        for name, tensor in (*whole._parameters.items(), *whole._buffers.items()):
            if tensor is not None and id(tensor) not in seen:  # nothing reads it
                steps.append(_tensor_step(name, name, tensor, seen))
    return steps


def _steps(nodes: Sequence[Node], seen: _Seen, path: str = "") -> list[_Step]:
    """The steps of the nodes inside a path, in order. Work of its own that costs nothing, such as views, has none."""
    steps: list[_Step] = []
    for node in nodes:
        if not isinstance(node, OwnWork):
            steps.append(_step(node, seen))
            continue
        step = _Step(node)
        if node.call == 1:
            step.reads = tuple([".".join(filter(None, seen[id(t)])) for _, t in node.weights if id(t) in seen])
        # The parameters and buffers that no step has yet, as a spec's Parameters have them.
        for name, tensor in node.weights:
            seen.reads_others |= not name
            if name and id(tensor) not in seen:
                steps.append(_tensor_step(f"{path}.{name}".removeprefix("."), name, tensor, seen))
        if any(step.figures) or step.uncounted() or any(step.backward_figures) or step.uncounted(backward=True):
            steps.append(step)
    return steps


def _tensor_step(path: str, name: str, tensor: Tensor, seen: _Seen) -> _Step:
    kind = "Parameter" if isinstance(tensor, nn.Parameter) else "Buffer"
    node = Node("parameter", path, kind, kind, name, outputs=(mark(tensor),))
    node.tensor = tensor
    return _step(node, seen)


def _step(node: Node, seen: _Seen) -> _Step:
    """A node and all inside it; ``seen`` holds the paths and names of tensors that earlier steps have."""
    step = _Step(node)
    if node.rounds is not None:
        step.calls, step.children = len(node.rounds), _merge_turns([_steps(turn, seen) for turn in node.rounds])
    elif node.children:
        if (known := _inside(node, seen)) is not None:
            step.children, step.folded_at = known.steps, known.path
        else:
            step.children = _join_calls(_steps(node.children, seen, node.path))
    if node.copies is not None:
        _see_copies(node, node.copies, seen)
    module, path = node.module, node.path
    if node.tensor is not None:
        own, buffers, path = [(node.label, node.tensor)], _NONE, path.removesuffix(node.label).rstrip(".")
        if not isinstance(node.tensor, nn.Parameter):
            own, buffers = buffers, own
    elif module is None or (step.children and seen.covers(module)):
        return step
    else:  # with those of inner modules without a row of their own
        own = named_parameters(module)
        buffers = named_tensors(module, "buffers") if module._buffers or module._modules else _NONE
    # A layer of its own that has another's tensor is tied to it; one that is called again is the same layer.
    if node.call == 1 and own and not step.children:
        tied = [".".join(filter(None, seen[id(t)])) for _, t in own if id(t) in seen]
        step.reads = (*node.reads, *tied)
    if own:
        step.own = _take_unseen(own, path, seen)
    if buffers:
        step.own_buffers = _take_unseen(buffers, path, seen)
    if module is not None and node.tensor is None:
        seen.modules.add(module)
    return step


def _see_copies(node: Node, copies: list[nn.Module], seen: _Seen) -> None:
    above, _, number = node.path.rpartition(".")
    for i, module in enumerate(copies, int(number) + 1):
        path = f"{above}.{i}".removeprefix(".")
        for name, tensor in (*named_parameters(module), *named_tensors(module, "buffers")):
            seen.setdefault(id(tensor), (path, name))


def _inside(node: Node, seen: _Seen) -> _Inside | None:
    """What is remembered of the inside of a node that is no loop; None if what is outside decides too."""
    if not seen.remembers or node.module is None or node.call > 1 or node.type == ROUND:
        return None
    known: _Inside | None = node.rows_inside
    if known is None or known.nodes is not node.children:
        known = _inside_equal(node, node.module)
        if known is None:
            own = _Seen(remembers=True)
            steps = _fold(_join_calls(_steps(node.children, own, node.path)))
            known = _Inside(node.children, node.path, steps, own)
        node.rows_inside = known
    if known.seen.reads_others or not seen.keys().isdisjoint(known.seen):
        return None
    seen.update(known.seen)
    seen.modules |= known.seen.modules
    return known


def _inside_equal(node: Node, module: nn.Module) -> _Inside | None:
    """The inside of the node whose call it took, which differs in its path and tensors alone."""
    other = node.same_as
    known: _Inside | None = other.rows_inside if other is not None else None
    if other is None or known is None or known.nodes is not other.children:
        return None
    modules, own = named_modules(module), _Seen()
    for name, tensor in (*named_parameters(module, modules), *named_tensors(module, "buffers", modules)):
        own[id(tensor)] = node.path, name
    own.modules.update([inner for _, inner in modules[1:]])
    own.reads_others = known.seen.reads_others or len(own) != len(known.seen)
    return known._replace(nodes=node.children, seen=own)


def _unfold(step: _Step) -> None:
    """Give a step whose copies inside are folded steps of its own instead, to be joined with others."""
    if step.folded_at is not None:
        step.children, step.folded_at = _join_calls(_steps(step.node.children, _Seen(), step.node.path)), None


def _take_unseen(tensors: _Named, path: str, seen: _Seen) -> _Named:
    fresh = []
    for name, tensor in tensors:
        if id(tensor) not in seen:
            seen[id(tensor)] = path, name
            fresh.append((name, tensor))
    return fresh


# --- calls of one layer ----------------------------------------------------------------------------------------------


def _join_calls(steps: list[_Step]) -> list[_Step]:
    """Neighbours that call one layer from one place, as in ``[fc(x[:, t]) for t in range(T)]``, as one step."""
    joined: list[_Step] = []
    for step in steps:
        if joined and _is_same_layer(joined[-1], step):
            _join(joined[-1], step)
        else:
            joined.append(step)
    return joined


def _is_same_layer(one: _Step, other: _Step) -> bool:
    first, second = one.node, other.node
    same = first.module is not None and first.module is second.module and one.repeat == other.repeat
    return same and first.span is not None and first.span == second.span


def _merge_turns(rounds: list[list[_Step]]) -> list[_Step]:
    """The steps inside a loop."""
    if rounds and all(len(turn) == 1 and turn[0].node.type == ROUND for turn in rounds):
        # Rounds with layers of their own, as copies of a stack; one of a single step is that step.
        apart = [turn[0].children for turn in rounds]
        return list(chain(*(apart if all(len(turn) == 1 for turn in apart) else rounds)))
    return _merge_rounds(rounds)


def _merge_rounds(rounds: list[list[_Step]]) -> list[_Step]:
    """The rounds of a loop as one list: steps of one path become one step, its calls counted."""
    merged: dict[tuple[str, str, int, int], _Step] = {}
    for turn in rounds:
        numbers: dict[tuple[str, str, int], int] = {}
        for step in turn:
            place = step.node.path, step.node.type, step.repeat
            numbers[place] = numbers.get(place, -1) + 1
            key = (*place, numbers[place])
            if key in merged:
                _join(merged[key], step)
            else:
                merged[key] = step
    return list(merged.values())


def _join(kept: _Step, later: _Step) -> None:
    """Let a step stand for a later call too. Shapes are those of the last call."""
    _unfold(kept)
    _unfold(later)
    kept._figures = kept._backward_figures = None
    kept.varies |= later.varies or not _look_alike(kept.node.outputs, later.node.outputs)
    kept.calls += later.calls
    kept.ops, kept.backward = [*kept.ops, *later.ops], [*kept.backward, *later.backward]
    kept.saved += later.saved
    kept.recomputed = [*kept.recomputed, *later.recomputed]
    kept.cached += later.cached
    kept.sources = tuple(dict.fromkeys((*kept.sources, *later.sources)))
    kept.own, kept.own_buffers = [*kept.own, *later.own], [*kept.own_buffers, *later.own_buffers]
    kept.node = later.node
    kept.nodes = [*kept.nodes, *later.nodes]
    kept.children = _merge_rounds([kept.children, later.children])


# --- copies ----------------------------------------------------------------------------------------------------------


def _fold(steps: list[_Step]) -> list[_Step]:
    """Neighbours that are equal copies as one step each with ``repeat``, here and inside.

    Equal work of the module's own between copies, as the sum in ``x = x + layer(x)``, is one step beside theirs, and so
    is a tensor that the module reads.
    """
    folded: list[_Step] = []
    # The step that copies are folded into and its place, and the work between the copies so far.
    kept: _Step | None = None
    place = 0
    between: list[_Step] = []
    for step in steps:
        if isinstance(step.node, OwnWork) or (step.kind == "parameter" and not step.node.is_step()):
            same = next((one for one in between if _are_equal(one, step)), None)
            if same is None:
                folded.append(step)
            else:
                _add_copies(same, step)
            continue
        if step.children and step.folded_at is None:
            step.children = _fold(step.children)
        if kept is not None and _are_copies(kept, step):
            between = _fold_work(folded, place, between)
            _add_copies(kept, step)
            continue
        folded.append(step)
        kept, place, between = step, len(folded) - 1, []
    for step in folded:
        if step.repeat > 1 and not isinstance(step.node, OwnWork):
            last = (step.copies or [step])[-1].nodes[-1]
            number = last.label.rpartition(".")[2]
            step.kind, step.label = (
                "copies",
                f"{step.label}–{int(number) + last.repeat - 1 if last.repeat > 1 else number}",
            )
    return folded


def _fold_work(folded: list[_Step], place: int, between: list[_Step]) -> list[_Step]:
    """The work between copies, whose first is at ``place``, with that behind the copies so far.

    Where equal work stands right before the first copy, both are one step.
    """
    work = [one for one in folded[place + 1 :] if one not in between]
    before = folded[place - 1]
    if between or not work or not place or before.copies or len(before.nodes) > 1:
        return [*between, *work]
    if not isinstance(before.node, OwnWork) or not _are_equal(before, work[-1]):
        return work
    _add_copies(before, folded.pop())
    return [*work[:-1], before]


def _add_copies(kept: _Step, step: _Step) -> None:
    kept.repeat += step.repeat
    kept.copies = [*kept.copies, step]


def _are_copies(one: _Step, other: _Step) -> bool:
    """Whether two neighbours are copies of one block."""
    first, second = one.node, other.node
    if first.text != second.text or first.type != second.type:
        return False
    if first.type != ROUND and (first.module is None or second.module is None):
        return False
    place = _place(first)
    same = place is not None and place == _place(second)
    return same and _are_equal(one, other, f"{first.path}.", f"{second.path}.")


def _place(node: Node) -> Any:
    """Where copies are written. Modules of Python's have no place in a file; copies of them are numbered."""
    return node.span or (node.label.rpartition(".")[0] if node.label[-1:].isdigit() else None)


def _are_equal(one: _Step, other: _Step, copy: str = "", of_other: str = "") -> bool:
    """Whether all that decides the figures of a row is the same: only such steps are copies.

    ``copy`` and ``of_other`` begin the paths of the copies that they are in: what they read there differs in nothing
    but that.
    """
    first, second = one.node, other.node
    return (
        one.figures == other.figures
        and len(one.children) == len(other.children)
        and _of_node(first) == _of_node(second)
        and (one.call, one.calls, one.varies, one.cached) == (other.call, other.calls, other.varies, other.cached)
        and _look_alike(first.inputs, second.inputs)
        and _look_alike(first.outputs, second.outputs)
        and _cost_alike(one.ops, other.ops)
        and _hold_alike(one.own, other.own)
        and _hold_alike(one.own_buffers, other.own_buffers)
        and one.saved == other.saved
        and _cost_alike(one.backward, other.backward)
        and _cost_alike(one.recomputed, other.recomputed)
        and (one.reads is other.reads or _begin_at(copy, one.reads) == _begin_at(of_other, other.reads))
        and (
            not one.children
            # A call that was taken from another one has its operators, and all inside (replay.py).
            or one.ops is other.ops
            or all(
                mine.repeat == theirs.repeat and _are_equal(mine, theirs, copy, of_other)
                for mine, theirs in zip(one.children, other.children, strict=True)
            )
        )
    )


def _begin_at(copy: str, names: Sequence[str]) -> list[str]:
    return [name.removeprefix(copy) for name in names]


_of_node = attrgetter("kind", "type", "text", "promise", "note")


def _cost_alike(one: Sequence[OpRecord], other: Sequence[OpRecord]) -> bool:
    if one is other or (len(one) == len(other) and all(map(is_, one, other))):
        return True
    return sum_figures(one) == sum_figures(other) and _uncounted(one) == _uncounted(other)


def _uncounted(records: Sequence[OpRecord]) -> list[str]:
    return [record.op.name for record in records if record.cost is None]


_look = itemgetter(slice(3))


def _look_alike(one: tuple[Mark, ...], other: tuple[Mark, ...]) -> bool:
    return one is other or [*map(_look, one)] == [*map(_look, other)]


def _hold_alike(one: _Named, other: _Named) -> bool:
    if one is other or len(one) != len(other):
        return one is other
    for (a, x), (b, y) in zip(one, other, strict=True):
        if a != b or x.shape != y.shape or x.dtype != y.dtype or x.requires_grad != y.requires_grad:
            return False
    return True


def _take_nodes_of_copies(step: _Step) -> None:
    """Let a step and those inside stand for the nodes of their copies too."""
    for child in step.children:
        _take_nodes_of_copies(child)
    for copy in step.copies:
        _take_nodes_of_copies(copy)
        _take_nodes(step, copy)


def _take_nodes(kept: _Step, other: _Step) -> None:
    kept.nodes = [*kept.nodes, *other.nodes]
    for mine, theirs in zip(kept.children, other.children, strict=True):
        _take_nodes(mine, theirs)


# --- rows ------------------------------------------------------------------------------------------------------------


# In the order of the fields; those without a default are always set.
_DEFAULTS: dict[str, Any] = {one.name: None if one.default is MISSING else one.default for one in fields(LayerRow)}


def _row(
    step: _Step, depth: int, index: dict[Node, int], outputs_made: Sequence[int], trace: Trace, arithmetic: Arithmetic
) -> LayerRow:
    node, outputs = step.node, step.node.outputs
    # A copy of all fields' defaults, of which most rows keep a third.
    values = _DEFAULTS.copy()
    values["path"] = node.path
    values["type"] = node.type
    values["text"] = node.text
    if node.kind == "stack" and node.children and len({child.node.type for child in step.children}) == 1:
        values["text"] = f"{sum([child.repeat for child in node.children])} × {node.text}"
    values["kind"] = step.kind
    values["depth"] = depth
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
    values["params"], *costs, values["kernels"] = step.figures
    values["macs"], values["flops"], values["bytes_read"], values["bytes_written"] = costs
    values["trainable_params"], values["buffers"] = step.elements
    values["uncounted"] = tuple(step.uncounted())
    values["calls"] = step.calls
    values["call"] = step.call
    values["varies"] = step.varies
    if step.own:
        values["parameters"] = tuple([_tensor_info(n, t.shape, t.dtype) for n, t in step.own])
    if trace.fields:
        values["receptive_field"] = _receptive_field(step, trace)
    values["repeat"] = step.repeat
    values["reads"] = step.reads
    values["live_bytes"] = max([one.peak for one in step.nodes])
    if not step.children:
        values["sources"] = _rows_of(step.sources, index)
        values["network_inputs"] = _network_inputs(step.sources, index)
    values["network_outputs"] = tuple(outputs_made)
    values["settings"], values["formulas"], values["operators"] = arithmetic.of(node, step.own)
    values["promise"] = node.promise
    values["note"] = node.note
    if trace.past is not None:
        values["cached"], values["kv_cache"] = step.cached, step.kept
    if trace.step is not None:
        macs, flops, read, written, kernels, saved, *again = step.backward_figures
        again_macs, again_flops = again
        unknown = tuple(step.uncounted(backward=True))
        values["backward"] = Backward(macs, flops, read, written, saved, unknown, again_macs, again_flops, kernels)
        values["backward_operators"] = backward_costs(node.backward)
    row: LayerRow = object.__new__(LayerRow)
    # As LayerRow(**values), which for being frozen sets its fields one by one and takes ten times as long.
    object.__setattr__(row, "__dict__", values)
    return row


def _rows_of(nodes: tuple[Node, ...], index: Mapping[Node, int]) -> tuple[int, ...]:
    """The indices of the rows that stand for nodes, each once; of work without a row, those that it comes from."""
    if len(nodes) == 1 and nodes[0] in index:
        return (index[nodes[0]],)
    found: dict[int, None] = {}
    for node in nodes:
        if node in index:
            found[index[node]] = None
        elif isinstance(node, OwnWork):
            found |= dict.fromkeys(_rows_of(node.sources, index))
    return tuple(found)


def _network_inputs(nodes: tuple[Node, ...], index: Mapping[Node, int]) -> tuple[int, ...]:
    """The numbers of the network's inputs among nodes, and behind work without a row."""
    found: dict[int, None] = {}
    for node in nodes:
        if node.kind == "input":
            found[int(node.label)] = None
        elif isinstance(node, OwnWork) and node not in index:
            found |= dict.fromkeys(_network_inputs(node.sources, index))
    return tuple(found)


def _receptive_field(step: _Step, trace: Trace) -> tuple[int, ...] | None:
    """The largest field of all copies and calls, which is the last one's."""
    found = [trace.fields.get(id(node.outputs[0].ref)) if node.outputs else None for node in step.nodes]
    sizes = [tuple(axis.size for axis in axes) for axes in found if axes is not None]
    if len(sizes) < len(found) or len({len(size) for size in sizes}) != 1:
        return None
    return tuple(map(max, zip(*sizes, strict=True)))


@lru_cache(maxsize=4096)
def _tensor_info(name: str, shape: Shape, dtype: Any) -> TensorInfo:
    """A parameter for the report: many layers have equal ones."""
    return TensorInfo(name, tuple(shape), str(dtype).removeprefix("torch."))


def _shapes(marks: tuple[Mark, ...]) -> tuple[Shape, ...]:
    return (marks[0][0],) if len(marks) == 1 else tuple([mark.shape for mark in marks])
