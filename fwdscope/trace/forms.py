"""What a call of a layer leaves in a record, for all calls that leave the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, dtype

from fwdscope.ops import Op
from fwdscope.report import Shape
from fwdscope.trace.receptive.fields import Flow

if TYPE_CHECKING:
    from fwdscope.trace.record import OpRecord

# Places of tensors in the operators of a layer: its input, any of its weights; what is made inside counts from there.
WEIGHT, INPUT = -1, 0


class Made(NamedTuple):
    """The result of a layer that makes a tensor of its own: what torch is asked for, and what is said of it."""

    shape: Shape
    stride: tuple[int, ...]
    dtype: dtype
    said: tuple[Shape, str, int]
    # The bytes of its storage.
    nbytes: int
    # Where in the operators it stands.
    place: int


# Name, shape and dtype of each tensor, and whether it is trained.
Look = list[tuple[str, Shape, dtype, bool]]


@dataclass(eq=False, slots=True)
class Form:
    """What a call of a layer leaves in a record. Its lists are never changed."""

    type: str
    text: str
    ops: list[OpRecord]
    # Each operator with the places of the tensors that go in and come out.
    wiring: tuple[tuple[Op, tuple[int, ...], tuple[int, ...]], ...]
    # How many tensors are made inside.
    inside: int
    # None where the result is the input itself.
    made: Made | None
    # The most bytes of activations alive at once, beyond those alive before.
    peak: int
    # Which of its parameters and buffers it reads, in their order.
    reads: tuple[bool, ...]
    # What its rows have in common, once one was written: MACs, FLOPs, bytes read and written; elements of parameters,
    # of those that are trained and of buffers; names and shapes of all, and which are trained; the fields.
    cost: tuple[int, ...] | None = field(init=False, default=None)
    elements: tuple[int, int, int] | None = field(init=False, default=None)
    tensors: tuple[tuple[str, Shape, bool], ...] | None = field(init=False, default=None)
    row: Mapping[str, Any] | None = field(init=False, default=None)
    # How its parameters and its buffers look, of the layer whose row was the first.
    looks: tuple[Look, Look] | None = field(init=False, default=None)


class _Absent:
    """Stands for a tensor that nobody meets. Nothing but its identity counts."""

    def __call__(self) -> Tensor | None:
        """As a weak reference to a tensor that is gone."""
        return None


# All weights: nothing depends on the inputs through them.
_WEIGHT = _Absent()


class Whole(NamedTuple):
    """All operators of a layer, as :class:`Flow` is one."""

    form: Form
    taken: tuple[Any, ...]
    given: tuple[Any, ...]

    def flows(self) -> Iterator[Flow]:
        """Its operators one by one."""
        tensors: list[Any] = [*self.taken, *(_Absent() for _ in range(self.form.inside)), _WEIGHT]
        if self.form.made is not None:
            (tensors[self.form.made.place],) = self.given
        for op, taken, given in self.form.wiring:
            yield Flow(op, tuple([tensors[i] for i in taken]), tuple([tensors[i] for i in given]))


def unfolded(flows: Iterable[Flow | Whole]) -> list[Flow]:
    """All operators one by one."""
    return [flow for one in flows for flow in (one.flows() if isinstance(one, Whole) else (one,))]
