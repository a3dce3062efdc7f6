"""Modules copied on meta: as they are, with weights of their own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.torch_private import without_dispatch, without_functions

Modules = Mapping[nn.Module, nn.Module]
# Shape, strides, dtype and place of a tensor, whether it has a gradient, whether it is a Parameter.
_Recipe = tuple[tuple[int, ...], tuple[int, ...], torch.dtype, torch.device, bool, bool]

PLAIN = (type(None), bool, int, float, complex, str)
_HELD = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks")


def duplicated(originals: Iterable[nn.Module]) -> dict[nn.Module, nn.Module]:
    """Modules once more, each with weights of its own; one that another holds is among them. Hooks are left behind."""
    modules: dict[nn.Module, nn.Module] = {one: type(one).__new__(type(one)) for one in originals}
    tensors: dict[int, Tensor] = {}
    with without_dispatch(), without_functions():
        for old, new in modules.items():
            own = new.__dict__
            for name, value in old.__dict__.items():
                kind = type(value)
                # A container of its own; all else is shared. Most are empty, and to copy those takes longer.
                own[name] = value if kind not in _CONTAINERS else kind(value) if value else kind()
            for name in _HOOKS:
                own[name] = OrderedDict()
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
    with without_functions():
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
