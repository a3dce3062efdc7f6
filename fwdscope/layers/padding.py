"""Padding: the input with a border around its last one, two or three dimensions; negative padding cuts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from .base import Layer, LayerError, by, check_dimensions, check_spatial, expand

Around1 = int | tuple[int, int]
Around2 = int | tuple[int, int, int, int]
Around3 = int | tuple[int, int, int, int, int, int]


class _Pad(Layer, abstract=True):
    """``padding`` is one number, or (left, right, top, bottom, front, back) from the last dimension on."""

    also: ClassVar[tuple[str, ...]] = ("int", "uint8", "complex")
    dimensions: ClassVar[int]
    # The largest padding of a dimension, as its size plus this; None where there is no limit.
    reach: ClassVar[int | None] = None

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
            most = max(before, behind)
            if self.reach is not None and most > size + self.reach:
                raise LayerError(
                    f"{name}({most}) takes more values than an input of size {size} has",
                    f"the padding may be at most {max(size + self.reach, 0)} here",
                )
            self.check_rest(size, size + before + behind)

    def check_shape(self, x: Any) -> None:
        """Refuse other numbers of dimensions than batched and unbatched."""
        check_spatial(self, x, self.dimensions)

    def check_rest(self, size: int, rest: int) -> None:
        """Refuse an empty output."""
        if rest < 1:
            raise LayerError(f"{type(self).__name__} cuts a size of {size} to {rest}", "cut less than there is")

    def details(self) -> Iterable[str]:
        """The padding: ``1`` or ``1,1,2,2``."""
        yield by(self.padding).replace("×", ",")


class _ConstantPad(_Pad, abstract=True):
    """Padding with one value takes any number of dimensions and any dtype."""

    floating: ClassVar[bool] = False

    def check_shape(self, x: Any) -> None:
        """Refuse fewer dimensions than are padded."""
        check_dimensions(self, x, f"(…, {', '.join(('D', 'H', 'W')[-self.dimensions :])})")

    def check_rest(self, size: int, rest: int) -> None:
        """Refuse an output of negative size."""
        if rest < 0:
            raise LayerError(f"{type(self).__name__} cuts a size of {size} to {rest}", "cut less than there is")


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


class ReflectionPad1d(_Pad):
    """A sequence continued by its mirror image, the end itself not repeated: c b | a b c | b a.

    input → output:  (N, C, L) → (N, C, left + L + right); padding must be smaller than L. No parameters.
    """

    dimensions: ClassVar[int] = 1
    reach: ClassVar[int | None] = -1

    padding: Around1


class ReflectionPad2d(_Pad):
    """An image continued by its mirror image on all sides, the edge itself not repeated.

    input → output:  (N, C, H, W) → (N, C, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom), each smaller than the input. No parameters.
    """

    dimensions: ClassVar[int] = 2
    reach: ClassVar[int | None] = -1

    padding: Around2


class ReflectionPad3d(_Pad):
    """A volume continued by its mirror image on all sides, the face itself not repeated.

    input → output:  (N, C, D, H, W) → (N, C, front + D + back, top + H + bottom, left + W + right).
    padding is one number or (left, right, top, bottom, front, back), each smaller than the input. No parameters.
    """

    dimensions: ClassVar[int] = 3
    reach: ClassVar[int | None] = -1

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
    reach: ClassVar[int | None] = 0


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
