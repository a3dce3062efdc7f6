"""A recorder of a forward on a device that also takes the statistics of the tensors.

Each tensor is looked at once, when it is made: the output of a block is that of its last layer. After an in-place
operator it counts as a new one. Operators that compute statistics are not recorded.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fwdscope.model.events import LineResult, StepKey, StepStart
from fwdscope.ops import Op
from fwdscope.ops.nested import tensors
from fwdscope.ops.watch import watching
from fwdscope.report import RELUS, ActivationStats
from fwdscope.run.statistics import Collector, merge, stats_of_number
from fwdscope.torch_private import is_transformed, without_dispatch, without_functions, without_modes
from fwdscope.trace import Node, OpRecord, OwnWork, Recorder
from fwdscope.trace.memory import Mark


@dataclass(frozen=True)
class WantedOutput:
    """The output to keep: a path of the report; with ``attention``, the attention weights inside it."""

    path: str
    attention: bool = False


class LookedAt(NamedTuple):
    """An operator that was looked at closely: its tensors by their numbers, its numbers as statistics."""

    record: OpRecord
    operands: tuple[int | ActivationStats, ...]
    results: tuple[int, ...]


class Observation(Recorder):
    """Records a forward, with the statistics of the inputs and outputs of every step.

    Without ``operators`` only the steps are recorded, not their operators and costs, which the trace on meta has.
    With ``closely`` the inputs and outputs of every operator are looked at too.
    """

    def __init__(
        self,
        collector: Collector | None,
        wanted: WantedOutput | None = None,
        operators: bool = True,
        closely: bool = False,
        relus: frozenset[StepKey | None] = frozenset(),
        on_output: Callable[[Node, Tensor], None] | None = None,
    ) -> None:
        super().__init__()
        self.operators = operators
        self.closely = closely
        # What modules compute themselves that is a ReLU, by the trace on meta: here their operators may be unread.
        self.relus = relus
        self.looked_at: list[LookedAt] = []
        # The layer that runs without dispatching its operators to us, and the guard that does so.
        self._undispatched: tuple[Node, Any] | None = None
        self.collector = collector
        self.wanted = wanted
        self.kept: Tensor | None = None
        # Called with the first output of each step.
        self.on_output = on_output
        # Numbers of the input and output tensors, by node.
        self.taken: dict[Node, tuple[int, ...]] = {}
        self.given: dict[Node, tuple[int, ...]] = {}
        # The tensors that were looked at, each with its version then and its number.
        self._seen: dict[int, tuple[weakref.ref[Tensor], int, int]] = {}
        self._looked = 0
        # The last result of the current line, and how to compute the last attention weights, if an output is wanted.
        self._last: Tensor | None = None
        self._attention: Callable[[], Tensor] | None = None

    def begin(self, what: StepStart, inputs: Any) -> None:
        """Begin a step and look at its inputs."""
        super().begin(what, inputs)
        node = self.stack[-1]
        assert isinstance(node, Node)
        self.taken[node] = self.look(tensors(inputs))
        if what.kind == "layer" and not self.operators and self._undispatched is None:
            # Operators of a layer are not needed, and dispatching each takes 5 % of the forward of ResNet-50.
            self._undispatched = node, without_dispatch()
            self._undispatched[1].__enter__()

    def end(self, outputs: Any) -> None:
        """End the step and look at its outputs."""
        node = self.stack[-1]
        assert isinstance(node, Node)
        if self._undispatched is not None and self._undispatched[0] is node:
            self.resume_dispatch()
        super().end(outputs)
        self.given[node] = self.look(tensors(outputs), node.type in RELUS)
        self.keep(node, next(iter(tensors(outputs)), None))

    def end_own_work(self, node: Node, following: Any) -> OwnWork:
        """End what a module computed itself and look at it."""
        own = super().end_own_work(node, following)
        self.taken[own] = self.marked(self.without_weights(own.inputs))
        self.given[own] = self.marked(own.outputs, own.step in self.relus)
        self.keep(own, own.outputs[0].ref() if own.outputs else None)
        return own

    def without_weights(self, inputs: Iterable[Mark]) -> Iterator[Mark]:
        """Inputs but for weights, which are not looked at each time that a line reads them."""
        for one in inputs:
            if id(one.ref) in self._seen or (tensor := one.ref()) is None or not self.memory.excludes(tensor):
                yield one

    def line_end(self, end: LineResult, value: Any) -> None:
        """End a line and look at what it computed outside layers."""
        pending, siblings = self.stack[-1], self.parent()
        assert not isinstance(pending, Node)
        super().line_end(end, value)
        node = pending.node or (siblings[-1] if siblings else None)
        # A line that computes nothing has a row if it promises a shape.
        if node is not None and node.kind == "expression" and node.step == pending.step:
            self.taken[node] = self.marked(self.without_weights(node.inputs))
            self.given[node] = self.marked(node.outputs, node.type in RELUS)
            alive = node.outputs[0].ref() if node.outputs else None
            self.keep(node, alive if alive is not None else self._last)
        self._last = None

    def op(self, record: OpRecord, arguments: Any, result: Any) -> None:
        """Record an operator."""
        super().op(record, arguments, result)
        if self.closely:
            taken, given = tuple(self._operands(arguments)), tensors(result)
            if record.op.in_place:  # torch raises the version of what it overwrote only after this
                for tensor in given:
                    self._seen.pop(id(weakref.ref(tensor)), None)
            self.looked_at.append(LookedAt(record, taken, self.look(given)))
        if self.wanted is None and self.on_output is None:
            return
        if not isinstance(self.stack[-1], Node):
            self._last = next(iter(tensors(result)), self._last)
        if (
            self.wanted
            and self.wanted.attention
            and (weights := attention_weights(record.op, arguments, result)) is not None
        ):
            self._attention = weights

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Listen to every operator inside, or only to those outside layers."""
        with super().watch() if self.operators else watching(on_unread=self.ran):
            try:
                yield
            finally:
                self.resume_dispatch()  # if a layer failed

    def resume_dispatch(self) -> None:
        """Dispatch operators to us again, after a layer."""
        if self._undispatched is not None:
            self._undispatched[1].__exit__(None, None, None)
            self._undispatched = None

    def ran(self, arguments: Any, result: Any) -> None:
        """Assign the tensors of an operator that ran outside layers to the step of its line."""
        here = self.stack[-1]
        if isinstance(here, Node):
            if here.module is None or not here.module._modules:
                return
            here = here.own or self.begin_own_work(here)
        given = tensors(result)
        made = self.marks(given)
        node = self.computed(here, tensors(arguments if arguments[1] else arguments[0]), made)
        for tensor, one in zip(given, made, strict=True):
            self.tensors[id(tensor)] = one, node

    def keep(self, node: Node, output: Tensor | None) -> None:
        """Keep the first output of the wanted path, or the weights of the last attention inside it."""
        if self.on_output is not None and output is not None:
            with unrecorded():
                self.on_output(node, output)
        if self.wanted is None or self.kept is not None or node.path != self.wanted.path:
            return
        with unrecorded():
            if not self.wanted.attention:
                self.kept = output.detach().clone() if output is not None else None
            elif self._attention is not None:
                self.kept = self._attention()

    # -- looking ------------------------------------------------------------------------------------------------------

    def look(self, values: Iterable[Tensor], slices: bool = False) -> tuple[int, ...]:
        """The numbers of tensors; new or changed ones are looked at."""
        # Inside torch.vmap and torch.func a tensor stands for others.
        if self.collector is None or is_transformed():
            return ()
        return tuple([self._number(value, slices) for value in values])

    def _operands(self, arguments: Any) -> Iterator[int | ActivationStats]:
        """The tensors that went into an operator, by number, and its numbers; what it overwrote, as it was before."""
        for value in (*arguments[0], *(arguments[1] or {}).values()):
            if type(value) in (int, float):
                yield stats_of_number(value)
            for tensor in tensors(value):
                seen = self._seen.get(id(weakref.ref(tensor)))
                yield from self.look([tensor]) if seen is None else [seen[2]]

    def marked(self, found_at: Iterable[Mark], slices: bool = False) -> tuple[int, ...]:
        """The numbers of tensors by their marks, if they are alive or were looked at before."""
        found: list[int] = []
        for one in found_at:
            if (tensor := one.ref()) is not None:
                found += self.look([tensor], slices)
            elif (seen := self._seen.get(id(one.ref))) is not None:
                found.append(seen[2])
        return tuple(found)

    def _number(self, tensor: Tensor, slices: bool) -> int:
        # A tensor has one plain weak reference, which `_seen` keeps alive, so that its id stays unique.
        ref = weakref.ref(tensor)
        version = 0 if tensor.is_inference() else tensor._version
        _, seen, number = self._seen.get(id(ref), (ref, None, self._looked))
        if seen != version:
            number = self._looked
            self._seen[id(ref)] = ref, version, number
            self._looked += 1
            assert self.collector is not None
            with contextlib.ExitStack() as stack:
                if type(tensor) in (Tensor, nn.Parameter):
                    # For plain tensors this does the same in a tenth of the time.
                    stack.enter_context(without_functions())
                    stack.enter_context(without_dispatch())
                else:
                    stack.enter_context(unrecorded())
                self.collector.add(number, [tensor], slices)
        return number

    def statistics(self) -> Statistics:
        """The statistics of all tensors, fetched from the device at once."""
        with unrecorded():
            return Statistics(self.collector.results() if self.collector else {}, self.taken, self.given)


