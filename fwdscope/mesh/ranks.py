"""A sharded network on real ranks: torch's engines do what the plan says, and what they communicate is counted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, fx, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe
from torch.distributed.tensor import DTensor
from torch.utils.flop_counter import flop_registry

from fwdscope.errors import InputError
from fwdscope.language.plan import Mesh, Plan, matcher
from fwdscope.mesh.experts import spread_experts
from fwdscope.mesh.holdings import expert_ranks
from fwdscope.mesh.sharding import ShardingMode, sharded
from fwdscope.ops.nested import tensors
from fwdscope.report.mesh import CollectiveKind
from fwdscope.report.ranks import Traffic
from fwdscope.torch_private import OperatorMode, group_name_of, local_tensor
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


# A module, and the arguments that its forward is called with.
Call = tuple[nn.Module, Sequence[Any], Mapping[str, Any]]


class RankNetwork:
    """A rank's part of a network with its inputs, to be run again and again."""

    def __init__(self, call: Call, schedule: ScheduleGPipe | None = None) -> None:
        self.module, self.args, self.kwargs = call
        # Of a stage of a pipeline: what passes values from stage to stage.
        self.schedule = schedule

    def outputs(self) -> Any:
        """The outputs of a forward; of any stage but the last None."""
        if self.schedule is None:
            return self.module(*self.args, **self.kwargs)
        return self.schedule.step(*self.args, **self.kwargs)

    def run(self) -> list[Tensor]:
        """This rank's tensors of the outputs, when all collectives are done and no block is gathered."""
        found = [one.to_local() if isinstance(one, DTensor) else one for one in tensors(self.outputs())]
        for one in found:
            if (wait := getattr(one, "wait", None)) is not None:
                wait()
        self.reshard()
        return found

    def reshard(self) -> None:
        """Let go of what fsdp has gathered of the whole network, which else stays for a backward."""
        if isinstance(self.module, FSDPModule):
            self.module.reshard()

    @property
    def held(self) -> list[Tensor]:
        """What this rank holds of the parameters, each once."""
        return [local_tensor(one) for one in {id(one): one for one in self.module.parameters()}.values()]


@contextlib.contextmanager
def on_ranks(
    call: Call, plan: Plan, mesh: Mesh, devices: DeviceMesh, graph: Callable[[], fx.GraphModule | None]
) -> Iterator[RankNetwork]:
    """Shard a network with its weights over real ranks; inside, it runs as one rank of them.

    The layers are split as in a world of one process, each rank keeps its experts, blocks are wrapped by
    ``fully_shard``, and a pipeline runs the ``graph`` of the network by torch's schedule, with one micro-batch. The
    module is not to be used afterwards.
    """
    module = call[0]
    whole_weights = list(module.parameters())
    with contextlib.ExitStack() as stack:
        network = RankNetwork(call)
        if mesh.size("pp") > 1:
            network = _stage(call, plan, mesh, devices, graph())
        if expert_ranks(mesh) > 1:
            spread_experts(module, plan, devices["ep" if mesh.size("ep") > 1 else "tp"])
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
        kept = set(map(id, network.module.parameters()))
        for parameter in whole_weights:
            if id(parameter) not in kept:  # a part of it is here
                parameter.data = parameter.data.new_empty(0)
        whole_weights.clear()
        yield network


def _stage(call: Call, plan: Plan, mesh: Mesh, devices: DeviceMesh, graph: fx.GraphModule | None) -> RankNetwork:
    """The stage of this rank. Raises InputError for a network that is no graph of calls, or is gathered by blocks."""
    if graph is None:
        raise InputError(f"pp={mesh.size('pp')}: real ranks run the stages of specs whose lines do not depend on data")
    if mesh.size("fsdp") > 1 or plan.splits_sequence:
        other = f"fsdp={mesh.size('fsdp')}" if mesh.size("fsdp") > 1 else "a sequence that is split"
        raise InputError(f"pp={mesh.size('pp')} with {other}: real ranks run pp alone, or with dp and tp")
    at, number = devices["pp"].get_local_rank(), mesh.size("pp")
    _, args, _ = call
    part, device = stage_of(graph, plan.stages, at, args), tensors(args)[0].device
    stage = PipelineStage(part, at, number, device, group=devices["pp"].get_group())
    return RankNetwork((part, args if at == 0 else (), {}), ScheduleGPipe(stage, 1))


def stage_of(graph: fx.GraphModule, begins: Sequence[str], index: int, inputs: Sequence[Any]) -> fx.GraphModule:
    """One stage of a graph: it takes what earlier stages made and it or a later one needs, and gives what is needed on.

    ``begins`` are the paths of the first layer of each stage but the first. Later stages have the network's inputs as
    attributes.
    """
    nodes = list(graph.graph.nodes)
    paths = [str((node.meta.get("step") or ("", "", 0))[1]) for node in nodes]
    starts = [next(i for i, path in enumerate(paths) if f"{path}.".startswith(f"{one}.")) for one in begins]
    stages = {node: sum(start <= i for start in starts) for i, node in enumerate(nodes)}
    needed = {node: max((stages[user] for user in node.users), default=0) for node in nodes}
    made = [node for node in nodes if node.op not in ("placeholder", "get_attr", "output")]
    into = [node for node in made if stages[node] < index <= needed[node]]
    onward = [node for node in made if stages[node] <= index < needed[node]]
    found, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    given = [node for node in nodes if node.op == "placeholder"]
    for node in given if index == 0 else into:
        copies[node] = found.placeholder(node.name)
    for node, value in zip(given, inputs, strict=True) if index else ():
        if any(stages[user] == index for user in node.users):
            setattr(graph, f"input_{node.name}", value)
            copies[node] = found.get_attr(f"input_{node.name}")
    for node in nodes:
        if node.op == "get_attr" and any(stages[user] == index for user in node.users):
            copies[node] = found.node_copy(node)
        elif node in made and stages[node] == index:
            copies[node] = found.node_copy(node, lambda one: copies[one])
    if index == len(begins):
        found.output(fx.map_arg(nodes[-1].args[0], lambda one: copies[one]))
    else:
        passed = tuple(copies[node] for node in onward)
        found.output(passed if len(passed) > 1 else passed[0])
    return fx.GraphModule(graph, found)


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


def whole(outputs: Any) -> list[Tensor]:
    """The tensors of some outputs, with the parts of all ranks."""
    return [one.full_tensor() if isinstance(one, DTensor) else one for one in tensors(outputs)]
