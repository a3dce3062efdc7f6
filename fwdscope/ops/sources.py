"""Where the size of each dimension of a result comes from, read off the operator's rule."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import NamedTuple

from .base import find, result_sizes
from .layout import Shape
from .op import Op
from .positions import Passage, Passing, Reading, Through


class SizeSource(NamedTuple):
    """A dimension of an operand, the windows that slide over it, and whether others are put behind it."""

    operand: int
    dim: int
    reading: Reading | None = None
    joined: bool = False


def sources(op: Op, result: int, dim: int) -> list[SizeSource]:
    """The dimensions that decide the size of a dimension of a result; none if the call itself sets it."""
    shape, operands = op.outputs[result].shape, [x.shape for x in op.operands]
    if not operands:
        return []
    found = find(op.name)
    window = found.window if found is not None else None
    if window is Passing.SAME and operands[0] == shape:
        return [SizeSource(0, dim)]
    if window is Passing.BROADCAST:
        return _broadcast(operands, shape, dim)
    if window is Passing.RESHAPED:
        return [SizeSource(0, d) for d in _merged(operands[0], shape, dim)]
    if callable(window):
        passed = [source for i in range(len(operands)) for source in _passed(window(op, i), i, result, shape, dim)]
        joined = [source for source in passed if source.joined]
        if passed:
            return joined or passed[:1]
    return _by_size(op, operands, result, dim)


def _broadcast(operands: Sequence[Shape], shape: Shape, dim: int) -> list[SizeSource]:
    """The operands that have the size; if several do, the first is as good as the others."""
    aligned = [(i, dim - len(shape) + len(x)) for i, x in enumerate(operands)]
    return [SizeSource(i, d) for i, d in aligned if d >= 0 and operands[i][d] == shape[dim]][:1]


def _merged(before: Shape, after: Shape, dim: int) -> list[int]:
    """The dimensions that a reshape merges, splits or keeps to make one: those between equal products."""
    if 0 in before or 0 in after:
        return []
    left, right = ([1, *accumulate(shape, mul)] for shape in (before, after))
    low, high = right[dim], right[dim + 1]
    if low == high:
        return []
    common = set(left) & set(right)
    low = max(n for n in common if n <= low)
    high = min(n for n in common if n >= high)
    return [d for d, size in enumerate(before) if size > 1 and low <= left[d] < high]


def _passed(
    passage: Passage | list[Passage] | None, operand: int, result: int, shape: Shape, dim: int
) -> list[SizeSource]:
    if isinstance(passage, list):
        passage = passage[result]
    if passage is None or len(passage.dims) != len(shape):
        return []
    source = passage.dims[dim]
    if isinstance(source, Through):
        return [SizeSource(operand, source.dim, source.reading)]
    if source is None:
        return [SizeSource(operand, d, joined=True) for d in passage.mixed if passage.joins]
    return [SizeSource(operand, source)]


def _by_size(op: Op, operands: Sequence[Shape], result: int, dim: int) -> list[SizeSource]:
    """The dimension that a formula names, or one of the same size at the same place or alone."""
    stated = result_sizes(op)[result]
    if stated is None or not stated[dim].is_kept:
        return []
    size = stated[dim].value
    number = re.fullmatch(r"size_(\d+)", stated[dim].name)
    places = [int(number[1])] if number else [dim, dim - len(op.outputs[result].shape)]
    for i, shape in enumerate(operands):
        rank = len(shape)
        same = [d % rank for d in places if -rank <= d < rank and shape[d] == size]
        alone = [d for d in range(rank) if shape[d] == size] if shape.count(size) == 1 else []
        if same or alone:
            return [SizeSource(i, (same or alone)[0])]
    return []
