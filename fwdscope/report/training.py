"""What a training step costs: forward, loss, backward and optimizer, and the memory over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fwdscope.report.value import lean

PhaseName = Literal["forward", "loss", "backward", "optimizer"]
PHASES: tuple[PhaseName, ...] = ("forward", "loss", "backward", "optimizer")


AlternativeKind = Literal["optimizer", "checkpoint", "autocast"]
# The figures of a step that expectations, baselines and comparisons name.
STEP_FIGURES = ("train_memory", "saved_activations", "train_flops")


@dataclass(frozen=True)
class Backward:
    """The backward of one copy of a row, all its calls together."""

    macs: int
    flops: int
    bytes_read: int
    bytes_written: int
    # Bytes of activations that the row is the first to keep for its backward, each storage once.
    saved_bytes: int
    # Operators without a rule.
    uncounted: tuple[str, ...] = ()
    # What repeats the forward of a checkpointed module, which is in the figures above.
    recomputed_macs: int = lean(0)
    recomputed_flops: int = lean(0)
    # As those of its row.
    kernels: int = lean(0)
    eager: float | None = lean(None)


@dataclass(frozen=True)
class Phase:
    """A part of a training step: its costs, of all micro-batches together, and the most bytes alive in it."""

    name: PhaseName
    macs: int
    flops: int
    bytes_read: int
    bytes_written: int
    peak_memory: int
    uncounted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Moment:
    """A stretch of a training step: the most bytes alive while one row works; None is what belongs to no row."""

    phase: PhaseName
    row: int | None
    memory: int
    # Of these the gradients, what is kept for the backward, and weights that autocast has cast.
    gradients: int = 0
    saved: int = 0
    casts: int = lean(0)


@dataclass(frozen=True)
class Alternative:
    """What a training step would hold and compute with another option, as the command line has it."""

    option: str
    kind: AlternativeKind
    peak_memory: int
    saved_bytes: int
    flops: int


@dataclass(frozen=True)
class TrainingStep:
    """A training step after the first: the optimizer has its state, and the gradients of the step before are freed.

    Costs are of the whole step, those of rows of one micro-batch.
    """

    # What the loss is, and the optimizer with its settings.
    loss: str
    optimizer: str
    phases: tuple[Phase, ...]
    # Bytes of the gradients of all parameters, of the optimizer's state with its copies of weights, of the loss's
    # targets, and of what is kept for the backward when the forward is through.
    gradient_bytes: int
    state_bytes: int
    target_bytes: int
    saved_bytes: int
    # The most bytes alive, with weights, buffers, inputs, targets and the optimizer's state, and where that is; and of
    # them those of gradients and of what is kept for the backward.
    peak_memory: int
    peak_phase: PhaseName
    peak_row: int | None
    peak_gradients: int
    peak_saved: int
    # Each stretch in the order of time.
    curve: tuple[Moment, ...]
    # Micro-batches; the dtype that autocast casts to; patterns of the parameters trained and the modules checkpointed.
    accumulate: int = lean(1)
    autocast: str | None = lean(None)
    train_only: tuple[str, ...] = lean(())
    checkpoint: tuple[str, ...] = lean(())
    # Bytes of the optimizer's float32 copies of weights, and at the peak of weights that autocast has cast.
    master_bytes: int = lean(0)
    peak_casts: int = lean(0)
    # What the backward computes again of checkpointed modules, which is in its costs.
    recomputed_macs: int = lean(0)
    recomputed_flops: int = lean(0)
    # Bytes that the forward of one micro-batch does not keep for this.
    recomputed_bytes: int = lean(0)
    # MACs of attention in the forward, those of them on scores that causality masks, and such of the backward.
    attention_macs: int = lean(0)
    masked_macs: int = lean(0)
    masked_backward_macs: int = lean(0)
    # Steps that may hold less.
    alternatives: tuple[Alternative, ...] = lean(())

    def phase(self, name: PhaseName) -> Phase:
        """A part of the step."""
        return next(one for one in self.phases if one.name == name)

    @property
    def macs(self) -> int:
        """MACs of the whole step."""
        return sum(one.macs for one in self.phases)

    @property
    def flops(self) -> int:
        """FLOPs of the whole step."""
        return sum(one.flops for one in self.phases)

    @property
    def figures(self) -> dict[str, int]:
        """Those of :data:`STEP_FIGURES`."""
        return dict(zip(STEP_FIGURES, (self.peak_memory, self.saved_bytes, self.flops), strict=True))

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Operators without a rule, of all parts."""
        return tuple(dict.fromkeys(name for one in self.phases for name in one.uncounted))
