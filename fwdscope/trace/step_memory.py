"""The memory of a training step: tensors saved for the backward, also by copies of a stack that do not run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from operator import sub
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fwdscope.errors import FwdscopeError
from fwdscope.ops.dispatch import OpRecord
from fwdscope.report.training import PhaseName
from fwdscope.torch_private import without_modes
from fwdscope.trace.memory import Memory, size_of, storage_ids
from fwdscope.trace.record import NOTHING, Levels, Node


class StepMemory(Memory):
    """Tracks live storages, and which of them are saved for the backward or hold a parameter's gradient."""

    def __init__(self) -> None:
        super().__init__()
        # The bytes alive of each kind, the kinds of storages, and how many others had been made before each.
        self.sums = {"gradient": 0, "saved": 0, "cast": 0}
        self.kinds: dict[int, str] = {}
        self.born: dict[int, int] = {}
        self.made = 0

    def add(self, tensor: Tensor, growth: float = 1) -> None:
        """Count a tensor that an operator made."""
        fresh = [key for key in storage_ids(tensor) if key not in self._storages]
        super().add(tensor, growth)
        for key in fresh:
            self.born[key] = self.made
            self.made += 1

    def mark(self, tensor: Tensor, kind: str) -> tuple[int, ...]:
        """Set the kind of a tensor's storages; returns those that had none."""
        self.add(tensor)
        fresh = tuple(key for key in storage_ids(tensor) if key in self._storages and key not in self.kinds)
        for key in fresh:
            self.kinds[key] = kind
            self.sums[kind] += self._storages[key][1]
        return fresh

    def mark_since(self, made: int, kind: str) -> int:
        """Set the kind of the living storages without one that were made since; returns their bytes."""
        fresh = [key for key in self._storages if self.born.get(key, -1) >= made and key not in self.kinds]
        self.kinds |= dict.fromkeys(fresh, kind)
        found = sum(self.size(key) for key in fresh)
        self.sums[kind] += found
        return found

    def levels(self, more: int = 0) -> Levels:
        """The bytes alive, with more that nothing follows, and those of each kind."""
        return Levels(self.live + more, *self.sums.values())

    def is_weight(self, tensor: Tensor) -> bool:
        """Whether a tensor is a weight, an input or a view of one, or a weight that autocast has cast."""
        return self.excludes(tensor) or any(self.kinds.get(key) == "cast" for key in storage_ids(tensor))

    def size(self, key: int) -> int:
        """The bytes of a storage that is alive, else 0."""
        return self._storages.get(key, (0, 0))[1]

    def _die(self, identity: int, keys: list[int]) -> None:
        sizes = {key: self.size(key) for key in keys}
        super()._die(identity, keys)
        for key, size in sizes.items():
            if key not in self._storages and key in self.kinds:
                self.sums[self.kinds.pop(key)] -= size


class CopiesDifferError(FwdscopeError):
    """A copy of a stack got gradients that its parameters do not predict, so every copy has to run."""


class AliveAt(NamedTuple):
    """The bytes alive during an operator, and the phase and the list of operators that it is filed in."""

    part: PhaseName
    home: list[OpRecord]
    operator: str
    live: int


@dataclass
class AliveInCopies:
    """The moments of the copy that ran, in one phase, and the bytes alive when it and the farthest other began."""

    begin: int = 0
    end: int = 0
    start: int = 0
    other: int | None = None


class CopiesOfStep:
    """A copy of a stack that ran, in place of others: the bytes it keeps, and how far it raises memory."""

    def __init__(
        self, node: Node, inside: set[int], left: tuple[int, int, int], keeps_x: bool, keeps_y: bool, rise: Levels
    ) -> None:
        # The bytes that it keeps for its backward: those of its own, and weights that autocast has cast. The other
        # weights that it has cast are kept until autocast ends.
        self.node, self.inside, (self.left, self.casts, self.casts_in_cache) = node, inside, left
        self.keeps_input, self.keeps_result, self.forward_rise = keeps_x, keeps_y, rise
        # The bytes of its parameters' gradients.
        self.gradients = 0
        # The bytes alive when the backward of each other copy began, and its place in the stretches.
        self.starts: list[tuple[Levels, int]] = []
        # The same when its own began, and the most by which they rose, and in which list.
        self.start: Levels | None = None
        self.rise = NOTHING
        self.at: list[OpRecord] = node.ops
        self.alive: dict[PhaseName, AliveInCopies] = {}

    def reach(self, levels: Levels, home: list[OpRecord]) -> None:
        """Record the number of live bytes."""
        if self.start is not None and id(home) in self.inside and levels.live - self.start.live > self.rise.live:
            self.rise = Levels(*map(sub, levels, self.start))
            self.at = home

    def own_gradients(self, with_gradient: Collection[int]) -> int:
        """The bytes of its parameters' gradients; ``with_gradient`` are the ids of the parameters that got one."""
        module = self.node.module
        return sum(size_of(p) for p in module.parameters() if id(p) in with_gradient) if module is not None else 0


class NextCopy(torch.autograd.Function):
    """An autograd function for a copy of a stack that does not run."""

    @staticmethod
    def forward(
        ctx: Any, memory: StepMemory, replay: Callable[[CopiesOfStep, Tensor], None], copies: CopiesOfStep, x: Tensor
    ) -> Tensor:
        """Return a tensor like the input; the bytes that the copy would save are alive until its backward ends."""
        with without_modes():
            result = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)
            ctx.kept = [x] * copies.keeps_input + [result.detach()] * copies.keeps_result
            empty_bytes(copies.left, ctx.kept)
        for tensor in ctx.kept:
            memory.mark(tensor, "saved")
        memory.mark(empty_bytes(copies.casts, ctx.kept), "cast")
        ctx.memory, ctx.replay, ctx.copies = memory, replay, copies
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return a gradient of the same shape as the incoming one."""
        (gradient,) = gradients
        ctx.replay(ctx.copies, gradient)
        del ctx.kept
        with without_modes():
            made = torch.empty_strided(gradient.shape, gradient.stride(), dtype=gradient.dtype, device=gradient.device)
        ctx.memory.add(made)
        return None, None, None, made


def empty_bytes(count: int, held: list[Tensor]) -> Tensor:
    """A meta tensor of so many bytes, alive as long as the list that holds it."""
    with without_modes():
        held.append(torch.empty(count, dtype=torch.uint8, device="meta"))
    return held[-1]
