"""Padding: a border around the last one, two or three dimensions; negative padding crops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from fwdscope.errors import LayerError
from fwdscope.formula import SPATIAL, Shape, Size, Sizes, kept_size, kept_sizes

from .base import Layer, expand, times_text


class _Pad(Layer, abstract=True):
    """``padding`` is one number, or (left, right, top, bottom, front, back), from the last dimension on."""

    other_kinds = ("int", "uint8", "complex")
    items_per_dimension = 2
    min_output: ClassVar[int] = 1

    padding: int | tuple[int, ...]

    def validate(self, *inputs: Any) -> None:
        x = inputs[0]
        self.check_shape(x)
        sizes, name = tuple(int(size) for size in x.shape[-self.dimensions :]), type(self).__name__
        for size, (before, after) in zip(sizes, self._around(), strict=True):
            limit = self.max_padding(size, before, after)
            if limit is not None and max(before, after) > max(limit, 0):
                raise LayerError(
                    f"{name} takes {max(before, after)} values from an input of size {size}",
                    f"the padding may be at most {max(limit, 0)} here",
                )
            rest = self.rest(size, before, after)
            if rest < self.min_output:
                raise LayerError(f"{name} cuts a size of {size} to {rest}", "use a smaller negative padding")

    def max_padding(self, size: int, before: int, after: int) -> int | None:
        """The largest padding of a dimension; None if there is no limit."""
        return None

    def rest(self, size: int, before: int, after: int) -> int:
        """The size of the output."""
        return size + before + after

    def check_shape(self, x: Any) -> None:
        self.check_spatial(x)
        self.check_not_empty(x)

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
        """The padding before and after each dimension."""
        pairs = expand(self.padding, 2 * self.dimensions)
        return list(zip(pairs[::2], pairs[1::2], strict=True))[::-1]


class _ConstantPad(_Pad, abstract=True):
    """Padding with one value; takes any number of dimensions and any dtype."""

    needs_floats = False
    min_output = 0

    def check_shape(self, x: Any) -> None:
        self.check_dimensions(x, f"(…, {', '.join(('D', 'H', 'W')[-self.dimensions :])})")

    def rest(self, size: int, before: int, after: int) -> int:
        """The smaller of the size after the cuts, which come first, and that of the output."""
        return min(size + min(before, 0) + min(after, 0), size + before + after)


class ConstantPad1d(_ConstantPad, dimensions=1):
    """Adds ``value`` before and after a sequence.

    input → output:  (…, L) → (…, left + L + right); padding is one number or (left, right). No parameters.
    """

    value: float


class ConstantPad2d(_ConstantPad, dimensions=2):
    """Adds a border of ``value`` to an image.

    input → output:  (…, H, W) → (…, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom); negative padding crops. No parameters.
    """

    value: float


class ConstantPad3d(_ConstantPad, dimensions=3):
    """Adds a border of ``value`` to a volume.

    input → output:  (…, D, H, W) → (…, front + D + back, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom, front, back). No parameters.
    """

    value: float


class ZeroPad1d(_ConstantPad, dimensions=1):
    """Adds zeros before and after a sequence.

    input → output:  (…, L) → (…, left + L + right); padding is one number or (left, right). No parameters.
    """


class ZeroPad2d(_ConstantPad, dimensions=2):
    """Adds a border of zeros to an image.

    input → output:  (…, H, W) → (…, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom); negative padding crops. No parameters.
    """


class ZeroPad3d(_ConstantPad, dimensions=3):
    """Adds a border of zeros to a volume.

    input → output:  (…, D, H, W) → (…, front + D + back, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom, front, back). No parameters.
    """


class _ReflectionPad(_Pad, abstract=True):
    def max_padding(self, size: int, before: int, after: int) -> int | None:
        """All values but the one at the edge."""
        return size - 1


class ReflectionPad1d(_ReflectionPad, dimensions=1):
    """Extends a sequence by its mirror image, without repeating the edge: c b | a b c | b a.

    input → output:  (N, C, L) → (N, C, left + L + right); padding must be smaller than L. No parameters.
    """


class ReflectionPad2d(_ReflectionPad, dimensions=2):
    """Extends an image by its mirror image on all sides, without repeating the edge.

    input → output:  (N, C, H, W) → (N, C, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom), each smaller than the input. No parameters.
    """


class ReflectionPad3d(_ReflectionPad, dimensions=3):
    """Extends a volume by its mirror image on all sides, without repeating the face.

    input → output:  (N, C, D, H, W) → (N, C, front + D + back, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom, front, back), each smaller than the input. No parameters.
    """


class ReplicationPad1d(_Pad, dimensions=1):
    """Extends a sequence by its first and last value: a a | a b c | c c.

    input → output:  (N, C, L) → (N, C, left + L + right). No parameters.
    """


class ReplicationPad2d(_Pad, dimensions=2):
    """Extends an image by the values at its edge.

    input → output:  (N, C, H, W) → (N, C, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom). No parameters.
    """


class ReplicationPad3d(_Pad, dimensions=3):
    """Extends a volume by the values at its faces.

    input → output:  (N, C, D, H, W) → (N, C, front + D + back, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom, front, back). No parameters.
    """


class _CircularPad(_Pad, abstract=True):
    needs_floats = False

    def max_padding(self, size: int, before: int, after: int) -> int | None:
        """All values that the cuts leave: beyond them torch reads uninitialised memory."""
        return size + min(before, 0) + min(after, 0)


class CircularPad1d(_CircularPad, dimensions=1):
    """Extends a sequence by its other end, as if it were a ring: b c | a b c | a b.

    input → output:  (N, C, L) → (N, C, left + L + right); padding at most L. No parameters.
    """


class CircularPad2d(_CircularPad, dimensions=2):
    """Extends an image by its opposite side, as on a torus.

    input → output:  (N, C, H, W) → (N, C, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom), each at most the input's size. No parameters.
    """


class CircularPad3d(_CircularPad, dimensions=3):
    """Extends a volume by its opposite side, as on a torus.

    input → output:  (N, C, D, H, W) → (N, C, front + D + back, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom, front, back), each at most the input's size. No parameters.
    """
