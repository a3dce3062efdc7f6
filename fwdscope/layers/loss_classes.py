"""Losses of classification: scores, or log-probabilities, and the right classes."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any, ClassVar, Literal

from .base import (
    Count,
    Layer,
    LayerError,
    Probability,
    check_broadcast,
    check_dimensions,
    check_floating,
    dtype_text,
    inferred,
    is_tensor,
    number_kind,
    shape_text,
)
from .loss import Elementwise, Loss, Reduction, Weights


class CrossEntropyLoss(Loss):
    """How unlikely the right class is, given scores; Softmax and logarithm included: −x[y] + ln Σⱼ exp(x[j]).

    The loss of classification. It takes scores (logits), not probabilities, and does not overflow.

    inputs:  scores (N, C), (C) or (N, C, d₁, …); classes (N), () or (N, d₁, …) of int64, or probabilities
             of the scores' shape
    output:  a number; the shape of the classes with reduction='none'. No parameters.

    weight, C numbers, weighs the classes; ignore_index is a class that does not count; label_smoothing (Szegedy et al.
    2016) mixes the target with the uniform distribution.
    """

    whole: ClassVar[tuple[str, ...]] = ("target",)

    weight: Weights = None
    ignore_index: int = -100
    reduction: Reduction = "mean"
    label_smoothing: Probability = 0.0

    def check(self, *inputs: Any) -> None:
        """Refuse a target that fits neither as classes nor as probabilities."""
        super().check(*inputs)
        x, target = inputs[:2]
        check_dimensions(self, x, "(C)", "(N, C, …)")
        self.check_weights("weight", self.weight, int(x.shape[min(x.dim() - 1, 1)]))
        if x.shape == target.shape:
            check_floating(self, target, "probabilities")
            return
        check_classes(self, x, target)
        self.check_indices(target, also=("uint8",))


def check_classes(loss: Layer, x: Any, target: Any) -> None:
    """Whether the target has the input's shape without its classes."""
    expected = (*x.shape[:1], *x.shape[2:]) if x.dim() > 1 else ()
    if tuple(target.shape) != tuple(expected):
        raise LayerError(
            f"{type(loss).__name__} takes a class for each of the input's {shape_text(x.shape)} scores: a target "
            f"{shape_text(expected)}, found {shape_text(target.shape)}",
            "the classes stand in dimension 1: transpose(1, 2) brings (N, T, C) to (N, C, T)" if x.dim() > 2 else None,
        )


class NLLLoss(Loss):
    """How unlikely the right class is, given log-probabilities: −x[y]. LogSoftmax and NLLLoss are CrossEntropyLoss.

    inputs → output:  x (N, C), (C) or (N, C, d₁, …) and classes (N), () or (N, d₁, …) of int64 → a number.
    weight, C numbers, weighs the classes. No parameters.
    """

    whole: ClassVar[tuple[str, ...]] = ("target",)

    weight: Weights = None
    ignore_index: int = -100
    reduction: Reduction = "mean"

    def check(self, *inputs: Any) -> None:
        """Refuse a target that does not hold a class for each sample."""
        super().check(*inputs)
        x, target = inputs[:2]
        check_dimensions(self, x, "(C)", "(N, C, …)")
        self.check_weights("weight", self.weight, int(x.shape[min(x.dim() - 1, 1)]))
        check_classes(self, x, target)
        self.check_indices(target, also=("uint8",))


class MultiMarginLoss(Loss):
    """Every wrong class should score lower than the right one by margin: Σⱼ max(0, margin − x[y] + x[j])ᵖ / C.

    inputs → output:  x (N, C) or (C), classes (N) or () of int64 → a number. p is 1 or 2. No parameters.
    """

    whole: ClassVar[tuple[str, ...]] = ("target",)

    p: Literal[1, 2] = 1
    margin: float = 1.0
    weight: Weights = None
    reduction: Reduction = "mean"

    def check(self, *inputs: Any) -> None:
        """Refuse a target that does not hold a class for each sample."""
        super().check(*inputs)
        x, target = inputs[:2]
        check_dimensions(self, x, "(N, C)", "(C)")
        self.check_weights("weight", self.weight, int(x.shape[-1]))
        if x.dim() == 2 or target.dim() != 1 or target.shape[0] != 1:
            check_classes(self, x, target)
        self.check_indices(target)


class MultiLabelMarginLoss(Loss):
    """Every class that is not among the right ones should score lower than each of them by 1.

    Σ over right i and wrong j of max(0, 1 − x[i] + x[j]) / C. The target lists the right classes, then −1.
    inputs → output:  x (N, C) or (C), target of the same shape and int64 → a number. No parameters.
    """

    whole: ClassVar[tuple[str, ...]] = ("target",)

    reduction: Reduction = "mean"

    def check(self, *inputs: Any) -> None:
        """Refuse a target of another shape or dtype."""
        super().check(*inputs)
        check_dimensions(self, inputs[0], "(N, C)", "(C)", "()")
        self.same_shape(inputs[0], inputs[1])
        self.check_indices(inputs[1])


class MultiLabelSoftMarginLoss(Elementwise):
    """Binary cross entropy of the score of each class, mean over the classes.

    inputs → output:  x (N, C) and y (N, C), 0 or 1 → a number. weight, C numbers, weighs the classes. No parameters.
    """

    weight: Weights = None
    reduction: Reduction = "mean"

    def check(self, *inputs: Any) -> None:
        """Refuse weights for another number of classes."""
        super().check(*inputs)
        check_dimensions(self, inputs[0], "(…, C)")
        if self.weight is not None:
            check_broadcast(self, inputs[0].shape, (len(self.weight),))


