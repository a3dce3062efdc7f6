"""Pooling: the maximum, mean or norm of windows; to a given size; and the inverse of max pooling."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from fwdscope.errors import LayerError
from fwdscope.formula import Shape, Size, Sizes, kept_size, set_size, shape_of, span_windows

from .base import (
    Count,
    PerDimension,
    Probability,
    WholePerDimension,
    dtype_text,
    for_dimensions,
    shape_text,
    times_text,
)
from .windows import Windowed, check_output_size, or_output_size, same_once


class _SlidingPool(Windowed, abstract=True):
    """Pooling by sliding windows, and its inverse; ``stride`` is ``kernel_size`` by default."""

    kernel_size: PerDimension
    stride: PerDimension | None = None

    def details(self) -> Iterable[str]:
        """``3×3 /2``: the kernel, and the stride if it is another."""
        yield times_text(self.each(self.kernel_size))
        if self.stride is not None and self.each(self.stride) != self.each(self.kernel_size):
            yield "/" + same_once(self.each(self.stride))


class _Pool(_SlidingPool, abstract=True):
    # Whether torch computes it by avg_pool, which in three dimensions takes no kernel larger than the input alone.
    averages: ClassVar[bool] = False

    def validate(self, *inputs: Any) -> None:
        sizes, kernel, padding = self.spatial(inputs[0]), self.each(self.kernel_size), vars(self).get("padding", 0)
        for k, p in zip(kernel, self.each(padding), strict=True):
            if p > k // 2:
                raise LayerError(
                    f"padding ({p}) is more than half the kernel ({k})", f"the padding may be at most {k // 2} here"
                )
        alone = self.averages and self.dimensions == 3
        too_large = alone and any(k > size for k, size in zip(kernel, sizes, strict=True))
        if too_large or min(shape_of(self.windows(sizes))) < 1:
            pads = self.each(0 if alone else padding)
            padded = tuple(size + 2 * pad for size, pad in zip(sizes, pads, strict=True))
            raise LayerError(
                f"kernel {times_text(kernel)} is larger than the {'input' if padded == sizes else 'padded input'} "
                f"{times_text(padded)}",
                "fewer poolings or strides above leave a larger input; "
                f"AdaptiveAvgPool{self.dimensions}d takes any size",
            )

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        return [(*self.front_sizes(inputs[0]), *self.windows(inputs[0]))] * len(outputs)


class _MaxPool(_Pool, abstract=True):
    padding: WholePerDimension = 0
    dilation: PerDimension = 1
    return_indices: bool = False
    ceil_mode: bool = False

    def details(self) -> Iterable[str]:
        yield from super().details()
        if set(self.each(self.dilation)) != {1}:
            yield f"dilation {times_text(self.dilation)}"


class MaxPool1d(_MaxPool, dimensions=1):
    """The largest value in each window of a sequence.

    y[…, t] = max over k of x[…, t · stride + k · dilation − padding]; padding counts as −∞.

    input → output:  (N, C, L) → (N, C, L'),  L' = ⌊(L + 2 · padding − dilation · (kernel_size − 1) − 1) / stride⌋ + 1
    stride is kernel_size by default. With return_indices=True: (output, index of each maximum). No parameters.
    """


@for_dimensions(2, 3)
class MaxPool(_MaxPool, abstract=True):
    """The largest value in each window of each channel of {what}, which keeps the strongest responses.

    y[…, i, j] = max over k, l of x[…, i · stride + k − padding, j · stride + l − padding]; padding counts as −∞.

    input → output:  (N, C, {sizes}) → (N, C, {new}),
                     {x}' = ⌊({x} + 2 · padding − dilation · (kernel_size − 1) − 1) / stride⌋ + 1
    stride is kernel_size by default, so MaxPool{d}d(2) halves the size; an odd row at the end is dropped, or kept with
    ceil_mode=True. With return_indices=True: (output, index of each maximum), for MaxUnpool{d}d. No parameters.
    """

    other_kinds = ("int", "uint8")


class _AvgPool(_Pool, abstract=True):
    other_kinds = ("int",)
    averages = True

    padding: WholePerDimension = 0
    ceil_mode: bool = False
    count_include_pad: bool = True


class AvgPool1d(_AvgPool, dimensions=1):
    """The mean of each window of a sequence.

    input → output:  (N, C, L) → (N, C, L'),  L' = ⌊(L + 2 · padding − kernel_size) / stride⌋ + 1
    stride is kernel_size by default; padding counts as zeros, unless count_include_pad=False. No parameters.
    """


@for_dimensions(2, 3)
class AvgPool(_AvgPool, abstract=True):
    """The mean of each window of each channel of {what}: smaller and smoother.

    y[…, i, j] = (1 / k²) · Σ over k, l of x[…, i · stride + k − padding, j · stride + l − padding]

    input → output:  (N, C, {sizes}) → (N, C, {new}),  {x}' = ⌊({x} + 2 · padding − kernel_size) / stride⌋ + 1
    stride is kernel_size by default. Padding counts as zeros, or not at all with count_include_pad=False;
    divisor_override replaces the size of the window as divisor. No parameters.
    """

    divisor_override: Count | None = None


class _NormType(Windowed, abstract=True):
    norm_type: float  # torch's first setting


class _LPPool(_Pool, _NormType, abstract=True):
    other_kinds = ("int", "uint8", "bool")
    averages = True

    ceil_mode: bool = False

    def validate(self, *inputs: Any) -> None:
        super().validate(*inputs)
        if self.norm_type == 0:
            raise LayerError("norm_type is 0, and the norm divides by it", "norm_type=2 is the Euclidean norm")

    def details(self) -> Iterable[str]:
        yield f"p={self.norm_type:g}"
        yield from super().details()


class LPPool1d(_LPPool, dimensions=1):
    """The p-norm of each window of a sequence: y = (Σ xᵖ)^(1/p), p = norm_type.

    p = 1 is the sum; large p approaches the maximum.
    input → output:  (N, C, L) → (N, C, ⌊(L − kernel_size) / stride⌋ + 1). No parameters.
    """

    kernel_size: Count


@for_dimensions(2, 3)
class LPPool(_LPPool, abstract=True):
    """The p-norm of each window of each channel of {what}: y = (Σ xᵖ)^(1/p), p = norm_type.

    p = 1 is the sum; large p approaches the maximum.
    input → output:  (N, C, {sizes}) → (N, C, {new}),  {x}' = ⌊({x} − kernel_size) / stride⌋ + 1. No parameters.
    """


class _AdaptivePool(Windowed, abstract=True):
    output_size: Count | tuple[Count | None, ...]

    def validate(self, *inputs: Any) -> None:
        self.spatial(inputs[0])

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        at = self.along(inputs[0], self.output_size)
        sizes = [kept_size(n, s) if wanted is None else set_size(n, "output_size", wanted) for n, s, wanted in at]
        return [(*self.front_sizes(inputs[0]), *sizes)] * len(outputs)

    def details(self) -> Iterable[str]:
        """``→ 7×7``: the output's size."""
        yield "→ " + times_text(["same" if size is None else size for size in self.each(self.output_size)])


class _AdaptiveMaxPool(_AdaptivePool, abstract=True):
    return_indices: bool = False


class AdaptiveMaxPool1d(_AdaptiveMaxPool, dimensions=1):
    """The largest value in each of output_size parts of a sequence of any length.

    Part t runs from ⌊t · L / output_size⌋ to ⌈(t + 1) · L / output_size⌉.
    input → output:  (N, C, L) → (N, C, output_size). No parameters.
    """

    output_size: PerDimension


@for_dimensions(2, 3)
class AdaptiveMaxPool(_AdaptiveMaxPool, abstract=True):
    """The largest value in each cell of a grid of output_size over {what} of any size.

    input → output:  (N, C, {sizes}) → (N, C, *output_size); None keeps a dimension's size. No parameters.
    """


class AdaptiveAvgPool1d(_AdaptivePool, dimensions=1):
    """The mean of each of output_size parts of a sequence of any length.

    Part t runs from ⌊t · L / output_size⌋ to ⌈(t + 1) · L / output_size⌉.
    input → output:  (N, C, L) → (N, C, output_size). No parameters.
    """

    output_size: PerDimension


@for_dimensions(2, 3)
class AdaptiveAvgPool(_AdaptivePool, abstract=True):
    """The mean of each cell of a grid of output_size over {what} of any size.

    Cell i runs from ⌊i · {x} / output_size⌋ to ⌈(i + 1) · {x} / output_size⌉, so neighbours may share a row.
    AdaptiveAvgPool{d}d(1) is global average pooling (Lin et al. 2014), which lets a classifier accept any size.

    input → output:  (N, C, {sizes}) → (N, C, *output_size); None keeps a dimension's size. No parameters.
    """


@for_dimensions(2, 3)
class FractionalMaxPool(Windowed, abstract=True):
    """The largest value in randomly placed windows, so that sizes shrink by a fraction such as 0.7, not by half.

    Each forward pass draws new windows; their number is output_size, or ⌊size · output_ratio⌋.
    input → output:  (N, C, {sizes}) → (N, C, *output_size). No parameters. Graham 2014.
    """

    kernel_size: PerDimension
    output_size: PerDimension | None = None
    output_ratio: Probability | tuple[Probability, ...] | None = None
    return_indices: bool = False

    def validate(self, *inputs: Any) -> None:
        name = type(self).__name__
        if (self.output_size is None) == (self.output_ratio is None):
            both = "neither" if self.output_size is None else "both"
            raise LayerError(
                f"{name} takes one of output_size and output_ratio, found {both}", f"write {name}(2, output_ratio=0.7)"
            )
        if self.output_ratio is not None and not all(0 < ratio < 1 for ratio in self.each(self.output_ratio)):
            raise LayerError(f"output_ratio ({times_text(self.output_ratio)}) must lie between 0 and 1, both excluded")
        sizes = self.spatial(inputs[0])
        for size, made, kernel in zip(sizes, shape_of(self._sizes(sizes)), self.each(self.kernel_size), strict=True):
            # Only fractional_max_pool3d needs one value more than its windows cover.
            if made < 1 or made + kernel - 1 + (self.dimensions == 3) > size:
                message = f"{made} windows of kernel {kernel} do not fit into a size of {size}"
                raise LayerError(message, "write a smaller output_size or kernel_size")

    def details(self) -> Iterable[str]:
        yield times_text(self.each(self.kernel_size))
        yield (
            f"→ {times_text(self.each(self.output_size))}"
            if self.output_size is not None
            else f"×{times_text(self.output_ratio)}"
        )

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        return [(*self.front_sizes(inputs[0]), *self._sizes(inputs[0]))] * len(outputs)

    def _sizes(self, shape: Sequence[int]) -> list[Size]:
        if self.output_size is not None:
            return [set_size(name, "output_size", wanted) for name, _, wanted in self.along(shape, self.output_size)]
        return [
            Size(name, f"⌊{name}·output_ratio⌋", {name: size, "output_ratio": ratio})
            for name, size, ratio in self.along(shape, self.output_ratio)
        ]


@for_dimensions(1, 2, 3)
class MaxUnpool(_SlidingPool, abstract=True):
    """Puts each value back where MaxPool{d}d found it, and zeros elsewhere, as in SegNet's decoder.

    inputs:  (N, C, {sizes}) and the indices of the same shape, from MaxPool{d}d(…, return_indices=True)
    output:  (N, C, {new}),  {x}' = ({x} − 1) · stride − 2 · padding + kernel_size, or output_size. No parameters.
    """

    forward = "(input, indices, output_size=None)"
    integer_inputs = ("indices",)

    padding: WholePerDimension = 0

    def validate(self, *inputs: Any) -> None:
        x, indices = inputs[:2]
        sizes, name = self.spatial(x), type(self).__name__
        if dtype_text(indices) != "int64":
            message = f"{name} takes indices of int64, found {dtype_text(indices)}"
            raise LayerError(message, f"take them from MaxPool{self.dimensions}d(…, return_indices=True)")
        if indices.shape != x.shape:
            raise LayerError(
                f"{name} takes an index for each value, found indices {shape_text(indices.shape)} "
                f"for an input {shape_text(x.shape)}"
            )
        made, strides = shape_of(self._spans(sizes)), self.each(self.stride or self.kernel_size)
        if len(inputs) > 2 and inputs[2] is not None:
            # torch lets output_size differ from the computed one by less than the stride.
            least = tuple(size - stride + 1 for size, stride in zip(made, strides, strict=True))
            made = check_output_size(self, inputs[2], least, [2 * stride - 1 for stride in strides], x.dim())
        if min(made) < 1:
            raise LayerError(
                f"an input of {times_text(sizes)} gives an output of {times_text(made)}", "write a smaller padding"
            )

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        return ((*self.front_sizes(inputs[0]), *or_output_size(self._spans(inputs[0]), outputs[0])),)

    def _spans(self, shape: Sequence[int]) -> list[Size]:
        settings = (self.kernel_size, self.stride or self.kernel_size, self.padding, 1, 0)
        return [span_windows(*column) for column in self.along(shape, *settings)]
