"""What a forward on a device shows: the trace's own recorder, with an eye on the numbers.

Each tensor is looked at once, when it comes out: a block's result is its last layer's. An in-place operator makes a new
one of it. What is computed to look at a tensor is no operator of the network's.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.model.events import LineResult, StepStart
from fwdscope.ops import Op
from fwdscope.ops.watch import watching
from fwdscope.report import ActivationStats
from fwdscope.run.statistics import Collector, merge
from fwdscope.torch_private import without_dispatch, without_functions, without_modes
from fwdscope.trace import Node, OpRecord, Recorder
from fwdscope.trace.memory import Mark
from fwdscope.trace.record import tensors

_ORDINARY = (Tensor, nn.Parameter)


@dataclass(frozen=True)
class WantedOutput:
    """An output to be kept: a path of the report, and whether the weights of the attention inside are meant."""

    path: str
    attention: bool = False


@dataclass(frozen=True)
class _Seen:
    """A tensor that was looked at: its number, while it is as it was then."""

    ref: weakref.ref[Tensor]
    version: int
    number: int


class Observation(Recorder):
    """Records a forward, and the statistics of what goes in and comes out of every step.

    Without ``operators`` the steps are recorded alone, not what each ran and cost, which another trace knows.
    """

    def __init__(self, collector: Collector | None, wanted: WantedOutput | None = None, operators: bool = True) -> None:
        super().__init__()
        self.operators = operators
        # The layer now running, whose operators are not heard, and what keeps them so.
        self._unheard: tuple[Node, Any] | None = None
        self.collector = collector
        self.wanted = wanted
        self.kept: Tensor | None = None
        # Numbers of the tensors that went in and came out, by node.
        self.taken: dict[Node, tuple[int, ...]] = {}
        self.given: dict[Node, tuple[int, ...]] = {}
        self._seen: dict[int, _Seen] = {}
        self._looked = 0
        # What the line now running computed last; what the last attention was computed from. Kept only if wanted.
        self._last: Tensor | None = None
        self._attention: Callable[[], Tensor] | None = None

    # -- told by the network and the dispatcher -----------------------------------------------------------------------

    def begin(self, what: StepStart, inputs: Any) -> None:
        """Something begins, and its inputs are looked at."""
        super().begin(what, inputs)
        node = self.stack[-1]
        assert isinstance(node, Node)
        self.taken[node] = self.look(tensors(inputs))
        if what.kind == "layer" and not self.operators and self._unheard is None:
            # No operator of a layer is a line's, and to be asked at each takes 5 % of the forward of ResNet-50.
            self._unheard = node, without_dispatch()
            self._unheard[1].__enter__()

    def end(self, outputs: Any) -> None:
        """It ends, and its outputs are looked at."""
        node = self.stack[-1]
        assert isinstance(node, Node)
        if self._unheard is not None and self._unheard[0] is node:
            self.hear()
        super().end(outputs)
        self.given[node] = self.look(tensors(outputs))
        self.keep(node, next(iter(tensors(outputs)), None))

    def line_end(self, end: LineResult, value: Any) -> None:
        """A line ends, and what it computed outside layers is looked at."""
        pending, siblings = self.stack[-1], self.parent()
        assert not isinstance(pending, Node)
        super().line_end(end, value)
        node = pending.node or (siblings[-1] if siblings else None)
        # A line that computes nothing has a row where it promises a shape.
        if node is not None and node.kind == "expression" and node.step == pending.step:
            self.taken[node] = self.marked(one for one in node.inputs if not self.is_weight(one))
            self.given[node] = self.marked(node.outputs)
            alive = node.outputs[0].ref() if node.outputs else None
            self.keep(node, alive if alive is not None else self._last)
        self._last = None

    def op(self, record: OpRecord, arguments: Any, result: Any) -> None:
        """An operator ran."""
        super().op(record, arguments, result)
        if self.wanted is None:
            return
        if not isinstance(self.stack[-1], Node):
            self._last = next(iter(tensors(result)), self._last)
        if self.wanted.attention and (weights := attention_weights(record.op, arguments, result)) is not None:
            self._attention = weights

    def watch(self) -> contextlib.AbstractContextManager[None]:
        """Hear of every operator that runs inside, or only that one ran outside layers."""
        return super().watch() if self.operators else self.overhearing()

    @contextlib.contextmanager
    def overhearing(self) -> Iterator[None]:
        """Hear that an operator ran outside layers."""
        with watching(on_unread=self.ran):
            try:
                yield
            finally:
                self.hear()  # where a layer failed

    def hear(self) -> None:
        """A layer has ended: operators are heard again."""
        if self._unheard is not None:
            self._unheard[1].__exit__(None, None, None)
            self._unheard = None

    def ran(self, arguments: Any, result: Any) -> None:
        """An operator ran; of one that a line computes outside layers the tensors are its step's."""
        here = self.stack[-1]
        if isinstance(here, Node):
            here.ops = here.ops or _SOMETHING
            return
        given = tensors(result)
        made = self.marks(given)
        node = self.computed(here, tensors(arguments if arguments[1] else arguments[0]), made)
        for tensor, one in zip(given, made, strict=True):
            self.met[id(tensor)] = one, node

    def keep(self, node: Node, output: Tensor | None) -> None:
        """Keep the first output of the wanted path, or the weights of the attention that ran last inside it."""
        if self.wanted is None or self.kept is not None or node.path != self.wanted.path:
            return
        with aside():
            if not self.wanted.attention:
                self.kept = output.detach().clone() if output is not None else None
            elif self._attention is not None:
                self.kept = self._attention()

    def complete(self, root: Node) -> None:
        """What a module computes itself, between those inside it, gives what the module gives."""
        own = root.children[-1] if root.children else None
        if own is not None and own.kind == "expression" and own not in self.given and root in self.given:
            self.taken[own], self.given[own] = self.taken[root], self.given[root]

    # -- looking ------------------------------------------------------------------------------------------------------

    def look(self, values: Iterable[Tensor]) -> tuple[int, ...]:
        """The numbers of tensors; those not seen as they are now are looked at."""
        return tuple(map(self._number, values)) if self.collector is not None else ()

    def is_weight(self, one: Mark) -> bool:
        """Whether a tensor is the network's own: large ones are not looked at each time that a line reads them."""
        tensor = one.ref()
        return tensor is not None and self.memory.excludes(tensor) and id(one.ref) not in self._seen

    def marked(self, found_at: Iterable[Mark]) -> tuple[int, ...]:
        """The numbers of tensors by their marks, as far as they live or were seen while they did."""
        found: list[int] = []
        for one in found_at:
            if (tensor := one.ref()) is not None:
                found += self.look([tensor])
            elif (seen := self._seen.get(id(one.ref))) is not None:
                found.append(seen.number)
        return tuple(found)

    def _number(self, tensor: Tensor) -> int:
        # Python makes one plain weak reference for a tensor, which is kept here, so its identity is not given anew.
        ref = weakref.ref(tensor)
        version = 0 if tensor.is_inference() else tensor._version
        seen = self._seen.get(id(ref))
        if seen is None or seen.version != version:
            seen = self._seen[id(ref)] = _Seen(ref, version, self._looked)
            self._looked += 1
            self._look_aside(seen.number, tensor)
        return seen.number

    def _look_aside(self, number: int, tensor: Tensor) -> None:
        assert self.collector is not None
        if type(tensor) not in _ORDINARY:
            with aside():
                self.collector.add(number, [tensor])
            return
        # Where no class of tensors wants to be asked, this is the same in a tenth of the time.
        with without_functions(), without_dispatch():
            self.collector.add(number, [tensor])

    def statistics(self) -> Statistics:
        """The figures of all that was looked at, fetched from the device at once."""
        with aside():
            return Statistics(self.collector.results() if self.collector else {}, self.taken, self.given)


