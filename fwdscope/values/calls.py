"""Keeps the operators that some steps of a forward ran, with the numbers that went in and came out.

Where a number comes from is found by its place in memory: the last operator that wrote there before it was read. So
views need no rule, and what is written in place, through a view too, is seen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fwdscope.model.events import LineResult, StepKey
from fwdscope.ops.dispatch import OpRecord
from fwdscope.ops.nested import tensors
from fwdscope.ops.watch import watching
from fwdscope.torch_private import storage_id, without_modes
from fwdscope.trace import Node, OwnWork, Recorder

Index = tuple[int, ...]

# Operators in place that change a tensor's shape alone.
_VIEWS_IN_PLACE = frozenset(("squeeze", "unsqueeze", "t", "transpose", "as_strided"))


@dataclass(eq=False)
class Held:
    """A tensor at one moment: ``values`` is a copy on the CPU; the tensor stays alive, with its address."""

    tensor: Tensor
    values: Tensor
    time: int
    storage: int
    offset: int
    stride: Index

    def place(self, index: Index) -> tuple[int, int]:
        """The storage of an element, and the element's position there."""
        return self.storage, self.offset + sum(i * stride for i, stride in zip(index, self.stride, strict=True))

    def index_of(self, place: tuple[int, int]) -> Index | None:
        """The index of the element at an address; None if it is not in this tensor."""
        storage, position = place
        if storage != self.storage or not self.values.numel():
            return None
        rest, found = position - self.offset, [0] * len(self.stride)
        for stride, dim in sorted(((stride, dim) for dim, stride in enumerate(self.stride) if stride), reverse=True):
            found[dim] = max(0, min(rest // stride, self.values.shape[dim] - 1))
            rest -= found[dim] * stride
        return None if rest else tuple(found)


@dataclass(eq=False)
class KeptCall:
    """An operator that ran: its function, if the dispatcher called it, and its tensors as :class:`Held`."""

    name: str
    function: Any
    args: tuple[Any, ...]
    keywords: Mapping[str, Any]
    results: tuple[Held, ...]
    time: int
    # Whether the results are new memory, or memory that it wrote; views are neither.
    writes: bool
    # The line or step that ran it, and where derivations keep what they computed of it.
    owner: Any = None
    memo: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NamedTensor:
    """A tensor that a kept operator read and no kept operator made: a weight, an input, or a result of another step."""

    held: Held
    name: str
    # The step that made it, whose path is known only when the forward has ended, and which of its outputs it is.
    maker: Node | None
    output: int | None

    @property
    def is_known(self) -> bool:
        """Whether it is named, or an output of a step that has ended."""
        return bool(self.name) or self.output is not None


class CallKeeper(Recorder):
    """Keeps the operators of the steps with the keys ``wanted``, and the outputs of those and of ``shown``.

    The key ``("own", path, call)`` is all that a step computes itself between the steps inside it.
    """

    def __init__(self, wanted: frozenset[StepKey], shown: frozenset[StepKey | None], names: Mapping[int, str]) -> None:
        super().__init__()
        self.wanted = wanted
        self.shown = shown
        # The steps, besides those wanted, in which operators are kept until it is clear whose they are.
        self._around = {("step", *key[1:]) for key in wanted if key[0].startswith("own")}
        self._lines = [key[1] for key in wanted if key[0] == "line"]
        # Names of weights and inputs by the identity of the tensor.
        self.names = names
        self.kept: list[KeptCall] = []
        self.named: list[NamedTensor] = []
        # The kept steps with their outputs.
        self.outputs: list[tuple[Node, tuple[Held, ...]]] = []
        self._time = 0
        # The arguments of the running operator, before it may overwrite them.
        self._before: tuple[Any, Any, Any] | None = None

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Record every operator that runs inside."""
        with watching(self.op, uses=self.uses, before=self.before):
            yield

    def before(self, func: Any, args: Any, kwargs: Any) -> None:
        """Hold the arguments of an operator of a step that may be kept."""
        if self.shared:
            self.refuse_writes(func, args, kwargs)
        self._before = (args, func, self._hold((args, kwargs or {}))) if self._may_keep() else None

    def op(self, record: OpRecord, arguments: Any, result: Any) -> None:
        """Keep an operator that ran."""
        kept, before, self._before = self._may_keep(), self._before, None
        if kept:
            if before is not None and before[0] is arguments[0]:
                func, (args, keywords) = before[1:]
            else:  # a function of torch's that is one record
                func, (args, keywords) = None, self._hold((arguments[0], arguments[1] or {}))
        super().op(record, arguments, result)
        if kept:
            name = record.op.name.removeprefix("aten.").rstrip("_")
            read: set[int] = set()
            replaced([args, keywords], Held, lambda one: read.add(one.storage))
            self._time += 1
            results = tuple([self._hold_one(one, made=True) for one in tensors(result)])
            writes = (record.op.in_place and name not in _VIEWS_IN_PLACE) or "out" in keywords
            writes = writes or any(one.storage not in read for one in results)
            self.kept.append(
                KeptCall(name, func, tuple(args), keywords, results, self._time - 1, writes, self._owner())
            )

    def end(self, outputs: Any) -> None:
        """End a step, and hold its outputs if it is kept."""
        node = self.stack[-1]
        assert isinstance(node, Node)
        own, has_parts = node.own, bool(node.children)
        # Before the step counts as the maker of what it only passes on.
        held = self._hold(tensors(outputs)) if node.step in self.wanted or node.step in self.shown else None
        super().end(outputs)
        if own is not None and not has_parts:
            self._settle(own, node, node.step in self.wanted)
        if held is not None:
            self.outputs.append((node, tuple(held)))

    def end_own_work(self, node: Node, following: Any) -> OwnWork:
        """End what a module computed itself, and keep it if it is wanted."""
        line = node.own
        own = super().end_own_work(node, following)
        wanted = is_of(own, self.wanted)
        self._settle(line, own, wanted)
        if wanted:
            self._finish(own)
        return own

    def line_end(self, end: LineResult, value: Any) -> None:
        """End a line, and keep what it computed if it is wanted."""
        pending, siblings = self.stack[-1], self.parent()
        assert not isinstance(pending, Node)
        super().line_end(end, value)
        node = pending.node or (siblings[-1] if siblings else None)
        wanted = pending.step in self.wanted and node is not None
        self._settle(pending, node, wanted)
        if wanted and node is not None:
            self._finish(node)

    def _owner(self) -> Any:
        here = self.stack[-1]
        return (here.own or here) if isinstance(here, Node) else here

    def _may_keep(self) -> bool:
        here = self.stack[-1]
        if isinstance(here, Node):
            return here.step in self.wanted or here.step in self._around
        # The path of a line begins with that of what it is in.
        around = next(node.path for node in reversed(self.stack) if isinstance(node, Node))
        return any(f"{path}.".startswith(f"{around}." if around else "") for path in self._lines)

    def _settle(self, line: Any, node: Node | None, wanted: bool) -> None:
        """Hand the operators of a line that ended to its step, or drop them."""
        for call in self.kept:
            if call.owner is line:
                call.owner = node if wanted else None
        self.kept = [call for call in self.kept if call.owner is not None]

    def _finish(self, node: Node) -> None:
        alive = [tensor for one in node.outputs if (tensor := one.ref()) is not None]
        self.outputs.append((node, tuple(map(self._hold_one, alive))))

    def _hold(self, value: Any) -> Any:
        return replaced(value, Tensor, self._hold_one)

    def _hold_one(self, tensor: Tensor, made: bool = False) -> Held:
        with torch.no_grad(), without_modes():
            held = self._held(tensor)
            made = made or any(
                one.tensor is tensor for call in self.kept if call.owner is self._owner() for one in call.results
            )
            if not made and not any(one.held.tensor is tensor and one.is_known for one in self.named):
                maker, output = self.maker(tensor), None
                whole = held
                # What was unpacked from the output of a step has its address there.
                for number, mark in enumerate(maker.outputs if maker is not None else ()):
                    given = mark.ref()
                    if given is not None and storage_id(given.untyped_storage()) == held.storage and output is None:
                        output, whole = number, held if given is tensor else self._held(given)
                if maker is not None or id(tensor) in self.names:
                    self.named.append(NamedTensor(whole, self.names.get(id(tensor), ""), maker, output))
        return held

    def _held(self, tensor: Tensor) -> Held:
        is_weight = id(tensor) in self.weights
        values = tensor.detach().cpu() if is_weight else tensor.detach().to("cpu", copy=True)
        storage, offset = storage_id(tensor.untyped_storage()), int(tensor.storage_offset())
        return Held(tensor, values, self._time, storage, offset, tuple(tensor.stride()))


def is_of(node: Node, keys: frozenset[StepKey]) -> bool:
    """Whether a step has one of some keys; ``("own", path, call)`` is that of all own work in a step."""
    return node.step is not None and (node.step in keys or ("own", *node.step[1:]) in keys)


def replaced(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """Nested arguments of an operator with ``change`` of everything of a kind in them."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, Mapping):
        return {key: replaced(item, kind, change) for key, item in value.items()}
    return [replaced(item, kind, change) for item in value] if isinstance(value, list | tuple) else value
