"""Record one forward as a tree of layers, blocks and the expressions between them, with the operators each ran.

A :class:`Recorder` observes a network (:class:`fwdscope.model.events.Observer`), which reports lines, layers, parts and
loops; hooks report the modules inside torch's composite layers, and a dispatch mode every ATen operator. Hooks and
modes are removed afterwards, also after an exception.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple, cast
from weakref import ref

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fwdscope.language import expression as ex
from fwdscope.language.expression import Expression
from fwdscope.language.problems import Source, Span
from fwdscope.model.blueprint import Carried
from fwdscope.model.events import LineResult, Observer, StepCounter, StepKey, StepStart, own_work_key
from fwdscope.ops.dispatch import OpRecord, read
from fwdscope.ops.nested import tensors
from fwdscope.ops.op import Op
from fwdscope.ops.watch import Uses, watching
from fwdscope.report import CachedTensor, FusedTraffic, Promise
from fwdscope.report.training import PhaseName
from fwdscope.settings import TrainingSettings
from fwdscope.torch_private import without_functions
from fwdscope.trace.fusion import fused_traffic
from fwdscope.trace.memory import Mark, Memory, mark, storage_ids
from fwdscope.trace.own_work import main_operators
from fwdscope.trace.parameters import named_tensors
from fwdscope.trace.past import Past, find_past
from fwdscope.trace.receptive.fields import Flow, OperatorFlow, RepeatedFlows, receptive_fields
from fwdscope.trace.receptive.windows import Axis


@dataclass(eq=False)
class Node:
    """A step of the forward pass, with the steps inside it in order. A loop has ``rounds`` instead of children."""

    kind: str
    path: str
    type: str
    text: str
    label: str = ""
    span: Span | None = None
    module: nn.Module | None = None
    inputs: tuple[Mark, ...] = ()
    outputs: tuple[Mark, ...] = ()
    children: list[Node] = field(default_factory=list)
    ops: list[OpRecord] = field(default_factory=list)
    # Its step in the run, or for an expression, its line.
    step: StepKey | None = None
    # Few nodes set these; until then the class's defaults serve, as a long trace makes many nodes.
    tensor: Tensor | None = field(init=False, default=None)
    rounds: list[list[Node]] | None = field(init=False, default=None)
    # The childless nodes that made its inputs, in the order of the inputs; one of kind ``input`` for an input of the
    # network, whose number is its label.
    sources: tuple[Node, ...] = field(init=False, default=())
    call: int = field(init=False, default=1)
    # How many equal copies in a row it stands for, and the modules of those that did not run.
    repeat: int = field(init=False, default=1)
    copies: list[nn.Module] | None = field(init=False, default=None)
    # Bytes of activations alive when it began, the most alive at once until it ended, and the number of operators
    # before it.
    live: int = field(init=False, default=0)
    peak: int = field(init=False, default=0)
    first_flow: int = field(init=False, default=0)
    # How many bytes more were alive when one of its equal copies began.
    more_live: int = field(init=False, default=0)
    reads: tuple[str, ...] = field(init=False, default=())
    promise: Promise | None = field(init=False, default=None)
    note: str | None = field(init=False, default=None)
    # Where figures alone are wanted: what the rows inside it are made of (rows.py), and the node whose call it took.
    rows_inside: Any = field(init=False, default=None)
    same_as: Node | None = field(init=False, default=None)
    # What it keeps between steps of generation.
    cached: tuple[CachedTensor, ...] = field(init=False, default=())
    # What its module computes itself right now, since a module inside it was called last.
    own: _Line | None = field(init=False, default=None)
    # Of a training step, the operators of its own backward, and the bytes that it is the first to keep for that.
    backward: list[OpRecord] = field(init=False, default=cast("list[OpRecord]", ()))
    saved: int = field(init=False, default=0)
    # Of these operators, those that computed its forward again, and the bytes that this brought back.
    recomputed: list[OpRecord] = field(init=False, default=cast("list[OpRecord]", ()))
    recomputed_bytes: int = field(init=False, default=0)

    def records(self) -> Iterator[OpRecord]:
        """The operators that ran here and inside, those of equal copies once."""
        for node in self.nodes():
            yield from node.ops

    def nodes(self) -> Iterator[Node]:
        """It and all inside, one before what it contains."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            if node.children or node.rounds:
                waiting += reversed(node.inside())

    def inside(self) -> list[Node]:
        """The steps directly inside; of a loop those of all its rounds."""
        return self.children if not self.rounds else [*self.children, *chain.from_iterable(self.rounds)]

    def is_step(self) -> bool:
        """Whether it was called or is a line: work that a module does itself, and tensors that it reads, are not."""
        return self.step is not None

    def cost(self) -> tuple[int, int, int, int]:
        """MACs, FLOPs, bytes read and bytes written here and inside, of one copy."""
        macs = flops = read = written = 0
        waiting = [(1, self)]
        while waiting:
            n, node = waiting.pop()
            for record in node.ops:
                one = record.figures
                macs, flops, read, written = (
                    macs + n * one[0],
                    flops + n * one[1],
                    read + n * one[2],
                    written + n * one[3],
                )
            if node.children or node.rounds:
                waiting += [(n * child.repeat, child) for child in node.inside()]
        return macs, flops, read, written

    def backward_cost(self) -> tuple[int, int, int, int]:
        """The same of the backward."""
        return sum_figures(self.backward, [(child.repeat, child.backward_cost()) for child in self.inside()])

    def recomputed_cost(self) -> tuple[int, int, int]:
        """MACs and FLOPs of what was computed again here and inside, and the bytes that this brought back."""
        inside = [(child.repeat, child.recomputed_cost()) for child in self.inside()]
        macs, flops, *_ = sum_figures(self.recomputed)
        own = macs, flops, self.recomputed_bytes
        return tuple([n + sum([times * one[i] for times, one in inside]) for i, n in enumerate(own)])  # type: ignore[return-value]

    def count_operators(self) -> int:
        """How many operators ran here and inside, in one copy."""
        return len(self.ops) + sum([child.repeat * child.count_operators() for child in self.inside()])


