"""Distances and similarities of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fwdscope.formula import Shape, Sizes, broadcast_sizes, set_size

from .base import Layer


class CosineSimilarity(Layer):
    """The cosine of the angle between two vectors: 1 for equal directions, 0 for orthogonal, −1 for opposite.

    y = x1 · x2 / (max(‖x1‖, eps) · max(‖x2‖, eps)), along dim.
    inputs → output:  (N, d) and (N, d) → (N), for dim=1; the shapes broadcast. No parameters.
    """

    forward = "(x1, x2)"
    shown = "dim {dim}"

    dim: int = 1
    eps: float = 1e-8

    def validate(self, *inputs: Any) -> None:
        self.check_broadcast(inputs[0].shape, inputs[1].shape)
        self.check_dimension(max(inputs[:2], key=lambda x: x.dim()), "dim", self.dim)

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """The common shape without dim."""
        common = broadcast_sizes(*inputs[:2])
        dim = self.dim % len(common)
        return ((*common[:dim], *common[dim + 1 :]),)


class PairwiseDistance(Layer):
    """The distance of two vectors in the p-norm: ‖x1 − x2 + eps‖ₚ along the last dimension.

    p = 2 is the Euclidean distance, p = 1 the sum of absolute differences.
    inputs → output:  (N, d) and (N, d) → (N), or (N, 1) with keepdim=True; the shapes broadcast. No parameters.
    """

    other_kinds = ("int", "uint8", "complex")
    forward = "(x1, x2)"
    shown = "p={p}"

    p: float = 2.0
    eps: float = 1e-6
    keepdim: bool = False

    def validate(self, *inputs: Any) -> None:
        self.check_broadcast(inputs[0].shape, inputs[1].shape)

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """The common shape without its last dimension."""
        last = [set_size("last", "one", 1, "keepdim=True")] * self.keepdim
        return ((*broadcast_sizes(*inputs[:2])[:-1], *last),)
