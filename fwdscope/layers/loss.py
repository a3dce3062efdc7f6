"""Losses: the error of a prediction, as one number, or one for each element with reduction='none'.

Weights that torch takes as tensors are tuples of numbers here; in the module they are buffers, as in torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fwdscope.default_dtype import default_dtype
from fwdscope.errors import LayerError
from fwdscope.formula import Shape, Sizes, broadcast_sizes, kept_sizes

from .base import Buildable, Count, Layer, NonNegative, Probability, dtype_text, inferred, number_kind, shape_text

if TYPE_CHECKING:
    from torch import nn

Reduction = Literal["none", "mean", "sum"]
Weights = tuple[float, ...] | None


class Loss(Layer, abstract=True):
    """What all losses share: checks of the target, and weights."""

    forward = "(input, target)"
    integer_inputs: ClassVar[tuple[str, ...]] = ("target",)

    def build(self, *inputs: Any) -> nn.Module:
        """Make torch's module. Its ``reset_parameters`` fills the weights again after a move off the meta device."""
        import torch

        arguments = self.arguments(*inputs)
        weights: dict[str, tuple[float, ...]] = {
            name: arguments[name] for name in ("weight", "pos_weight") if name in arguments
        }
        dtype = default_dtype()
        module = self.construct(**arguments | {name: torch.tensor(list(w), dtype=dtype) for name, w in weights.items()})
        if weights:
            # Buffers on the meta device have no values. A partial, unlike a function, is copied with the module and
            # then fills the copy.
            module.reset_parameters = partial(fill_weights, module, weights)  # type: ignore[assignment]
        return module

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """A single number; with reduction='none' one for each element, row or sample."""
        first = inputs[0]
        if outputs[-1] != () and len(outputs[0]) == len(first):
            return (broadcast_sizes(*inputs),)
        return [kept_sizes(first[: len(shape)]) for shape in outputs]

    def check_same_shape(self, x: Any, target: Any) -> None:
        """Reject a target of another shape."""
        if x.shape != target.shape:
            raise LayerError(
                f"{type(self).__name__} takes a target of the input's shape {shape_text(x.shape)}, "
                f"found {shape_text(target.shape)}"
            )

    def check_weights(self, name: str, weights: Weights, classes: int) -> None:
        """Reject weights that are not one for each class."""
        if weights is not None and len(weights) != classes:
            raise LayerError(f"{type(self).__name__} has {len(weights)} numbers as {name} for {classes} classes")

    def check_indices(self, target: Any, *, also: tuple[str, ...] = ()) -> None:
        """Reject a target that is not class indices."""
        if dtype_text(target) not in ("int64", *also):
            message = f"{type(self).__name__} takes class indices of int64 as target, found {dtype_text(target)}"
            raise LayerError(message, "make it with randint(0, classes, shape), or cast it: `.long()`")


def fill_weights(module: nn.Module, weights: dict[str, tuple[float, ...]]) -> None:
    """Write the numbers into the module's buffers, as torch's layers do in their ``reset_parameters``."""
    import torch

    for name, values in weights.items():
        buffer = getattr(module, name)
        buffer.copy_(torch.tensor(list(values), dtype=buffer.dtype))


class Elementwise(Loss, abstract=True):
    """A loss of each element; input and target broadcast."""

    def validate(self, *inputs: Any) -> None:
        self.check_broadcast(*(x.shape for x in inputs[:2]))


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

    reduction: Reduction = "mean"
    beta: NonNegative = 1.0


class HuberLoss(Elementwise):
    """Squared for small differences, absolute for large ones: d² / 2 if |d| ≤ delta else delta · (|d| − delta / 2).

    inputs → output:  (…) and (…), the same shape → a number. No parameters. Huber 1964.
    """

    reduction: Reduction = "mean"
    delta: float = 1.0

    def validate(self, *inputs: Any) -> None:
        super().validate(*inputs)
        if self.delta <= 0:
            raise LayerError(f"delta must be above 0, found {self.delta}", "for a delta near 0 use L1Loss")