class CTCLoss(Loss):
    """How unlikely a sequence of labels is, given scores for each of more steps, whatever step says which label.

    −ln Σ over all paths of T steps that spell the target, once repeats and blanks are taken out.

    inputs:  log-probabilities (T, N, C) or (T, C); targets (N, S) or all in a row (Σ S); their lengths, (N) each
    output:  a number; (N) with reduction='none'. No parameters. Graves et al. 2006.
    """

    forward: ClassVar[str] = "(log_probs, targets, input_lengths, target_lengths)"
    whole: ClassVar[tuple[str, ...]] = ("targets", "input_lengths", "target_lengths")
    decides: ClassVar[str | None] = "how long the sequences are, where the lengths are tensors"

    blank: int = 0
    reduction: Reduction = "mean"
    zero_infinity: bool = False

    def check(self, *inputs: Any) -> None:
        """Refuse scores and targets that do not fit."""
        if len(inputs) == 4:
            # Lengths may be tuples of numbers as well; they are no tensors to check.
            super().check(*inputs[:2], *(x if is_tensor(x) else inputs[1] for x in inputs[2:]))
        else:
            super().check(*inputs)
        scores, targets = inputs[:2]
        check_dimensions(self, scores, "(T, N, C)", "(T, C)")
        if number_kind(targets) != "int":
            raise LayerError(f"CTCLoss takes targets of int64 or int32, found {dtype_text(targets)}")
        if not 0 <= self.blank < scores.shape[-1]:
            raise LayerError(f"blank ({self.blank}) is no class of {int(scores.shape[-1])}")
        if scores.dim() == 3 and targets.dim() == 2 and targets.shape[0] != scores.shape[1]:
            raise LayerError(
                f"targets {shape_text(targets.shape)} must have the batch of the scores, {int(scores.shape[1])}"
            )


class AdaptiveLogSoftmaxWithLoss(Loss):
    """A softmax over very many classes that computes the frequent ones always and the rare ones seldom.

    Classes stand in the order of their frequency. Those below cutoffs[0] are in the head, the others in tails, one for
    each cutoff, whose inputs are made smaller by div_value, div_value², …

    inputs:  (N, d) or (d), classes (N) or () of int64
    output:  (log-probability of each class given, the loss), named output and loss
    weights: head (cutoffs[0] + number of tails, d); each tail (h, d) and (its classes, h), h = ⌊d / div_valueⁱ⌋
    Grave et al. 2017.
    """

    mixing: ClassVar[Literal["any", "same", "narrower"]] = "same"
    whole: ClassVar[tuple[str, ...]] = ("target",)
    decides: ClassVar[str | None] = "which samples belong to which tail"

    in_features: Count = inferred()
    n_classes: Count
    cutoffs: tuple[Count, ...]
    div_value: float = 4.0
    head_bias: bool = False

    def check(self, *inputs: Any) -> None:
        """Refuse cutoffs that do not part the classes, and tails without features."""
        super().check(*inputs)
        x, target = inputs[:2]
        cutoffs = tuple(self.cutoffs)
        if not cutoffs or list(cutoffs) != sorted(set(cutoffs)) or cutoffs[-1] >= self.n_classes:
            raise LayerError(f"cutoffs {cutoffs} must rise and stay below n_classes ({self.n_classes})")
        check_dimensions(self, x, "(N, d)", "(d)")
        if self.div_value <= 0 or x.shape[-1] // self.div_value ** len(cutoffs) < 1:
            raise LayerError(
                f"the last tail has no features: {int(x.shape[-1])} divided by {self.div_value:g}^{len(cutoffs)}",
                "write a smaller div_value or fewer cutoffs",
            )
        if target.shape != x.shape[:-1]:
            raise LayerError(
                f"AdaptiveLogSoftmaxWithLoss takes a class for each sample, {shape_text(x.shape[:-1])}, "
                f"found {shape_text(target.shape)}"
            )
        self.check_indices(target)

    def sizes(self, *inputs: Any) -> dict[str, Any]:
        """in_features is the last dimension."""
        return {"in_features": int(inputs[0].shape[-1])}


class LinearCrossEntropyLoss(Loss):
    """A Linear to scores and CrossEntropyLoss in one, so that the scores of a large vocabulary need not all be kept.

    inputs:  (N, d) or (d); classes (N, *out_features) or () of int64, or probabilities (N, num_classes, *out_features)
    output:  a number; (N, *out_features) with reduction='none'
    weights: linear.weight (num_classes · Π out_features, d); linear.bias with bias=True
    """

    mixing: ClassVar[Literal["any", "same", "narrower"]] = "same"
    whole: ClassVar[tuple[str, ...]] = ("target",)

    in_features: Count = inferred()
    num_classes: Count
    _: KW_ONLY
    out_features: tuple[Count, ...] = ()
    bias: bool = False
    reduction: Reduction = "mean"
    weight: Weights = None
    ignore_index: int | None = None
    label_smoothing: Probability = 0.0

    def check(self, *inputs: Any) -> None:
        """Refuse a target that fits neither as classes nor as probabilities."""
        super().check(*inputs)
        x, target = inputs[:2]
        check_dimensions(self, x, "(N, d)", "(d)")
        self.check_weights("weight", self.weight, self.num_classes)
        batch, rest = tuple(x.shape[:-1]), tuple(self.out_features)
        if tuple(target.shape) == (*batch, self.num_classes, *rest) and number_kind(target) == "float":
            return
        if tuple(target.shape) != (*batch, *rest):
            raise LayerError(
                f"LinearCrossEntropyLoss takes a target {shape_text((*batch, *rest))}, found {shape_text(target.shape)}"
            )
        self.check_indices(target)

    def sizes(self, *inputs: Any) -> dict[str, Any]:
        """in_features is the last dimension."""
        return {"in_features": int(inputs[0].shape[-1])}
