"""Normalization to mean 0 and variance 1 over the batch, the channels or groups of channels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import KW_ONLY
from typing import Any

from fwdscope.errors import LayerError

from .base import Count, Layer, for_dimensions, inferred, shape_text, times_text


class _BatchNorm(Layer, abstract=True):
    dtype_rule = "narrower"
    parameters = "weight (num_features); bias (num_features)"

    num_features: Count = inferred(dim=1)
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    track_running_stats: bool = True
    _: KW_ONLY
    bias: bool = True

    def has_weights(self) -> bool:
        return self.affine or self.track_running_stats


class BatchNorm1d(_BatchNorm):
    """Normalizes each feature to mean 0 and variance 1 over the batch (and sequence), then scales and shifts it.

    y = (x − E[x]) / √(Var[x] + eps) · γ + β, for each of the C features. During training, mean and variance are
    those of the batch; in evaluation, the running averages from training.

    input → output:  (N, C) or (N, C, L), the same shape
    parameters:      weight γ and bias β, (C) each: 2 · C; none with affine=False
    buffers:         running_mean, running_var (C) each, num_batches_tracked
    Ioffe and Szegedy 2015.
    """

    input_shapes = ("(N, C)", "(N, C, L)")


@for_dimensions(2, 3)
class BatchNorm(_BatchNorm, abstract=True):
    """Normalizes each channel to mean 0 and variance 1 over the batch and all positions, then scales and shifts it.

    y = (x − E[x]) / √(Var[x] + eps) · γ + β, for each of the C channels. During training, mean and variance are
    those of the batch; in evaluation, the running averages from training, so samples do not affect one another.

    input → output:  (N, C, {sizes}), the same shape
    parameters:      weight γ and bias β, (C) each: 2 · C; none with affine=False
    buffers:         running_mean, running_var (C) each, num_batches_tracked
    momentum is the weight of a new batch in the running averages; None averages all batches. Ioffe and Szegedy 2015.
    """

    input_shapes = ("(N, C, {sizes})",)


class SyncBatchNorm(_BatchNorm):
    """BatchNorm for training on several devices: mean and variance are over the batches of all devices.

    In a single process it computes the same as BatchNorm1d, 2d and 3d.

    input → output:  (N, C, …), the same shape
    parameters:      weight γ and bias β, (C) each: 2 · C; none with affine=False
    buffers:         running_mean, running_var (C) each, num_batches_tracked
    """

    input_shapes = ("(N, C, …)",)


@for_dimensions(1, 2, 3)
class InstanceNorm(_BatchNorm, abstract=True):
    """Normalizes each channel of each {one} to mean 0 and variance 1 on its own, which removes contrast.

    y = (x − E[x]) / √(Var[x] + eps), mean and variance over {sizes}; with affine=True then · γ + β.

    input → output:  (N, C, {sizes}) or (C, {sizes}), the same shape
    parameters:      none; with affine=True weight and bias, 2 · C
    Introduced for style transfer (Ulyanov et al. 2016).
    """

    momentum: float = 0.1
    affine: bool = False
    track_running_stats: bool = False

    def validate(self, *inputs: Any) -> None:
        x = inputs[0]
        self.check_spatial(x)
        if not self.track_running_stats and math.prod(x.shape[-self.dimensions :]) == 1:
            message = f"{type(self).__name__} normalizes over positions, found a single one: {shape_text(x.shape)}"
            raise LayerError(message, "LayerNorm and GroupNorm normalize over channels")

    def infer(self, *inputs: Any) -> dict[str, Any]:
        return {"num_features": int(inputs[0].shape[-self.dimensions - 1])}


class _LastDimensions(Layer, abstract=True):
    """Normalization over the last dimensions; only over the last one by default."""

    normalized_shape: Count | tuple[Count, ...] = inferred()

    def validate(self, *inputs: Any) -> None:
        rank = self._rank()
        if rank == 0:
            raise LayerError("normalized_shape is empty", "leave it out for the last dimension")
        if inputs[0].dim() < rank:
            raise LayerError(
                f"{type(self).__name__} normalizes the last {times_text(rank)} dimension{'s' * (rank != 1)}, "
                f"found {inputs[0].dim()}: {shape_text(inputs[0].shape)}"
            )

    def infer(self, *inputs: Any) -> dict[str, Any]:
        return {"normalized_shape": tuple(int(size) for size in inputs[0].shape[-self._rank() :])}

    def details(self) -> Iterable[str]:
        if self._rank() > 1:
            yield times_text(self.normalized_shape)

    def _rank(self) -> int:
        return len(self.normalized_shape) if isinstance(self.normalized_shape, tuple | list) else 1


class LayerNorm(_LastDimensions):
    """Normalizes each position to mean 0 and variance 1 over its features, then scales and shifts it.

    y = (x − E[x]) / √(Var[x] + eps) · γ + β, mean and variance over the last dimension, or over the last ones:
    normalized_shape=(C, H, W), by keyword. Positions and samples do not affect one another, so training and
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
        return self.elementwise_affine