class _BinaryLoss(Loss, abstract=True):
    integer_inputs = ()

    weight: Weights = None
    reduction: Reduction = "mean"

    def validate(self, *inputs: Any) -> None:
        x, target = inputs[:2]
        self.check_same_shape(x, target)
        for weights in (self.weight, vars(self).get("pos_weight")):
            if weights is not None:
                self.check_broadcast(x.shape, (len(weights),))


class BCELoss(_BinaryLoss):
    """Binary cross entropy of probabilities: −(y · ln p + (1 − y) · ln(1 − p)).

    inputs → output:  p (…) between 0 and 1 and y (…), floating-point → a number. No parameters.
    BCEWithLogitsLoss takes scores instead and is numerically stable.
    """

    def validate(self, *inputs: Any) -> None:
        super().validate(*inputs)
        expected, found = map(dtype_text, inputs[:2])
        if expected != found:
            message = f"BCELoss takes a target of the input's dtype ({expected}), found {found}"
            raise LayerError(message, f"cast it: `.to({expected})`")


class BCEWithLogitsLoss(_BinaryLoss):
    """Binary cross entropy of scores (logits), with a built-in Sigmoid: −(y · ln σ(x) + (1 − y) · ln(1 − σ(x))).

    Computed without overflow.
    inputs → output:  x (…) and y (…), between 0 and 1 → a number. No parameters.
    pos_weight, a number for each class (the last dimension), is the weight of positive examples.
    """

    pos_weight: Weights = None


class PoissonNLLLoss(Elementwise):
    """The negative log-likelihood of counts under a Poisson distribution: eˣ − y · x, or x − y · ln(x + eps).

    With log_input=True x is the logarithm of the rate; full adds Stirling's approximation of ln y!.
    inputs → output:  x (…) and y (…) → a number. No parameters.
    """

    other_kinds = ("int", "uint8", "complex")

    log_input: bool = True
    full: bool = False
    eps: float = 1e-8
    reduction: Reduction = "mean"


class GaussianNLLLoss(Loss):
    """The negative log-likelihood of y under a normal distribution: (ln var + (x − y)² / var) / 2.

    inputs → output:  mean (…, d), y (…, d), var (…, d), (…, 1), (…) or a number → a number. No parameters.
    Nix and Weigend 1994.
    """

    forward = "(input, target, var)"
    integer_inputs = ("target", "var")
    number_inputs = ("var",)
    data_decide = "whether a variance is negative"

    _: KW_ONLY
    full: bool = False
    eps: float = 1e-6
    reduction: Reduction = "mean"

    def validate(self, *inputs: Any) -> None:
        x, target, var = inputs[:3]
        self.check_broadcast(x.shape, target.shape)
        if getattr(var, "shape", x.shape) not in (x.shape, x.shape[:-1]):  # a number fits everything
            differing = [a for a, b in zip(x.shape, var.shape, strict=False) if a != b]
            if x.dim() != var.dim() or var.shape[-1] != 1 or len(differing) != 1:
                raise LayerError(f"var {shape_text(var.shape)} does not fit the input {shape_text(x.shape)}")


class KLDivLoss(Elementwise):
    """The Kullback–Leibler divergence of log-probabilities x from probabilities y: y · (ln y − x).

    log_target=True takes ln y. reduction='batchmean' divides the sum by the batch size, which is the definition; 'mean'
    divides it by the number of elements.
    inputs → output:  x (…) and y (…) → a number. No parameters.
    """

    integer_inputs = ()

    reduction: Literal["none", "mean", "sum", "batchmean"] = "mean"
    log_target: bool = False


class SoftMarginLoss(Elementwise):
    """The logistic loss of a score x and a class y of 1 or −1: ln(1 + exp(−y · x)).

    inputs → output:  x (…) and y (…) → a number. No parameters.
    """

    other_kinds = ("complex",)

    reduction: Reduction = "mean"


# --- classification ------------------------------------------------------------------------------------------------


class _ClassLoss(Loss, abstract=True):
    input_shapes = ("(C)", "(N, C, …)")
    # Whether the target may be a probability of each class as well.
    takes_probabilities: ClassVar[bool] = False

    weight: Weights = None
    ignore_index: int = -100
    reduction: Reduction = "mean"

    def validate(self, *inputs: Any) -> None:
        x, target = inputs[:2]
        self.check_weights("weight", self.weight, int(x.shape[min(x.dim() - 1, 1)]))
        if self.takes_probabilities and x.shape == target.shape:
            self.check_floating(target, "probabilities")
        else:
            check_classes(self, x, target)
            self.check_indices(target, also=("uint8",))

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        first = inputs[0]
        return (kept_sizes((first[0], *first[2:])) if outputs[0] and len(first) > 1 else (),)


