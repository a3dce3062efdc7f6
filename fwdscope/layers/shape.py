"""Layers that only move values (flatten, fold, shuffle), and upsampling."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from fwdscope.errors import LayerError
from fwdscope.formula import SPATIAL, Shape, Size, Sizes, kept_size, kept_sizes, multiply, regroup, set_size, shape_of

from .base import Count, Layer, NonNegative, PerDimension, WholePerDimension, expand, shape_text, times_text
from .windows import Windowed


class Flatten(Layer):
    """Merges the dimensions from start_dim to end_dim into one.

    input → output:  (N, C, H, W) → (N, C · H · W), and so on. No parameters; nothing is computed.
    """

    needs_floats = False

    start_dim: int = 1
    end_dim: int = -1

    def validate(self, *inputs: Any) -> None:
        first = self.check_dimension(inputs[0], "start_dim", self.start_dim)
        last = self.check_dimension(inputs[0], "end_dim", self.end_dim)
        if first > last:
            raise LayerError(f"start_dim ({self.start_dim}) comes after end_dim ({self.end_dim})")

    def details(self) -> Iterable[str]:
        if (self.start_dim, self.end_dim) != (1, -1):
            yield f"{self.start_dim}…{self.end_dim}"

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """The product of the sizes from start_dim to end_dim as one."""
        shape = inputs[0]
        first, last = (dim % max(len(shape), 1) for dim in (self.start_dim, self.end_dim))
        merged = Size("features", multiply(shape[first : last + 1]), {}, f"dimensions {first} to {last} as one")
        return ((*kept_sizes(shape[:first]), merged, *kept_sizes(shape[last + 1 :], last + 1)),)


class Unflatten(Layer):
    """Splits a dimension into several: dim becomes unflattened_size, in which one size may be −1.

    input → output:  (N, 12) → (N, 3, 4) for Unflatten(1, (3, 4)). No parameters; nothing is computed.
    """

    needs_floats = False
    input_shapes = ("(…, L)",)

    dim: int
    unflattened_size: tuple[int, ...]

    def validate(self, *inputs: Any) -> None:
        size = int(inputs[0].shape[self.check_dimension(inputs[0], "dim", self.dim)])
        wanted = tuple(self.unflattened_size)
        known = math.prod(part for part in wanted if part != -1)
        unknown = wanted.count(-1)
        if not wanted or unknown > 1 or min(wanted) < -1:
            raise LayerError(f"unflattened_size {wanted} must be sizes, one of which may be -1")
        if (unknown and (not known or size % known)) or (not unknown and known != size):
            product = times_text(wanted).replace("-1", "_")
            raise LayerError(
                f"dimension {self.dim} has size {size}, which is not {product}" + ("" if unknown else f" = {known}")
            )

    def details(self) -> Iterable[str]:
        yield f"dim {self.dim} → {times_text(self.unflattened_size)}"

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """The parts of dim in its place."""
        shape, dim = inputs[0], self.dim % len(inputs[0])
        parts = regroup([shape[dim]], outputs[0][dim : dim + len(self.unflattened_size)])
        split = [Size(f"part_{i}", formula) for i, formula in enumerate(parts)]
        return ((*kept_sizes(shape[:dim]), *split, *kept_sizes(shape[dim + 1 :], dim + 1)),)


class _Blocks(Windowed, abstract=True, dimensions=2):
    """The windows of an image, as columns."""

    other_kinds = ("bool", "complex")

    def check_windows(self, sizes: tuple[int, ...]) -> Shape:
        """Return the number of windows over each dimension. Raises LayerError if there are none."""
        windows, own = shape_of(self.windows(sizes)), vars(self)
        if min(windows) < 1:
            columns = list(self.along(sizes, own["kernel_size"], own["padding"], own["dilation"]))
            padded = [size + 2 * padding for _, size, _, padding, _ in columns]
            reach = [dilation * (kernel - 1) + 1 for _, _, kernel, _, dilation in columns]
            raise LayerError(f"kernel {times_text(reach)} is larger than the padded image {times_text(padded)}")
        return windows


class Unfold(_Blocks):
    """Lays out all windows of an image as columns, as a convolution sees them (im2col).

    input → output:  (N, C, H, W) → (N, C · k · k, L), L the number of windows:
                     L = Π (⌊(size + 2 · padding − dilation · (kernel_size − 1) − 1) / stride⌋ + 1)
    No parameters. Unfold, a matrix product and a reshape make a convolution.
    """

    kernel_size: PerDimension
    dilation: PerDimension = 1
    padding: WholePerDimension = 0
    stride: PerDimension = 1

    def validate(self, *inputs: Any) -> None:
        self.check_windows(self.spatial(inputs[0]))

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """A column of the values of each window."""
        shape, (height, width) = inputs[0], self.each(self.kernel_size)
        numbers = {"C": shape[-3], "kernel_height": height, "kernel_width": width}
        rows = Size("rows", "C·kernel_height·kernel_width", numbers, "the values of a window")
        windows = "·".join(f"({size.with_numbers})" for size in self.windows(shape))
        return ((*(kept_size("N", size) for size in shape[:-3]), rows, Size("L", windows, {}, "windows")),)

    def details(self) -> Iterable[str]:
        yield times_text(self.each(self.kernel_size))


class Fold(_Blocks):
    """Sums windows given as columns into an image: the transpose of Unfold (col2im).

    input → output:  (N, C · k · k, L) → (N, C, *output_size), L the number of windows of such an image:
                     L = Π (⌊(size + 2 · padding − dilation · (kernel_size − 1) − 1) / stride⌋ + 1)
    No parameters.
    """

    input_shapes = ("(N, C·k·k, L)", "(C·k·k, L)")

    output_size: PerDimension
    kernel_size: PerDimension
    dilation: PerDimension = 1
    padding: WholePerDimension = 0
    stride: PerDimension = 1

    def validate(self, *inputs: Any) -> None:
        kernel = self.each(self.kernel_size)
        rows, columns = (int(size) for size in inputs[0].shape[-2:])
        if rows == 0 or rows % math.prod(kernel):
            raise LayerError(
                f"the rows of the input ({rows}) are not whole windows of {times_text(kernel)} = {math.prod(kernel)}"
            )
        sizes = self.each(self.output_size)
        blocks = self.check_windows(sizes)
        if math.prod(blocks) != columns:
            raise LayerError(
                f"an image of {times_text(sizes)} has {times_text(blocks)} = {math.prod(blocks)} windows, "
                f"found {columns} columns"
            )

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """The rows divided by the values of a window, and the output_size."""
        *front, rows, _ = inputs[0]
        height, width = self.each(self.kernel_size)
        numbers = {"rows": rows, "kernel_height": height, "kernel_width": width}
        channels = Size("C", "rows / (kernel_height·kernel_width)", numbers)
        image = (
            set_size(name, "output_size", size) for name, size in zip("HW", self.each(self.output_size), strict=True)
        )
        return ((*(kept_size("N", size) for size in front), channels, *image),)

    def details(self) -> Iterable[str]:
        yield f"{times_text(self.each(self.kernel_size))} → {times_text(self.each(self.output_size))}"


def _pixel_sizes(shape: Shape, setting: str, r: int, formulas: tuple[str, str, str]) -> Sizes:
    """Channels, height and width by their formulas, of C, H, W and r."""
    notes = (f"r is {setting}", "", "")
    columns = zip("CHW", formulas, shape[-3:], notes, strict=True)
    return (
        *kept_sizes(shape[:-3]),
        *(Size(name, text, {name: size, "r": r}, note) for name, text, size, note in columns),
    )


class PixelShuffle(Layer):
    """Turns channels into pixels: a larger image from r² times as many channels.

    input → output:  (…, C · r², H, W) → (…, C, H · r, W · r), r = upscale_factor. No parameters; nothing is computed.
    With a Conv2d before it, a sub-pixel convolution (Shi et al. 2016).
    """

    needs_floats = False
    input_shapes = ("(…, C, H, W)",)
    shown = "×{upscale_factor}"

    upscale_factor: Count

    def validate(self, *inputs: Any) -> None:
        channels, square = int(inputs[0].shape[-3]), self.upscale_factor**2
        if channels % square:
            below = channels - channels % square
            near = " or ".join(str(size) for size in (below, below + square) if size)
            message = f"the input's channels ({channels}) are not divisible by upscale_factor² ({square})"
            raise LayerError(message, f"{near} channels would fit")

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """r² times fewer channels, r times the height and width."""
        return (_pixel_sizes(inputs[0], "upscale_factor", self.upscale_factor, ("C / (r·r)", "H·r", "W·r")),)


class PixelUnshuffle(Layer):
    """Turns pixels into channels: a smaller image with r² times as many channels; the inverse of PixelShuffle.

    input → output:  (…, C, H · r, W · r) → (…, C · r², H, W), r = downscale_factor. No parameters; nothing is computed.
    """

    needs_floats = False
    input_shapes = ("(…, C, H, W)",)
    shown = "/{downscale_factor}"

    downscale_factor: Count

    def validate(self, *inputs: Any) -> None:
        for what, size in zip(("the height", "the width"), inputs[0].shape[-2:], strict=True):
            self.check_divisible(what, int(size), "downscale_factor", self.downscale_factor)

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """r² times the channels, r times less height and width."""
        return (_pixel_sizes(inputs[0], "downscale_factor", self.downscale_factor, ("C·r·r", "H / r", "W / r")),)


class ChannelShuffle(Layer):
    """Interleaves the channels of all groups, so that the next grouped convolution mixes them.

    Channels as (groups, C / groups) are transposed. input → output: (N, C, …), the same shape. No parameters.
    From ShuffleNet (Zhang et al. 2018).
    """

    needs_floats = False
    input_shapes = ("(N, C, L, …)",)
    shown = "groups {groups}"

    groups: Count

    def validate(self, *inputs: Any) -> None:
        self.check_divisible("the input's number of channels", int(inputs[0].shape[1]), "groups", self.groups)


class _Upsample(Layer, abstract=True):
    other_kinds = ("uint8",)

    size: Any = None
    scale_factor: Any = None

    def check_target(self, x: Any) -> None:
        """Reject both and neither of size and scale_factor, and an empty output."""
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
        made = shape_of(self._sizes(sizes))
        if 0 in x.shape[1:] or min(made) < 1:
            raise LayerError(
                f"{name} of an input {times_text(sizes)} gives {times_text(made)}", "write a larger scale_factor"
            )

    def details(self) -> Iterable[str]:
        """``×2``, or ``→ 7×7``."""
        if self.scale_factor is not None:
            factors = expand(self.scale_factor, 1)
            yield "×" + "×".join(f"{factor:g}" for factor in factors)
        elif self.size is not None:
            yield "→ " + times_text(self.size)

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        front = (kept_size(name, size) for name, size in zip("NC", inputs[0][:2], strict=True))
        return ((*front, *self._sizes(inputs[0][2:])),)

    def _sizes(self, sizes: Sequence[int]) -> list[Size]:
        names, wanted = SPATIAL[len(sizes)], self.size if self.size is not None else self.scale_factor
        at = zip(names, sizes, expand(wanted, len(sizes)), strict=True)
        if self.size is not None:
            return [set_size(name, "size", given) for name, _, given in at]
        found = []
        for name, size, factor in at:
            is_whole = factor == int(factor)
            numbers = {name: size, "scale_factor": int(factor) if is_whole else factor}
            found.append(Size(name, f"{name}·scale_factor" if is_whole else f"⌊{name}·scale_factor⌋", numbers))
        return found


# The inputs of the modes that are for one number of dimensions.
INTERPOLATED = {
    "linear": "(N, C, L)", "bilinear": "(N, C, H, W)", "bicubic": "(N, C, H, W)", "trilinear": "(N, C, D, H, W)",
}  # fmt: skip


class Upsample(_Upsample):
    """Resizes a sequence, image or volume by interpolation.

    mode='nearest' repeats values; 'linear', 'bilinear', 'trilinear' and 'bicubic' interpolate between them. Give the
    new size or the scale_factor. With align_corners=True the values at the corners keep their position.

    input → output:  (N, C, L), (N, C, H, W) or (N, C, D, H, W) → (N, C, *size), size = ⌊size · scale_factor⌋
    No parameters.
    """

    input_shapes = ("(N, C, L)", "(N, C, H, W)", "(N, C, D, H, W)")

    size: Count | tuple[Count, ...] | None = None
    scale_factor: NonNegative | tuple[NonNegative, ...] | None = None
    mode: Literal["nearest", "linear", "bilinear", "bicubic", "trilinear", "area", "nearest-exact"] = "nearest"
    align_corners: bool | None = None
    recompute_scale_factor: bool | None = None

    def validate(self, *inputs: Any) -> None:
        x = inputs[0]
        if self.mode in INTERPOLATED and x.dim() != INTERPOLATED[self.mode].count(",") + 1:
            fitting = {3: "linear", 4: "bilinear", 5: "trilinear"}[x.dim()]
            message = f"mode='{self.mode}' is for inputs {INTERPOLATED[self.mode]}, found {shape_text(x.shape)}"
            raise LayerError(message, f"write mode='{fitting}' or mode='nearest'")
        if self.align_corners is not None and self.mode not in INTERPOLATED:
            raise LayerError(f"align_corners does not go with mode='{self.mode}'", "leave align_corners out")
        if self.recompute_scale_factor and self.size is not None:
            raise LayerError("recompute_scale_factor does not go with size", "give scale_factor instead of size")
        self.check_target(x)

    def details(self) -> Iterable[str]:
        yield from super().details()
        if self.mode != "nearest":
            yield self.mode


class _Upsampling2d(_Upsample, abstract=True, dimensions=2):
    input_shapes = ("(N, C, H, W)",)

    size: PerDimension | None = None
    scale_factor: NonNegative | tuple[NonNegative, ...] | None = None

    def validate(self, *inputs: Any) -> None:
        self.check_target(inputs[0])


class UpsamplingNearest2d(_Upsampling2d):
    """Resizes an image by repeating pixels: Upsample(mode='nearest') for images.

    input → output:  (N, C, H, W) → (N, C, *size), size = ⌊size · scale_factor⌋. No parameters.
    """


class UpsamplingBilinear2d(_Upsampling2d):
    """Resizes an image by linear interpolation: Upsample(mode='bilinear', align_corners=True).

    input → output:  (N, C, H, W) → (N, C, *size), size = ⌊size · scale_factor⌋. No parameters.
    """