# Stands for the operators of a step that ran some.
_SOMETHING = [OpRecord(Op("unread", "", ()), None)]


@dataclass(frozen=True)
class Statistics:
    """The figures of tensors by their numbers, and which of them went into a step and came out."""

    figures: Mapping[Any, ActivationStats]
    taken: Mapping[Node, tuple[int, ...]]
    given: Mapping[Node, tuple[int, ...]]

    def inputs(self, node: Node) -> tuple[ActivationStats, ...]:
        """Those of each tensor that went in."""
        return self._of(self.taken.get(node, ()))

    def outputs(self, node: Node) -> tuple[ActivationStats, ...]:
        """Those of each tensor that came out."""
        return self._of(self.given.get(node, ()))

    def together(self, nodes: Iterable[Node]) -> ActivationStats | None:
        """Those of all that came out of some steps; None where nothing did."""
        found = [stats for node in nodes for stats in self.outputs(node)]
        return merge(found) if found else None

    def _of(self, numbers: Iterable[int]) -> tuple[ActivationStats, ...]:
        return tuple(self.figures[number] for number in numbers if number in self.figures)


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """What runs inside is nobody's operator: not recorded, not counted."""
    with torch.no_grad(), without_modes():
        yield


# --- attention -------------------------------------------------------------------------------------------------------


def attention_weights(op: Op, arguments: Any, result: Any) -> Callable[[], Tensor] | None:
    """How to get the weights of an attention: those of a fused one are computed anew from what went into it."""
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
    """softmax(q·kᵀ·scale + mask), as torch.nn.functional.scaled_dot_product_attention's documentation spells it out."""
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