class CrossEntropyLoss(_ClassLoss):
    """The negative log-likelihood of the right class, from scores (logits): −x[y] + ln Σⱼ exp(x[j]).

    The usual loss of classification. Softmax and logarithm are built in and do not overflow.

    inputs:  scores (N, C), (C) or (N, C, d₁, …); classes (N), () or (N, d₁, …) of int64, or probabilities
             of the scores' shape
    output:  a number; the shape of the classes with reduction='none'. No parameters.

    weight has C numbers, a weight for each class; class ignore_index does not count; label_smoothing (Szegedy et al.
    2016) mixes the target with the uniform distribution.
    """

    takes_probabilities = True

    label_smoothing: Probability = 0.0


def check_classes(loss: Layer, x: Any, target: Any) -> None:
    """Check that the target has the input's shape without the classes."""
    expected = (*x.shape[:1], *x.shape[2:]) if x.dim() > 1 else ()
    if tuple(target.shape) != tuple(expected):
        raise LayerError(
            f"{type(loss).__name__} takes a class for each of the input's {shape_text(x.shape)} scores: a target "
            f"{shape_text(expected)}, found {shape_text(target.shape)}",
            "the classes stand in dimension 1: transpose(1, 2) brings (N, T, C) to (N, C, T)" if x.dim() > 2 else None,
        )


class NLLLoss(_ClassLoss):
    """The negative log-likelihood of the right class, from log-probabilities: −x[y]; takes the output of LogSoftmax.

    inputs → output:  x (N, C), (C) or (N, C, d₁, …) and classes (N), () or (N, d₁, …) of int64 → a number.
    weight has C numbers, a weight for each class. No parameters.
    """


class MultiMarginLoss(Loss):
    """Each wrong class should score lower than the right one by margin: Σⱼ max(0, margin − x[y] + x[j])ᵖ / C.

    inputs → output:  x (N, C) or (C), classes (N) or () of int64 → a number. p is 1 or 2. No parameters.
    """

    input_shapes = ("(N, C)", "(C)")

    p: Literal[1, 2] = 1
    margin: float = 1.0
    weight: Weights = None
    reduction: Reduction = "mean"

    def validate(self, *inputs: Any) -> None:
        x, target = inputs[:2]
        self.check_weights("weight", self.weight, int(x.shape[-1]))
        if x.dim() == 2 or target.dim() != 1 or target.shape[0] != 1:
            check_classes(self, x, target)
        self.check_indices(target)


class MultiLabelMarginLoss(Loss):
    """Each wrong class should score lower than each right one by 1.

    Σ over right i and wrong j of max(0, 1 − x[i] + x[j]) / C. The target lists the right classes, then −1.
    inputs → output:  x (N, C) or (C), target of the same shape and int64 → a number. No parameters.
    """

    input_shapes = ("(N, C)", "(C)", "()")

    reduction: Reduction = "mean"

    def validate(self, *inputs: Any) -> None:
        self.check_same_shape(inputs[0], inputs[1])
        self.check_indices(inputs[1])


class MultiLabelSoftMarginLoss(Elementwise):
    """Binary cross entropy of the score of each class, mean over the classes.

    inputs → output:  x (N, C) and y (N, C), 0 or 1 → a number. weight has C numbers. No parameters.
    """

    weight: Weights = None
    reduction: Reduction = "mean"

    def validate(self, *inputs: Any) -> None:
        super().validate(*inputs)
        self.check_dimensions(inputs[0], "(…, C)")
        if self.weight is not None:
            self.check_broadcast(inputs[0].shape, (len(self.weight),))


