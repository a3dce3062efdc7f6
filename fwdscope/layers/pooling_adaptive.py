"""Pooling to a size that is given: adaptive and fractional; and the inverse of max pooling."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from .base import (
    Count,
    LayerError,
    Pad1,
    Pad2,
    Pad3,
    Probability,
    Size1,
    Size2,
    Size3,
    by,
    dtype_text,
    output_size_of,
    shape_text,
)
from .pooling import Pads, Pool, Sizes


class _AdaptivePool(Pool, abstract=True):
    def check(self, *inputs: Any) -> None:
        """Refuse empty inputs."""
        super().check(*inputs)
        self.spatial(inputs[0])

    def details(self) -> Iterable[str]:
        """``→ 7×7``: the output's size."""
        sizes = self.each(getattr(self, "output_size", None))
        yield "→ " + by(["same" if size is None else size for size in sizes])


class AdaptiveMaxPool1d(_AdaptivePool):
    """The largest value in each of output_size parts of a sequence, whatever its length.

    Part t runs from ⌊t · L / output_size⌋ to ⌈(t + 1) · L / output_size⌉.
    input → output:  (N, C, L) → (N, C, output_size). No parameters.
    """

    dimensions: ClassVar[int] = 1

    output_size: Size1
    return_indices: bool = False


class AdaptiveMaxPool2d(_AdaptivePool):
    """The largest value in each cell of a grid of output_size laid over the image, whatever its size.

    input → output:  (N, C, H, W) → (N, C, *output_size); None keeps a dimension's size. No parameters.
    """

    dimensions: ClassVar[int] = 2

    output_size: Count | tuple[Count | None, Count | None]
    return_indices: bool = False


class AdaptiveMaxPool3d(_AdaptivePool):
    """The largest value in each cell of a grid of output_size laid over the volume, whatever its size.

    input → output:  (N, C, D, H, W) → (N, C, *output_size); None keeps a dimension's size. No parameters.
    """

    dimensions: ClassVar[int] = 3

    output_size: Count | tuple[Count | None, Count | None, Count | None]
    return_indices: bool = False


class AdaptiveAvgPool1d(_AdaptivePool):
    """The mean of each of output_size parts of a sequence, whatever its length.

    Part t runs from ⌊t · L / output_size⌋ to ⌈(t + 1) · L / output_size⌉.
    input → output:  (N, C, L) → (N, C, output_size). No parameters.
    """

    dimensions: ClassVar[int] = 1

    output_size: Size1


class AdaptiveAvgPool2d(_AdaptivePool):
    """The mean of each cell of a grid of output_size laid over the image, whatever its size.

    Cell i runs from ⌊i · H / output_size⌋ to ⌈(i + 1) · H / output_size⌉, so that neighbours may share a row.
    AdaptiveAvgPool2d(1) is global average pooling (Lin et al. 2014), which lets a classifier take any image size.

    input → output:  (N, C, H, W) → (N, C, *output_size); None keeps a dimension's size. No parameters.
    """

    dimensions: ClassVar[int] = 2

    output_size: Count | tuple[Count | None, Count | None]


class AdaptiveAvgPool3d(_AdaptivePool):
    """The mean of each cell of a grid of output_size laid over the volume, whatever its size.

    input → output:  (N, C, D, H, W) → (N, C, *output_size); None keeps a dimension's size. No parameters.
    """

    dimensions: ClassVar[int] = 3

    output_size: Count | tuple[Count | None, Count | None, Count | None]


