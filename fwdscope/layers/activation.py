"""Activations: element-wise functions, gates and softmaxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from fwdscope.errors import LayerError
from fwdscope.formula import Shape, Size, Sizes, kept_sizes

from .base import Count, Layer, NonNegative, shape_text


class ReLU(Layer):
    """The value if it is positive, else 0: max(0, x).

    input → output:  any shape, the same. No parameters. Nair and Hinton 2010.
    """

    other_kinds = ("int", "uint8")


class ReLU6(Layer):
    """ReLU clipped at 6: min(max(0, x), 6); the bound suits low-precision numbers.

    input → output:  any shape, the same. No parameters. Howard et al. 2017 (MobileNet).
    """

    other_kinds = ("int", "uint8")


class LeakyReLU(Layer):
    """ReLU that keeps a small slope for negative values: x if x > 0 else negative_slope · x.

    A unit that is never positive still learns. input → output: any shape, the same. No parameters. Maas et al. 2013.
    """

    shown = "{negative_slope}"

    negative_slope: float = 0.01


class PReLU(Layer):
    """LeakyReLU with a learned slope a: x if x > 0 else a · x.

    input → output:  any shape, the same
    weight:          (num_parameters), the slopes: 1 for all, or the number of channels for one each
    init is the slope at the start. He et al. 2015.
    """

    dtype_rule = "same"
    shown = "{num_parameters}"
    parameters = "weight (num_parameters)"

    num_parameters: Count = 1
    init: float = 0.25

    def validate(self, *inputs: Any) -> None:
        x = inputs[0]
        channels = int(x.shape[1]) if x.dim() > 1 else 1
        if self.num_parameters not in (1, channels):
            raise LayerError(
                f"PReLU has {self.num_parameters} slopes, but the input has {channels} channels: {shape_text(x.shape)}",
                f"num_parameters may be 1 or {channels} here",
            )


class RReLU(Layer):
    """LeakyReLU with a random slope between lower and upper during training, and their mean in evaluation.

    input → output:  any shape, the same. No parameters. Xu et al. 2015.
    """

    lower: float = 1 / 8
    upper: float = 1 / 3

    def validate(self, *inputs: Any) -> None:
        if self.lower > self.upper:
            raise LayerError(f"lower ({self.lower}) is above upper ({self.upper})")


class ELU(Layer):
    """x if it is positive, else alpha · (eˣ − 1), which approaches −alpha smoothly.

    input → output:  any shape, the same. No parameters. Clevert et al. 2016.
    """

    shown = "{alpha}"

    alpha: float = 1.0


class CELU(Layer):
    """ELU with a smooth slope for every alpha: max(0, x) + min(0, alpha · (exp(x / alpha) − 1)).

    input → output:  any shape, the same. No parameters. Barron 2017.
    """

    shown = "{alpha}"

    alpha: float = 1.0

    def validate(self, *inputs: Any) -> None:
        if self.alpha == 0:
            raise LayerError("CELU divides by alpha, which is 0", "ReLU is the limit for small alpha")


class SELU(Layer):
    """ELU scaled so that activations keep mean 0 and variance 1 from layer to layer.

    1.0507 · (max(0, x) + min(0, 1.6733 · (eˣ − 1))). Use it with AlphaDropout and LeCun initialisation.
    input → output:  any shape, the same. No parameters. Klambauer et al. 2017.
    """


class GELU(Layer):
    """The value times the probability that a normal variable is smaller: x · Φ(x).

    A smooth ReLU; the activation of BERT, GPT and most transformers. Φ(x) = (1 + erf(x / √2)) / 2, or, with
    approximate='tanh' (as in GPT-2), (1 + tanh(√(2/π) · (x + 0.044715 · x³))) / 2.
    input → output:  any shape, the same. No parameters. Hendrycks and Gimpel 2016.
    """

    shown = "{approximate}"

    approximate: Literal["none", "tanh"] = "none"


class SiLU(Layer):
    """The value times its sigmoid, also called swish: x · σ(x) = x / (1 + e⁻ˣ).

    input → output:  any shape, the same. No parameters. Elfwing et al. 2018; Ramachandran et al. 2017.
    """

    other_kinds = ("complex",)


class Mish(Layer):
    """The value times the tanh of its softplus: x · tanh(ln(1 + eˣ)).

    input → output:  any shape, the same. No parameters. Misra 2019.
    """


class Sigmoid(Layer):
    """Maps any number into (0, 1): σ(x) = 1 / (1 + e⁻ˣ).

    Turns a logit into a probability, or opens a gate. input → output: any shape, the same. No parameters.
    """

    needs_floats = False


class LogSigmoid(Layer):
    """The logarithm of the sigmoid, computed without overflow: ln(1 / (1 + e⁻ˣ)).

    input → output:  any shape, the same. No parameters.
    """


class Hardsigmoid(Layer):
    """The sigmoid approximated by three straight lines: min(max(0, x / 6 + 1/2), 1).

    input → output:  any shape, the same. No parameters. From MobileNetV3 (Howard et al. 2019).
    """


class Hardswish(Layer):
    """SiLU with Hardsigmoid for the sigmoid: x · min(max(0, x + 3), 6) / 6.

    input → output:  any shape, the same. No parameters. From MobileNetV3 (Howard et al. 2019).
    """


class Tanh(Layer):
    """Maps any number into (−1, 1): (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ).

    input → output:  any shape, the same. No parameters.
    """

    needs_floats = False


class Hardtanh(Layer):
    """The value clipped to the range from min_val to max_val: min(max(min_val, x), max_val).

    input → output:  any shape, the same. No parameters.
    """

    other_kinds = ("int",)

    min_val: float = -1.0
    max_val: float = 1.0

    def validate(self, *inputs: Any) -> None:
        if self.min_val >= self.max_val:
            raise LayerError(f"min_val ({self.min_val}) must be below max_val ({self.max_val})")

    def details(self) -> Iterable[str]:
        if (self.min_val, self.max_val) != (-1, 1):
            yield f"{self.min_val:g}…{self.max_val:g}"


class Tanhshrink(Layer):
    """The value minus its tanh: x − tanh(x), which maps small values to almost 0.

    input → output:  any shape, the same. No parameters.
    """

    other_kinds = ("int", "uint8", "complex")


class Hardshrink(Layer):
    """The value, or 0 if it lies between −lambd and lambd.

    input → output:  any shape, the same. No parameters.
    """

    shown = "{lambd}"

    lambd: float = 0.5


class Softshrink(Layer):
    """The value moved towards 0 by lambd, or 0 if it is closer: sign(x) · max(|x| − lambd, 0).

    input → output:  any shape, the same. No parameters.
    """

    shown = "{lambd}"

    lambd: NonNegative = 0.5


class Softplus(Layer):
    """A smooth ReLU, always positive: ln(1 + exp(beta · x)) / beta; x itself if beta · x > threshold.

    input → output:  any shape, the same. No parameters.
    """

    shown = "beta {beta}"

    beta: float = 1.0
    threshold: float = 20.0


class Softsign(Layer):
    """Maps any number into (−1, 1), more slowly than tanh: x / (1 + |x|).

    input → output:  any shape, the same. No parameters.
    """

    other_kinds = ("int", "uint8", "complex")


class Threshold(Layer):
    """The value if it is above threshold, else ``value``.

    input → output:  any shape, the same. No parameters.
    """

    other_kinds = ("int", "uint8")
    shown = "{threshold}"

    threshold: float
    value: float


class GLU(Layer):
    """A gated linear unit: one half of the features times the sigmoid of the other half.

    y = a · σ(b), a and b the two halves of the input along dim.
    input → output:  (…, 2 · d) → (…, d) for dim=-1. No parameters. Dauphin et al. 2017.
    """

    input_shapes = ("(…, d)",)
    shown = "dim {dim}"

    dim: int = -1

    def validate(self, *inputs: Any) -> None:
        size = int(inputs[0].shape[self.check_dimension(inputs[0], "dim", self.dim)])
        if size % 2:
            message = f"GLU halves dimension {self.dim}, which has an odd size ({size})"
            raise LayerError(message, f"{size - 1} or {size + 1} would fit")

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """The input's, halved along dim."""
        sizes, dim = list(kept_sizes(inputs[0])), self.dim % len(inputs[0])
        sizes[dim] = Size(f"size_{dim}", f"size_{dim} / 2", sizes[dim].numbers, "one half gates the other")
        return (tuple(sizes),)


class _Softmax(Layer, abstract=True):
    shown = "dim {dim}"

    dim: int | None = None

    def validate(self, *inputs: Any) -> None:
        if self.dim is not None:
            self.check_dimension(inputs[0], "dim", self.dim)


class Softmax(_Softmax):
    """Turns scores into probabilities along dim: positive, with sum 1.

    y[i] = exp(x[i]) / Σⱼ exp(x[j])
    input → output:  any shape, the same. No parameters. Bridle 1990.
    Give dim: torch's guess for dim=None is deprecated. CrossEntropyLoss takes scores, without Softmax.
    """


class LogSoftmax(_Softmax):
    """The logarithm of Softmax, computed without overflow: x[i] − ln Σⱼ exp(x[j]).

    input → output:  any shape, the same. No parameters. What NLLLoss takes.
    """


class Softmin(_Softmax):
    """Softmax of −x: the smallest value gets the largest probability.

    input → output:  any shape, the same. No parameters.
    """


class Softmax2d(Layer):
    """Softmax over the channels at every pixel.

    input → output:  (N, C, H, W) or (C, H, W), the same shape. No parameters.
    """

    input_shapes = ("(N, C, H, W)", "(C, H, W)")