class CTCLoss(Loss):
    """The negative log-likelihood of a sequence of labels, from scores of more steps, over all alignments.

    −ln Σ over all paths of T steps that give the target after removing repeats and blanks.

    inputs:  log-probabilities (T, N, C) or (T, C); targets (N, S) or concatenated (Σ S); their lengths, (N) each
    output:  a number; (N) with reduction='none'. No parameters. Graves et al. 2006.
    """

    forward = "(log_probs, targets, input_lengths, target_lengths)"
    input_shapes = ("(T, N, C)", "(T, C)")
    integer_inputs = ("targets", "input_lengths", "target_lengths")
    number_inputs = ("input_lengths", "target_lengths")
    data_decide = "how long the sequences are, where the lengths are tensors"

    blank: int = 0
    reduction: Reduction = "mean"
    zero_infinity: bool = False

    def validate(self, *inputs: Any) -> None:
        scores, targets = inputs[:2]
        if number_kind(targets) != "int":
            raise LayerError(f"CTCLoss takes targets of int64 or int32, found {dtype_text(targets)}")
        if not 0 <= self.blank < scores.shape[-1]:
            raise LayerError(f"blank ({self.blank}) is no class of {int(scores.shape[-1])}")
        if scores.dim() == 3 and targets.dim() == 2 and targets.shape[0] != scores.shape[1]:
            raise LayerError(
                f"targets {shape_text(targets.shape)} must have the batch of the scores, {int(scores.shape[1])}"
            )


class AdaptiveLogSoftmaxWithLoss(Loss):
    """A fast approximate softmax over very many classes, which computes rare classes only when needed.

    Classes are sorted by frequency. Those below cutoffs[0] are in the head, the others in tails, one for each cutoff,
    with inputs smaller by div_value, div_value², …

    inputs:  (N, d) or (d), classes (N) or () of int64
    output:  (log-probability of each class given, the loss), named output and loss
    weights: head (cutoffs[0] + number of tails, d); each tail (h, d) and (its classes, h), h = ⌊d / div_valueⁱ⌋
    Grave et al. 2017.
    """

    dtype_rule = "same"
    input_shapes = ("(N, d)", "(d)")
    data_decide = "which samples belong to which tail"

    in_features: Count = inferred(dim=-1)
    n_classes: Count
    cutoffs: tuple[Count, ...]
    div_value: float = 4.0
    head_bias: bool = False

    def validate(self, *inputs: Any) -> None:
        x, target = inputs[:2]
        cutoffs = tuple(self.cutoffs)
        if not cutoffs or list(cutoffs) != sorted(set(cutoffs)) or cutoffs[-1] >= self.n_classes:
            raise LayerError(f"cutoffs {cutoffs} must rise and stay below n_classes ({self.n_classes})")
        if self.div_value <= 0 or x.shape[-1] // self.div_value ** len(cutoffs) < 1:
            message = f"the last tail has no features: {int(x.shape[-1])} divided by {self.div_value:g}^{len(cutoffs)}"
            raise LayerError(message, "write a smaller div_value or fewer cutoffs")
        if target.shape != x.shape[:-1]:
            raise LayerError(
                f"AdaptiveLogSoftmaxWithLoss takes a class for each sample, {shape_text(x.shape[:-1])}, "
                f"found {shape_text(target.shape)}"
            )
        self.check_indices(target)


class LinearCrossEntropyLoss(Loss):
    """Linear and CrossEntropyLoss in one, so that the scores of a large vocabulary need not all be stored.

    inputs:  (N, d) or (d); classes (N, *out_features) or () of int64, or probabilities (N, num_classes, *out_features)
    output:  a number; (N, *out_features) with reduction='none'
    weights: linear.weight (num_classes · Π out_features, d); linear.bias with bias=True
    """

    dtype_rule = "same"
    input_shapes = ("(N, d)", "(d)")
    parameters = "weight (num_classes, in_features); bias (num_classes)"

    in_features: Count = inferred(dim=-1)
    num_classes: Count
    _: KW_ONLY
    out_features: tuple[Count, ...] = ()
    bias: bool = False
    reduction: Reduction = "mean"
    weight: Weights = None
    ignore_index: int | None = None
    label_smoothing: Probability = 0.0

    def validate(self, *inputs: Any) -> None:
        x, target = inputs[:2]
        self.check_weights("weight", self.weight, self.num_classes)
        batch, rest = tuple(x.shape[:-1]), tuple(self.out_features)
        if tuple(target.shape) == (*batch, self.num_classes, *rest) and number_kind(target) == "float":
            return
        if tuple(target.shape) != (*batch, *rest):
            raise LayerError(
                f"LinearCrossEntropyLoss takes a target {shape_text((*batch, *rest))}, found {shape_text(target.shape)}"
            )
        self.check_indices(target)