@dataclass(frozen=True)
class Statistics:
    """The statistics of tensors by number, and the numbers of each step's inputs and outputs."""

    figures: Mapping[Any, ActivationStats]
    taken: Mapping[Node, tuple[int, ...]]
    given: Mapping[Node, tuple[int, ...]]

    def inputs(self, node: Node) -> tuple[ActivationStats, ...]:
        """The statistics of each input."""
        return tuple(self.figures[number] for number in self.taken.get(node, ()) if number in self.figures)

    def outputs(self, node: Node) -> tuple[ActivationStats, ...]:
        """The statistics of each output."""
        return tuple(self.figures[number] for number in self.given.get(node, ()) if number in self.figures)

    def together(self, nodes: Iterable[Node]) -> ActivationStats | None:
        """The statistics of all outputs of some steps together; None without outputs."""
        found = [stats for node in nodes for stats in self.outputs(node)]
        return merge(found) if found else None


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Run operators that are neither recorded nor counted."""
    with torch.no_grad(), without_modes():
        yield


# --- attention -------------------------------------------------------------------------------------------------------


def attention_weights(op: Op, arguments: Any, result: Any) -> Callable[[], Tensor] | None:
    """A function that gives the weights of an attention; those of a fused one are computed from its inputs."""
    args, kwargs = arguments
    if op.name == "aten.scaled_dot_product_attention":
        return lambda: _computed_weights(*args, **(kwargs or {}))
    if op.name == "aten._softmax":
        return lambda: result.detach().clone()
    return None


def _computed_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q·kᵀ·scale + mask), as in the documentation of torch.nn.functional.scaled_dot_product_attention."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = query.float() @ key.float().mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1)
