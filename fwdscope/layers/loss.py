"""Losses: how far a prediction is from its target, as one number (or one for each element, with reduction='none').

Weights that torch takes as tensors are tuples of numbers here, and buffers of the module as in torch.
"""

from __future__ import annotations

from dataclasses import KW_ONLY
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fwdscope.default_dtype import default_dtype

from .base import (
    Layer,
    LayerError,
    NonNegative,
    check_broadcast,
    dtype_text,
    is_tensor,
    shape_text,
)

if TYPE_CHECKING:
    from torch import nn

Reduction = Literal["none", "mean", "sum"]
Weights = tuple[float, ...] | None


class Loss(Layer, abstract=True):
    """What all losses share: checks of the target, and weights."""

    forward: ClassVar[str] = "(input, target)"

    def build(self, *inputs: Any) -> nn.Module:
        """Make torch's module; its weights become buffers that ``reset_parameters`` fills again off the meta device."""
        import torch

        arguments = self.arguments(*inputs)
        weights: dict[str, tuple[float, ...]] = {
            name: arguments[name] for name in ("weight", "pos_weight") if name in arguments
        }
        dtype = default_dtype()
        module = self.construct(**arguments | {name: torch.tensor(list(w), dtype=dtype) for name, w in weights.items()})
        if weights:
            # Buffers made on the meta device have lost their values. A partial, unlike a function, is copied with the
            # module, and then fills the copy.
            module.reset_parameters = partial(fill_weights, module, weights)  # type: ignore[assignment]
        return module

    def same_shape(self, x: Any, target: Any) -> None:
        """Refuse a target of another shape."""
        if x.shape != target.shape:
            raise LayerError(
                f"{type(self).__name__} takes a target of the input's shape {shape_text(x.shape)}, "
                f"found {shape_text(target.shape)}"
            )

    def check_weights(self, name: str, weights: Weights, classes: int) -> None:
        """Refuse another number of weights than classes."""
        if weights is not None and len(weights) != classes:
            raise LayerError(f"{type(self).__name__} has {len(weights)} numbers as {name} for {classes} classes")

    def check_indices(self, target: Any, *, also: tuple[str, ...] = ()) -> None:
        """Refuse a target that does not hold class indices."""
        if dtype_text(target) not in ("int64", *also):
            raise LayerError(
                f"{type(self).__name__} takes class indices of int64 as target, found {dtype_text(target)}",
                "make it with randint(0, classes, shape), or write target.long()",
            )


def fill_weights(module: nn.Module, weights: dict[str, tuple[float, ...]]) -> None:
    """Write the numbers into the module's buffers, as torch's layers do in their ``reset_parameters``."""
    import torch

    for name, values in weights.items():
        buffer = getattr(module, name)
        buffer.copy_(torch.tensor(list(values), dtype=buffer.dtype))


class Elementwise(Loss, abstract=True):
    """A loss of each element and its target, whose shapes broadcast."""

    whole: ClassVar[tuple[str, ...]] = ("target",)

    def check(self, *inputs: Any) -> None:
        """Refuse shapes that do not broadcast."""
        super().check(*inputs)
        check_broadcast(self, *(x.shape for x in inputs[:2]))


class L1Loss(Elementwise):
    """The mean absolute difference: |x − y|.

    inputs → output:  (…) and (…), the same shape → a number; the shape with reduction='none'. No parameters.
    """

    reduction: Reduction = "mean"


class MSELoss(Elementwise):
    """The mean squared difference: (x − y)².

    inputs → output:  (…) and (…), the same shape → a number; the shape with reduction='none'. No parameters.
    """

    reduction: Reduction = "mean"


class SmoothL1Loss(Elementwise):
    """Squared for small differences, absolute for large ones: d² / (2 · beta) if |d| < beta else |d| − beta / 2.

    inputs → output:  (…) and (…), the same shape → a number. No parameters. Girshick 2015 (Fast R-CNN).
    """

    whole: ClassVar[tuple[str, ...]] = ("target",)

    reduction: Reduction = "mean"
    beta: NonNegative = 1.0


class HuberLoss(Elementwise):
    """Squared for small differences, absolute for large ones: d² / 2 if |d| ≤ delta else delta · (|d| − delta / 2).

    inputs → output:  (…) and (…), the same shape → a number. No parameters. Huber 1964.
    """

    reduction: Reduction = "mean"
    delta: float = 1.0

    def check(self, *inputs: Any) -> None:
        """Refuse a delta that is not positive."""
        super().check(*inputs)
        if self.delta <= 0:
            raise LayerError(f"delta must be above 0, found {self.delta}", "L1Loss is what delta near 0 comes to")


