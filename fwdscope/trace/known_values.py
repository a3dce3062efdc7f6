"""Values on meta: what depends on neither weights nor floating-point inputs is computed with numbers.

A forward that counts ids, looks at a mask or splits by a grid needs values that are known, though its weights are on
meta. Where one fails for want of values, it runs again under :class:`KnownValues`, its small integer inputs with their
numbers: what is computed of them, and small tensors made of numbers, are on the CPU, and say that they are on meta.
Where a tensor on meta meets them, they go to meta.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fwdscope.ops.dispatch import META
from fwdscope.ops.nested import tensors
from fwdscope.torch_private import without_dispatch
from fwdscope.trace.duplicate import replace_tensors

# Tensors of more elements are kept on meta.
MAX_ELEMENTS = 2**16
_DEVICE: Any = Tensor.device
_IS_META: Any = Tensor.is_meta
# Functions that make a tensor of numbers.
_MADE = ("arange", "ones", "zeros", "full", "tensor", "as_tensor", "eye", "linspace")


def is_known(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor are kept."""
    is_small = tensor.layout is torch.strided and tensor.numel() <= MAX_ELEMENTS
    return is_small and not tensor.is_meta and not tensor.is_floating_point() and not tensor.is_complex()


class KnownValues(TorchFunctionMode):
    """Computes with known numbers; a result that depends on a tensor on meta is on meta."""

    def __torch_function__(self, func: Any, classes: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (_DEVICE.__get__, _IS_META.__get__):
            return META if func == _DEVICE.__get__ else True
        name, given = getattr(func, "__name__", ""), tensors([args, kwargs])
        if not given:
            return func(*args, **(_on_cpu(func, args, kwargs) if name in _MADE else kwargs))
        if all(x.is_meta for x in given):
            return func(*args, **kwargs)
        if not any(x.is_meta for x in given):
            if name == "to":
                args = [value for value in args if not _is_meta(value)]
            kwargs = {key: value for key, value in kwargs.items() if not (key == "device" and _is_meta(value))}
            return args[0] if name == "to" and len(args) == 1 and not kwargs else func(*args, **kwargs)
        if isinstance(args[0], Tensor) and not args[0].is_meta and _is_in_place(name):
            raise NotImplementedError(f"{name} writes a result on meta, which has no values, into known ones")
        if name in ("__getitem__", "__setitem__", "index_put_"):
            args = (args[0], _places(args[1]), *args[2:])
        return func(*replace_tensors(args, _to_meta), **replace_tensors(kwargs, _to_meta))


def _is_in_place(name: str) -> bool:
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")


def _is_meta(value: Any) -> bool:
    return isinstance(value, str | torch.device) and torch.device(value).type == "meta"


def _to_meta(tensor: Tensor) -> Tensor:
    if tensor.is_meta:
        return tensor
    with without_dispatch():  # it is no work of the forward's
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)


def _places(index: Any) -> Any:
    """An index with the places where a known mask is true in place of the mask."""
    pieces: list[Any] = []
    for piece in index if isinstance(index, tuple) else (index,):
        is_mask = isinstance(piece, Tensor) and piece.dtype is torch.bool and not piece.is_meta
        pieces += piece.nonzero(as_tuple=True) if is_mask else [piece]
    return tuple(pieces)


def _on_cpu(func: Any, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The keywords of a function that makes a tensor, on the CPU if it is small and of integers, or of ones."""
    if not _is_meta(kwargs.get("device")):
        return kwargs
    with without_dispatch():
        made = func(*args, **kwargs)
    is_kept = made.numel() <= MAX_ELEMENTS and (func is torch.ones or not made.is_floating_point())
    return {**kwargs, "device": "cpu"} if is_kept else kwargs
