"""Dropout: random zeros during training, the identity in evaluation."""

from __future__ import annotations

from collections.abc import Iterable

from .base import Layer, Probability


class _Dropout(Layer, abstract=True):
    other_kinds = ("complex",)

    p: Probability = 0.5

    def details(self) -> Iterable[str]:
        yield f"{self.p:g}"


class Dropout(_Dropout):
    """Sets each value to 0 with probability p during training and divides the rest by 1 − p; else the identity.

    The division keeps the expected value, so evaluation needs no correction.
    input → output:  any shape, the same. No parameters. Srivastava et al. 2014.
    """


class Dropout1d(_Dropout):
    """Sets whole channels of a sequence to 0 with probability p during training; else the identity.

    input → output:  (N, C, L) or (C, L), the same shape. No parameters. Tompson et al. 2015.
    """

    input_shapes = ("(N, C, L)", "(C, L)")


class Dropout2d(_Dropout):
    """Sets whole channels of an image to 0 with probability p during training; else the identity.

    Neighbouring pixels are similar, so dropping single ones would remove little information.
    input → output:  (N, C, H, W), the same shape. No parameters. Tompson et al. 2015.
    """


class Dropout3d(_Dropout):
    """Sets whole channels of a volume to 0 with probability p during training; else the identity.

    input → output:  (N, C, D, H, W), the same shape. No parameters.
    """


class AlphaDropout(_Dropout):
    """Dropout that keeps mean and variance: dropped values become SELU's lower limit, and the output is rescaled.

    input → output:  any shape, the same. No parameters. For networks with SELU (Klambauer et al. 2017).
    """


class FeatureAlphaDropout(_Dropout):
    """AlphaDropout of whole channels.

    input → output:  (N, C, …), the same shape. No parameters.
    """

    input_shapes = ("(N, C, …)",)
