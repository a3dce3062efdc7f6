"""The parameters that one rank holds: whole, split over tp or ep, and of that a part for fsdp."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from fwdscope.language.names import did_you_mean
from fwdscope.language.plan import Mesh, Plan, matcher
from fwdscope.mesh.sharding import ShardError, local_shape, split_dimension
from fwdscope.trace.parameters import named_modules


@dataclass(frozen=True)
class Holding:
    """A parameter on the rank that has most of it: elements after tp and ep, and of these what fsdp leaves it."""

    name: str
    elements: int
    sharded: int
    itemsize: int
    requires_grad: bool
    # The path of the module whose parameters are gathered with it.
    group: str

    @property
    def padded(self) -> int:
        """Bytes of the rank's part, as it is sent."""
        return self.sharded * self.itemsize


@dataclass
class Holdings:
    """All parameters of a module, by the ``id`` of each, and the paths of its fsdp groups in order."""

    mesh: Mesh
    found: dict[int, Holding] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)

    def gathered(self, group: str) -> int:
        """Bytes of a group's parameters when they are gathered."""
        return self.mesh.size("fsdp") * sum(one.padded for one in self.found.values() if one.group == group)


def holdings(module: nn.Module, plan: Plan, mesh: Mesh) -> Holdings:
    """What one rank of a mesh holds of a module. Raises ShardError where a pattern matches nothing."""
    modules = named_modules(module)
    paths = [path for path, _ in modules]
    for pattern in (*(rule.pattern for rule in plan.layers), *plan.fsdp):
        if not any(map(matcher(pattern).fullmatch, paths)):
            help = did_you_mean(pattern.replace("*", "").strip("."), paths[1:], "there are", most=6)
            raise ShardError(f"{pattern}: no layer has this path, in which * stands for any characters", pattern, help)
    wrapped = {path for pattern in plan.fsdp for path in filter(matcher(pattern).fullmatch, paths)}
    result, fsdp, tp = Holdings(mesh), mesh.size("fsdp"), mesh.size("tp")
    for path, inner in modules:
        rule = plan.rule(path)
        group = _nearest(path, wrapped)
        for name, parameter in inner._parameters.items():
            if parameter is None or (id(parameter) in result.found and rule is None):
                continue
            dim = split_dimension(inner, name, rule)
            shape = local_shape(tuple(parameter.shape), dim, tp)
            part = (-(-shape[0] // fsdp), *shape[1:]) if shape else shape
            full = f"{path}.{name}".removeprefix(".")
            elements, sharded = math.prod(shape), math.prod(part)
            result.found[id(parameter)] = Holding(
                full, elements, sharded, parameter.element_size(), parameter.requires_grad, group
            )
    result.groups = list(dict.fromkeys(one.group for one in result.found.values()))
    return result


def _nearest(path: str, wrapped: set[str]) -> str:
    """The innermost of the wrapped modules that a path is in; "" is the whole network."""
    while path and path not in wrapped:
        path = path.rpartition(".")[0]
    return path


def shard_of(tensor: Tensor, fsdp: int) -> Tensor:
    """The largest part of a tensor of which each rank holds some of the first dimension."""
    return tensor.new_empty((-(-tensor.shape[0] // fsdp), *tensor.shape[1:])) if tensor.dim() and fsdp > 1 else tensor


def elements_of(holdings: Mapping[int, Holding], tensor: Tensor) -> int:
    """The elements of a parameter that a rank holds; of any other tensor, all."""
    held = holdings.get(id(tensor))
    return tensor.numel() if held is None else held.sharded
