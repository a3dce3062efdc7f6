"""Record what one rank of a sharded network runs: the operators below DTensor, on what the rank has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from fwdscope.language.plan import Plan
from fwdscope.mesh.sharding import ShardingMode, is_packed, sharded
from fwdscope.model.events import LineResult, StepStart
from fwdscope.ops.nested import tensors
from fwdscope.settings import Training, TrainingSettings
from fwdscope.torch_private import local_tensor
from fwdscope.trace.memory import Mark
from fwdscope.trace.past import Past
from fwdscope.trace.record import Node, Recorder
from fwdscope.trace.training import StepRecorder

if TYPE_CHECKING:
    _Base = Recorder
else:
    _Base = object


def _locals(value: Any) -> Any:
    return local_tensor(value) if isinstance(value, Tensor) else list(map(local_tensor, tensors(value)))


class OfRank(_Base):
    """Shards the network while it is recorded, and sees the rank's part of each tensor."""

    plan: Plan
    mesh: DeviceMesh

    @contextlib.contextmanager
    def prepared(self, module: nn.Module) -> Iterator[None]:
        """Shard the layers."""
        with super().prepared(module), sharded(module, self.plan, self.mesh):
            yield

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Record every operator that runs on the rank."""
        with super().watch(), ShardingMode(self.plan, self.mesh):
            yield

    def add_weights(self, weights: Iterable[Tensor]) -> None:
        """Count what the rank has of weights."""
        super().add_weights(map(local_tensor, weights))

    def begin(self, what: StepStart, inputs: Any) -> None:
        """Start a node."""
        super().begin(what, _locals(inputs))

    def end(self, outputs: Any) -> None:
        """End a node."""
        super().end(local_tensor(outputs) if isinstance(outputs, Tensor) else _locals(outputs))

    def line_end(self, end: LineResult, value: Any) -> None:
        """End a line."""
        super().line_end(end, _locals(value))

    def mark(self, tensor: Tensor) -> Mark:
        """The mark of the rank's part of a tensor."""
        return super().mark(local_tensor(tensor))

    def is_repeatable(self, x: Tensor, others: Sequence[Tensor], result: Tensor) -> bool:
        """Whether the layer that just ended leaves nothing behind but its result, which each rank has whole."""
        return local_tensor(result) is result and super().is_repeatable(
            local_tensor(x), _locals(others), local_tensor(result)
        )


class RankRecorder(OfRank, Recorder):
    """Records the forward of one rank."""

    def __init__(self, plan: Plan, mesh: DeviceMesh, repeats: bool = False, past: Past | None = None) -> None:
        super().__init__(repeats, past)
        self.plan, self.mesh = plan, mesh


class RankStepRecorder(OfRank, StepRecorder):
    """Records the training step of one rank."""

    def __init__(self, plan: Plan, mesh: DeviceMesh, settings: TrainingSettings, repeats: bool = False) -> None:
        super().__init__(settings, repeats)
        self.plan, self.mesh = plan, mesh

    @contextlib.contextmanager
    def compute_again(self, node: Node) -> Iterator[None]:
        """Record what the backward computes again, sharded as before."""
        with super().compute_again(node), ShardingMode(self.plan, self.mesh, is_inner=True):
            yield

    def is_added_to(self, parameter: Tensor) -> bool:
        """DTensor cannot where several layers are packed."""
        return not any(map(is_packed, getattr(parameter, "placements", ())))

    def stepped(self, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        """What the rank has of the parameters."""
        return list(map(local_tensor, parameters))


def rank_recorder(
    plan: Plan, world: DeviceMesh, training: Training, repeats: bool = False, past: Past | None = None
) -> Recorder:
    """The recorder of one rank's forward, or training step."""
    if isinstance(training, TrainingSettings):
        return RankStepRecorder(plan, world, training, repeats)
    return RankRecorder(plan, world, repeats, past)