class BCELoss(Loss):
    """Binary cross entropy of probabilities: −(y · ln p + (1 − y) · ln(1 − p)).

    inputs → output:  p (…) between 0 and 1 and y (…), floating-point → a number. No parameters.
    BCEWithLogitsLoss takes the scores before the Sigmoid and is stable.
    """

    weight: Weights = None
    reduction: Reduction = "mean"

    def check(self, *inputs: Any) -> None:
        """Refuse a target of another shape or dtype."""
        super().check(*inputs)
        x, target = inputs[:2]
        self.same_shape(x, target)
        if x.dtype != target.dtype:
            raise LayerError(
                f"BCELoss takes a target of the input's dtype ({dtype_text(x)}), found {dtype_text(target)}",
                f"write target.to({dtype_text(x)})",
            )
        if self.weight is not None:
            check_broadcast(self, x.shape, (len(self.weight),))


class BCEWithLogitsLoss(Loss):
    """Binary cross entropy of scores, the Sigmoid included: −(y · ln σ(x) + (1 − y) · ln(1 − σ(x))).

    Computed without overflow.
    inputs → output:  x (…) and y (…), between 0 and 1 → a number. No parameters.
    pos_weight, one number for each class (the last dimension), weighs the positive examples.
    """

    weight: Weights = None
    reduction: Reduction = "mean"
    pos_weight: Weights = None

    def check(self, *inputs: Any) -> None:
        """Refuse a target of another shape."""
        super().check(*inputs)
        x, target = inputs[:2]
        self.same_shape(x, target)
        for weights in (self.weight, self.pos_weight):
            if weights is not None:
                check_broadcast(self, x.shape, (len(weights),))


class PoissonNLLLoss(Elementwise):
    """How unlikely counts are under a Poisson distribution of this rate: eˣ − y · x, or x − y · ln(x + eps).

    log_input says whether x is the logarithm of the rate; full adds Stirling's approximation of ln y!.
    inputs → output:  x (…) and y (…) → a number. No parameters.
    """

    also: ClassVar[tuple[str, ...]] = ("int", "uint8", "complex")

    log_input: bool = True
    full: bool = False
    eps: float = 1e-8
    reduction: Reduction = "mean"


class GaussianNLLLoss(Loss):
    """How unlikely y is under a normal distribution of this mean and variance: (ln var + (x − y)² / var) / 2.

    inputs → output:  mean (…, d), y (…, d), var (…, d), (…, 1), (…) or a number → a number. No parameters.
    Nix and Weigend 1994.
    """

    forward: ClassVar[str] = "(input, target, var)"
    whole: ClassVar[tuple[str, ...]] = ("target", "var")
    decides: ClassVar[str | None] = "whether a variance is negative"

    _: KW_ONLY
    full: bool = False
    eps: float = 1e-6
    reduction: Reduction = "mean"

    def check(self, *inputs: Any) -> None:
        """Refuse shapes that do not fit."""
        if len(inputs) > 2 and isinstance(inputs[2], int | float):
            # The variance may be a number, which stands for a tensor of the input's shape.
            super().check(inputs[0], inputs[1], inputs[0])
        else:
            super().check(*inputs)
        x, target, var = inputs[:3]
        check_broadcast(self, x.shape, target.shape)
        if is_tensor(var) and var.shape != x.shape and var.shape != x.shape[:-1]:
            differing = [a for a, b in zip(x.shape, var.shape, strict=False) if a != b]
            if x.dim() != var.dim() or var.shape[-1] != 1 or len(differing) != 1:
                raise LayerError(f"var {shape_text(var.shape)} does not fit the input {shape_text(x.shape)}")


class KLDivLoss(Loss):
    """The Kullback–Leibler divergence of log-probabilities x from probabilities y: y · (ln y − x).

    log_target=True takes ln y. reduction='batchmean' sums and divides by the batch, which is the definition; 'mean'
    divides by the number of elements.
    inputs → output:  x (…) and y (…) → a number. No parameters.
    """

    reduction: Literal["none", "mean", "sum", "batchmean"] = "mean"
    log_target: bool = False

    def check(self, *inputs: Any) -> None:
        """Refuse shapes that do not broadcast."""
        super().check(*inputs)
        check_broadcast(self, *(x.shape for x in inputs[:2]))


class SoftMarginLoss(Elementwise):
    """The logistic loss of a score x and a class y of 1 or −1: ln(1 + exp(−y · x)).

    inputs → output:  x (…) and y (…) → a number. No parameters.
    """

    also: ClassVar[tuple[str, ...]] = ("complex",)

    reduction: Reduction = "mean"
