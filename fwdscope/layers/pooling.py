"""Pooling by windows that slide over the input: their largest value, their mean or a norm."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from .base import (
    Count,
    Layer,
    LayerError,
    Pad1,
    Pad2,
    Pad3,
    Size1,
    Size2,
    Size3,
    Whole,
    by,
    check_spatial,
    expand,
    shape_text,
)

Sizes = Count | tuple[Count, ...]
Pads = Whole | tuple[Whole, ...]


class Pool(Layer, abstract=True):
    """What windows that slide share; ``stride`` is ``kernel_size`` where it is left out."""

    dimensions: ClassVar[int]
    # Whether the kernel must fit into the input without its padding: avg_pool3d alone asks that of it.
    within: ClassVar[bool] = False

    def each(self, value: Any) -> tuple[Any, ...]:
        """A setting for each spatial dimension."""
        return expand(value, self.dimensions)

    def spatial(self, x: Any) -> tuple[int, ...]:
        """The spatial sizes of the input, once its dimensions are checked; only the batch may be empty."""
        check_spatial(self, x, self.dimensions)
        if 0 in x.shape[1 if x.dim() == self.dimensions + 2 else 0 :]:
            raise LayerError(f"{type(self).__name__} needs an input that is not empty, found {shape_text(x.shape)}")
        return tuple(int(size) for size in x.shape[-self.dimensions :])

    def check_windows(
        self, x: Any, kernel: Any, stride: Any, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> None:
        """Refuse windows that do not fit into the padded input, and padding of more than half a window."""
        sizes = self.spatial(x)
        columns = zip(*map(self.each, (kernel, stride or kernel, padding, dilation)), strict=True)
        for size, (k, s, p, d) in zip(sizes, columns, strict=True):
            reach = d * (k - 1) + 1
            if p > k // 2:
                raise LayerError(
                    f"padding ({p}) is more than half the kernel ({k})", f"the padding may be at most {k // 2} here"
                )
            if pooled(size, reach, s, p, ceil_mode) < 1 or (self.within and k > size):
                pads = self.each(0 if self.within else padding)
                padded = [n + 2 * pad for n, pad in zip(sizes, pads, strict=True)]
                around = "padded input" if padded != list(sizes) else "input"
                raise LayerError(
                    f"kernel {by(self.each(kernel))} is larger than the {around} {by(padded)}",
                    "fewer poolings or strides above leave a larger input; "
                    f"AdaptiveAvgPool{self.dimensions}d takes any size",
                )

    def window(self, kernel: Any, stride: Any) -> Iterable[str]:
        """``3×3 /2``: the stride where it is not the kernel."""
        yield by(self.each(kernel))
        if stride is not None and self.each(stride) != self.each(kernel):
            steps = self.each(stride)
            yield "/" + (by(steps) if len(set(steps)) > 1 else str(steps[0]))


def pooled(size: int, reach: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """The number of windows along one dimension, as torch's pooling_output_shape (ATen/native/Pool.h).

    With ceil_mode a last window may hang over the end, if it begins inside the input or the padding before it.
    """
    room = size + 2 * padding - reach
    count = -(-room // stride) + 1 if ceil_mode else room // stride + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= size + padding else count


class _MaxPool(Pool, abstract=True):
    kernel_size: Sizes
    stride: Sizes | None = None
    padding: Pads = 0
    dilation: Sizes = 1
    return_indices: bool = False
    ceil_mode: bool = False

    def check(self, *inputs: Any) -> None:
        """Refuse windows that do not fit."""
        super().check(*inputs)
        self.check_windows(inputs[0], self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def details(self) -> Iterable[str]:
        """Kernel, stride, dilation."""
        yield from self.window(self.kernel_size, self.stride)
        if set(self.each(self.dilation)) != {1}:
            yield f"dilation {by(self.dilation)}"


class MaxPool1d(_MaxPool):
    """The largest value in each window of a sequence.

    y[…, t] = max over k of x[…, t · stride + k · dilation − padding]; padding counts as −∞.

    input → output:  (N, C, L) → (N, C, L'),  L' = ⌊(L + 2 · padding − dilation · (kernel_size − 1) − 1) / stride⌋ + 1
    stride is kernel_size where left out. With return_indices=True: (output, where each maximum stood).
    No parameters.
    """

    dimensions: ClassVar[int] = 1

    kernel_size: Size1
    stride: Size1 | None = None
    padding: Pad1 = 0
    dilation: Size1 = 1


class MaxPool2d(_MaxPool):
    """The largest value in each window of each channel: a smaller image that keeps the strongest responses.

    y[…, i, j] = max over k, l of x[…, i · stride + k − padding, j · stride + l − padding]; padding counts as −∞.

    input → output:  (N, C, H, W) → (N, C, H', W'),
                     H' = ⌊(H + 2 · padding − dilation · (kernel_size − 1) − 1) / stride⌋ + 1
    stride is kernel_size where left out, so that MaxPool2d(2) halves the size; an odd row at the end is dropped, or
    kept with ceil_mode=True. With return_indices=True: (output, where each maximum stood), as MaxUnpool2d takes them.
    No parameters.
    """

    also: ClassVar[tuple[str, ...]] = ("int", "uint8")
    dimensions: ClassVar[int] = 2

    kernel_size: Size2
    stride: Size2 | None = None
    padding: Pad2 = 0
    dilation: Size2 = 1


class MaxPool3d(_MaxPool):
    """The largest value in each box of each channel of a volume or video.

    As MaxPool2d with one more dimension: (N, C, D, H, W) → (N, C, D', H', W'),
    D' = ⌊(D + 2 · padding − dilation · (kernel_size − 1) − 1) / stride⌋ + 1. No parameters.
    """

    also: ClassVar[tuple[str, ...]] = ("int", "uint8")
    dimensions: ClassVar[int] = 3

    kernel_size: Size3
    stride: Size3 | None = None
    padding: Pad3 = 0
    dilation: Size3 = 1


class _AvgPool(Pool, abstract=True):
    kernel_size: Sizes
    stride: Sizes | None = None
    padding: Pads = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def check(self, *inputs: Any) -> None:
        """Refuse windows that do not fit."""
        super().check(*inputs)
        self.check_windows(inputs[0], self.kernel_size, self.stride, self.padding, ceil_mode=self.ceil_mode)

    def details(self) -> Iterable[str]:
        """Kernel and stride."""
        return self.window(self.kernel_size, self.stride)


class AvgPool1d(_AvgPool):
    """The mean of each window of a sequence.

    input → output:  (N, C, L) → (N, C, L'),  L' = ⌊(L + 2 · padding − kernel_size) / stride⌋ + 1
    stride is kernel_size where left out; padding counts as zeros, unless count_include_pad=False. No parameters.
    """

    also: ClassVar[tuple[str, ...]] = ("int",)
    dimensions: ClassVar[int] = 1

    kernel_size: Size1
    stride: Size1 | None = None
    padding: Pad1 = 0


class AvgPool2d(_AvgPool):
    """The mean of each window of each channel: a smaller, smoother image.

    y[…, i, j] = (1 / k²) · Σ over k, l of x[…, i · stride + k − padding, j · stride + l − padding]

    input → output:  (N, C, H, W) → (N, C, H', W'),  H' = ⌊(H + 2 · padding − kernel_size) / stride⌋ + 1
    stride is kernel_size where left out. Padding counts as zeros, or not at all with count_include_pad=False;
    divisor_override divides by another number than the window's size. No parameters.
    """

    also: ClassVar[tuple[str, ...]] = ("int",)
    dimensions: ClassVar[int] = 2

    kernel_size: Size2
    stride: Size2 | None = None
    padding: Pad2 = 0
    divisor_override: Count | None = None


class AvgPool3d(_AvgPool):
    """The mean of each box of each channel of a volume or video.

    As AvgPool2d with one more dimension: (N, C, D, H, W) → (N, C, D', H', W'),
    D' = ⌊(D + 2 · padding − kernel_size) / stride⌋ + 1. No parameters.
    """

    also: ClassVar[tuple[str, ...]] = ("int",)
    dimensions: ClassVar[int] = 3
    within: ClassVar[bool] = True

    kernel_size: Size3
    stride: Size3 | None = None
    padding: Pad3 = 0
    divisor_override: Count | None = None


class _LPPool(Pool, abstract=True):
    also: ClassVar[tuple[str, ...]] = ("int", "uint8", "bool")

    norm_type: float
    kernel_size: Sizes
    stride: Sizes | None = None
    ceil_mode: bool = False

    def check(self, *inputs: Any) -> None:
        """Refuse windows that do not fit, and a norm that would divide by zero."""
        super().check(*inputs)
        if self.norm_type == 0:
            raise LayerError("norm_type is 0, and the norm divides by it", "norm_type=2 is the Euclidean norm")
        self.check_windows(inputs[0], self.kernel_size, self.stride, ceil_mode=self.ceil_mode)

    def details(self) -> Iterable[str]:
        """The norm, kernel and stride."""
        yield f"p={self.norm_type:g}"
        yield from self.window(self.kernel_size, self.stride)


class LPPool1d(_LPPool):
    """The p-norm of each window of a sequence: y = (Σ xᵖ)^(1/p), p = norm_type.

    p = 1 is the sum; the larger p, the nearer to the maximum.
    input → output:  (N, C, L) → (N, C, ⌊(L − kernel_size) / stride⌋ + 1). No parameters.
    """

    dimensions: ClassVar[int] = 1

    kernel_size: Count
    stride: Size1 | None = None


class LPPool2d(_LPPool):
    """The p-norm of each window of each channel: y = (Σ xᵖ)^(1/p), p = norm_type.

    p = 1 is the sum; the larger p, the nearer to the maximum.
    input → output:  (N, C, H, W) → (N, C, H', W'),  H' = ⌊(H − kernel_size) / stride⌋ + 1. No parameters.
    """

    dimensions: ClassVar[int] = 2

    kernel_size: Size2
    stride: Size2 | None = None


class LPPool3d(_LPPool):
    """The p-norm of each box of each channel: y = (Σ xᵖ)^(1/p), p = norm_type.

    As LPPool2d with one more dimension: (N, C, D, H, W) → (N, C, D', H', W'). No parameters.
    """

    dimensions: ClassVar[int] = 3
    within: ClassVar[bool] = True

    kernel_size: Size3
    stride: Size3 | None = None
