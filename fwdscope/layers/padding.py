"""Padding: the input with a border around its last one, two or three dimensions; negative padding cuts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from .base import Layer, LayerError, by, check_dimensions, check_spatial, expand, shape_text

Around1 = int | tuple[int, int]
Around2 = int | tuple[int, int, int, int]
Around3 = int | tuple[int, int, int, int, int, int]


class _Pad(Layer, abstract=True):
    """``padding`` is one number, or (left, right, top, bottom, front, back) from the last dimension on."""

    also: ClassVar[tuple[str, ...]] = ("int", "uint8", "complex")
    dimensions: ClassVar[int]
    # The smallest output.
    least: ClassVar[int] = 1

    padding: int | tuple[int, ...]

    def check(self, *inputs: Any) -> None:
        """Refuse padding that leaves nothing or takes more values than there are."""
        super().check(*inputs)
        x = inputs[0]
        self.check_shape(x)
        sizes = tuple(int(size) for size in reversed(x.shape[-self.dimensions :]))
        around = expand(self.padding, 2 * self.dimensions)
        name = type(self).__name__
        for size, before, behind in zip(sizes, around[::2], around[1::2], strict=True):
            limit = self.limit(size, before, behind)
            if limit is not None and max(before, behind) > max(limit, 0):
                raise LayerError(
                    f"{name} takes {max(before, behind)} values from an input of size {size}",
                    f"the padding may be at most {max(limit, 0)} here",
                )
            rest = self.rest(size, before, behind)
            if rest < self.least:
                raise LayerError(f"{name} cuts a size of {size} to {rest}", "cut less than there is")

    def limit(self, size: int, before: int, behind: int) -> int | None:
        """The largest padding of a dimension; None where there is no limit."""
        return None

    def rest(self, size: int, before: int, behind: int) -> int:
        """The size that comes out."""
        return size + before + behind

    def check_shape(self, x: Any) -> None:
        """Refuse other numbers of dimensions than batched and unbatched, and empty inputs."""
        check_spatial(self, x, self.dimensions)
        if 0 in x.shape[-self.dimensions - 1 :]:
            raise LayerError(f"{type(self).__name__} needs an input that is not empty, found {shape_text(x.shape)}")

    def details(self) -> Iterable[str]:
        """The padding: ``1`` or ``1,1,2,2``."""
        yield by(self.padding).replace("×", ",")


class _ConstantPad(_Pad, abstract=True):
    """Padding with one value takes any number of dimensions and any dtype."""

    floating: ClassVar[bool] = False
    least: ClassVar[int] = 0

    def check_shape(self, x: Any) -> None:
        """Refuse fewer dimensions than are padded."""
        check_dimensions(self, x, f"(…, {', '.join(('D', 'H', 'W')[-self.dimensions :])})")

    def rest(self, size: int, before: int, behind: int) -> int:
        """What is left by the cuts, which come first, and then the size that comes out."""
        return min(size + min(before, 0) + min(behind, 0), size + before + behind)


class ConstantPad1d(_ConstantPad):
    """A sequence with ``value`` before and behind it.

    input → output:  (…, L) → (…, left + L + right); padding is one number or (left, right). No parameters.
    """

    dimensions: ClassVar[int] = 1

    padding: Around1
    value: float


class ConstantPad2d(_ConstantPad):
    """An image with a border of ``value``.

    input → output:  (…, H, W) → (…, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom); negative padding cuts. No parameters.
    """

    dimensions: ClassVar[int] = 2

    padding: Around2
    value: float


class ConstantPad3d(_ConstantPad):
    """A volume with ``value`` around it.

    input → output:  (…, D, H, W) → (…, front + D + back, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom, front, back). No parameters.
    """

    dimensions: ClassVar[int] = 3

    padding: Around3
    value: float


class ZeroPad1d(_ConstantPad):
    """A sequence with zeros before and behind it.

    input → output:  (…, L) → (…, left + L + right); padding is one number or (left, right). No parameters.
    """

    dimensions: ClassVar[int] = 1

    padding: Around1


class ZeroPad2d(_ConstantPad):
    """An image with a border of zeros.

    input → output:  (…, H, W) → (…, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom); negative padding cuts. No parameters.
    """

    dimensions: ClassVar[int] = 2

    padding: Around2


class ZeroPad3d(_ConstantPad):
    """A volume with zeros around it.

    input → output:  (…, D, H, W) → (…, front + D + back, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom, front, back). No parameters.
    """

    dimensions: ClassVar[int] = 3

    padding: Around3


class _ReflectionPad(_Pad, abstract=True):
    def limit(self, size: int, before: int, behind: int) -> int | None:
        """All values but the one at the edge."""
        return size - 1


class ReflectionPad1d(_ReflectionPad):
    """A sequence continued by its mirror image, the end itself not repeated: c b | a b c | b a.

    input → output:  (N, C, L) → (N, C, left + L + right); padding must be smaller than L. No parameters.
    """

    dimensions: ClassVar[int] = 1

    padding: Around1


class ReflectionPad2d(_ReflectionPad):
    """An image continued by its mirror image on all sides, the edge itself not repeated.

    input → output:  (N, C, H, W) → (N, C, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom), each smaller than the input. No parameters.
    """

    dimensions: ClassVar[int] = 2

    padding: Around2


class ReflectionPad3d(_ReflectionPad):
    """A volume continued by its mirror image on all sides, the face itself not repeated.

    input → output:  (N, C, D, H, W) → (N, C, front + D + back, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom, front, back), each smaller than the input. No parameters.
    """

    dimensions: ClassVar[int] = 3

    padding: Around3


class ReplicationPad1d(_Pad):
    """A sequence continued by its first and last value: a a | a b c | c c.

    input → output:  (N, C, L) → (N, C, left + L + right). No parameters.
    """

    dimensions: ClassVar[int] = 1

    padding: Around1


class ReplicationPad2d(_Pad):
    """An image continued by the values at its edge.

    input → output:  (N, C, H, W) → (N, C, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom). No parameters.
    """

    dimensions: ClassVar[int] = 2

    padding: Around2


class ReplicationPad3d(_Pad):
    """A volume continued by the values at its faces.

    input → output:  (N, C, D, H, W) → (N, C, front + D + back, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom, front, back). No parameters.
    """

    dimensions: ClassVar[int] = 3

    padding: Around3


class _CircularPad(_Pad, abstract=True):
    floating: ClassVar[bool] = False

    def limit(self, size: int, before: int, behind: int) -> int | None:
        """All values that are left by the cuts: torch reads memory that nobody wrote, where it asks for more."""
        return size + min(before, 0) + min(behind, 0)


class CircularPad1d(_CircularPad):
    """A sequence continued by its other end, as if it were a ring: b c | a b c | a b.

    input → output:  (N, C, L) → (N, C, left + L + right); padding at most L. No parameters.
    """

    dimensions: ClassVar[int] = 1

    padding: Around1


class CircularPad2d(_CircularPad):
    """An image continued by its other side, as on a torus.

    input → output:  (N, C, H, W) → (N, C, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom), each at most the input's size. No parameters.
    """

    dimensions: ClassVar[int] = 2

    padding: Around2


class CircularPad3d(_CircularPad):
    """A volume continued by its other side, as on a torus.

    input → output:  (N, C, D, H, W) → (N, C, front + D + back, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom, front, back), each at most the input's size. No parameters.
    """

    dimensions: ClassVar[int] = 3

    padding: Around3
