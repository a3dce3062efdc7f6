"""Duplicates modules on meta: equal ones with weights of their own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.torch_private import without_dispatch, without_functions

Modules = Mapping[nn.Module, nn.Module]

PLAIN = (type(None), bool, int, float, complex, str)
_CONTAINERS = frozenset((dict, OrderedDict, set, list))
_CONTENTS = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks")


def duplicated(originals: Iterable[nn.Module]) -> dict[nn.Module, nn.Module]:
    """Return duplicates of modules by their originals; modules inside must be among them. Hooks are not duplicated.

    Much faster than ``copy.deepcopy``, which would duplicate the blueprint and the lines of the file too.
    """
    modules: dict[nn.Module, nn.Module] = {one: type(one).__new__(type(one)) for one in originals}
    tensors: dict[int, Tensor] = {}
    with without_dispatch(), without_functions():
        for old, new in modules.items():
            own = new.__dict__
            for name, value in old.__dict__.items():
                kind = type(value)
                # Most containers are empty, and copying those takes longer than making them.
                own[name] = value if kind not in _CONTAINERS else kind(value) if value else kind()
            for name in _HOOKS:
                own[name] = OrderedDict()
            if old._modules:
                own["_modules"] = {name: child and modules[child] for name, child in old._modules.items()}
            for group in (own["_parameters"], own["_buffers"]):
                for name, tensor in group.items():
                    if tensor is not None:
                        if id(tensor) not in tensors:
                            tensors[id(tensor)] = like(tensor)
                            if type(tensor) is nn.Parameter:
                                # As in torch's lazy modules; nn.Parameter(…) would make a second tensor.
                                tensors[id(tensor)].__class__ = nn.Parameter
                                tensors[id(tensor)].requires_grad = tensor.requires_grad
                        group[name] = tensors[id(tensor)]
    return modules


def like(x: Tensor) -> Tensor:
    """Return a tensor of the same shape, strides, dtype and device."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)


def may_be_duplicated(module: nn.Module) -> bool:
    """Whether a module is torch's or ours, without hooks of the user, and with tensors and modules only as usual."""
    known = type(module).__module__.startswith(("torch.nn.", "fwdscope."))
    return known and has_plain_tensors(module) and all(map(_may_be_shared, module.__dict__.items()))


def has_plain_tensors(module: nn.Module) -> bool:
    """Whether all tensors of a module are plain ones on meta."""
    with without_functions():
        for group in (module._parameters, module._buffers):
            for tensor in group.values():
                if tensor is not None and (
                    type(tensor) not in (Tensor, nn.Parameter) or tensor.__dict__ or not tensor.is_meta
                ):
                    return False
    return True


def _may_be_shared(item: tuple[str, Any]) -> bool:
    """Whether a module and its duplicate may share the value of an attribute."""
    name, value = item
    if name in _CONTENTS:
        return True
    if name in _HOOKS:
        # The keys of hooks that a user registers are integers.
        return not any(type(key) is int for key in value)
    if isinstance(value, dict | set):
        return not value
    if isinstance(value, tuple | list):
        return all(isinstance(one, PLAIN) for one in value)
    return not isinstance(value, Tensor | nn.Module | MethodType)
