"""Shapes and strides as torch makes them: contiguous, broadcast, and those of an element-wise result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias

Shape: TypeAlias = tuple[int, ...]
Stride: TypeAlias = tuple[int, ...]


def contiguous(shape: Shape) -> Stride:
    """Strides of a row-major tensor; a dimension of size 0 counts as 1, as in torch."""
    stride, step = [1], 1
    for size in shape[:0:-1]:
        step *= size or 1
        stride.append(step)
    stride.reverse()
    return tuple(stride) if shape else ()


def distinct(shape: Shape, stride: Stride) -> int:
    """How many elements of memory a strided tensor covers: repeated ones once, overlapping windows once."""
    if 0 in shape:
        return 0
    count = span = 1
    for size, step in zip(shape, stride):  # noqa: B905  # alike by construction; to check takes a third of the time
        if step:
            count *= size
            span += (size - 1) * step
    return count if count < span else span


def broadcast(shapes: Iterable[Shape]) -> Shape | None:
    """The shape to which shapes broadcast, or None where they do not."""
    result: Shape = ()
    for shape in shapes:
        if shape == result:
            continue
        longer, shorter = (result, shape) if len(result) >= len(shape) else (shape, result)
        sizes = list(longer)
        for i, size in enumerate(shorter, len(longer) - len(shorter)):
            if sizes[i] == 1:
                sizes[i] = size
            elif size not in (1, sizes[i]):
                return None
        result = tuple(sizes)
    return result


def expand(shape: Shape, stride: Stride, target: Shape) -> Stride:
    """The strides of a tensor expanded to a shape to which it broadcasts."""
    if shape == target:
        return stride
    result = [0] * len(target)
    for i in reversed(range(len(target))):
        own = i - (len(target) - len(shape))
        size = shape[own] if own >= 0 else 1
        if size == target[i]:
            follows = target[i + 1] * result[i + 1] if i + 1 < len(target) else 1
            result[i] = stride[own] if own >= 0 else follows
    return tuple(result)


def is_contiguous(shape: Shape, stride: Stride) -> bool:
    """Row-major; the strides of dimensions of size 1 do not matter."""
    return _in_order(shape, stride, range(len(shape)))


def is_channels_last(shape: Shape, stride: Stride) -> bool:
    """Four-dimensional with the channels innermost."""
    return len(shape) == 4 and _in_order(shape, stride, (0, 2, 3, 1))


def looks_channels_last(shape: Shape, stride: Stride) -> bool:
    """What torch takes for channels last from the strides, also of a view with gaps (c10/core/MemoryFormat.h)."""
    order = {4: (1, 3, 2, 0), 5: (1, 4, 3, 2, 0)}.get(len(shape), ())
    if not order or stride[1] == 0 or 0 in shape:
        return False
    least = 0
    for i in order:
        if stride[i] < least or (i == 0 and least == stride[1]):
            return False
        least = stride[i] * max(shape[i], 1)
    return True


def _in_order(shape: Shape, stride: Stride, order: Sequence[int]) -> bool:
    if 0 in shape:
        return True
    step = 1
    for i in reversed(order):
        if shape[i] != 1:
            if stride[i] != step:
                return False
            step *= shape[i]
    return True


def is_gapless(shape: Shape, stride: Stride) -> bool:
    """Every element of a gapless piece of memory exactly once, in whatever order of dimensions."""
    if is_contiguous(shape, stride):
        return True
    step = 1
    for own, size in sorted((stride[i], size) for i, size in enumerate(shape) if size != 1):
        if own != step:
            return False
        step *= size
    return True


def elementwise(shape: Shape, operands: tuple[tuple[Shape, Stride], ...]) -> Stride:
    """The strides of an element-wise result: the order of dimensions in memory is that of the operands.

    After TensorIterator (aten/src/ATen/TensorIterator.cpp) and ``compute_elementwise_output_strides``
    (torch/_prims_common), which agree but for the strides of dimensions of size 1; these are TensorIterator's.
    """
    rows = contiguous(shape)
    return rows if _all_in_rows(shape, operands, rows) else _elementwise(shape, operands)


def _all_in_rows(shape: Shape, operands: Iterable[tuple[Shape, Stride]], rows: Stride) -> bool:
    """Whether all are contiguous, and no other order of dimensions can come of it: nearly always so.

    Strides of a contiguous tensor fall from dimension to dimension, but for those of size 1, and one that is repeated
    has no say. So where one is repeated, the result must have none of size 1 behind its first.
    """
    falling = 0 not in shape and 1 not in shape[1:]
    for own, stride in operands:
        if own == shape:
            if stride != rows:
                return False
        elif not falling or stride != contiguous(own):
            return False
    return True


@lru_cache(maxsize=65536)
def _elementwise(shape: Shape, operands: tuple[tuple[Shape, Stride], ...]) -> Stride:
    strides = [expand(own, stride, shape) for own, stride in operands]
    if all(is_contiguous(shape, s) for s in strides):
        return contiguous(shape)
    if all(is_channels_last(shape, s) for s in strides):
        return permuted(shape, (0, 2, 3, 1))
    if len(set(strides)) == 1 and is_gapless(shape, strides[0]):
        return strides[0]
    return permuted(shape, _memory_order(shape, strides))


def permuted(shape: Shape, order: Sequence[int]) -> Stride:
    """Strides of a gapless tensor whose dimensions lie in memory in this order, the outermost first."""
    stride, step = [0] * len(shape), 1
    for i in reversed(order):
        stride[i] = step
        step *= max(shape[i], 1)
    return tuple(stride)


def _memory_order(shape: Shape, strides: Sequence[Stride]) -> Sequence[int]:
    """The dimensions from the outermost in memory to the innermost."""
    order = list(reversed(range(len(shape))))
    # Insertion sort, since the comparison is no total order: where it is silent, the order stays.
    for i in range(1, len(shape)):
        at = i
        for before in reversed(range(i)):
            verdict = _compare(shape, strides, order[before], order[at])
            if verdict > 0:
                order[before], order[at] = order[at], order[before]
                at = before
            elif verdict < 0:
                break
    return order[::-1]


def _compare(shape: Shape, strides: Sequence[Stride], a: int, b: int) -> int:
    for stride in strides:
        if stride[a] == 0 or stride[b] == 0:
            continue
        if stride[a] == stride[b]:
            if not _not_below(shape[b], shape[a]):
                return 1
            continue
        if _not_below(stride[b], stride[a]):
            return -1
        if _not_below(stride[a], stride[b]):
            return 1
    return 0


def _not_below(a: int, b: int) -> bool:
    return b == 0 or (a != 0 and (a >= b or a % b == 0))
