"""Padding: a border around the last one, two or three dimensions; negative padding crops."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from fwdscope.errors import LayerError
from fwdscope.formula import SPATIAL, Shape, Size, Sizes, kept_size, kept_sizes

from .base import Layer, expand, for_dimensions, times_text


class _Pad(Layer, abstract=True):
    """``padding`` is one number, or (left, right, top, bottom, front, back), from the last dimension on."""

    other_kinds = ("int", "uint8", "complex")
    items_per_dimension = 2

    padding: int | tuple[int, ...]

    def validate(self, *inputs: Any) -> None:
        x = inputs[0]
        self.check_spatial(x)
        self.check_not_empty(x)
        self.check_rest(x, 1)

    def check_rest(self, x: Any, least: int) -> None:
        """Reject padding that leaves less than so many values, or repeats more than the input has."""
        for size, (before, after) in zip(map(int, x.shape[-self.dimensions :]), self._around(), strict=True):
            limit = self.most(size, before, after)
            if max(before, after) > max(limit, 0):
                message = f"{type(self).__name__} takes {max(before, after)} values from an input of size {size}"
                raise LayerError(message, f"the padding may be at most {max(limit, 0)} here")
            rest = size + before + after
            if least == 0:  # torch cuts first, and adds to what is left
                rest = min(size + min(before, 0) + min(after, 0), rest)
            if rest < least:
                raise LayerError(
                    f"{type(self).__name__} cuts a size of {size} to {rest}", "use a smaller negative padding"
                )

    def most(self, size: int, before: int, after: int) -> float:
        """The largest padding of a dimension."""
        return math.inf

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        shape, d = inputs[0], self.dimensions
        at = zip(SPATIAL[d], shape[-d:], self._around(), strict=True)
        sizes = [
            Size(name, f"{name} + before + after", {name: size, "before": before, "after": after})
            for name, size, (before, after) in at
        ]
        front = shape[:-d]
        names = ("N", "C")[-len(front) :]
        return ((*(map(kept_size, names, front) if 0 < len(front) <= 2 else kept_sizes(front)), *sizes),)

    def details(self) -> Iterable[str]:
        """The padding: ``1`` or ``1,1,2,2``."""
        yield times_text(self.padding).replace("×", ",")

    def _around(self) -> list[tuple[int, int]]:
        pairs = expand(self.padding, 2 * self.dimensions)
        return list(zip(pairs[::2], pairs[1::2], strict=True))[::-1]


class _ConstantPad(_Pad, abstract=True):
    """Padding with one value; takes any number of dimensions and any dtype."""

    needs_floats = False

    def validate(self, *inputs: Any) -> None:
        self.check_dimensions(inputs[0], f"(…, {', '.join(('D', 'H', 'W')[-self.dimensions :])})")
        self.check_rest(inputs[0], 0)


@for_dimensions(1, 2, 3)
class ConstantPad(_ConstantPad, abstract=True):
    """Adds a border of ``value`` to {what}.

    input → output:  (…, {sizes}) → (…, {padded}).
    padding is one number or {sides}; negative padding crops. No parameters.
    """

    value: float


@for_dimensions(1, 2, 3)
class ZeroPad(_ConstantPad, abstract=True):
    """Adds a border of zeros to {what}.

    input → output:  (…, {sizes}) → (…, {padded}).
    padding is one number or {sides}; negative padding crops. No parameters.
    """


@for_dimensions(1, 2, 3)
class ReflectionPad(_Pad, abstract=True):
    """Extends {what} by its mirror image on all sides, without repeating the edge: c b | a b c | b a.

    input → output:  (N, C, {sizes}) → (N, C, {padded}).
    padding is one number or {sides}, each smaller than the input. No parameters.
    """

    def most(self, size: int, before: int, after: int) -> float:
        return size - 1


@for_dimensions(1, 2, 3)
class ReplicationPad(_Pad, abstract=True):
    """Extends {what} by the values at its edge: a a | a b c | c c.

    input → output:  (N, C, {sizes}) → (N, C, {padded}).
    padding is one number or {sides}. No parameters.
    """


@for_dimensions(1, 2, 3)
class CircularPad(_Pad, abstract=True):
    """Extends {what} by its opposite side, as if it were a ring: b c | a b c | a b.

    input → output:  (N, C, {sizes}) → (N, C, {padded}).
    padding is one number or {sides}, each at most the input's size. No parameters.
    """

    needs_floats = False

    def most(self, size: int, before: int, after: int) -> float:
        return size + min(before, 0) + min(after, 0)  # beyond what the cuts leave, torch reads uninitialised memory
