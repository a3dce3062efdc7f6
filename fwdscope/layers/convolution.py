"""Convolutions and their transposes in one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from .base import (
    SPATIAL,
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
    check_divisible,
    check_spatial,
    expand,
    inferred,
    output_size_of,
    shape_text,
)

Sizes = Count | tuple[Count, ...]
Pads = Whole | tuple[Whole, ...]
Named = Literal["same", "valid"]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class _Convolution(Layer, abstract=True):
    """What the convolutions and their transposes share."""

    dimensions: ClassVar[int]
    mixing: ClassVar[Literal["any", "same", "narrower"]] = "same"

    in_channels: Count = inferred()
    out_channels: Count
    kernel_size: Sizes
    stride: Sizes = 1

    def sizes(self, *inputs: Any) -> dict[str, Any]:
        """in_channels is the dimension before the spatial ones."""
        return {"in_channels": int(inputs[0].shape[-self.dimensions - 1])}

    def each(self, value: Any) -> tuple[int, ...]:
        """A setting for each spatial dimension."""
        return expand(value, self.dimensions)

    def spatial(self, x: Any) -> tuple[int, ...]:
        """The spatial sizes of the input, none of which may be 0."""
        sizes = tuple(int(size) for size in x.shape[-self.dimensions :])
        if 0 in sizes:
            raise LayerError(f"{type(self).__name__} needs an input that is not empty, found {shape_text(x.shape)}")
        return sizes

    def groups_fit(self, x: Any, groups: int) -> None:
        """Refuse numbers of channels that the groups do not divide, and none."""
        if x.shape[-self.dimensions - 1] == 0:
            raise LayerError(f"{type(self).__name__} needs channels, found none: {shape_text(x.shape)}")
        check_divisible("the input's number of channels", int(x.shape[-self.dimensions - 1]), "groups", groups)
        check_divisible("out_channels", self.out_channels, "groups", groups)

    def details_with(self, groups: int, dilation: Any) -> Iterable[str]:
        """The kernel always, then what is out of the ordinary."""
        yield by(self.each(self.kernel_size))
        if set(self.each(self.stride)) != {1}:
            yield "/" + _once(self.each(self.stride))
        if groups != 1:
            yield f"groups {groups}"
        if set(self.each(dilation)) != {1}:
            yield "dilation " + _once(self.each(dilation))


def _once(values: tuple[int, ...]) -> str:
    """``2`` for (2, 2), ``2×1`` for (2, 1)."""
    return by(values) if len(set(values)) > 1 else str(values[0])


class _Conv(_Convolution, abstract=True):
    padding: Pads | Named = 0
    dilation: Sizes = 1
    groups: Count = 1
    bias: bool = True
    padding_mode: PaddingMode = "zeros"

    def check(self, *inputs: Any) -> None:
        """Refuse channels that do not divide into the groups, and kernels that do not fit into the padded input."""
        super().check(*inputs)
        x = inputs[0]
        check_spatial(self, x, self.dimensions)
        self.groups_fit(x, self.groups)
        if self.padding == "same" and set(self.each(self.stride)) != {1}:
            raise LayerError(
                f"padding='same' needs a stride of 1, found stride={self.stride}",
                "write the padding as a number: kernel_size // 2 halves the size at stride=2",
            )
        sizes = self.spatial(x)
        pads = self._pads()
        self._check_mode(sizes, pads)
        check_kernel(self.each(self.kernel_size), self.each(self.dilation), sizes, pads)

    def details(self) -> Iterable[str]:
        """Kernel, stride, groups, dilation."""
        return self.details_with(self.groups, self.dilation)

    def _pads(self) -> list[tuple[int, int]]:
        """The padding before and behind, for each dimension."""
        if self.padding == "valid":
            return [(0, 0)] * self.dimensions
        if self.padding == "same":
            # An odd sum is longer at the end, as in torch's _ConvNd.
            totals = [d * (k - 1) for d, k in zip(self.each(self.dilation), self.each(self.kernel_size), strict=True)]
            return [(total // 2, total - total // 2) for total in totals]
        return [(pad, pad) for pad in self.each(self.padding)]

    def _check_mode(self, sizes: tuple[int, ...], pads: list[tuple[int, int]]) -> None:
        if self.padding_mode in ("reflect", "circular"):
            check_mirrored(self.padding_mode, sizes, pads)


def check_mirrored(mode: str, sizes: Iterable[int], pads: Iterable[tuple[int, int]]) -> None:
    """Whether reflected padding is smaller than the input, and circular padding no larger than it."""
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
    """Whether the dilated kernel fits into the padded input at least once in every dimension."""
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    padded = [size + sum(pad) for size, pad in zip(sizes, pads, strict=True)]
    if any(r > p for r, p in zip(reach, padded, strict=True)):
        what = f"kernel {by(kernel)}" + (f" with dilation {_once(dilation)} ({by(reach)})" if max(dilation) > 1 else "")
        around = "padded input" if list(sizes) != padded else "input"
        short = max(r - p for r, p in zip(reach, padded, strict=True))
        raise LayerError(
            f"{what} is larger than the {around} {by(padded)}",
            f"a larger input, a smaller kernel or {(short + 1) // 2} more padding would fit",
        )


class Conv1d(_Conv):
    """A learned filter slid along a sequence: each output is a weighted sum of a window of the input.

    y[n, o, t] = b[o] + Σ over channels c and taps k of W[o, c, k] · x[n, c, t · stride + k · dilation − padding]

    input:   (N, C, L) or (C, L)
    output:  (N, out_channels, L'),  L' = ⌊(L + 2 · padding − dilation · (kernel_size − 1) − 1) / stride⌋ + 1
    weight:  (out_channels, C / groups, kernel_size)
    bias:    (out_channels), absent with bias=False
    in all:  out_channels · (C / groups · kernel_size + 1) parameters

    padding="same" keeps the length (at stride 1); groups=C filters each channel for itself (depthwise).
    """

    dimensions: ClassVar[int] = 1

    kernel_size: Size1
    stride: Size1 = 1
    padding: Pad1 | Named = 0
    dilation: Size1 = 1


class Conv2d(_Conv):
    """Learned filters slid over an image: each output is a weighted sum of a small window of all channels.

    y[n, o, i, j] = b[o] + Σ over c, k, l of W[o, c, k, l] · x[n, c, i · stride + k − padding, j · stride + l − padding]

    input:   (N, C, H, W) or (C, H, W)
    output:  (N, out_channels, H', W'),  H' = ⌊(H + 2 · padding − dilation · (kernel_size − 1) − 1) / stride⌋ + 1
    weight:  (out_channels, C / groups, k, k)
    bias:    (out_channels), absent with bias=False
    in all:  out_channels · (C / groups · k · k + 1) parameters

    kernel 3 with padding 1 keeps the size, stride 2 halves it. groups=C filters each channel for itself (depthwise, as
    in MobileNet); a kernel of 1 mixes channels alone (pointwise). dilation spreads the taps (Yu and Koltun 2016).
    After LeCun et al. 1989.
    """

    dimensions: ClassVar[int] = 2

    kernel_size: Size2
    stride: Size2 = 1
    padding: Pad2 | Named = 0
    dilation: Size2 = 1


class Conv3d(_Conv):
    """Learned filters slid over a volume or a video: each output is a weighted sum of a small box of all channels.

    As Conv2d, with one more dimension: depth or time.

    input:   (N, C, D, H, W) or (C, D, H, W)
    output:  (N, out_channels, D', H', W'),
             D' = ⌊(D + 2 · padding − dilation · (kernel_size − 1) − 1) / stride⌋ + 1
    weight:  (out_channels, C / groups, k, k, k)
    bias:    (out_channels), absent with bias=False
    in all:  out_channels · (C / groups · k³ + 1) parameters
    """

    dimensions: ClassVar[int] = 3

    kernel_size: Size3
    stride: Size3 = 1
    padding: Pad3 | Named = 0
    dilation: Size3 = 1


class _ConvTranspose(_Convolution, abstract=True):
    forward: ClassVar[str] = "(input, output_size=None)"

    padding: Pads = 0
    output_padding: Pads = 0
    groups: Count = 1
    bias: bool = True
    dilation: Sizes = 1
    padding_mode: Literal["zeros"] = "zeros"

    def check(self, *inputs: Any) -> None:
        """Refuse channels that do not divide into the groups, and output sizes that cannot be."""
        super().check(*inputs)
        x = inputs[0]
        check_spatial(self, x, self.dimensions)
        self.groups_fit(x, self.groups)
        sizes = self.spatial(x)
        least = self._least(sizes)
        wanted = inputs[1] if len(inputs) > 1 else None
        if wanted is not None:
            # torch takes the whole shape as well and looks at its end.
            wanted = output_size_of(self, wanted)
            self._check_wanted(least, wanted[-self.dimensions :] if len(wanted) == x.dim() else wanted)
            return
        extra = self.each(self.output_padding)
        for pad, stride, dilation in zip(extra, self.each(self.stride), self.each(self.dilation), strict=True):
            if pad >= max(stride, dilation):
                raise LayerError(
                    f"output_padding ({pad}) must be smaller than the stride ({stride}) or the dilation ({dilation})",
                    f"output_padding may be at most {max(stride, dilation) - 1} here",
                )
        made = tuple(size + pad for size, pad in zip(least, extra, strict=True))
        if min(made) < 1:
            raise LayerError(f"an input of {by(sizes)} gives an output of {by(made)}", "write a smaller padding")

    def details(self) -> Iterable[str]:
        """Kernel, stride, groups, dilation."""
        return self.details_with(self.groups, self.dilation)

    def _least(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """The output's size without output_padding."""
        settings = zip(
            sizes,
            self.each(self.kernel_size),
            self.each(self.stride),
            self.each(self.padding),
            self.each(self.dilation),
            strict=True,
        )
        return tuple((size - 1) * s - 2 * p + d * (k - 1) + 1 for size, k, s, p, d in settings)

    def _check_wanted(self, least: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        most = tuple(size + stride - 1 for size, stride in zip(least, self.each(self.stride), strict=True))
        if len(wanted) != self.dimensions:
            raise LayerError(
                f"output_size has {len(wanted)} sizes, expected {self.dimensions}: ({SPATIAL[self.dimensions]})"
            )
        if not all(low <= size <= high for low, size, high in zip(least, wanted, most, strict=True)):
            raise LayerError(
                f"output_size {by(wanted)} is out of reach", f"it may be from {by(least)} to {by(most)} for this input"
            )
        if min(wanted) < 1:
            raise LayerError(f"output_size {by(wanted)} is empty", "write a smaller padding")


class ConvTranspose1d(_ConvTranspose):
    """The transpose of Conv1d: spreads each input value over a window of the output, so that stride makes it longer.

    input:   (N, C, L) or (C, L)
    output:  (N, out_channels, L'),  L' = (L − 1) · stride − 2 · padding + dilation · (kernel_size − 1)
             + output_padding + 1
    weight:  (C, out_channels / groups, kernel_size)
    bias:    (out_channels), absent with bias=False

    output_padding (or the second input, output_size) chooses among the lengths that a strided Conv1d maps to L.
    """

    dimensions: ClassVar[int] = 1

    kernel_size: Size1
    stride: Size1 = 1
    padding: Pad1 = 0
    output_padding: Pad1 = 0
    dilation: Size1 = 1


class ConvTranspose2d(_ConvTranspose):
    """The transpose of Conv2d, or up-convolution: spreads each input pixel over a window of a larger output.

    Each input value is multiplied by the kernel and added into the output at stride steps; it is what the gradient of
    Conv2d computes, and no inverse of it.

    input:   (N, C, H, W) or (C, H, W)
    output:  (N, out_channels, H', W'),  H' = (H − 1) · stride − 2 · padding + dilation · (kernel_size − 1)
             + output_padding + 1
    weight:  (C, out_channels / groups, k, k)
    bias:    (out_channels), absent with bias=False

    kernel 2 with stride 2 doubles the size, as in U-Net (Ronneberger et al. 2015). output_padding, smaller than the
    stride, chooses among the sizes that a strided Conv2d maps to H; it adds no zeros to the output.
    """

    dimensions: ClassVar[int] = 2

    kernel_size: Size2
    stride: Size2 = 1
    padding: Pad2 = 0
    output_padding: Pad2 = 0
    dilation: Size2 = 1


class ConvTranspose3d(_ConvTranspose):
    """The transpose of Conv3d: spreads each input value over a box of a larger output volume.

    input:   (N, C, D, H, W) or (C, D, H, W)
    output:  (N, out_channels, D', H', W'),  D' = (D − 1) · stride − 2 · padding + dilation · (kernel_size − 1)
             + output_padding + 1
    weight:  (C, out_channels / groups, k, k, k)
    bias:    (out_channels), absent with bias=False
    """

    dimensions: ClassVar[int] = 3

    kernel_size: Size3
    stride: Size3 = 1
    padding: Pad3 = 0
    output_padding: Pad3 = 0
    dilation: Size3 = 1
