"""Modules copied on meta: as they are, with weights of their own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.layers import Layer

Modules = Mapping[nn.Module, nn.Module]
# Shape, strides, dtype and place of a tensor, whether it has a gradient, whether it is a Parameter.
_Recipe = tuple[tuple[int, ...], tuple[int, ...], torch.dtype, torch.device, bool, bool]

PLAIN = (type(None), bool, int, float, complex, str)
_HELD = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks")
# Where a module keeps what it is called by in place of its forward: what it was compiled to, or who watches.
CALLED_BY = "_compiled_call_impl"


def duplicated(originals: Iterable[nn.Module]) -> dict[nn.Module, nn.Module]:
    """Modules once more, each with weights of its own; one that another holds is among them. Hooks are left behind,
    and what stands in for a module's call."""
    modules: dict[nn.Module, nn.Module] = {one: type(one).__new__(type(one)) for one in originals}
    tensors: dict[int, Tensor] = {}
    with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
        for old, new in modules.items():
            own = new.__dict__
            for name, value in old.__dict__.items():
                kind = type(value)
                # A container of its own; all else is shared. Most are empty, and to copy those takes longer.
                own[name] = value if kind not in _CONTAINERS else kind(value) if value else kind()
            for name in _HOOKS:
                own[name] = OrderedDict()
            own.pop(CALLED_BY, None)
            if old._modules:
                own["_modules"] = {name: child and modules[child] for name, child in old._modules.items()}
            for held in (own["_parameters"], own["_buffers"]):
                for name, tensor in held.items():
                    if tensor is not None:
                        known = tensors.get(id(tensor))
                        if known is None:
                            known = tensors[id(tensor)] = _made(*_recipe(tensor))
                        held[name] = known
    return modules


_CONTAINERS = frozenset((dict, OrderedDict, set, list))


def may_be_duplicated(module: nn.Module) -> bool:
    """Whether all that a module of torch's or ours holds is known: no hooks but those of who watches, no tensors or
    modules but in the places for them."""
    known = type(module).__module__.startswith(("torch.nn.", "fwdscope."))
    return known and has_plain_tensors(module) and all(map(_is_simple, module.__dict__.items()))


def has_plain_tensors(module: nn.Module) -> bool:
    """Whether all tensors that a module holds are on meta, and nothing but tensors."""
    with torch._C.DisableTorchFunction():
        for held in (module._parameters, module._buffers):
            for tensor in held.values():
                if tensor is not None and (
                    type(tensor) not in (Tensor, nn.Parameter) or tensor.__dict__ or not tensor.is_meta
                ):
                    return False
    return True


def _is_simple(item: tuple[str, Any]) -> bool:
    name, value = item
    if name in _HELD:
        return True
    if name in _HOOKS:
        # The keys of torch's hooks are numbers. Who watches puts its own on the copy.
        return not any(type(key) is int for key in value)
    if isinstance(value, dict | set):
        return not value
    if isinstance(value, tuple | list):
        return all(isinstance(one, PLAIN) for one in value)
    return not isinstance(value, Tensor | nn.Module | MethodType)


# --- modules of equal settings ---------------------------------------------------------------------------------------


class Prototype:
    """A module as its constructor made it. It never runs, so that it stays as it is."""

    def __init__(self, module: nn.Module) -> None:
        self.modules = list(module.modules())
        self.lone = _Lone.of(module)

    def duplicate(self) -> nn.Module:
        """A module like it, with weights of its own."""
        return duplicated(self.modules)[self.modules[0]] if self.lone is None else self.lone.duplicate()