def sum_figures(
    records: Iterable[OpRecord], inside: Iterable[tuple[int, tuple[int, ...]]] = ()
) -> tuple[int, int, int, int]:
    """MACs, FLOPs, bytes read and bytes written of operators, and of what is inside, each so many times."""
    macs = flops = read = written = 0
    for n, one in chain([(1, record.figures) for record in records], inside):
        macs, flops, read, written = macs + n * one[0], flops + n * one[1], read + n * one[2], written + n * one[3]
    return macs, flops, read, written


@dataclass(eq=False)
class OwnWork(Node):
    """What a module computes itself before, between or after the modules inside it. It is no step: none began."""

    # The weights that its operators read, in order, by their names in the module; without one, another module's.
    weights: list[tuple[str, Tensor]] = field(default_factory=list)

    def is_step(self) -> bool:
        """Never."""
        return False


@dataclass(eq=False)
class _Line:
    """A line that is running: its operators outside layers, and the place among its layers where the last one ran."""

    ops: list[OpRecord] = field(default_factory=list)
    inputs: dict[int, Mark] = field(default_factory=dict)
    made: dict[int, Mark] = field(default_factory=dict)
    last: Mark | None = None
    # The results of the last operator, and the weights that any read.
    results: Sequence[Mark] = ()
    weights: dict[int, Tensor] = field(default_factory=dict)
    sources: dict[Node, None] = field(default_factory=dict)
    position: int = 0
    first_child: int = 0
    node: Node | None = None
    step: StepKey | None = None