# --- distances and rankings -------------------------------------------------------------------------------------------


class HingeEmbeddingLoss(Elementwise):
    """A distance x should be small if y is 1 and larger than margin if y is −1: x, or max(0, margin − x).

    inputs → output:  x (…) and y (…), 1 or −1 → a number. No parameters.
    """

    margin: float = 1.0
    reduction: Reduction = "mean"


class MarginRankingLoss(Loss):
    """Of two scores, a should be higher by margin if y is 1, and b if y is −1: max(0, −y · (a − b) + margin).

    inputs → output:  a, b and y (N) → a number. No parameters.
    """

    forward = "(input1, input2, target)"
    other_kinds = ("int", "uint8")

    margin: float = 0.0
    reduction: Reduction = "mean"

    def validate(self, *inputs: Any) -> None:
        check_same_rank(self, inputs[:3])


def check_same_rank(loss: Layer, inputs: tuple[Any, ...]) -> None:
    """Check that all inputs have the same number of dimensions and broadcast."""
    if len({x.dim() for x in inputs}) > 1:
        shapes = ", ".join(shape_text(x.shape) for x in inputs)
        raise LayerError(f"{type(loss).__name__} takes inputs with equal numbers of dimensions, found {shapes}")
    loss.check_broadcast(*(x.shape for x in inputs))


class CosineEmbeddingLoss(Loss):
    """Two vectors should point the same way if y is 1, and not if it is −1: 1 − cos, or max(0, cos − margin).

    inputs → output:  x1 and x2 (N, d) and y (N), or (d), (d) and () → a number. No parameters.
    """

    forward = "(input1, input2, target)"
    other_kinds = ("int", "uint8", "bool")

    margin: float = 0.0
    reduction: Reduction = "mean"

    def validate(self, *inputs: Any) -> None:
        first, second, target = inputs[:3]
        self.check_dimensions(target, "(N)", "()", label="a target")
        for x in (first, second):
            self.check_dimensions(x, "(N, d)" if target.dim() else "(d)")
        self.check_broadcast(first.shape, second.shape)
        if target.dim():
            self.check_broadcast((max(first.shape[0], second.shape[0]),), target.shape)


class _TripletLoss(Loss, abstract=True):
    forward = "(anchor, positive, negative)"
    other_kinds = ("int", "uint8", "complex")

    def validate(self, *inputs: Any) -> None:
        margin = vars(self)["margin"]  # in torch's order only below
        if margin <= 0:
            raise LayerError(f"margin must be above 0, found {margin}")
        check_same_rank(self, inputs[:3])


class TripletMarginLoss(_TripletLoss):
    """An anchor should be closer to the positive than to the negative example, by margin.

    max(0, d(a, p) − d(a, n) + margin); d is the p-norm of the difference.
    With swap=True the smaller of d(a, n) and d(p, n) counts.
    inputs → output:  three of (N, d) or (d) → a number. No parameters. Balntas et al. 2016.
    """

    margin: float = 1.0
    p: float = 2.0
    eps: float = 1e-6
    swap: bool = False
    reduction: Reduction = "mean"


class TripletMarginWithDistanceLoss(_TripletLoss):
    """TripletMarginLoss with a custom distance: max(0, d(a, p) − d(a, n) + margin).

    distance_function is a layer with two inputs, PairwiseDistance by default.
    inputs → output:  three of (N, d) or (d) → a number. The only parameters are those of the distance.
    """

    _: KW_ONLY
    distance_function: Buildable | None = None
    margin: float = 1.0
    swap: bool = False
    reduction: Reduction = "mean"

    def arguments(self, *inputs: Any) -> dict[str, Any]:
        given = super().arguments(*inputs)
        if self.distance_function is not None:
            given["distance_function"] = self.distance_function.build(*inputs[:2])
        return given
