"""Layers that move values without computing new ones: flatten, fold, shuffle; and upsampling."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from .base import (
    Count,
    Layer,
    LayerError,
    NonNegative,
    Pad2,
    Size2,
    by,
    check_dimension,
    check_dimensions,
    check_divisible,
    expand,
    shape_text,
)


class Flatten(Layer):
    """Several dimensions laid into one, from start_dim to end_dim.

    input → output:  (N, C, H, W) → (N, C · H · W), and so on. No parameters; nothing is computed.
    """

    floating: ClassVar[bool] = False

    start_dim: int = 1
    end_dim: int = -1

    def check(self, *inputs: Any) -> None:
        """Refuse dimensions that the input does not have."""
        super().check(*inputs)
        first = check_dimension(self, inputs[0], "start_dim", self.start_dim)
        last = check_dimension(self, inputs[0], "end_dim", self.end_dim)
        if first > last:
            raise LayerError(f"start_dim ({self.start_dim}) comes after end_dim ({self.end_dim})")

    def details(self) -> Iterable[str]:
        """The dimensions where they are not all but the first."""
        if (self.start_dim, self.end_dim) != (1, -1):
            yield f"{self.start_dim}…{self.end_dim}"


class Unflatten(Layer):
    """One dimension cut into several: dim becomes unflattened_size, of which one may be −1 for the rest.

    input → output:  (N, 12) → (N, 3, 4) for Unflatten(1, (3, 4)). No parameters; nothing is computed.
    """

    floating: ClassVar[bool] = False

    dim: int
    unflattened_size: tuple[int, ...]

    def check(self, *inputs: Any) -> None:
        """Refuse sizes whose product is not that of the dimension."""
        super().check(*inputs)
        check_dimensions(self, inputs[0], "(…, L)")
        size = int(inputs[0].shape[check_dimension(self, inputs[0], "dim", self.dim)])
        wanted = tuple(self.unflattened_size)
        known = math.prod(part for part in wanted if part != -1)
        unknown = wanted.count(-1)
        if not wanted or unknown > 1 or min(wanted) < -1:
            raise LayerError(f"unflattened_size {wanted} must be sizes, one of which may be -1")
        if (unknown and (not known or size % known)) or (not unknown and known != size):
            product = by(wanted).replace("-1", "_")
            raise LayerError(
                f"dimension {self.dim} has size {size}, which is not {product}" + ("" if unknown else f" = {known}")
            )

    def details(self) -> Iterable[str]:
        """The sizes."""
        yield f"dim {self.dim} → {by(self.unflattened_size)}"


def check_blocks(sizes: tuple[int, ...], kernel: Any, dilation: Any, padding: Any, stride: Any) -> tuple[int, ...]:
    """How many blocks slide over each dimension; at least one must."""
    columns = zip(sizes, *(expand(value, 2) for value in (kernel, dilation, padding, stride)), strict=True)
    blocks = tuple((size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, d, p, s in columns)
    if min(blocks) < 1:
        padded = [size + 2 * p for size, p in zip(sizes, expand(padding, 2), strict=True)]
        reach = [d * (k - 1) + 1 for k, d in zip(expand(kernel, 2), expand(dilation, 2), strict=True)]
        raise LayerError(f"kernel {by(reach)} is larger than the padded image {by(padded)}")
    return blocks


class Unfold(Layer):
    """All windows of an image laid out as columns, as a convolution sees them (im2col).

    input → output:  (N, C, H, W) → (N, C · k · k, L), L the number of windows:
                     L = Π (⌊(size + 2 · padding − dilation · (kernel_size − 1) − 1) / stride⌋ + 1)
    No parameters. Unfold, a matrix product and Fold make a convolution.
    """

    also: ClassVar[tuple[str, ...]] = ("bool", "complex")

    kernel_size: Size2
    dilation: Size2 = 1
    padding: Pad2 = 0
    stride: Size2 = 1

    def check(self, *inputs: Any) -> None:
        """Refuse windows that do not fit."""
        super().check(*inputs)
        x = inputs[0]
        check_dimensions(self, x, "(N, C, H, W)", "(C, H, W)")
        if 0 in x.shape[-3:]:
            raise LayerError(f"Unfold needs an input that is not empty, found {shape_text(x.shape)}")
        sizes = tuple(int(size) for size in x.shape[-2:])
        check_blocks(sizes, self.kernel_size, self.dilation, self.padding, self.stride)

    def details(self) -> Iterable[str]:
        """The kernel."""
        yield by(expand(self.kernel_size, 2))


class Fold(Layer):
    """Windows laid out as columns, added up to an image where they overlap: the transpose of Unfold (col2im).

    input → output:  (N, C · k · k, L) → (N, C, *output_size), L the number of windows of such an image:
                     L = Π (⌊(size + 2 · padding − dilation · (kernel_size − 1) − 1) / stride⌋ + 1)
    No parameters.
    """

    also: ClassVar[tuple[str, ...]] = ("bool", "complex")

    output_size: Size2
    kernel_size: Size2
    dilation: Size2 = 1
    padding: Pad2 = 0
    stride: Size2 = 1

    def check(self, *inputs: Any) -> None:
        """Refuse columns that do not make whole windows, or another number of them than the image has."""
        super().check(*inputs)
        x = inputs[0]
        check_dimensions(self, x, "(N, C·k·k, L)", "(C·k·k, L)")
        kernel = expand(self.kernel_size, 2)
        rows, columns = (int(size) for size in x.shape[-2:])
        if rows == 0 or rows % math.prod(kernel):
            raise LayerError(
                f"the rows of the input ({rows}) are not whole windows of {by(kernel)} = {math.prod(kernel)}"
            )
        sizes = expand(self.output_size, 2)
        blocks = check_blocks(sizes, self.kernel_size, self.dilation, self.padding, self.stride)
        if math.prod(blocks) != columns:
            raise LayerError(
                f"an image of {by(sizes)} has {by(blocks)} = {math.prod(blocks)} windows, found {columns} columns"
            )

    def details(self) -> Iterable[str]:
        """Kernel and output."""
        yield f"{by(expand(self.kernel_size, 2))} → {by(expand(self.output_size, 2))}"


class PixelShuffle(Layer):
    """Channels turned into pixels: a larger image out of r² times as many channels.

    input → output:  (…, C · r², H, W) → (…, C, H · r, W · r), r = upscale_factor. No parameters; nothing is computed.
    With a Conv2d before it, sub-pixel convolution (Shi et al. 2016).
    """

    floating: ClassVar[bool] = False
    told: ClassVar[Mapping[str, str]] = {"upscale_factor": "×{}"}

    upscale_factor: Count

    def check(self, *inputs: Any) -> None:
        """Refuse channels that do not make whole squares."""
        super().check(*inputs)
        check_dimensions(self, inputs[0], "(…, C, H, W)")
        channels, square = int(inputs[0].shape[-3]), self.upscale_factor**2
        if channels % square:
            below = channels - channels % square
            near = " or ".join(str(size) for size in (below, below + square) if size)
            raise LayerError(
                f"the input's channels ({channels}) are not divisible by upscale_factor² ({square})",
                f"{near} channels would fit",
            )


class PixelUnshuffle(Layer):
    """Pixels turned into channels: a smaller image with r² times as many channels, the inverse of PixelShuffle.

    input → output:  (…, C, H · r, W · r) → (…, C · r², H, W), r = downscale_factor. No parameters; nothing is computed.
    """

    floating: ClassVar[bool] = False
    told: ClassVar[Mapping[str, str]] = {"downscale_factor": "/{}"}

    downscale_factor: Count

    def check(self, *inputs: Any) -> None:
        """Refuse sizes that do not divide."""
        super().check(*inputs)
        check_dimensions(self, inputs[0], "(…, C, H, W)")
        for what, size in zip(("the height", "the width"), inputs[0].shape[-2:], strict=True):
            check_divisible(what, int(size), "downscale_factor", self.downscale_factor)


class ChannelShuffle(Layer):
    """Channels dealt out over groups, so that the next grouped convolution mixes them.

    (groups, C / groups) channels are transposed. input → output: (N, C, …), the same shape. No parameters.
    From ShuffleNet (Zhang et al. 2018).
    """

    floating: ClassVar[bool] = False
    told: ClassVar[Mapping[str, str]] = {"groups": "groups {}"}

    groups: Count

    def check(self, *inputs: Any) -> None:
        """Refuse channels that do not divide into the groups."""
        super().check(*inputs)
        check_dimensions(self, inputs[0], "(N, C, L, …)")
        check_divisible("the input's number of channels", int(inputs[0].shape[1]), "groups", self.groups)


class _Upsample(Layer, abstract=True):
    also: ClassVar[tuple[str, ...]] = ("uint8",)

    size: Any = None
    scale_factor: Any = None

    def check_target(self, x: Any) -> None:
        """Refuse both or none of size and scale_factor, and an empty output."""
        name, dimensions = type(self).__name__, x.dim() - 2
        if (self.size is None) == (self.scale_factor is None):
            both = "neither" if self.size is None else "both"
            raise LayerError(
                f"{name} takes one of size and scale_factor, found {both}", f"write {name}(scale_factor=2)"
            )
        wanted = self.size if self.size is not None else self.scale_factor
        if isinstance(wanted, tuple | list) and len(wanted) != dimensions:
            which = "size" if self.size is not None else "scale_factor"
            raise LayerError(
                f"{which} {tuple(wanted)} is for {len(wanted)} dimensions, the input has {dimensions}: "
                f"{shape_text(x.shape)}"
            )
        sizes = [int(size) for size in x.shape[2:]]
        made = expand(self.size, dimensions) if self.size is not None else self._scaled(sizes)
        if 0 in x.shape[1:] or min(made) < 1:
            raise LayerError(f"{name} of an input {by(sizes)} gives {by(made)}", "write a larger scale_factor")

    def details(self) -> Iterable[str]:
        """``×2``, or ``→ 7×7``."""
        if self.scale_factor is not None:
            factors = expand(self.scale_factor, 1)
            yield "×" + "×".join(f"{factor:g}" for factor in factors)
        elif self.size is not None:
            yield "→ " + by(self.size)

    def _scaled(self, sizes: list[int]) -> tuple[int, ...]:
        factors = expand(self.scale_factor, len(sizes))
        return tuple(math.floor(size * factor) for size, factor in zip(sizes, factors, strict=True))


UPSAMPLED = {
    "linear": ("(N, C, L)",),
    "bilinear": ("(N, C, H, W)",),
    "bicubic": ("(N, C, H, W)",),
    "trilinear": ("(N, C, D, H, W)",),
}


class Upsample(_Upsample):
    """A larger (or smaller) sequence, image or volume, between whose values is interpolated.

    mode='nearest' repeats values; 'linear', 'bilinear' and 'trilinear' draw straight lines between them, 'bicubic'
    curves. Give the new size, or the scale_factor. With align_corners=True the corner values keep their place.

    input → output:  (N, C, L), (N, C, H, W) or (N, C, D, H, W) → (N, C, *size), size = ⌊size · scale_factor⌋
    No parameters.
    """

    size: Count | tuple[Count, ...] | None = None
    scale_factor: NonNegative | tuple[NonNegative, ...] | None = None
    mode: Literal["nearest", "linear", "bilinear", "bicubic", "trilinear", "area", "nearest-exact"] = "nearest"
    align_corners: bool | None = None
    recompute_scale_factor: bool | None = None

    def check(self, *inputs: Any) -> None:
        """Refuse a mode for another number of dimensions, and settings that do not go together."""
        super().check(*inputs)
        x = inputs[0]
        check_dimensions(self, x, "(N, C, L)", "(N, C, H, W)", "(N, C, D, H, W)")
        if self.mode in UPSAMPLED and x.dim() != UPSAMPLED[self.mode][0].count(",") + 1:
            fitting = {3: "linear", 4: "bilinear", 5: "trilinear"}[x.dim()]
            raise LayerError(
                f"mode='{self.mode}' is for inputs {UPSAMPLED[self.mode][0]}, found {shape_text(x.shape)}",
                f"write mode='{fitting}' or mode='nearest'",
            )
        if self.align_corners is not None and self.mode not in UPSAMPLED:
            raise LayerError(f"align_corners does not go with mode='{self.mode}'", "leave align_corners out")
        if self.recompute_scale_factor and self.size is not None:
            raise LayerError("recompute_scale_factor does not go with size", "give scale_factor instead of size")
        self.check_target(x)

    def details(self) -> Iterable[str]:
        """Factor and mode."""
        yield from super().details()
        if self.mode != "nearest":
            yield self.mode


class UpsamplingNearest2d(_Upsample):
    """A larger image whose pixels repeat those of the input; Upsample(mode='nearest') for images.

    input → output:  (N, C, H, W) → (N, C, *size), size = ⌊size · scale_factor⌋. No parameters.
    """

    size: Size2 | None = None
    scale_factor: NonNegative | tuple[NonNegative, NonNegative] | None = None

    def check(self, *inputs: Any) -> None:
        """Refuse all but batches of images."""
        super().check(*inputs)
        check_dimensions(self, inputs[0], "(N, C, H, W)")
        self.check_target(inputs[0])


class UpsamplingBilinear2d(_Upsample):
    """A larger image between whose pixels straight lines are drawn; Upsample(mode='bilinear', align_corners=True).

    input → output:  (N, C, H, W) → (N, C, *size), size = ⌊size · scale_factor⌋. No parameters.
    """

    size: Size2 | None = None
    scale_factor: NonNegative | tuple[NonNegative, NonNegative] | None = None

    def check(self, *inputs: Any) -> None:
        """Refuse all but batches of images."""
        super().check(*inputs)
        check_dimensions(self, inputs[0], "(N, C, H, W)")
        self.check_target(inputs[0])