@dataclass(frozen=True)
class Trace:
    """One recorded forward: the tree of its steps under ``root``, and its outputs by name."""

    root: Node
    outputs: tuple[tuple[str, Tensor], ...]
    # The file that the positions of the steps are in; None for a PyTorch module.
    source: Source | None
    # The most bytes of activations alive at once.
    peak: int
    # The node that made each output; None if none did.
    makers: tuple[Node | None, ...] = ()
    # Parameters that no operator read.
    unused: tuple[str, ...] = ()
    # The receptive fields' axes of tensors, by the identity of :attr:`Mark.ref`.
    fields: Mapping[int, tuple[Axis, ...] | None] = field(default_factory=dict)
    # What a reader has to know of the run: why it was not on meta.
    notes: tuple[str, ...] = ()
    # The copy that ran, whose lazy modules have parameters; None of a spec's network.
    module: nn.Module | None = None
    # What the forward used that decides how it can be run.
    uses: frozenset[str] = frozenset()
    # Whether it fails without gradients.
    takes_gradients: bool = False
    # The earlier positions that it is counted with.
    past: Past | None = None
    # What so many earlier positions change, where it is counted without.
    find_past: Callable[[int], Past] | None = None
    # The training step, if the forward was one's.
    step: RecordedStep | None = None
    # The bytes of activations alive during each operator in order, in the first of equal copies, with the step around
    # it and its own.
    lives: tuple[tuple[Node, Node, str, int], ...] = ()
    # What it moves if its operators are fused; None if that was not looked at.
    fused: FusedTraffic | None = None


class Part(NamedTuple):
    """A part of a training step: what it ran that is filed under no node, and each stretch of work of one node.

    A stretch has the most bytes alive in it, beside weights, buffers, inputs and the optimizer's state.
    """

    name: PhaseName
    records: list[OpRecord]
    stretches: list[tuple[Node | None, Levels]]


class Levels(NamedTuple):
    """Bytes alive, and of these the gradients, what is saved for the backward, and weights cast by autocast."""

    live: int
    gradients: int
    saved: int
    casts: int


NOTHING = Levels(0, 0, 0, 0)


@dataclass(frozen=True)
class RecordedStep:
    """A training step, whose parts are those of one micro-batch."""

    settings: TrainingSettings
    loss: str
    parts: tuple[Part, ...]
    # What adds the gradients to those of the micro-batches before.
    additions: list[OpRecord]
    # Bytes of the optimizer's state, of its copies of weights in this, of gradients and targets, and of what was kept
    # when the forward was through.
    state: int
    master: int
    gradients: int
    targets: int
    saved: int
    # The most bytes alive, without what is alive throughout, and the part and node there.
    peak: Levels
    peak_part: PhaseName
    peak_node: Node | None
    # The parameters that got a gradient, and the bytes alive when the optimizer begins.
    with_gradient: Sequence[Tensor]
    before_optimizer: int
    # By the identity of a node's operators, the MACs of batched products of two activations among them.
    written_out: dict[int, int]
    # The bytes alive during each operator, without what is alive throughout.
    alive: Sequence[tuple[PhaseName, Node | None, str, int]]


class SharedWeightWritten(Exception):  # noqa: N818 - the module is copied whole, and runs again
    """An operator would write a weight that the copy that runs shares with the original."""


def _written(op: Op, args: Any, kwargs: Any) -> list[Tensor]:
    """The arguments that an operator writes."""
    return tensors(args[:1] if op.in_place else (kwargs or {}).get("out"))


