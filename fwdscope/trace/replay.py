"""Equal calls of blocks, wherever they stand: for figures alone one runs, and others take its nodes with new weights.

As for copies of a stack (:mod:`fwdscope.model.copies`), on meta a block does the same to all inputs of the same shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from torch import Tensor, nn

from fwdscope.model.copies import adopt, is_own_result, is_repeatable, like, may_be_duplicated, signature
from fwdscope.model.templates import BlockTemplate, Template
from fwdscope.torch_private import without_dispatch, without_functions
from fwdscope.trace.receptive.fields import CalledFlows, ReplayedFlows
from fwdscope.trace.record import Node, OwnWork, Recorder

if TYPE_CHECKING:
    from collections.abc import Hashable

    from fwdscope.model.blueprint import Blueprint

_PLAIN = (type(None), bool, int, float, str)


class _Call(NamedTuple):
    """A call that ran: its module and node, its result, what was alive during its operators, and how far that rose."""

    module: nn.Module
    node: Node
    result: tuple[Any, ...]
    lives: list[tuple[Node, Node, str, int]]
    rise: int
    flows: CalledFlows


class Replays:
    """The calls of blocks in one run; those without a result of their own run each."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.known: dict[Hashable, _Call] = {}
        # Whether a module that ran may be duplicated, of those with an equal one.
        self.duplicable: dict[nn.Module, bool] = {}

    def run(
        self,
        blueprint: Blueprint,
        module: nn.Module,
        template: Template,
        given: tuple[tuple[Any, ...], dict[str, Any]],
        call: Callable[[], Any],
    ) -> Any:
        """What a block or layer that was just made gives: from its own run, or as an equal one gave it."""
        key, recorder = _key(module, template, *given), self.recorder
        tensors = [one for one in (*given[0], *given[1].values()) if isinstance(one, Tensor)]
        inputs = tuple(map(ref, tensors))
        node = recorder.stack[-1]
        if key is None or not isinstance(node, Node) or node.module is not module:
            return call()
        if (known := self.known.get(key)) is not None:
            original = known.module
            if original not in self.duplicable:
                self.duplicable[original] = all(map(may_be_duplicated, original.modules()))
            return self._repeat(known, blueprint, module, node, inputs) if self.duplicable[original] else call()
        first, carried = len(recorder.lives), len(recorder.carried)
        value = call()
        memory = recorder.memory
        if isinstance(value, Tensor) and is_own_result(value, tensors):
            leaves = memory.live - node.live == value.untyped_storage().nbytes()
            if leaves:
                rise = max(memory.peak, node.live) - node.live
                flows = recorder.flows[node.first_flow :]
                called = CalledFlows(flows, inputs, (ref(value),), recorder.carried[carried:])
                self.known[key] = _Call(module, node, _look(value), recorder.lives[first:], rise, called)
        return value

    def _repeat(
        self, known: _Call, blueprint: Blueprint, module: nn.Module, node: Node, inputs: tuple[object, ...]
    ) -> Tensor:
        recorder, memory = self.recorder, self.recorder.memory
        modules = adopt(blueprint, module, known.module)
        with without_functions():
            recorder.add_weights(chain(module.parameters(), module.buffers()))
            for old, new in modules.items():
                if old in recorder.calls and new is not module:
                    recorder.calls[new] = recorder.calls[old]
        clones = _Clones(known.node, node, modules)
        node.children = [clones.of(child) for child in known.node.children]
        node.ops, node.rounds = known.node.ops, known.node.rounds
        more = memory.live - known.node.live
        recorder.lives += [(clones.of(one), clones.of(two), name, live + more) for one, two, name, live in known.lives]
        memory.peak = max(memory.peak, memory.live + known.rise)
        with without_dispatch(), without_functions():
            result = like(*known.result)
        memory.add(result)
        recorder.tensors[id(result)] = recorder.mark(result), node
        recorder.flows.append(ReplayedFlows(known.flows, inputs, (ref(result),)))
        return result


class _Clones:
    """Nodes as those inside another, with modules and weights of their own."""

    def __init__(self, source: Node, node: Node, modules: Mapping[nn.Module, nn.Module]) -> None:
        self.before, self.after, self.modules = source.path, node.path, modules
        self.made: dict[Node, Node] = {source: node}
        self.tensors: dict[int, Tensor] = {}
        for old, new in modules.items():
            for mine, theirs in ((old._parameters, new._parameters), (old._buffers, new._buffers)):
                for name, tensor in mine.items():
                    if tensor is not None and (twin := theirs[name]) is not None:
                        self.tensors[id(tensor)] = twin

    def of(self, node: Node) -> Node:
        """The clone of a node, made once."""
        if (made := self.made.get(node)) is not None:
            return made
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
        made.children = [self.of(child) for child in node.children]
        if node.rounds is not None:
            made.rounds = [[self.of(child) for child in turn] for turn in node.rounds]
        return made


def _key(
    module: nn.Module, template: Template, inputs: tuple[Any, ...], keywords: Mapping[str, Any]
) -> Hashable | None:
    """All that decides what a block or layer does; None if that is not known."""
    if not is_repeatable(template):
        return None
    found: list[Any] = [type(module), template]
    if isinstance(template, BlockTemplate):  # a block of the file is one object
        found = [id(template.block), template.settings]
    found.append(tuple(keywords))
    first: dict[int, int] = {}
    for place, value in enumerate((*inputs, *keywords.values())):
        if isinstance(value, Tensor):
            if not value.is_meta:
                return None
            found += signature(value), first.setdefault(id(value), place)
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


def _look(x: Tensor) -> tuple[Any, ...]:
    with without_functions():
        return x.shape, x.stride(), x.dtype, x.device
