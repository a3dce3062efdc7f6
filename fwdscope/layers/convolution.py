"""Convolutions and their transposes in one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from fwdscope.errors import LayerError
from fwdscope.formula import Shape, Size, Sizes, kept_size, set_size, shape_of, span_windows

from .base import Count, PerDimension, WholePerDimension, for_dimensions, inferred, times_text
from .windows import Windowed, check_output_size, or_output_size, same_once

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]

_KERNEL_NAMES = {
    1: ("kernel_size",),
    2: ("kernel_height", "kernel_width"),
    3: ("kernel_depth", "kernel_height", "kernel_width"),
}


class _Convolution(Windowed, abstract=True):
    dtype_rule = "same"
    # The first two dimensions of the weight; the second is divided by the groups.
    channels_of_weight = ("out_channels", "in_channels")

    in_channels: Count = inferred()
    out_channels: Count
    kernel_size: PerDimension
    stride: PerDimension = 1

    def infer(self, *inputs: Any) -> dict[str, Any]:
        return {"in_channels": int(inputs[0].shape[-self.dimensions - 1])}

    def check_groups(self, x: Any, groups: int) -> None:
        """Reject numbers of channels that the groups do not divide."""
        channels = int(x.shape[-self.dimensions - 1])
        self.check_divisible("the input's number of channels", channels, "groups", groups, self.out_channels)
        self.check_divisible("out_channels", self.out_channels, "groups", groups, channels)

    def details(self) -> Iterable[str]:
        groups, dilation = vars(self)["groups"], self.each(vars(self)["dilation"])  # in torch's order only below
        yield times_text(self.each(self.kernel_size))
        if set(self.each(self.stride)) != {1}:
            yield "/" + same_once(self.each(self.stride))
        if groups != 1:
            yield f"groups {groups}"
        if set(dilation) != {1}:
            yield "dilation " + same_once(dilation)

    def front_sizes(self, shape: Shape, channels: Size | None = None) -> Sizes:
        """Batch and out_channels."""
        return super().front_sizes(shape, set_size("C", "out_channels", self.out_channels))

    def parameter_sizes(self, name: str, shape: Shape) -> Sequence[Size]:
        if name == "bias":
            return (kept_size("out_channels", shape[0]),)
        if name != "weight":
            return ()
        groups, (first, second) = vars(self)["groups"], self.channels_of_weight
        inner = kept_size(second, shape[1])
        if groups != 1:
            inner = Size(second, f"({second} / groups)", {second: shape[1] * groups, "groups": groups})
        return (kept_size(first, shape[0]), inner, *map(kept_size, _KERNEL_NAMES[self.dimensions], shape[2:]))


@for_dimensions(1, 2, 3)
class Conv(_Convolution, abstract=True):
    """Learned filters slid over {what}: each output is a weighted sum of a small window of all channels.

    y[n, o, t] = b[o] + Σ over channels c and taps k of W[o, c, k] · x[n, c, t · stride + k · dilation − padding],
    t and k once for each dimension.

    input:   (N, C, {sizes}) or (C, {sizes})
    output:  (N, out_channels, {new}),  {x}' = ⌊({x} + 2 · padding − dilation · (kernel_size − 1) − 1) / stride⌋ + 1
    weight:  (out_channels, C / groups, {kernel})
    bias:    (out_channels), absent with bias=False
    in all:  out_channels · (C / groups · {taps} + 1) parameters

    Kernel 3 with padding 1 keeps the size, stride 2 halves it; padding="same" keeps it at stride 1. groups=C filters
    each channel on its own (depthwise, as in MobileNet); kernel 1 only mixes channels (pointwise). dilation spreads the
    taps (Yu and Koltun 2016). LeCun et al. 1989.
    """

    padding: WholePerDimension | Literal["same", "valid"] = 0
    dilation: PerDimension = 1
    groups: Count = 1
    bias: bool = True
    padding_mode: PaddingMode = "zeros"

    def validate(self, *inputs: Any) -> None:
        sizes = self.spatial(inputs[0])
        self.check_groups(inputs[0], self.groups)
        if self.padding == "same" and set(self.each(self.stride)) != {1}:
            message = f"padding='same' needs a stride of 1, found stride={self.stride}"
            raise LayerError(message, "write the padding as a number: kernel_size // 2 halves the size at stride=2")
        pads = self._pads()
        if self.padding_mode in ("reflect", "circular"):
            check_mirrored(self.padding_mode, sizes, pads)
        check_kernel(self.each(self.kernel_size), self.each(self.dilation), sizes, pads)

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        shape = inputs[0]
        if self.padding == "same":
            sizes = [kept_size(name, size, "padding='same' keeps it") for name, size in self.along(shape)]
        else:
            sizes = self.windows(shape)
        return ((*self.front_sizes(shape), *sizes),)

    def _pads(self) -> list[tuple[int, int]]:
        if self.padding == "same":
            # An odd total is longer at the end, as in torch's _ConvNd.
            totals = [d * (k - 1) for d, k in zip(self.each(self.dilation), self.each(self.kernel_size), strict=True)]
            return [(total // 2, total - total // 2) for total in totals]
        return [(pad, pad) for pad in self.each(0 if self.padding == "valid" else self.padding)]


def check_mirrored(mode: str, sizes: Iterable[int], pads: Iterable[tuple[int, int]]) -> None:
    """Check that reflected padding is smaller than the input, and circular padding no larger than it."""
    for size, pad in zip(sizes, pads, strict=True):
        limit = size - 1 if mode == "reflect" else size
        if max(pad) > limit:
            raise LayerError(
                f"{'reflection' if mode == 'reflect' else 'circular'} padding of {max(pad)} "
                f"does not fit an input of size {size}",
                f"the padding may be at most {max(limit, 0)} here",
            )


def check_kernel(
    kernel: tuple[int, ...], dilation: tuple[int, ...], sizes: tuple[int, ...], pads: Iterable[tuple[int, int]]
) -> None:
    """Check that the dilated kernel fits into the padded input in every dimension."""
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    padded = [size + sum(pad) for size, pad in zip(sizes, pads, strict=True)]
    if any(r > p for r, p in zip(reach, padded, strict=True)):
        what = f"kernel {times_text(kernel)}" + (
            f" with dilation {same_once(dilation)} ({times_text(reach)})" if max(dilation) > 1 else ""
        )
        around = "padded input" if list(sizes) != padded else "input"
        short = max(r - p for r, p in zip(reach, padded, strict=True))
        message = f"{what} is larger than the {around} {times_text(padded)}"
        raise LayerError(message, f"a larger input, a smaller kernel or {(short + 1) // 2} more padding would fit")


@for_dimensions(1, 2, 3)
class ConvTranspose(_Convolution, abstract=True):
    """The transpose of Conv{d}d, or up-convolution: spreads each input value over a window of a larger output.

    Each input value is multiplied by the kernel and added into the output at stride steps; this is the gradient of
    Conv{d}d with respect to its input, not its inverse.

    input:   (N, C, {sizes}) or (C, {sizes})
    output:  (N, out_channels, {new}),
             {x}' = ({x} − 1) · stride − 2 · padding + dilation · (kernel_size − 1) + output_padding + 1
    weight:  (C, out_channels / groups, {kernel})
    bias:    (out_channels), absent with bias=False

    Kernel 2 with stride 2 doubles the size, as in U-Net (Ronneberger et al. 2015). output_padding (or the second input,
    output_size), smaller than the stride, chooses among the sizes that a strided Conv{d}d maps to {x}; it adds no zeros
    to the output.
    """

    forward = "(input, output_size=None)"
    channels_of_weight = ("in_channels", "out_channels")

    padding: WholePerDimension = 0
    output_padding: WholePerDimension = 0
    groups: Count = 1
    bias: bool = True
    dilation: PerDimension = 1
    padding_mode: Literal["zeros"] = "zeros"

    def validate(self, *inputs: Any) -> None:
        x = inputs[0]
        sizes = self.spatial(x)
        self.check_groups(x, self.groups)
        if len(inputs) > 1 and inputs[1] is not None:
            least = shape_of(self._spans(tuple(x.shape), 0))
            check_output_size(self, inputs[1], least, self.each(self.stride), x.dim())
            return
        steps = zip(self.each(self.output_padding), self.each(self.stride), self.each(self.dilation), strict=True)
        for pad, stride, dilation in steps:
            if pad >= max(stride, dilation):
                raise LayerError(
                    f"output_padding ({pad}) must be smaller than the stride ({stride}) or the dilation ({dilation})",
                    f"output_padding may be at most {max(stride, dilation) - 1} here",
                )
        made = shape_of(self._spans(tuple(x.shape), self.output_padding))
        if min(made) < 1:
            raise LayerError(
                f"an input of {times_text(sizes)} gives an output of {times_text(made)}", "write a smaller padding"
            )

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        sizes = or_output_size(self._spans(inputs[0], self.output_padding), outputs[0])
        return ((*self.front_sizes(inputs[0]), *sizes),)

    def _spans(self, shape: Shape, output_padding: Any) -> list[Size]:
        settings = (self.kernel_size, self.stride, self.padding, self.dilation, output_padding)
        return [span_windows(*column) for column in self.along(shape, *settings)]
