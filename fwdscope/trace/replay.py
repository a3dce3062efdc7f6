"""Equal calls of blocks, wherever they stand: for figures alone one runs, and others take its nodes with new weights.

As for copies of a stack (:mod:`fwdscope.model.copies`), on meta a block does the same to all inputs of the same shapes.
With other vars too, if it reads none that changed: then what an earlier network had inside is taken over as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

import torch
from torch import Tensor, nn

from fwdscope.language.expression import Name, walk
from fwdscope.model.copies import adopt, hand_over, is_repeatable, like, may_be_duplicated, signature, weights_of
from fwdscope.model.modules import all_modules
from fwdscope.model.templates import BlockTemplate, Template
from fwdscope.torch_private import storage_id, without_dispatch, without_functions
from fwdscope.trace.receptive.fields import CalledFlows, ReplayedFlows
from fwdscope.trace.record import Node, OwnWork, Recorder

if TYPE_CHECKING:
    from collections.abc import Hashable

    from fwdscope.language.check import Checked
    from fwdscope.model.blueprint import Blueprint, LayerEntry

_PLAIN = (type(None), bool, int, float, str)
# The layers of the networks whose calls are kept for later ones: where they are more than the most, some 60 MB, the
# oldest go.
_KEPT_LAYERS, _MOST_LAYERS = 7_000, 9_000


class _Look(NamedTuple):
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class _Given(NamedTuple):
    """A result that is the input at a place."""

    place: int


class _Made(NamedTuple):
    """A result that is a new tensor."""

    number: int


class _Result(NamedTuple):
    """What a call gave: inputs, new tensors and plain values, in tuples; and how the new tensors were."""

    parts: Any
    made: list[_Look]


class _Run(NamedTuple):
    """What a run has made: the entries of modules, how often each was called, and weights with their storages."""

    layers: dict[nn.Module, LayerEntry]
    calls: dict[nn.Module, int]
    weights: dict[int, tuple[Tensor, tuple[int, ...]]]


class _Call(NamedTuple):
    """A call that ran: what was alive during its operators, how far that rose, and its operators."""

    run: _Run
    module: nn.Module
    node: Node
    result: _Result
    lives: list[tuple[Node, Node, str, int]]
    rise: int
    flows: CalledFlows


class EarlierRuns:
    """The calls of earlier runs of one spec with other vars, whose networks are no longer used."""

    def __init__(self) -> None:
        self.calls: dict[Hashable, _Call] = {}
        # How many layers their networks have at most.
        self.layers = 0
        # By the name of a block, the vars that it and the blocks inside it read; by "" those that any reads.
        self.reads: dict[str, list[str]] = {}

    def add(self, run: Mapping[Hashable, _Call]) -> None:
        """Keep the calls of a run that has ended, and forget the oldest."""
        for key in run:
            self.calls.pop(key, None)
        self.calls |= run
        self.layers += max([len(call.run.layers) for call in run.values()], default=0)
        if self.layers <= _MOST_LAYERS:
            return
        layers = {id(call.run.layers): len(call.run.layers) for call in reversed(self.calls.values())}
        total = 0
        kept = [one for one, number in layers.items() if (total := total + number) <= max(_KEPT_LAYERS, number)]
        self.calls = {key: call for key, call in self.calls.items() if id(call.run.layers) in kept}
        self.layers = sum([layers[one] for one in kept])

    def read(self, checked: Checked, template: Template) -> tuple[Any, ...] | None:
        """The values of the vars that decide what a template does; None if one is not known."""
        if not self.reads:
            self.reads = _reads(checked)
        is_plain = isinstance(template, BlockTemplate) and all(isinstance(one, _PLAIN) for _, one in template.settings)
        names, values = self.reads[template.name if is_plain else ""], checked.variables
        return tuple([values[name] for name in names]) if all(name in values for name in names) else None


def _reads(checked: Checked) -> dict[str, list[str]]:
    spec = checked.spec
    variables = {one.name for one in spec.variables}
    always = {node.id for default in spec.defaults for node in walk(default) if isinstance(node, Name)}
    own = {name: always | names for name, names in checked.names.items()}
    found: dict[str, list[str]] = {}
    for block in spec.blocks:
        names, waiting = set[str](), [block.name]
        while waiting:
            if (name := waiting.pop()) not in names:
                names.add(name)
                waiting += own.get(name, ())
        found[block.name] = sorted(names & variables)
    found[""] = sorted({*always & variables, *chain.from_iterable(found.values())})
    return found


class Replays:
    """The calls of blocks in one run, and those of ``earlier`` runs."""

    def __init__(self, recorder: Recorder, earlier: EarlierRuns | None = None) -> None:
        self.recorder, self.earlier = recorder, earlier
        self.known: dict[Hashable, _Call] = {}
        # Whether a module that ran may be duplicated, of those with an equal one.
        self.duplicable: dict[nn.Module, bool] = {}
        # The modules that were taken over.
        self.taken = set[nn.Module]()

    def run(
        self,
        blueprint: Blueprint,
        module: nn.Module,
        template: Template,
        given: tuple[tuple[Any, ...], dict[str, Any]],
        call: Callable[[], Any],
    ) -> Any:
        """What a block or layer that was just made gives: from its own run, or as an equal one gave it."""
        recorder, inputs = self.recorder, (*given[0], *given[1].values())
        read = self.earlier.read(blueprint.checked, template) if self.earlier is not None else None
        key, node = _key(module, template, inputs, (*given[1], read)), recorder.stack[-1]
        if key is None or not isinstance(node, Node) or node.module is not module:
            return call()
        run = _Run(blueprint.layers, recorder.calls, recorder.weights)
        if (known := self.known.get(key)) is not None:
            original = known.module
            if original not in self.duplicable:
                self.duplicable[original] = all(map(may_be_duplicated, all_modules(original)))
            return self._repeat(known, blueprint, module, node, inputs) if self.duplicable[original] else call()
        first, carried, memory = len(recorder.lives), len(recorder.carried), recorder.memory
        known = self.earlier.calls.get(key) if self.earlier is not None and read is not None else None
        if known is not None and self.taken.isdisjoint(inside := all_modules(known.module)[1:]):
            value = self._take(known, blueprint, module, node, inside, inputs)
            self.known[key] = known._replace(run=run, module=module, node=node, lives=recorder.lives[first:])
            return value
        before = _left_behind(blueprint)
        value = call()
        result, leaves = _read(value, inputs), memory.live - node.live
        # A call that leaves more behind than its result is not repeated.
        if before == _left_behind(blueprint) and result and leaves == sum([one.nbytes for one in result[0].made]):
            rise, refs = max(memory.peak, node.live) - node.live, tuple(map(ref, result[1]))
            flows = CalledFlows(recorder.flows[node.first_flow :], _refs(inputs), refs, recorder.carried[carried:])
            self.known[key] = _Call(run, module, node, result[0], recorder.lives[first:], rise, flows)
        return value

    def _take(
        self,
        known: _Call,
        blueprint: Blueprint,
        module: nn.Module,
        node: Node,
        inside: Sequence[nn.Module],
        inputs: Sequence[Any],
    ) -> Any:
        recorder, run = self.recorder, known.run
        hand_over(blueprint, run.layers, module, known.module, inside)
        self.taken.update(inside)
        for tensor in weights_of((module, *inside)):
            recorder.weights[id(tensor)] = weight = run.weights[id(tensor)]
            recorder.memory.excluded.update(weight[1])
        recorder.calls.update([(one, run.calls[one]) for one in inside if one in run.calls])
        result = self._follow(known, node, {known.module: module}, inputs)
        if (rows := known.node.rows_inside) is not None:
            node.rows_inside = rows._replace(nodes=node.children)
        return result

    def _repeat(self, known: _Call, blueprint: Blueprint, module: nn.Module, node: Node, inputs: Sequence[Any]) -> Any:
        recorder = self.recorder
        modules = adopt(blueprint, module, known.module)
        with without_functions():
            recorder.add_weights(weights_of(modules.values()))
            for old, new in modules.items():
                if old in recorder.calls and new is not module:
                    recorder.calls[new] = recorder.calls[old]
        node.same_as = known.node
        return self._follow(known, node, modules, inputs)

    def _follow(self, known: _Call, node: Node, modules: Mapping[nn.Module, nn.Module], inputs: Sequence[Any]) -> Any:
        """Go on as if the call had run, with other modules."""
        recorder, memory, source = self.recorder, self.recorder.memory, known.node
        more = memory.live - source.live
        clones = _Clones(source, node, modules)
        node.children = clones.of_all(source.children)
        node.ops, node.rounds = source.ops, source.rounds
        of = clones.of
        recorder.lives += [(of(one), of(two), name, live + more) for one, two, name, live in known.lives]
        memory.peak = max(memory.peak, memory.live + known.rise)
        with without_dispatch(), without_functions():
            made = [like(*one) for one in known.result.made]
            for tensor in made:
                memory.add(tensor)
                recorder.tensors[id(tensor)] = recorder.mark(tensor), node
        recorder.flows.append(ReplayedFlows(known.flows, _refs(inputs), tuple(map(ref, made))))
        return _give(known.result.parts, inputs, made)


def _left_behind(blueprint: Blueprint) -> list[int]:
    """What a call may change besides giving its result."""
    return list(map(len, (blueprint.problems or (), blueprint.broken_promises, blueprint.derived, blueprint.notes)))


def _refs(values: Iterable[Any]) -> tuple[object, ...]:
    return tuple([ref(one) for one in values if isinstance(one, Tensor)])


def _give(parts: Any, inputs: Sequence[Any], made: Sequence[Tensor]) -> Any:
    """A result with other inputs and new tensors."""
    match parts:
        case _Given(place):
            return inputs[place]
        case _Made(number):
            return made[number]
    return tuple([_give(part, inputs, made) for part in parts]) if type(parts) is tuple else parts


class _Clones:
    """Nodes as those inside another, with modules and weights of their own."""

    def __init__(self, source: Node, node: Node, modules: Mapping[nn.Module, nn.Module]) -> None:
        self.before, self.after, self.modules = source.path, node.path, modules
        # All inside is as it was, in the same place.
        self.are_same = len(modules) == 1 and source.path == node.path
        self.made: dict[Node, Node] = {source: node}
        self.tensors: dict[int, Tensor] = {}
        for old, new in modules.items():
            for mine, theirs in ((old._parameters, new._parameters), (old._buffers, new._buffers)):
                for name, tensor in mine.items():
                    if tensor is not None and (twin := theirs[name]) is not None:
                        self.tensors[id(tensor)] = twin

    def of_all(self, nodes: list[Node]) -> list[Node]:
        """The clones of nodes."""
        return nodes if self.are_same else [self.of(node) for node in nodes]

    def of(self, node: Node) -> Node:
        """The clone of a node, made once."""
        if (made := self.made.get(node)) is not None:
            return made
        if self.are_same:
            return node
        made = self.made[node] = object.__new__(type(node))
        vars(made).update(vars(node))
        made.path = f"{self.after}{node.path.removeprefix(self.before)}".removeprefix(".")
        if node.module is not None:
            made.module = self.modules.get(node.module, node.module)
        if node.tensor is not None:
            made.tensor = self.tensors.get(id(node.tensor), node.tensor)
        if node.copies is not None:
            made.copies = [self.modules.get(one, one) for one in node.copies]
        if isinstance(node, OwnWork) and isinstance(made, OwnWork):
            made.weights = [(name, self.tensors.get(id(one), one)) for name, one in node.weights]
        made.children = self.of_all(node.children)
        if node.rounds is not None:
            made.rounds = list(map(self.of_all, node.rounds))
        return made


def _key(module: nn.Module, template: Template, inputs: Iterable[Any], more: tuple[Any, ...]) -> Hashable | None:
    """All that decides what a block or layer does; None if that is not known."""
    if not is_repeatable(template):
        return None
    found: list[Any] = [type(module), template]
    if isinstance(template, BlockTemplate):  # a block of the file is one object
        found = [id(template.block), template.settings]
    found += more
    first: dict[int, int] = {}
    for place, value in enumerate(inputs):
        if isinstance(value, Tensor):
            look = signature(value)
            if not look[-1]:  # on a device
                return None
            found += look, first.setdefault(id(value), place)
        elif isinstance(value, _PLAIN):
            found += type(value), value
        else:
            return None
    key = tuple(found)
    try:
        hash(key)
    except TypeError:
        return None
    return key


class _Reader:
    """Reads how a result is made of inputs and new tensors, each filling a storage of its own."""

    def __init__(self, inputs: Sequence[Any]) -> None:
        given = {place: one for place, one in enumerate(inputs) if isinstance(one, Tensor)}
        self.places = {id(one): place for place, one in given.items()}
        self.numbers: dict[int, int] = {}
        self.made: list[Tensor] = []
        self.storages = {storage_id(one.untyped_storage()) for one in given.values()}

    def read(self, one: Any) -> Any:
        """A part of the result. Raises ValueError if it is something else."""
        if type(one) is tuple:
            return tuple(map(self.read, one))
        if not isinstance(one, Tensor):
            if isinstance(one, _PLAIN):
                return one
            raise ValueError
        if (place := self.places.get(id(one))) is not None:
            return _Given(place)
        if (number := self.numbers.get(id(one))) is None:
            key = storage_id(storage := one.untyped_storage())
            if key in self.storages or storage.nbytes() != one.numel() * one.element_size():
                raise ValueError
            self.storages.add(key)
            number = self.numbers[id(one)] = len(self.made)
            self.made.append(one)
        return _Made(number)


def _read(value: Any, inputs: Sequence[Any]) -> tuple[_Result, list[Tensor]] | None:
    """How a call's result is made, and the new tensors; None if it cannot be made again."""
    with without_functions():
        reader = _Reader(inputs)
        try:
            parts = reader.read(value)
        except ValueError:
            return None
        return _Result(
            parts, [_Look(one.shape, one.stride(), one.dtype, one.device) for one in reader.made]
        ), reader.made