@dataclass(frozen=True)
class _Lone:
    """A module with no others inside, as most are, and what :func:`duplicated` would find out of it each time anew.

    That takes as long as to make the duplicate, and a network may want thousands.
    """

    module: nn.Module
    # The containers that it holds, and what is in them but for tensors: most are empty.
    containers: tuple[tuple[str, type, Any], ...]
    # Which container holds each tensor, its name, and how it is made.
    tensors: tuple[tuple[str, str, _Recipe | None], ...]

    @staticmethod
    def of(module: nn.Module) -> _Lone | None:
        """What a module is made of; None where it holds others or hooks, or a tensor twice."""
        own = vars(module)
        held = [(home, name, x) for home in ("_parameters", "_buffers") for name, x in own[home].items()]
        identities = [id(x) for _, _, x in held if x is not None]
        if any(own[name] for name in ("_modules", *_HOOKS)) or len(set(identities)) < len(identities):
            return None
        containers = tuple(
            (name, type(value), None if name in _HELD else value)
            for name, value in own.items()
            if type(value) in _CONTAINERS
        )
        with torch._C.DisableTorchFunction():  # who watches functions need not hear of each look at a tensor
            tensors = tuple((home, name, None if x is None else _recipe(x)) for home, name, x in held)
        return _Lone(module, containers, tensors)

    def duplicate(self) -> nn.Module:
        """A module like it, with weights of its own."""
        new: nn.Module = type(self.module).__new__(type(self.module))
        own = vars(new)
        own.update(vars(self.module))
        for name, container, content in self.containers:
            own[name] = container(content) if content else container()
        with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
            for home, name, recipe in self.tensors:
                own[home][name] = None if recipe is None else _made(*recipe)
        return new


# Prototypes by what they were made of; None where a module cannot be duplicated.
_PROTOTYPES: dict[tuple[Any, ...], Prototype | None] = {}
_MOST_PROTOTYPES = 4096


def built(layer: Layer, inputs: Sequence[Any]) -> nn.Module:
    """A layer's module for the inputs of its first call, as ``layer.build(*inputs)`` makes it, on meta.

    Where a layer of equal settings was made before it is a duplicate: torch's constructors take several times as long.
    """
    return built_by_prototype(layer, inputs)[0]


def built_by_prototype(layer: Layer, inputs: Sequence[Any]) -> tuple[nn.Module, Prototype | None]:
    """A layer's module as :func:`built` makes it, and the prototype that it is a duplicate of, if it is one."""
    kind = type(layer)
    if kind.build is not Layer.build or kind.construct is not Layer.construct:
        return layer.build(*inputs), None
    if kind.arguments is Layer.arguments:
        with torch._C.DisableTorchFunction():  # it looks at shapes alone
            arguments = layer.arguments(*inputs)
    else:
        arguments = layer.arguments(*inputs)
    if not all(map(is_plain, arguments.values())):
        return layer.construct(**arguments), None
    key = kind, torch.get_default_dtype(), repr(arguments)
    if key not in _PROTOTYPES:
        if len(_PROTOTYPES) >= _MOST_PROTOTYPES:
            _PROTOTYPES.clear()
        made = layer.construct(**arguments)
        _PROTOTYPES[key] = Prototype(made) if all(map(may_be_duplicated, made.modules())) else None
    prototype = _PROTOTYPES[key]
    return (layer.construct(**arguments) if prototype is None else prototype.duplicate()), prototype


def is_plain(value: Any) -> bool:
    """Whether a setting is numbers and words alone, so that how it is written tells all of it."""
    kind = type(value)
    return kind in PLAIN or (kind in (tuple, list) and all(map(is_plain, value)))


def like(x: Tensor) -> Tensor:
    """A tensor of the same shape, strides, dtype and place."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)


def _recipe(tensor: Tensor) -> _Recipe:
    parameter = type(tensor) is nn.Parameter
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device, parameter and tensor.requires_grad, parameter


def _made(
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    requires_grad: bool,
    parameter: bool,
) -> Tensor:
    made = torch.empty_strided(shape, stride, dtype=dtype, device=device, requires_grad=requires_grad)
    if parameter:
        # As torch's lazy modules do it; nn.Parameter(…) would make a second tensor of the first.
        made.__class__ = nn.Parameter
    return made
