"""Normalization: values brought to mean 0 and variance 1, over the batch, the channels or groups of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import KW_ONLY
from typing import Any, ClassVar

from .base import (
    Count,
    Layer,
    LayerError,
    check_dimensions,
    check_divisible,
    check_spatial,
    inferred,
    shape_text,
    times_text,
)


class _BatchNorm(Layer, abstract=True):
    dtype_rule = "narrower"
    parameters = "weight (num_features); bias (num_features)"
    shapes: ClassVar[tuple[str, ...]]

    num_features: Count = inferred()
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    track_running_stats: bool = True

    def has_weights(self) -> bool:
        """Not where affine and running statistics are switched off."""
        return self.affine or self.track_running_stats

    def check(self, *inputs: Any) -> None:
        """Reject other numbers of dimensions."""
        super().check(*inputs)
        check_dimensions(self, inputs[0], *self.shapes)

    def infer(self, *inputs: Any) -> dict[str, Any]:
        """num_features is the second dimension."""
        return {"num_features": int(inputs[0].shape[1])}


class BatchNorm1d(_BatchNorm):
    """Each feature brought to mean 0 and variance 1 over the batch (and the sequence), then scaled and shifted.

    y = (x − E[x]) / √(Var[x] + eps) · γ + β, for each of the C features. While training, mean and variance are those
    of the batch; in evaluation the running averages kept from training.

    input → output:  (N, C) or (N, C, L), the same shape
    parameters:      weight γ and bias β, (C) each: 2 · C; none with affine=False
    buffers:         running_mean, running_var (C) each, num_batches_tracked
    Ioffe and Szegedy 2015.
    """

    shapes = ("(N, C)", "(N, C, L)")

    _: KW_ONLY
    bias: bool = True


class BatchNorm2d(_BatchNorm):
    """Each channel brought to mean 0 and variance 1 over the batch and all pixels, then scaled and shifted.

    y = (x − E[x]) / √(Var[x] + eps) · γ + β, for each of the C channels. While training, mean and variance are those
    of the batch; in evaluation the running averages kept from training, so that each image is treated alone.

    input → output:  (N, C, H, W), the same shape
    parameters:      weight γ and bias β, (C) each: 2 · C; none with affine=False
    buffers:         running_mean, running_var (C) each, num_batches_tracked
    momentum weighs the new batch in the running averages; None averages over all batches. Ioffe and Szegedy 2015.
    """

    shapes = ("(N, C, H, W)",)

    _: KW_ONLY
    bias: bool = True


class BatchNorm3d(_BatchNorm):
    """Each channel of a volume or video brought to mean 0 and variance 1 over the batch and all positions.

    As BatchNorm2d: y = (x − E[x]) / √(Var[x] + eps) · γ + β, for each of the C channels.

    input → output:  (N, C, D, H, W), the same shape
    parameters:      weight γ and bias β, (C) each: 2 · C; none with affine=False
    buffers:         running_mean, running_var (C) each, num_batches_tracked
    """

    shapes = ("(N, C, D, H, W)",)

    _: KW_ONLY
    bias: bool = True


class SyncBatchNorm(_BatchNorm):
    """BatchNorm for training on several devices: mean and variance are taken over the batches of all of them.

    In one process it computes what BatchNorm1d, 2d and 3d do.

    input → output:  (N, C, …), the same shape
    parameters:      weight γ and bias β, (C) each: 2 · C; none with affine=False
    buffers:         running_mean, running_var (C) each, num_batches_tracked
    """

    shapes = ("(N, C, …)",)

    _: KW_ONLY
    bias: bool = True


class _InstanceNorm(Layer, abstract=True):
    dtype_rule = "narrower"
    parameters = "weight (num_features); bias (num_features)"

    num_features: Count = inferred()
    eps: float = 1e-5
    momentum: float = 0.1
    affine: bool = False
    track_running_stats: bool = False

    def has_weights(self) -> bool:
        """Not where affine and running statistics are switched off."""
        return self.affine or self.track_running_stats

    def check(self, *inputs: Any) -> None:
        """Reject other numbers of dimensions, and a single position, whose variance is 0."""
        super().check(*inputs)
        x = inputs[0]
        check_spatial(self, x, self.dimensions)
        if not self.track_running_stats and math.prod(x.shape[-self.dimensions :]) == 1:
            raise LayerError(
                f"{type(self).__name__} normalizes over positions, found a single one: {shape_text(x.shape)}",
                "LayerNorm and GroupNorm normalize over channels",
            )

    def infer(self, *inputs: Any) -> dict[str, Any]:
        """num_features is the dimension before the spatial ones."""
        return {"num_features": int(inputs[0].shape[-self.dimensions - 1])}


class InstanceNorm1d(_InstanceNorm, dimensions=1):
    """Each channel of each sequence brought to mean 0 and variance 1 for itself.

    y = (x − E[x]) / √(Var[x] + eps), mean and variance over L; with affine=True then · γ + β.

    input → output:  (N, C, L) or (C, L), the same shape
    parameters:      none; with affine=True weight and bias, 2 · C
    """

    _: KW_ONLY
    bias: bool = True


class InstanceNorm2d(_InstanceNorm, dimensions=2):
    """Each channel of each image brought to mean 0 and variance 1 for itself, so that contrast is lost.

    y = (x − E[x]) / √(Var[x] + eps), mean and variance over H and W; with affine=True then · γ + β.

    input → output:  (N, C, H, W) or (C, H, W), the same shape
    parameters:      none; with affine=True weight and bias, 2 · C
    Made for style transfer (Ulyanov et al. 2016).
    """

    _: KW_ONLY
    bias: bool = True


class InstanceNorm3d(_InstanceNorm, dimensions=3):
    """Each channel of each volume brought to mean 0 and variance 1 for itself.

    y = (x − E[x]) / √(Var[x] + eps), mean and variance over D, H and W; with affine=True then · γ + β.

    input → output:  (N, C, D, H, W) or (C, D, H, W), the same shape
    parameters:      none; with affine=True weight and bias, 2 · C
    """

    _: KW_ONLY
    bias: bool = True


class _LastDimensions(Layer, abstract=True):
    """Normalization over the last dimensions; the last one alone where ``normalized_shape`` is left out."""

    normalized_shape: Count | tuple[Count, ...] = inferred()

    def check(self, *inputs: Any) -> None:
        """Reject a single number, and fewer dimensions than normalized_shape names."""
        super().check(*inputs)
        rank = self._rank()
        if rank == 0:
            raise LayerError("normalized_shape is empty", "leave it out for the last dimension")
        if inputs[0].dim() < rank:
            raise LayerError(
                f"{type(self).__name__} normalizes the last {times_text(rank)} dimension{'s' * (rank != 1)}, "
                f"found {inputs[0].dim()}: {shape_text(inputs[0].shape)}"
            )

    def infer(self, *inputs: Any) -> dict[str, Any]:
        """normalized_shape is the last dimensions, as many as were given, or one."""
        return {"normalized_shape": tuple(int(size) for size in inputs[0].shape[-self._rank() :])}

    def details(self) -> Iterable[str]:
        """The shape where it is more than the last dimension."""
        if self._rank() > 1:
            yield times_text(self.normalized_shape)

    def _rank(self) -> int:
        return len(self.normalized_shape) if isinstance(self.normalized_shape, tuple | list) else 1


class LayerNorm(_LastDimensions):
    """Each position brought to mean 0 and variance 1 over its features, then scaled and shifted.

    y = (x − E[x]) / √(Var[x] + eps) · γ + β, mean and variance over the last dimension, or over the last ones:
    normalized_shape=(C, H, W), by keyword. Nothing is shared between positions or samples, so that training and
    evaluation compute the same.

    input → output:  (…, d), the same shape
    parameters:      weight γ and bias β, (d) each: 2 · d; no bias with bias=False, none with elementwise_affine=False
    Ba et al. 2016.
    """

    dtype_rule = "narrower"

    eps: float = 1e-5
    elementwise_affine: bool = True
    bias: bool = True

    def has_weights(self) -> bool:
        """Not with elementwise_affine=False."""
        return self.elementwise_affine


class RMSNorm(_LastDimensions):
    """Each position divided by the root mean square of its features, then scaled.

    y = x / √(mean(x²) + eps) · γ, over the last dimension, or the last ones: normalized_shape=(C, H, W), by keyword.
    LayerNorm without the mean and the bias; the norm of Llama and its kin.

    input → output:  (…, d), the same shape
    parameters:      weight γ, (d); none with elementwise_affine=False
    eps=None is the smallest step of the dtype, 1.19e-7 for float32. Zhang and Sennrich 2019.
    """

    other_kinds = ("complex",)

    eps: float | None = None
    elementwise_affine: bool = True


class GroupNorm(Layer):
    """The channels of each sample in groups, each group brought to mean 0 and variance 1, then scaled and shifted.

    y = (x − E[x]) / √(Var[x] + eps) · γ + β, mean and variance over the C / num_groups channels of a group and all
    positions. One group is LayerNorm over (C, H, W); C groups are InstanceNorm. Independent of the batch's size.

    input → output:  (N, C, …), the same shape; num_groups divides C
    parameters:      weight γ and bias β, (C) each: 2 · C; none with affine=False
    Wu and He 2018.
    """

    dtype_rule = "narrower"
    parameters = "weight (num_channels); bias (num_channels)"

    num_groups: Count
    num_channels: Count = inferred()
    eps: float = 1e-5
    affine: bool = True
    _: KW_ONLY
    bias: bool = True

    def has_weights(self) -> bool:
        """Not with affine=False."""
        return self.affine

    def check(self, *inputs: Any) -> None:
        """Reject channels that do not divide into the groups, and groups of a single value."""
        super().check(*inputs)
        x = inputs[0]
        check_dimensions(self, x, "(N, C, …)")
        check_divisible("num_channels", int(x.shape[1]), "num_groups", self.num_groups)
        # torch counts the batch in as well (functional.py, group_norm): one value in all has no variance.
        if x.shape[0] * x.shape[1] // self.num_groups * math.prod(x.shape[2:]) == 1:
            raise LayerError(
                f"GroupNorm needs more than one value in a group, found {self.num_groups} groups for "
                f"{shape_text(x.shape)}",
                "write fewer groups",
            )

    def infer(self, *inputs: Any) -> dict[str, Any]:
        """num_channels is the second dimension."""
        return {"num_channels": int(inputs[0].shape[1])}

    def details(self) -> Iterable[str]:
        """The number of groups."""
        yield f"{self.num_groups} group{'s' * (self.num_groups != 1)}"


class LocalResponseNorm(Layer):
    """Each value divided by the energy of its neighbours at the same place in ``size`` adjacent channels.

    y[c] = x[c] / (k + alpha / size · Σ x[c']²)^beta, the sum over the size channels around c.

    input → output:  (N, C, …), three dimensions or more, the same shape. No parameters.
    From AlexNet (Krizhevsky et al. 2012).
    """

    other_kinds = ("int",)
    shown = "{size}"

    size: Count
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def check(self, *inputs: Any) -> None:
        """Reject fewer than three dimensions."""
        super().check(*inputs)
        check_dimensions(self, inputs[0], "(N, C, L, …)")


class CrossMapLRN2d(Layer):
    """LocalResponseNorm for images, as the Caffe and Torch7 libraries computed it.

    y[c] = x[c] / (k + alpha / size · Σ x[c']²)^beta, the sum over the size channels around c.
    input → output:  (N, C, H, W), the same shape. No parameters.
    """

    other_kinds = ("complex",)
    shown = "{size}"

    size: Count
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1

    def check(self, *inputs: Any) -> None:
        """Reject all but batches of images."""
        super().check(*inputs)
        check_dimensions(self, inputs[0], "(N, C, H, W)")