class Recorder:
    """Builds the tree of steps while a network runs.

    With ``repeats`` equal copies of a stack on meta run once and are one node (:mod:`fwdscope.model.copies`). With
    ``past`` operators are counted as behind earlier positions, as found in a recording without.
    """

    def __init__(self, repeats: bool = False, past: Past | None = None) -> None:
        self.repeats = repeats
        self.past = past
        self.root = Node("block", "", "", "")
        self.stack: list[Node | _Line] = [self.root]
        self.calls: dict[nn.Module, int] = {}
        self.steps = StepCounter()
        # How many rows of a module's own work are named after an operator already.
        self.own_names: dict[tuple[Node, str], int] = {}
        self.memory = Memory()
        # Storages that operators read, but for those of activations.
        self.read: set[int] = set()
        # Weights by id, which they keep as long as they are here, with the ids of their storages.
        self.weights: dict[int, tuple[Tensor, tuple[int, ...]]] = {}
        # Tensors seen so far by id, valid while they live, with the childless node that made each.
        self.tensors: dict[int, tuple[Mark, Node | None]] = {}
        # The operators in the order in which they ran, with their input and result tensors.
        self.flows: list[Flow] = []
        # The bytes of activations alive during each operator, with its name and the innermost step that it ran in.
        self.lives: list[tuple[Node, Node, str, int]] = []
        # Of those that count, MACs, FLOPs, bytes read and bytes written, by their number.
        self.figures: dict[int, tuple[int, int, int, int]] = {}
        # For each running step, the innermost last, the peak of memory before it began.
        self.peaks: list[int] = []
        self.inputs: tuple[Mark, ...] = ()
        # Storages of weights that must not be written.
        self.shared: set[int] = set()
        # What the forward used that decides how it can be run.
        self.uses: Uses = set()
        self.step: RecordedStep | None = None
        # What the loops of a spec over positions carried from round to round.
        self.carried: list[Carried] = []

    def prepared(self, module: nn.Module) -> AbstractContextManager[Any]:
        """Change a module for as long as it is recorded: not at all."""
        return contextlib.nullcontext()

    def gradients(self) -> AbstractContextManager[Any]:
        """Whether the forward runs with gradients: without."""
        return torch.no_grad()

    def finish(self, module: nn.Module, outputs: Mapping[str, Tensor]) -> None:
        """Look further when the forward of a module gave its outputs, before hooks and modes are removed."""

    def fields(self) -> dict[int, tuple[Axis, ...] | None]:
        """The receptive fields of all tensors that depend on the inputs."""
        return receptive_fields(self.flows, [(one.ref, one.shape) for one in self.inputs])

    def fused(self, outputs: Iterable[Tensor]) -> FusedTraffic:
        """What the forward moves if its operators are fused."""
        weights = [ref(tensor) for tensor, _ in self.weights.values()]
        return fused_traffic(
            self.flows, self.figures, weights, [(one.ref, one.nbytes) for one in self.marks([*outputs])]
        )

    def add_weights(self, weights: Iterable[Tensor]) -> None:
        """Count tensors as weights, not as activations."""
        exclude, known = self.memory.exclude, self.weights
        for tensor in weights:
            known[id(tensor)] = tensor, exclude(tensor)

    def find_past(self, outputs: Iterable[Tensor], positions: int) -> Past:
        """What so many earlier positions change of what was recorded."""
        inputs, made = ([one.ref for one in marks] for marks in (self.inputs, self.marks(tuple(outputs))))
        return find_past(self.flows, inputs, made, positions, self.carried)

    # -- events of the network ----------------------------------------------------------------------------------------

    def begin(self, what: StepStart, inputs: Any) -> None:
        """Start the node of a layer, block, stack, part, loop or Parameter."""
        around = self.stack[-1]
        if type(around) is Node and around.own is not None:
            self.end_own_work(around, inputs)
        taken, sources = self.known(tensors(inputs))
        node, module = Node(*what, taken), what.module
        if module is not None:
            node.call = self.calls[module] = self.calls.get(module, 0) + 1
        node.step, node.sources = self.steps.step(what.path), sources
        if node.kind == "loop":
            node.rounds = []
        memory = self.memory
        node.live, node.first_flow = memory.live, len(self.flows)
        self.peaks.append(memory.peak)
        memory.peak = memory.live
        self.parent().append(node)
        self.stack.append(node)

    def end(self, outputs: Any) -> None:
        """End the innermost node."""
        node = self.stack.pop()
        assert isinstance(node, Node)
        node.peak = self.memory.peak
        self.memory.peak = max(self.peaks.pop(), node.peak)
        for child in node.children:
            for one in child.nodes() if child.more_live else ():
                one.peak += child.more_live
        if node.own is not None:
            if node.children:
                self.end_own_work(node, outputs)
            else:  # no module inside was called: all operators are the module's own
                line, node.own = node.own, None
                node.ops = line.ops
                if line.node is not None:
                    node.cached, node.note = line.node.cached, node.note or line.node.note
                for identity, made in line.made.items():
                    if self.tensors[identity] == (made, line.node):
                        self.tensors[identity] = made, node
        given = tensors(outputs)
        node.outputs = self.marks(given)
        if node.kind == "parameter":
            node.tensor = outputs
            self.memory.exclude(outputs)
        if not node.children and not node.rounds:
            for tensor, mark in zip(given, node.outputs, strict=True):
                if self.tensors[id(tensor)][1] is not node:
                    self.tensors[id(tensor)] = mark, node

    def turn(self) -> None:
        """Start a round of the innermost loop."""
        loop = self.stack[-1]
        assert isinstance(loop, Node)
        assert loop.rounds is not None
        loop.rounds.append([])

    def line(self) -> None:
        """Start a line."""
        self.stack.append(_Line(first_child=len(self.parent())))

    def line_end(self, end: LineResult, value: Any) -> None:
        """End a line: what it computed outside layers becomes a node, before or after those of its layers."""
        pending, (line, path, label, arguments, reads, promise) = self.stack.pop(), end
        assert isinstance(pending, _Line)
        pending.step = self.steps.line(path)
        siblings = self.parent()
        # The node of the layer whose result is the line's value, if there is one.
        result = next(iter(tensors(value)), None)
        called = None
        for node in siblings[pending.first_child :] if result is not None else ():
            if node.kind != "expression" and node.outputs and node.outputs[0].ref() is result:
                called = node
        if pending.node is not None:
            node = pending.node
            kind = _outermost(line.value)
            node.type, node.text, node.label, node.span = kind, line.text, label, line.span
            node.step = pending.step
            node.path = path if label else ".".join(filter(None, (path, kind)))
            node.outputs = self.marks(tensors(value))
            if called is not None:
                node.text, node.label = arguments(), ""
                node.path = ".".join(filter(None, (path.removesuffix(label).rstrip("."), kind)))
                node.outputs = (pending.last,) if pending.last is not None else ()
            node.inputs = tuple(pending.inputs.values())
            node.sources = tuple(pending.sources)
            node.ops = pending.ops
            siblings.insert(pending.position, node)
        home = called or pending.node
        if home is None and promise is not None:
            home = Node("expression", path, _outermost(line.value), line.text, label, line.span)
            home.outputs, home.step = self.marks(tensors(value)), pending.step
            siblings.append(home)
        if home is not None:
            home.promise, home.reads = promise, reads
            home.span = home.span or line.span

    def note(self, text: str) -> None:
        """Put a note for the reader on the innermost running node."""
        self.node().note = text

    # -- what modules compute themselves ------------------------------------------------------------------------------

    def begin_own_work(self, node: Node) -> _Line:
        """Start what a module with others inside computes itself, until one of them is called or it ends."""
        own = OwnWork("expression", "", "", "")
        if node.step is not None:
            own.step = own_work_key(node.step, sum([type(child) is Node for child in node.children]))
        own.call = node.call
        node.own = _Line(node=own)
        return node.own

    def end_own_work(self, node: Node, following: Any) -> OwnWork:
        """Make what a module computed itself a step inside it. ``following`` is what goes on from there."""
        line = node.own
        assert line is not None
        own = line.node
        assert isinstance(own, OwnWork)
        node.own = None
        used = [tensor for tensor in tensors(following) if self.maker(tensor) is own]
        own.outputs = self.marks(used) or tuple(line.results)
        own.inputs, own.sources, own.ops = tuple(line.inputs.values()), tuple(line.sources), line.ops
        if line.weights and node.module is not None:
            names = {id(t): name for what in ("parameters", "buffers") for name, t in named_tensors(node.module, what)}
            own.weights = [(names.get(id(tensor), ""), tensor) for tensor in line.weights.values()]
        own.type, *others = main_operators(own.ops) or ("",)
        own.text = ", ".join([own.type, *others])
        own.path = f"{node.path}.{self.name_own_work(node, own.type)}".removeprefix(".")
        node.children.append(own)
        return own

    def name_own_work(self, node: Node, kind: str) -> str:
        """``add``, then ``add_1``: a name that nothing else inside a module has."""
        inside = node.module._modules if node.module is not None else {}
        while True:
            number = self.own_names[node, kind] = self.own_names.get((node, kind), -1) + 1
            name = f"{kind}_{number}" if number else kind
            if name not in inside:
                return name

    # -- equal copies -------------------------------------------------------------------------------------------------

    def is_repeatable(self, x: Tensor, others: Sequence[Tensor], result: Tensor) -> bool:
        """Whether the layer that just ended leaves nothing behind in memory but its result."""
        node = self.parent()[-1]
        own = self.memory.live - node.live == result.untyped_storage().nbytes()
        return own and self.maker(result) in set(node.nodes()) and not any(other is x for other in others)

    def may_repeat(self, modules: Mapping[nn.Module, nn.Module]) -> bool:
        """Whether the modules of a copy were called as often as those of the one that just ended, before it began."""
        before: dict[nn.Module, int] = {}
        for node in self.parent()[-1].nodes():
            if node.module is not None:
                before[node.module] = before.get(node.module, self.calls[node.module]) - 1
        return all(self.calls.get(modules[old], 0) == n for old, n in before.items() if old in modules)

    def repeat(self, x: Tensor, result: Tensor, modules: Mapping[nn.Module, nn.Module]) -> Tensor:
        """Count one more copy of the layer that just ended, with modules of its own, run on that one's result ``x``."""
        node, memory, maker = self.parent()[-1], self.memory, self.maker(x)
        assert node.module is not None
        node.repeat += 1
        if node.copies is None:
            node.copies = []
        node.copies.append(modules[node.module])
        node.more_live = max(node.more_live, memory.live - node.live)
        memory.peak = max(memory.peak, node.peak + memory.live - node.live)
        result = self.result_of_copy(node, x, result, modules)
        memory.add(result)
        made = self.mark(result)
        self.tensors[id(result)] = made, maker
        if node.repeat == 2:
            count = len(self.flows) - node.first_flow
            self.flows.append(RepeatedFlows(count, node.inputs[0].ref, node.outputs[0].ref))
        repeated = self.flows[-1]
        assert isinstance(repeated, RepeatedFlows)
        repeated.times, repeated.last = node.repeat - 1, made.ref
        with without_functions():
            for old, new in modules.items():
                self._copy_reads(old, new)
                if old in self.calls:
                    self.calls[new] = self.calls[old]
        return result

    def result_of_copy(self, node: Node, x: Tensor, result: Tensor, modules: Mapping[nn.Module, nn.Module]) -> Tensor:
        """What a copy gives, and leaves behind: nothing but its result."""
        return result

    def _copy_reads(self, one: nn.Module, other: nn.Module) -> None:
        """Count the weights of a module as read if those of another are."""
        for home, home_of_other in ((one._parameters, other._parameters), (one._buffers, other._buffers)):
            for name, tensor in home.items():
                twin = home_of_other[name]
                if tensor is not None and twin is not None and not self.read.isdisjoint(storage_ids(tensor)):
                    self.read.update(storage_ids(twin))

    def maker(self, tensor: Tensor) -> Node | None:
        """The childless node that made a tensor."""
        seen = self.tensors.get(id(tensor))
        return seen[1] if seen is not None and seen[0].marks(tensor) else None

    # -- operators ----------------------------------------------------------------------------------------------------

    def watch(self) -> AbstractContextManager[Any]:
        """Record every operator that runs inside."""
        return watching(self.op, uses=self.uses, before=self.refuse_writes if self.shared else None)

    def refuse_writes(self, func: Any, args: Any, kwargs: Any) -> None:
        """Raise SharedWeightWritten before an operator writes a weight that is shared with the original."""
        for tensor in _written(read(func, args, kwargs, None), args, kwargs):
            if not self.shared.isdisjoint(storage_ids(tensor)):
                raise SharedWeightWritten

    def op(self, record: OpRecord, arguments: Any, result: Any) -> None:
        """File an operator that ran under the innermost running layer or line."""
        here = self.stack[-1]
        if type(here) is Node and here.module is not None and here.module._modules:
            here = here.own or self.begin_own_work(here)
        taken, given = tensors(arguments if arguments[1] else arguments[0]), tensors(result)
        number, results, behind = len(self.flows), record.results, self.past
        is_skipped = behind is not None and number in behind.skipped
        if behind is not None:
            record = behind.record(number, record)
        if not is_skipped:
            here.ops.append(record)
            self.figures[number] = record.figures
        if len(given) == len(results) and record.cost is not None:
            # As Mark(…) and OperatorFlow(…), which are functions of Python's that do this.
            made = [tuple.__new__(Mark, (*x, ref(one))) for x, one in zip(results, given)]  # noqa: B905
        else:
            made = list(map(mark, given))
        refs = (made[0][3],) if len(made) == 1 else tuple([one[3] for one in made])
        self.flows.append(tuple.__new__(OperatorFlow, (record.op, tuple(map(ref, taken)), refs)))
        self._follow_weights(record.op, arguments, taken)
        node = here if type(here) is Node else self.computed(here, taken, made)  # type: ignore[arg-type]
        for tensor, one in zip(given, made):  # noqa: B905
            if is_skipped:
                self.memory.exclude(tensor)
            else:
                self.memory.add(tensor, 1 if behind is None else behind.growth(number))
            self.tensors[id(tensor)] = one, node
        workspace = 0 if is_skipped else record.workspace
        self.lives.append((self.node(), node, record.op.name, self.memory.live + workspace))
        if workspace:
            self.memory.peak = max(self.memory.peak, self.memory.live + workspace)
        if node is not here:  # it neither begins nor ends
            node.peak = max(node.peak, self.memory.live + workspace)
        if behind is not None:
            kept = (behind.own.pop(id(tensor), None) for tensor in taken) if behind.own else ()
            node.cached += (*behind.cached.get(number, ()), *filter(None, kept))
            node.note = behind.note(number, record) or node.note

    def _follow_weights(self, op: Op, arguments: Any, taken: Sequence[Tensor]) -> None:
        """Note the weights that an operator reads, and whether it writes one."""
        for tensor in taken:
            weight = self.weights.get(id(tensor))
            if weight is not None:
                self.read.update(weight[1])
            elif not self.memory.follows(tensor):
                self.read.update(storage_ids(tensor))
        if op.in_place or "out" in (arguments[1] or ()):
            written = {id for tensor in _written(op, *arguments) for id in storage_ids(tensor)}
            if not self.memory.excluded.isdisjoint(written):
                weights = [ids for weight, ids in self.weights.values() if isinstance(weight, nn.Parameter)]
                self.uses |= set() if written.isdisjoint(chain.from_iterable(weights)) else {"writes"}

    def computed(self, line: _Line, taken: Sequence[Tensor], made: Sequence[Mark]) -> Node:
        """The node of a running line, with the tensors of one more operator outside its layers."""
        line.position = len(self.parent())
        line.node = line.node or Node("expression", "", "", "")
        for tensor in taken:
            known = line.made.get(id(tensor))
            if known is None or not known.marks(tensor):
                if id(tensor) in self.weights:
                    line.weights[id(tensor)] = tensor
                (taken_mark,), sources = self.known([tensor])
                # Not by the tensor's id, which another tensor of this line may get when it is gone.
                line.inputs[id(taken_mark.ref)] = taken_mark
                line.sources |= dict.fromkeys(sources)
        line.made |= {id(one.ref()): one for one in made}
        if made:
            line.last, line.results = made[0], made
        return line.node

    # -- the tree -----------------------------------------------------------------------------------------------------

    def node(self) -> Node:
        """The innermost running node."""
        for one in reversed(self.stack):
            if type(one) is not _Line:
                break
        return one  # type: ignore[return-value]  # the root is one

    def parent(self) -> list[Node]:
        """The list that the next node goes into: the children of the innermost node, or a loop's last round."""
        node = self.node()
        return node.rounds[-1] if node.rounds else node.children

    def unread(self, parameters: Iterable[tuple[str, Tensor]]) -> tuple[str, ...]:
        """The names of the parameters that no operator read."""
        unread = []
        for name, tensor in parameters:
            weight = self.weights.get(id(tensor))
            if self.read.isdisjoint(storage_ids(tensor) if weight is None else weight[1]):
                unread.append(name)
        return tuple(unread)

    def known(self, given: Sequence[Tensor]) -> tuple[tuple[Mark, ...], tuple[Node, ...]]:
        """The marks of tensors in order, and the nodes that made them, each once."""
        if len(given) == 1:
            one = self.mark(given[0])
            maker = self.tensors[id(given[0])][1]
            return (one,), () if maker is None else (maker,)
        marks: list[Mark] = []
        makers: dict[Node, None] = {}
        for tensor in given:
            seen = self.tensors.get(id(tensor))
            if seen is None or seen[0].ref() is not tensor:
                marks.append(self.mark(tensor))
                continue
            marks.append(seen[0])
            if seen[1] is not None:
                makers[seen[1]] = None
        return tuple(marks), tuple(makers)

    def mark(self, tensor: Tensor) -> Mark:
        """The mark of a tensor, made once: looking it up is faster than asking a tensor."""
        seen = self.tensors.get(id(tensor))
        if seen is not None and seen[0][3]() is tensor:
            return seen[0]
        made = mark(tensor)
        self.tensors[id(tensor)] = made, None
        return made

    def marks(self, given: Sequence[Tensor]) -> tuple[Mark, ...]:
        """The marks of tensors, in order."""
        return tuple(map(self.mark, given))


