"""What layers share that slide windows over their input: convolutions, poolings, Unfold and Fold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fwdscope.errors import LayerError
from fwdscope.formula import SPATIAL, Shape, Size, Sizes, count_windows, kept_size, set_size, shape_of

from .base import Layer, expand, matches, times_text, value_text


class Windowed(Layer, abstract=True):
    """A layer with windows over the last ``dimensions`` dimensions."""

    def each(self, value: Any) -> tuple[Any, ...]:
        """A setting for each spatial dimension."""
        return expand(value, self.dimensions)

    def spatial(self, x: Any) -> tuple[int, ...]:
        """The spatial sizes of an input. Raises LayerError if there are others, or none in one."""
        self.check_spatial(x)
        self.check_not_empty(x)
        return tuple(int(size) for size in x.shape[-self.dimensions :])

    def along(self, shape: Sequence[int], *settings: Any) -> Iterator[tuple[Any, ...]]:
        """The name and size of each spatial dimension, and the settings there."""
        d = self.dimensions
        return zip(SPATIAL[d], shape[-d:], *map(self.each, settings), strict=True)

    def windows(self, shape: Sequence[int]) -> list[Size]:
        """The number of windows along each spatial dimension, by the settings of the layer."""
        own = vars(self)
        kernel, padding = own["kernel_size"], own.get("padding", 0)
        stride, padding = own["stride"] or kernel, 0 if padding == "valid" else padding
        at = self.along(shape, kernel, stride, padding, own.get("dilation", 1))
        return [count_windows(*column, ceil_mode=own.get("ceil_mode", False)) for column in at]

    def front_sizes(self, shape: Shape, channels: Size | None = None) -> Sizes:
        """The sizes before the spatial ones: batch, if any, and channels, the input's unless others are given."""
        batch = (kept_size("N", shape[0]),) if len(shape) == self.dimensions + 2 else ()
        return (*batch, channels or kept_size("C", shape[-self.dimensions - 1]))


def same_once(values: tuple[int, ...]) -> str:
    """``2`` for (2, 2), ``2×1`` for (2, 1)."""
    return times_text(values) if len(set(values)) > 1 else str(values[0])


def or_output_size(sizes: Sequence[Size], output: Shape) -> list[Size]:
    """The sizes, or those of the output if the call gives them as output_size."""
    wanted = output[-len(sizes) :]
    if shape_of(sizes) == wanted:
        return list(sizes)
    return [set_size(s.name, "output_size", n, "asked for by the call") for s, n in zip(sizes, wanted, strict=True)]


def check_output_size(layer: Windowed, value: Any, least: Shape, margin: Sequence[int], rank: int) -> Shape:
    """Return the output_size of a call, which may be the whole shape. Raises LayerError if it is out of reach."""
    if not isinstance(value, tuple | list) or not all(matches(int, size) for size in value):
        message = f"{type(layer).__name__} takes a tuple of sizes as output_size, found {value_text(value)}"
        raise LayerError(message, "write output_size=x.shape[2:], or (h, w) in numbers")
    wanted = tuple(value[-layer.dimensions :] if len(value) == rank else value)
    names = SPATIAL[layer.dimensions]
    if len(wanted) != len(names):
        raise LayerError(f"output_size has {len(wanted)} sizes, expected {len(names)}: ({', '.join(names)})")
    most = tuple(size + extra - 1 for size, extra in zip(least, margin, strict=True))
    if not all(low <= size <= high for low, size, high in zip(least, wanted, most, strict=True)):
        message = f"output_size {times_text(wanted)} is out of reach"
        raise LayerError(message, f"it may be from {times_text(least)} to {times_text(most)} for this input")
    if min(wanted) < 1:
        raise LayerError(f"output_size {times_text(wanted)} is empty", "write a smaller padding")
    return wanted
