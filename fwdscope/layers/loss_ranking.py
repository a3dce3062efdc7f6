"""Losses of distances and orders: what should be near, and what should be ahead of what."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any, ClassVar

from .base import (
    Buildable,
    Layer,
    LayerError,
    check_broadcast,
    check_dimensions,
    shape_text,
)
from .loss import Elementwise, Loss, Reduction


class HingeEmbeddingLoss(Elementwise):
    """A distance x that should be small where y is 1 and larger than margin where y is −1: x, or max(0, margin − x).

    inputs → output:  x (…) and y (…), 1 or −1 → a number. No parameters.
    """

    margin: float = 1.0
    reduction: Reduction = "mean"


class MarginRankingLoss(Loss):
    """Of two scores a should be higher by margin where y is 1, b where y is −1: max(0, −y · (a − b) + margin).

    inputs → output:  a, b and y (N) → a number. No parameters.
    """

    forward: ClassVar[str] = "(input1, input2, target)"
    also: ClassVar[tuple[str, ...]] = ("int", "uint8")
    whole: ClassVar[tuple[str, ...]] = ("target",)

    margin: float = 0.0
    reduction: Reduction = "mean"

    def check(self, *inputs: Any) -> None:
        """Refuse shapes that do not fit."""
        super().check(*inputs)
        same_rank(self, inputs)
        check_broadcast(self, *(x.shape for x in inputs[:3]))


def same_rank(loss: Layer, inputs: tuple[Any, ...]) -> None:
    """Whether all inputs have as many dimensions."""
    if len({x.dim() for x in inputs}) > 1:
        shapes = ", ".join(shape_text(x.shape) for x in inputs)
        raise LayerError(f"{type(loss).__name__} takes inputs of as many dimensions, found {shapes}")


class CosineEmbeddingLoss(Loss):
    """Two vectors should point the same way where y is 1, and not where it is −1: 1 − cos, or max(0, cos − margin).

    inputs → output:  x1 and x2 (N, d) and y (N), or (d), (d) and () → a number. No parameters.
    """

    forward: ClassVar[str] = "(input1, input2, target)"
    also: ClassVar[tuple[str, ...]] = ("int", "uint8", "bool")
    whole: ClassVar[tuple[str, ...]] = ("target",)

    margin: float = 0.0
    reduction: Reduction = "mean"

    def check(self, *inputs: Any) -> None:
        """Refuse shapes that do not fit."""
        super().check(*inputs)
        first, second, target = inputs[:3]
        check_dimensions(self, target, "(N)", "()", label="a target")
        for x in (first, second):
            check_dimensions(self, x, "(N, d)" if target.dim() else "(d)")
        check_broadcast(self, first.shape, second.shape)
        if target.dim():
            check_broadcast(self, (max(first.shape[0], second.shape[0]),), target.shape)


class TripletMarginLoss(Loss):
    """An anchor should be nearer to the positive than to the negative example, by margin.

    max(0, d(a, p) − d(a, n) + margin); d is the p-norm of the difference.
    With swap=True the nearer of d(a, n) and d(p, n) counts.
    inputs → output:  three of (N, d) or (d) → a number. No parameters. Balntas et al. 2016.
    """

    forward: ClassVar[str] = "(anchor, positive, negative)"
    also: ClassVar[tuple[str, ...]] = ("int", "uint8", "complex")

    margin: float = 1.0
    p: float = 2.0
    eps: float = 1e-6
    swap: bool = False
    reduction: Reduction = "mean"

    def check(self, *inputs: Any) -> None:
        """Refuse shapes that do not fit."""
        super().check(*inputs)
        if self.margin <= 0:
            raise LayerError(f"margin must be above 0, found {self.margin}")
        same_rank(self, inputs[:3])
        check_broadcast(self, *(x.shape for x in inputs[:3]))


class TripletMarginWithDistanceLoss(Loss):
    """TripletMarginLoss with a distance of one's own: max(0, d(a, p) − d(a, n) + margin).

    distance_function is a layer of two inputs, PairwiseDistance where left out.
    inputs → output:  three of (N, d) or (d) → a number. No parameters but those of the distance.
    """

    forward: ClassVar[str] = "(anchor, positive, negative)"
    also: ClassVar[tuple[str, ...]] = ("int", "uint8", "complex")

    _: KW_ONLY
    distance_function: Buildable | None = None
    margin: float = 1.0
    swap: bool = False
    reduction: Reduction = "mean"

    def check(self, *inputs: Any) -> None:
        """Refuse shapes that do not fit."""
        super().check(*inputs)
        if self.margin <= 0:
            raise LayerError(f"margin must be above 0, found {self.margin}")
        same_rank(self, inputs[:3])
        check_broadcast(self, *(x.shape for x in inputs[:3]))

    def arguments(self, *inputs: Any) -> dict[str, Any]:
        """torch's arguments, the distance built."""
        given = super().arguments(*inputs)
        if self.distance_function is not None:
            given["distance_function"] = self.distance_function.build(*inputs[:2])
        return given
