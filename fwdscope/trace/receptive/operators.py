"""The receptive field of a tensor: its dimensions, what each is made of, and how several become one.

A dimension is one or more factors, since a reshape merges dimensions and splits them again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from fwdscope.trace.receptive import windows
from fwdscope.trace.receptive.windows import Axis


class Factor(NamedTuple):
    """A dimension, or one of those that a reshape merged into one. Without an axis it is not followed."""

    length: int
    axis: Axis | None = None
    # Whether a window went over it.
    spatial: bool = False


Dimension = tuple[Factor, ...]
Dimensions = tuple[Dimension, ...]


@lru_cache(maxsize=4096)
def plain(length: int) -> Dimension:
    """A dimension of a length that is not followed."""
    return (Factor(length),)


def is_spatial(dimension: Dimension) -> bool:
    """Whether a window went over any part of it."""
    return True in [factor.spatial for factor in dimension]


def is_followed(dimension: Dimension) -> bool:
    """Whether any part of it is."""
    return [factor.axis for factor in dimension].count(None) < len(dimension)


def length_of(dimension: Dimension) -> int:
    """How many places it has."""
    return dimension[0].length if len(dimension) == 1 else math.prod([factor.length for factor in dimension])


class Field(NamedTuple):
    """The dimensions of a tensor, None where positions were mixed, and what is asked of them (:func:`field_of`).

    Most operators leave a field as it is, and hand on the very same object.
    """

    dimensions: Dimensions | None
    shape: tuple[int, ...] = ()
    # The axes that windows went over; None where there are none, or where one is not followed.
    axes: tuple[Axis, ...] | None = None
    # Whether it is what comes of it when it is broadcast to its own shape: each dimension is a plain one or followed.
    settled: bool = False


LOST = Field(None)


def field_of(dimensions: Dimensions | None) -> Field:
    """The field of these dimensions."""
    if dimensions is None:
        return LOST
    axes: list[Axis | None] = []
    settled = True
    for dimension in dimensions:
        followed = windowed = False
        for _, axis, spatial in dimension:
            followed = followed or axis is not None
            if spatial:
                windowed = True
                axes.append(axis)
        if not followed and (windowed or len(dimension) > 1):
            settled = False
    found = tuple([axis for axis in axes if axis is not None])
    return Field(dimensions, tuple(map(length_of, dimensions)), found if 0 < len(found) == len(axes) else None, settled)


def merged(given: Iterable[Dimensions], shape: tuple[int, ...]) -> Dimensions | None:
    """Broadcast to a shape and united. A dimension of size 1 that is repeated brings nothing."""
    result: list[Dimension] = [plain(n) for n in shape]
    for dimensions in given:
        for i, dimension in enumerate(dimensions, start=len(shape) - len(dimensions)):
            if i < 0 or length_of(dimension) != shape[i]:
                if i >= 0 and length_of(dimension) != 1 and is_spatial(dimension):
                    return None
                continue
            united = _united(result[i], dimension)
            if united is None:
                return None
            result[i] = united
    return tuple(result)


def _united(one: Dimension, other: Dimension) -> Dimension | None:
    """Two dimensions of one length as one; None where they are followed apart."""
    if one == other or not is_followed(other):
        return one
    if not is_followed(one):
        return other
    if len(one) != len(other) or any(a.length != b.length for a, b in zip(one, other, strict=True)):
        return None
    factors: list[Factor] = []
    for a, b in zip(one, other, strict=True):
        axis = windows.union(a.axis, b.axis) if a.axis and b.axis else a.axis or b.axis
        spatial = a.spatial or b.spatial
        if axis is None and spatial and (a.axis or b.axis):
            return None
        factors.append(Factor(a.length, axis, spatial))
    return tuple(factors)