@contextlib.contextmanager
def recording(recorder: Recorder, weights: Iterable[Tensor], inputs: Sequence[Tensor]) -> Iterator[None]:
    """Record what runs inside. Weights and inputs are not counted as activations."""
    recorder.add_weights(weights)
    for tensor in inputs:
        recorder.memory.exclude(tensor)
    recorder.inputs = recorder.marks(inputs)
    for number, (tensor, one) in enumerate(zip(inputs, recorder.inputs, strict=True)):
        if recorder.maker(tensor) is None:
            recorder.tensors[id(tensor)] = one, Node("input", "", "", "the network's input", str(number))
    with recorder.gradients(), recorder.watch():
        yield


def hook(module: nn.Module, what: StepStart, observer: Observer) -> Iterator[RemovableHandle]:
    """Tell an observer of each call of a module, until the handles are removed."""

    def begin(_: nn.Module, args: Any, kwargs: Any) -> None:
        observer.begin(what, (args, kwargs) if kwargs else args)

    def end(_: nn.Module, args: Any, output: Any) -> None:
        observer.end(output)

    yield module.register_forward_pre_hook(begin, with_kwargs=True)
    yield module.register_forward_hook(end)


_OPERATOR_NAMES = {"+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floor_div", "%": "remainder", "**": "pow",
"@": "matmul", "&": "and", "|": "or", "~": "not"}  # fmt: skip


def _outermost(node: Expression) -> str:
    """The name of the outermost operation of an expression: ``add``, ``cat``, ``transpose``."""
    match node:
        case ex.Binary(operator=sign):
            return _OPERATOR_NAMES[sign]
        case ex.Unary(operator=sign):
            return {"-": "neg", "~": "not"}.get(sign, "pos")
        case ex.Call(function=ex.Name(id=name)) | ex.Call(function=ex.Attribute(name=name)) if name[:1].islower():
            return name
        case ex.Call(arguments=(first, *_)):
            return _outermost(first)
        case ex.Subscript():
            return "index"
        case ex.Compare():
            return "compare"
        case ex.Attribute(name=name):
            return name
    return "expression"
