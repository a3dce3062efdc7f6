"""Equal copies of a stack, recorded once and repeated.

A copy that is like the one before it does not run (:mod:`fwdscope.model.copies`). Its nodes are those of the copy that
ran, with its own modules, paths and place in the order; its memory rises and falls as the other's did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from fwdscope.torch_private import storage_id, without_functions
from fwdscope.trace.memory import Mark
from fwdscope.trace.receptive.fields import OperatorFlow, has_windows
from fwdscope.trace.receptive.windows import Axis
from fwdscope.trace.record import Node, Recorder

Modules = Mapping[nn.Module, nn.Module]


class _Before(NamedTuple):
    """How far the record was when a copy began."""

    lines: int
    flows: int
    live: int
    peak: int


@dataclass(frozen=True)
class _Passage:
    """What a copy that ran left in the record."""

    node: Node
    x: Mark
    result: Mark
    # What made its input, and what made its result.
    maker: Node
    last: Node
    # Which things and lines began in it, which operators ran, and how many copies had been repeated when it ended.
    begun: tuple[int, int]
    lines: tuple[int, int]
    flows: tuple[int, int]
    repeated: int
    # Bytes of activations alive at once, beyond those alive before.
    peak: int
    # How often each of its modules had been called before.
    calls: dict[nn.Module, int]


@dataclass(frozen=True)
class _Repeated:
    """A copy that did not run: before which operator it stands, and its nodes by those of the copy that did."""

    at: int
    passage: _Passage
    x: Mark
    result: Mark
    nodes: dict[Node, Node]


class _Absent:
    """Stands for a tensor of a copy that did not run. Nothing but its identity counts."""

    def __call__(self) -> None:
        """As a weak reference to a tensor that is gone."""


class CopyingRecorder(Recorder):
    """A recorder of runs on meta, to which equal copies need not be shown."""

    def __init__(self) -> None:
        super().__init__()
        self.repeated: list[_Repeated] = []

    def copy_begins(self) -> _Before:
        """A layer of a stack begins that the next may repeat."""
        before = _Before(self.lines, len(self.flows), self.memory.live, self.memory.peak)
        self.memory.peak = self.memory.live
        return before

    def copy_passed(self, before: _Before) -> None:
        """It ended."""
        self.memory.peak = max(self.memory.peak, before.peak)

    def copy_ended(self, before: _Before, x: Tensor, others: Sequence[Tensor], result: Tensor) -> _Passage | None:
        """What the next repeat; None where they cannot: where something of it stays alive beside its result, or where
        what made its input made another of its inputs as well."""
        maker, last = self.maker(x), self.maker(result)
        if maker is None or last is None or any(other is x or self.maker(other) is maker for other in others):
            return None
        if self.memory.live - before.live != result.untyped_storage().nbytes():
            return None
        node = self.parent()[-1]
        inside = list(_walk(node))
        if last not in inside:
            return None
        calls: dict[nn.Module, int] = {}
        for one in inside:
            if one.module is not None:
                calls[one.module] = calls.get(one.module, self.calls[one.module]) - 1
        return _Passage(
            node, self.mark(x), self.mark(result), maker, last, (node.step, self.begun), (before.lines, self.lines),
            (before.flows, len(self.flows)), len(self.repeated), self.memory.peak - before.live, calls,
        )  # fmt: skip

    def maker(self, tensor: Tensor) -> Node | None:
        """The node that made a tensor."""
        met = self.met.get(id(tensor))
        return met[1] if met is not None and met[0].marks(tensor) else None

    def repeats(self, passage: _Passage, x: Tensor, modules: Modules) -> bool:
        """Whether a copy would be recorded as the one before: made from what a node made, called as often."""
        calls = (
            (self.calls.get(new, 0), passage.calls.get(old, self.calls.get(old, 0))) for old, new in modules.items()
        )
        return self.maker(x) is not None and all(now == then for now, then in calls)

    def repeat(self, passage: _Passage, x: Tensor, result: Tensor, path: str, modules: Modules) -> None:
        """Record a copy that did not run."""
        maker = self.maker(x)
        assert maker is not None
        nodes = _Copying(passage, path, modules, self.begun - passage.begun[0], self.lines - passage.lines[0]).nodes(
            maker
        )
        self.parent().append(nodes[passage.node])
        self.begun += passage.begun[1] - passage.begun[0]
        self.lines += passage.lines[1] - passage.lines[0]
        self.memory.peak = max(self.memory.peak, self.memory.live + passage.peak)
        self.memory.meet(result)
        made = self.mark(result)
        self.met[id(result)] = made, nodes[passage.last]
        with without_functions():  # who watches functions need not hear of each look at a tensor
            for old, new in modules.items():
                self.read_alike(old, new)
                if old in self.calls:
                    self.calls[new] = self.calls[old]
        self.repeated.append(_Repeated(len(self.flows), passage, self.mark(x), made, nodes))

    def read_alike(self, one: nn.Module, other: nn.Module) -> None:
        """What was read of one module counts as read of another."""
        for held, mine in ((one._parameters, other._parameters), (one._buffers, other._buffers)):
            for name, tensor in held.items():
                twin = mine[name]
                if tensor is not None and twin is not None and storage_id(tensor.untyped_storage()) in self.read:
                    self.read.add(storage_id(twin.untyped_storage()))

    # -- receptive fields ---------------------------------------------------------------------------------------------

    def fields(self) -> dict[int, tuple[Axis, ...] | None]:
        """The receptive fields of all that ran, and of what was repeated."""
        if self.repeated and has_windows(self.flows):
            self.flows = self.unfolded()
            self.repeated.clear()
        return super().fields()

    def unfolded(self) -> list[OperatorFlow]:
        """All operators, those of repeated copies too, with tensors of their own."""
        flows: list[OperatorFlow] = []
        # Where each operator that ran lies among all, and where each repeated copy ends.
        places: list[int] = []
        ends: list[int] = []
        for i in range(len(self.flows) + 1):
            while len(ends) < len(self.repeated) and self.repeated[len(ends)].at == i:
                one = self.repeated[len(ends)]
                passage, (first, last) = one.passage, one.passage.flows
                # The copy that ran may end with copies inside it that did not.
                tail = passage.repeated and self.repeated[passage.repeated - 1].at == last
                end = ends[passage.repeated - 1] if tail else places[last - 1] + 1
                flows += _replayed(one, flows[places[first] : end])
                ends.append(len(flows))
            if i < len(self.flows):
                places.append(len(flows))
                flows.append(self.flows[i])
        return flows


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in (*node.children, *(child for turn in node.rounds or () for child in turn)):
        yield from _walk(child)


class _Copying:
    """Makes the nodes of a copy from those of the one that ran."""

    def __init__(self, passage: _Passage, path: str, modules: Modules, begun: int, lines: int) -> None:
        self.passage = passage
        self.path = path
        self.modules = modules
        # How much later its things and lines begin.
        self.begun = begun
        self.lines = lines
        self.made: dict[Node, Node] = {}

    def nodes(self, maker: Node) -> dict[Node, Node]:
        """The new nodes by the old; ``maker`` made what came in."""
        top = self.copy(self.passage.node)
        top.label = self.path.rpartition(".")[2]
        made = {**self.made, self.passage.maker: maker}
        for node in self.made.values():
            node.sources = tuple(made.get(source, source) for source in node.sources)
        return self.made

    def copy(self, node: Node) -> Node:
        """A node and all inside it."""
        new: Node = object.__new__(Node)
        vars(new).update(vars(node))
        self.made[node] = new
        if node.module is not None:
            new.module = self.modules.get(node.module, node.module)
        new.path = self.moved(node.path)
        new.step += self.lines if node.kind == "expression" else self.begun
        new.reads = tuple(map(self.moved, node.reads))
        new.children = [self.copy(child) for child in node.children]
        if node.rounds is not None:
            new.rounds = [[self.copy(child) for child in turn] for turn in node.rounds]
        if node.tensor is not None:
            new.tensor = self.twin(node.tensor)
        return new

    def moved(self, path: str) -> str:
        """A path inside the copy that ran, as it is in this one."""
        before = self.passage.node.path
        return self.path + path[len(before) :] if f"{path}.".startswith(f"{before}.") else path

    def twin(self, tensor: Tensor) -> Tensor:
        """The Parameter or Buffer of this copy that stands where a tensor does in the one that ran."""
        for old, new in self.modules.items():
            for held, mine in ((old._parameters, new._parameters), (old._buffers, new._buffers)):
                for name, one in held.items():
                    if one is tensor and (found := mine[name]) is not None:
                        return found
        return tensor


def _replayed(one: _Repeated, flows: Sequence[OperatorFlow]) -> Iterator[OperatorFlow]:
    """The operators of a copy that did not run. Its nodes get marks of their own."""
    passage = one.passage
    own: dict[int, Any] = {id(passage.x.ref): one.x.ref, id(passage.result.ref): one.result.ref}
    outside: set[int] = set()
    for flow in flows:
        outside |= {id(tensor) for tensor in flow.taken if id(tensor) not in own}
        for tensor in flow.given:
            if id(tensor) not in own and id(tensor) not in outside:
                own[id(tensor)] = _Absent()
        taken, given = (tuple(own.get(id(t), t) for t in side) for side in (flow.taken, flow.given))
        yield flow._replace(taken=taken, given=given)
    for old, new in one.nodes.items():
        new.inputs = tuple(mark._replace(ref=own.get(id(mark.ref), mark.ref)) for mark in old.inputs)
        new.outputs = tuple(mark._replace(ref=own.get(id(mark.ref), mark.ref)) for mark in old.outputs)
