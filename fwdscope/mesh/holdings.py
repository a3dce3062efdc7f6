"""The parameters that one rank holds: whole, split over tp, some of the experts of ep, and of these a part for fsdp."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fwdscope.language.names import did_you_mean
from fwdscope.language.plan import Mesh, Plan, matcher
from fwdscope.mesh.sharding import ShardError, is_mixture, local_shape, split_dimension
from fwdscope.report import Shape
from fwdscope.trace.parameters import named_modules


@dataclass(frozen=True)
class Holding:
    """A parameter on the rank that has most of it: the shape of what tp and fsdp leave of it."""

    name: str
    shape: Shape
    dtype: torch.dtype
    requires_grad: bool
    # The path of the module whose parameters are gathered with it, and of the mixture whose expert it is of.
    group: str
    mixture: str = ""

    @property
    def elements(self) -> int:
        """Elements that the rank keeps."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the rank keeps."""
        return self.elements * self.dtype.itemsize

    def gathered(self, ranks: int) -> int:
        """Bytes of it when fsdp has gathered it, with what pads each rank's part to the largest."""
        return ranks * self.nbytes

    def make(self) -> Tensor:
        """A tensor like it."""
        return torch.empty(self.shape, dtype=self.dtype, device="meta")


@dataclass
class Holdings:
    """The parameters of a module that a rank holds, by the ``id`` of each, and the bytes of all before fsdp."""

    mesh: Mesh
    found: dict[int, Holding] = field(default_factory=dict)
    # The share of each mixture's experts that a rank has, by the mixture's path.
    experts: dict[str, float] = field(default_factory=dict)
    trained_bytes: int = 0


def holdings(module: nn.Module, plan: Plan, mesh: Mesh) -> Holdings:
    """What one rank of a mesh holds of a module. Raises ShardError for a pattern that matches no such layer."""
    modules = named_modules(module)
    paths = [path for path, _ in modules]
    for pattern in (*(rule.pattern for rule in plan.layers), *plan.fsdp):
        if not any(map(matcher(pattern).fullmatch, paths)):
            help = did_you_mean(pattern.replace("*", "").strip("."), paths[1:], "there are", most=6)
            raise ShardError(f"{pattern}: no layer has this path, in which * stands for a name", pattern, help)
    wrapped = {path for pattern in plan.fsdp for path in filter(matcher(pattern).fullmatch, paths)}
    result, fsdp, tp = Holdings(mesh), mesh.size("fsdp"), mesh.size("tp")
    kept: dict[str, int] = {}
    for path, inner in modules:
        rule = plan.rule(path)
        split_dimension(inner, "weight", rule)
        if rule is not None and rule.style == "expert":
            if not is_mixture(inner):
                help = "name the module that has the list experts"
                raise ShardError(f"{path} is no mixture of experts", rule.pattern, help)
            number = len(inner.experts)  # type: ignore[arg-type]
            kept[path] = -(-number // expert_ranks(mesh))
            result.experts[path] = kept[path] / number
        mixture = next((one for one in kept if path.startswith(f"{one}.experts.")), "")
        if (
            mixture
            and rule is not None
            and mesh.size("ep") == 1 < tp
            and split_dimension(inner, "weight", rule) is not None
        ):
            why = "the experts of its mixture are spread over tp, which cannot split each of them too"
            raise ShardError(f"{path}: {why}", rule.pattern, "spread them over ep, or leave them out of the plan")
        is_elsewhere = mixture and int(path.removeprefix(f"{mixture}.experts.").partition(".")[0]) >= kept[mixture]
        group = _nearest(path, wrapped)
        for name, parameter in inner._parameters.items():
            if parameter is None or (id(parameter) in result.found and rule is None):
                continue
            whole = local_shape(tuple(parameter.shape), split_dimension(inner, name, rule), tp)
            if parameter.requires_grad and id(parameter) not in result.found:
                result.trained_bytes += math.prod(whole) * parameter.element_size()
            if is_elsewhere:
                continue
            part = (-(-whole[0] // fsdp), *whole[1:]) if whole else whole
            full = f"{path}.{name}".removeprefix(".")
            result.found[id(parameter)] = Holding(full, part, parameter.dtype, parameter.requires_grad, group, mixture)
    return result


def expert_ranks(mesh: Mesh) -> int:
    """Over how many ranks experts are spread: those of ep, or else of tp, which have the same positions."""
    return mesh.size("ep") if mesh.size("ep") > 1 else mesh.size("tp")


def _nearest(path: str, wrapped: set[str]) -> str:
    """The innermost of the wrapped modules that a path is in; "" is the whole network."""
    while path and path not in wrapped:
        path = path.rpartition(".")[0]
    return path


def groups_of(held: Iterable[Holding]) -> dict[str, list[Holding]]:
    """The parameters that fsdp gathers together, by the path of their module."""
    found: dict[str, list[Holding]] = {}
    for one in held:
        found.setdefault(one.group, []).append(one)
    return found
