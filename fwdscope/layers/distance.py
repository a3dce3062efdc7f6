"""Distances and similarities of two batches of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .base import Layer, check_broadcast, check_dimension


class CosineSimilarity(Layer):
    """The cosine of the angle between two vectors: 1 for the same direction, 0 for a right angle, −1 for opposite ones.

    y = x1 · x2 / (max(‖x1‖, eps) · max(‖x2‖, eps)), along dim.
    inputs → output:  (N, d) and (N, d) → (N), for dim=1; the shapes broadcast. No parameters.
    """

    forward: ClassVar[str] = "(x1, x2)"
    told: ClassVar[Mapping[str, str]] = {"dim": "dim {}"}

    dim: int = 1
    eps: float = 1e-8

    def check(self, *inputs: Any) -> None:
        """Refuse shapes that do not broadcast, and a dimension that they do not have."""
        super().check(*inputs)
        check_broadcast(self, inputs[0].shape, inputs[1].shape)
        check_dimension(self, max(inputs[:2], key=lambda x: x.dim()), "dim", self.dim)


class PairwiseDistance(Layer):
    """The distance of two vectors, in the p-norm: ‖x1 − x2 + eps‖ₚ along the last dimension.

    p = 2 is the Euclidean distance, p = 1 the sum of differences.
    inputs → output:  (N, d) and (N, d) → (N), or (N, 1) with keepdim=True; the shapes broadcast. No parameters.
    """

    also: ClassVar[tuple[str, ...]] = ("int", "uint8", "complex")
    forward: ClassVar[str] = "(x1, x2)"
    told: ClassVar[Mapping[str, str]] = {"p": "p={}"}

    p: float = 2.0
    eps: float = 1e-6
    keepdim: bool = False

    def check(self, *inputs: Any) -> None:
        """Refuse shapes that do not broadcast."""
        super().check(*inputs)
        check_broadcast(self, inputs[0].shape, inputs[1].shape)