class RMSNorm(_LastDimensions):
    """Divides each position by the root mean square of its features, then scales it.

    y = x / √(mean(x²) + eps) · γ, over the last dimension, or the last ones: normalized_shape=(C, H, W), by keyword.
    LayerNorm without mean and bias; used by Llama and many later models.

    input → output:  (…, d), the same shape
    parameters:      weight γ, (d); none with elementwise_affine=False
    eps=None is the machine epsilon of the dtype, 1.19e-7 for float32. Zhang and Sennrich 2019.
    """

    other_kinds = ("complex",)

    eps: float | None = None
    elementwise_affine: bool = True


class GroupNorm(Layer):
    """Normalizes groups of channels of each sample to mean 0 and variance 1, then scales and shifts them.

    y = (x − E[x]) / √(Var[x] + eps) · γ + β, mean and variance over the C / num_groups channels of a group and all
    positions. One group is LayerNorm over (C, H, W); C groups are InstanceNorm. Independent of the batch size.

    input → output:  (N, C, …), the same shape; num_groups divides C
    parameters:      weight γ and bias β, (C) each: 2 · C; none with affine=False
    Wu and He 2018.
    """

    dtype_rule = "narrower"
    input_shapes = ("(N, C, …)",)
    shown = "{num_groups} groups"
    parameters = "weight (num_channels); bias (num_channels)"

    num_groups: Count
    num_channels: Count = inferred(dim=1)
    eps: float = 1e-5
    affine: bool = True
    _: KW_ONLY
    bias: bool = True

    def has_weights(self) -> bool:
        return self.affine

    def validate(self, *inputs: Any) -> None:
        x = inputs[0]
        self.check_divisible("num_channels", int(x.shape[1]), "num_groups", self.num_groups)
        # torch includes the batch (functional.py, group_norm): a single value in all has no variance.
        if x.shape[0] * x.shape[1] // self.num_groups * math.prod(x.shape[2:]) == 1:
            raise LayerError(
                f"GroupNorm needs more than one value in a group, found {self.num_groups} groups for "
                f"{shape_text(x.shape)}",
                "write fewer groups",
            )


class LocalResponseNorm(Layer):
    """Divides each value by the energy of its neighbours at the same position in ``size`` adjacent channels.

    y[c] = x[c] / (k + alpha / size · Σ x[c']²)^beta, the sum over the size channels around c.

    input → output:  (N, C, …), three dimensions or more, the same shape. No parameters.
    From AlexNet (Krizhevsky et al. 2012).
    """

    other_kinds = ("int",)
    input_shapes = ("(N, C, L, …)",)
    shown = "{size}"

    size: Count
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0


class CrossMapLRN2d(Layer):
    """LocalResponseNorm for images, as computed by Caffe and Torch7.

    y[c] = x[c] / (k + alpha / size · Σ x[c']²)^beta, the sum over the size channels around c.
    input → output:  (N, C, H, W), the same shape. No parameters.
    """

    other_kinds = ("complex",)
    input_shapes = ("(N, C, H, W)",)
    shown = "{size}"

    size: Count
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1
