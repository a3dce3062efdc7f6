"""How positions pass through an operator: which elements of its input each element of a result depends on.

A rule states this as plain data, and :mod:`fwdscope.trace.receptive` computes receptive fields from it.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple, TypeAlias


class Passing(Enum):
    """The common ways for a whole tensor."""

    SAME = auto()  # each element depends on the same one of the first tensor; statistics over others do not count
    BROADCAST = auto()  # each element depends on the same one of each tensor, after broadcasting
    RESHAPED = auto()  # the elements in the same order, in another shape
    NONE = auto()  # only the shape of the input is read


class Slide(NamedTuple):
    """A kernel over a dimension: place i reads i·stride - padding + dilation·t for each tap t."""

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1


class Spread(NamedTuple):
    """A transposed kernel: place j is written to j·stride - padding + dilation·t for each tap t."""

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1


class Adapt(NamedTuple):
    """Windows that divide a dimension as evenly as they can."""


class Resample(NamedTuple):
    """Neighbours around a scaled place: the nearest below it, and as many more ``below`` and ``above`` that one."""

    below: int = 0
    above: int = 0
    align_corners: bool = False
    # Where an element lies: its corner, its centre in the result alone, or its centre in both.
    centre: str = "corner"


class Cut(NamedTuple):
    """From ``start`` on, every ``step``-th place."""

    start: int
    step: int = 1


class Shift(NamedTuple):
    """So many places are put before the first; a mirrored border counts as an empty one."""

    before: int


Reading: TypeAlias = Slide | Spread | Adapt | Resample | Cut | Shift


class Through(NamedTuple):
    """A dimension of a result, computed from one of the input's by reading several places or others."""

    dim: int
    reading: Reading


class Passage(NamedTuple):
    """What each dimension of a result is: a dimension of the input by its number, one read :class:`Through`, or new.

    Along the ``mixed`` dimensions of the input, every element of the result may depend on every place.
    """

    dims: tuple[int | Through | None, ...]
    mixed: tuple[int, ...] = ()
    # Whether the same result may depend on other tensors too.
    joins: bool = False


def over_last(rank: int, readings: list[Reading]) -> Passage:
    """Windows over the last dimensions of a tensor: those before the channels stay, channels are new."""
    first = rank - len(readings)
    windows = [Through(first + i, reading) for i, reading in enumerate(readings)]
    return Passage((*range(first - 1), *([None] if first else []), *windows))


def mix(rank: int, dims: tuple[int, ...]) -> Passage:
    """Every dimension stays, but along some each element may depend on all places."""
    chosen = {dim % rank for dim in dims} if rank else set()
    return Passage(tuple(None if i in chosen else i for i in range(rank)), tuple(chosen))
