"""Linear maps of the last dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fwdscope.errors import LayerError
from fwdscope.formula import Shape, Sizes, kept_sizes, set_size

from .base import Count, Layer, inferred, shape_text


class _Linear(Layer, abstract=True):
    dtype_rule = "same"

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        return ((*kept_sizes(inputs[0][:-1]), set_size("features", "out_features", vars(self)["out_features"])),)


class Linear(_Linear):
    """A learned linear map of the last dimension: y = x Wᵀ + b.

    Each output feature is a weighted sum of all input features plus a bias, the same at every position:
    y[…, j] = Σᵢ W[j, i] · x[…, i] + b[j]. Also called fully connected or dense.

    input:   (…, in_features), any number of dimensions before the last
    output:  (…, out_features)
    weight:  (out_features, in_features)
    bias:    (out_features), absent with bias=False
    in all:  out_features · (in_features + 1) parameters

    Linear(10) on (32, 128) gives (32, 10) and has 10 · (128 + 1) = 1,290 parameters.
    """

    input_shapes = ("(…, in_features)",)
    parameters = "weight (out_features, in_features); bias (out_features)"

    in_features: Count = inferred(dim=-1)
    out_features: Count
    bias: bool = True


class Bilinear(_Linear):
    """A learned product of two inputs: each output is a weighted sum of all pairs of their features.

    y[…, k] = Σᵢⱼ x₁[…, i] · W[k, i, j] · x₂[…, j] + b[k]

    inputs:  (…, in1_features) and (…, in2_features), the same sizes before the last
    output:  (…, out_features)
    weight:  (out_features, in1_features, in2_features)
    bias:    (out_features), absent with bias=False
    in all:  out_features · (in1_features · in2_features + 1) parameters
    """

    forward = "(input1, input2)"
    input_shapes = ("(…, in1_features)",)
    parameters = "weight (out_features, in1_features, in2_features); bias (out_features)"

    in1_features: Count = inferred(dim=-1)
    in2_features: Count = inferred(dim=-1, input=1)
    out_features: Count
    bias: bool = True

    def validate(self, *inputs: Any) -> None:
        first, second = inputs[:2]
        self.check_dimensions(second, "(…, in2_features)")
        if first.shape[:-1] != second.shape[:-1]:
            raise LayerError(
                f"Bilinear's inputs differ before the last dimension: "
                f"{shape_text(first.shape)} and {shape_text(second.shape)}"
            )


class Identity(Layer):
    """Returns its input; a placeholder for an optional layer.

    input → output: any shape, any dtype. No parameters.
    """

    needs_floats = False
