"""What one rank of a mesh of devices holds, computes and sends, as plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from fwdscope.report.value import Value, lean

CollectiveKind = Literal["all-reduce", "all-gather", "reduce-scatter", "all-to-all", "broadcast", "send"]
Direction = Literal["forward", "backward"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")

# The share of its bytes that a rank of n sends in a ring: Thakur, Rabenseifner and Gropp 2005; so nccl-tests.
_SENT = {"all-reduce": 2, "all-gather": 1, "reduce-scatter": 1, "all-to-all": 1}


@dataclass(frozen=True)
class Collective:
    """A communication between the ranks of one dimension of the mesh, as often as a rank takes part in one step.

    ``nbytes`` is the whole tensor: the result of an all-gather, the input of a reduce-scatter.
    """

    kind: CollectiveKind
    # The dimension of the mesh, and how many ranks of it communicate.
    dimension: str
    ranks: int
    nbytes: int
    # How often, all copies and calls of the layer together; its path, and its row in the report if it has one.
    times: int
    path: str
    direction: Direction = "forward"
    row: int | None = None

    @property
    def sent(self) -> int:
        """Bytes that a rank sends each time, in a ring."""
        if self.kind not in _SENT:
            return self.nbytes
        return _SENT[self.kind] * self.nbytes * (self.ranks - 1) // self.ranks


@dataclass(frozen=True)
class MeshDimension:
    """A dimension of the mesh: ``dp``, ``fsdp``, ``pp``, ``ep`` or ``tp``, and its ranks."""

    name: str
    size: int


@dataclass(frozen=True)
class RankFigures:
    """What one rank holds and computes in a forward or, if asked for, a training step; None is not known."""

    params: int
    param_bytes: int
    buffer_bytes: int
    input_bytes: int
    macs: int
    flops: int
    # The most bytes alive at once, and of these activations; in a step with what the optimizer needs meanwhile.
    peak_memory: int
    peak_activations: int
    # At that moment, weights and gradients that are gathered for a while, and gradients that stay.
    gathered_bytes: int = 0
    peak_gradients: int = 0
    # Of a training step, for which ``macs`` and ``flops`` are those of all its parts.
    gradient_bytes: int | None = None
    state_bytes: int | None = None
    saved_bytes: int | None = None
    kv_cache: int | None = None


@dataclass(frozen=True)
class RowShare:
    """What one rank holds and computes of one copy of a row, and the bytes that it sends in it."""

    params: int
    macs: int
    flops: int
    sent: int
    bytes_read: int = lean(0)
    bytes_written: int = lean(0)
    # Operators that move anything.
    kernels: int = lean(0)
    backward_macs: int = lean(0)
    backward_flops: int = lean(0)
    backward_read: int = lean(0)
    backward_written: int = lean(0)
    backward_kernels: int = lean(0)
    backward_sent: int = lean(0)
    # Of a run, the std of what each rank has of the outputs.
    stds: tuple[Value | None, ...] = field(default=(), kw_only=True, metadata={"lean": True})


RANK_FIGURES = ("rank_params", "rank_param_bytes", "rank_macs", "rank_flops", "rank_memory", "rank_sent")


@dataclass(frozen=True)
class Stage:
    """A stage of a pipeline, by the path of its first layer: what one of its ranks holds, computes and sends."""

    path: str
    params: int
    param_bytes: int
    macs: int
    flops: int
    peak_memory: int
    sent: int


@dataclass(frozen=True)
class MeshReport:
    """A network on a mesh: the figures of its heaviest rank, and all that this rank communicates in one step."""

    # From the outermost to the innermost, whose ranks are nearest to one another.
    dimensions: tuple[MeshDimension, ...]
    # The plan, as a spec has it under ``shard``.
    plan: str
    rank: RankFigures
    # The sums over all ranks, each with a batch of its own where the mesh has dp, fsdp or ep.
    total_params: int
    total_flops: int
    collectives: tuple[Collective, ...] = ()
    # With pp the stages, and which of them the figures above are of: that whose ranks need most memory.
    stages: tuple[Stage, ...] = ()
    stage: int = 0
    # Of a training step; the batch of the report is that of one.
    micro_batches: int = 1
    notes: tuple[str, ...] = ()

    @property
    def plan_file(self) -> str:
        """The plan as a file for ``--shard``."""
        return "shard:\n" + "".join(f"  {line}\n" for line in self.plan.splitlines())

    @property
    def ranks(self) -> int:
        """The number of all ranks."""
        return math.prod(one.size for one in self.dimensions)

    @property
    def batches(self) -> int:
        """How many ranks have a batch of their own."""
        return math.prod(one.size for one in self.dimensions if one.name in ("dp", "fsdp", "ep"))

    @property
    def figures(self) -> dict[str, int]:
        """The figures of a rank that expectations, comparisons and sweeps name."""
        rank, sent = self.rank, sum(one.times * one.sent for one in self.collectives)
        values = rank.params, rank.param_bytes, rank.macs, rank.flops, rank.peak_memory, sent
        return dict(zip(RANK_FIGURES, values, strict=True))

    @property
    def text(self) -> str:
        """``dp=4,tp=8``."""
        return ",".join(f"{one.name}={one.size}" for one in self.dimensions)
