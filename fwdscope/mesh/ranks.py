"""A sharded network on real ranks: torch's engines do what the plan says, and what they communicate is counted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.flop_counter import flop_registry

from fwdscope.errors import InputError
from fwdscope.language.plan import Mesh, Plan, matcher
from fwdscope.mesh.sharding import ShardingMode, sharded
from fwdscope.ops.nested import tensors
from fwdscope.report.mesh import CollectiveKind
from fwdscope.report.ranks import Traffic
from fwdscope.torch_private import OperatorMode, group_name_of
from fwdscope.trace.parameters import named_modules

# Collectives of c10d by ATen's names, and the argument that has the whole tensor; of None the result has it.
_KINDS: dict[str, tuple[CollectiveKind, int | None]] = {
    "_c10d_functional.all_reduce": ("all-reduce", 0),
    "_c10d_functional.all_gather_into_tensor": ("all-gather", None),
    "_c10d_functional.reduce_scatter_tensor": ("reduce-scatter", 0),
    "_c10d_functional.all_to_all_single": ("all-to-all", 0),
    "_c10d_functional.broadcast": ("broadcast", 0),
    "c10d.allreduce_": ("all-reduce", 0),
    "c10d._allgather_base_": ("all-gather", 0),
    "c10d.allgather_into_tensor_coalesced_": ("all-gather", 0),
    "c10d._reduce_scatter_base_": ("reduce-scatter", 1),
    "c10d.reduce_scatter_tensor_coalesced_": ("reduce-scatter", 1),
    "c10d.alltoall_base_": ("all-to-all", 1),
    "c10d.broadcast_": ("broadcast", 0),
    "c10d.send": ("send", 0),
}


@contextlib.contextmanager
def on_ranks(module: nn.Module, plan: Plan, mesh: Mesh, devices: DeviceMesh) -> Iterator[None]:
    """Shard a module with its weights over real ranks; inside, it runs as one rank of them.

    The layers are split as in a world of one process, and blocks are wrapped by ``fully_shard``. The module is not to
    be used afterwards.
    """
    for name in ("pp", "ep"):
        if mesh.size(name) > 1:
            raise InputError(f"{name}={mesh.size(name)}: real ranks run dp, fsdp and tp")
    with contextlib.ExitStack() as stack:
        if mesh.size("tp") > 1:
            stack.enter_context(sharded(module, plan, devices["tp"]))
        if mesh.size("fsdp") > 1:
            over = devices["dp", "fsdp"] if mesh.size("dp") > 1 else devices["fsdp"]
            patterns = list(map(matcher, plan.fsdp))
            for path, block in reversed(named_modules(module)):
                if path and any(pattern.fullmatch(path) for pattern in patterns):
                    fully_shard(block, mesh=over)
            fully_shard(module, mesh=over)
        if mesh.size("tp") > 1:
            stack.enter_context(ShardingMode(plan, devices["tp"]))
        yield


def parameters_held(module: nn.Module) -> int:
    """The elements of the parameters that this rank holds."""
    held = {id(one): one for one in module.parameters()}.values()
    return sum((one.to_local() if isinstance(one, DTensor) else one).numel() for one in held)


class CollectiveCounter(OperatorMode):
    """Counts what this rank communicates, below DTensor."""

    def __init__(self, devices: DeviceMesh) -> None:
        super().__init__()
        names = devices.mesh_dim_names or ()
        self.dimensions = {str(devices.get_group(name).group_name): name for name in names}
        self.found: dict[tuple[CollectiveKind, str], tuple[int, int]] = {}
        # FLOPs of products and convolutions by torch's own formulas.
        self.product_flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator; what is below a DTensor comes here again."""
        if any(issubclass(one, DTensor) for one in types):
            return NotImplemented
        result = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            self.product_flops += formula(*args, **(kwargs or {}), out_val=result)
        if (known := _KINDS.get(str(func).rpartition(".")[0])) is not None:
            kind, place = known
            nbytes = sum(one.nbytes for one in tensors(result if place is None else args[place]))
            key = kind, self.dimensions.get(group_name_of(args), "?")
            calls, before = self.found.get(key, (0, 0))
            self.found[key] = calls + 1, before + nbytes
        return result

    @property
    def traffic(self) -> tuple[Traffic, ...]:
        """What was counted, by kind and dimension."""
        return tuple(Traffic(*key, *values) for key, values in sorted(self.found.items()))


def run_forward(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """This rank's tensors of the outputs of a forward, when all collectives are done and no block is gathered."""
    outputs = module(*args, **kwargs)
    found = [one.to_local() if isinstance(one, DTensor) else one for one in tensors(outputs)]
    for one in found:
        if (wait := getattr(one, "wait", None)) is not None:
            wait()
    reshard(module)
    return found


def reshard(module: nn.Module) -> None:
    """Let go of what fsdp has gathered of the whole network, which else stays for a backward."""
    if isinstance(module, FSDPModule):
        module.reshard()


def whole(outputs: Any) -> list[Tensor]:
    """The tensors of some outputs, with the parts of all ranks."""
    return [one.full_tensor() if isinstance(one, DTensor) else one for one in tensors(outputs)]