class _FractionalMaxPool(Pool, abstract=True):
    kernel_size: Sizes
    output_size: Sizes | None = None
    output_ratio: Any = None
    return_indices: bool = False

    def check(self, *inputs: Any) -> None:
        """Refuse both or none of output_size and output_ratio, and windows that reach over the end."""
        super().check(*inputs)
        name = type(self).__name__
        if (self.output_size is None) == (self.output_ratio is None):
            both = "neither" if self.output_size is None else "both"
            raise LayerError(
                f"{name} takes one of output_size and output_ratio, found {both}", f"write {name}(2, output_ratio=0.7)"
            )
        if self.output_ratio is not None and not all(0 < ratio < 1 for ratio in self.each(self.output_ratio)):
            raise LayerError(f"output_ratio ({by(self.output_ratio)}) must lie between 0 and 1, both excluded")
        sizes = self.spatial(inputs[0])
        for size, made, kernel in zip(sizes, self._made(sizes), self.each(self.kernel_size), strict=True):
            # fractional_max_pool3d alone wants one value more than its windows cover.
            if made < 1 or made + kernel - 1 + (self.dimensions == 3) > size:
                raise LayerError(
                    f"{made} windows of kernel {kernel} do not fit into a size of {size}",
                    "write a smaller output_size or kernel_size",
                )

    def details(self) -> Iterable[str]:
        """Kernel and what comes out."""
        yield by(self.each(self.kernel_size))
        yield f"→ {by(self.each(self.output_size))}" if self.output_size is not None else f"×{by(self.output_ratio)}"

    def _made(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if self.output_size is not None:
            return self.each(self.output_size)
        return tuple(int(size * ratio) for size, ratio in zip(sizes, self.each(self.output_ratio), strict=True))


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest value in windows at random steps, so that sizes shrink by a fraction: by 0.7, say, not by half.

    The windows are drawn anew in every forward pass; their number is output_size, or ⌊size · output_ratio⌋.
    input → output:  (N, C, H, W) → (N, C, *output_size). No parameters. Graham 2014.
    """

    dimensions: ClassVar[int] = 2

    kernel_size: Size2
    output_size: Size2 | None = None
    output_ratio: Probability | tuple[Probability, Probability] | None = None


class FractionalMaxPool3d(_FractionalMaxPool):
    """The largest value in boxes at random steps, so that sizes shrink by a fraction.

    As FractionalMaxPool2d with one more dimension: (N, C, D, H, W) → (N, C, *output_size). No parameters.
    """

    dimensions: ClassVar[int] = 3

    kernel_size: Size3
    output_size: Size3 | None = None
    output_ratio: Probability | tuple[Probability, Probability, Probability] | None = None


class _MaxUnpool(Pool, abstract=True):
    forward: ClassVar[str] = "(input, indices, output_size=None)"
    whole: ClassVar[tuple[str, ...]] = ("indices",)

    kernel_size: Sizes
    stride: Sizes | None = None
    padding: Pads = 0

    def check(self, *inputs: Any) -> None:
        """Refuse indices that are not those of the input, and output sizes out of reach."""
        super().check(*inputs)
        x, indices = inputs[:2]
        sizes = self.spatial(x)
        name = type(self).__name__
        if dtype_text(indices) != "int64":
            raise LayerError(
                f"{name} takes indices of int64, found {dtype_text(indices)}",
                f"take them from MaxPool{self.dimensions}d(…, return_indices=True)",
            )
        if indices.shape != x.shape:
            raise LayerError(
                f"{name} takes an index for each value, found indices {shape_text(indices.shape)} "
                f"for an input {shape_text(x.shape)}"
            )
        made = self._made(sizes)
        if len(inputs) > 2 and inputs[2] is not None:
            made = self._wanted(made, output_size_of(self, inputs[2]))
        if min(made) < 1:
            raise LayerError(f"an input of {by(sizes)} gives an output of {by(made)}", "write a smaller padding")

    def _made(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        columns = zip(*map(self.each, (self.kernel_size, self.stride or self.kernel_size, self.padding)), strict=True)
        return tuple((size - 1) * s - 2 * p + k for size, (k, s, p) in zip(sizes, columns, strict=True))

    def _wanted(self, made: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
        """The output_size given, which torch lets differ from the computed one by less than the stride."""
        wanted = wanted[2:] if len(wanted) == self.dimensions + 2 else wanted
        strides = self.each(self.stride or self.kernel_size)
        least = [size - stride + 1 for size, stride in zip(made, strides, strict=True)]
        most = [size + stride - 1 for size, stride in zip(made, strides, strict=True)]
        if len(wanted) != self.dimensions or not all(
            low <= size <= high for low, size, high in zip(least, wanted, most, strict=True)
        ):
            raise LayerError(
                f"output_size {by(wanted)} is out of reach", f"it may be from {by(least)} to {by(most)} for this input"
            )
        return wanted

    def details(self) -> Iterable[str]:
        """Kernel and stride."""
        return self.window(self.kernel_size, self.stride)


class MaxUnpool1d(_MaxUnpool):
    """Puts each value back where MaxPool1d found it, and zeros everywhere else.

    inputs:  (N, C, L) and the indices of the same shape, from MaxPool1d(…, return_indices=True)
    output:  (N, C, L'),  L' = (L − 1) · stride − 2 · padding + kernel_size, or output_size. No parameters.
    """

    dimensions: ClassVar[int] = 1

    kernel_size: Size1
    stride: Size1 | None = None
    padding: Pad1 = 0


class MaxUnpool2d(_MaxUnpool):
    """Puts each value back where MaxPool2d found it, and zeros everywhere else, as in SegNet's decoder.

    inputs:  (N, C, H, W) and the indices of the same shape, from MaxPool2d(…, return_indices=True)
    output:  (N, C, H', W'),  H' = (H − 1) · stride − 2 · padding + kernel_size, or output_size. No parameters.
    """

    dimensions: ClassVar[int] = 2

    kernel_size: Size2
    stride: Size2 | None = None
    padding: Pad2 = 0


class MaxUnpool3d(_MaxUnpool):
    """Puts each value back where MaxPool3d found it, and zeros everywhere else.

    inputs:  (N, C, D, H, W) and the indices of the same shape, from MaxPool3d(…, return_indices=True)
    output:  (N, C, D', H', W'),  D' = (D − 1) · stride − 2 · padding + kernel_size, or output_size. No parameters.
    """

    dimensions: ClassVar[int] = 3

    kernel_size: Size3
    stride: Size3 | None = None
    padding: Pad3 = 0
