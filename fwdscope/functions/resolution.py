"""What a listed function, method or attribute stands for. The lists are read without it, and without torch.

Only entries of the lists are looked up, each at the place its entry names; torch is imported when a tensor is at hand
or a function that makes one is called.
"""

from __future__ import annotations

import builtins
import importlib
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from fwdscope.functions import own_functions
from fwdscope.functions.functions import DTYPES
from fwdscope.functions.python_functions import PYTHON, add_up, holds_tensor, is_tensor
from fwdscope.functions.vocabulary import Attribute, Function
from fwdscope.layers.base import LayerError
from fwdscope.limits import limit

if TYPE_CHECKING:
    import torch


@cache
def implementation(function: Function) -> Callable[..., Any]:
    """What a listed function stands for: of tensors or, where its entry says so, of plain numbers.

    A function that ``makes`` a tensor takes ``device=`` beside what its signature says. Raises what torch and Python
    raise (RuntimeError, TypeError, ValueError, IndexError, OverflowError, …) and LayerError.
    """
    of_numbers = _of_numbers(function)

    def call(*args: Any, **kwargs: Any) -> Any:
        given = _with_dim(function, kwargs)
        if of_numbers is not None and not holds_tensor((*args, *given.values())):
            return of_numbers(*args, **given)
        return _of_tensors(function)(*args, **given)

    return call


@cache
def method(function: Function) -> Callable[..., Any]:
    """What a listed method stands for, as a function of the tensor and the arguments."""

    def call(tensor: torch.Tensor, /, *args: Any, **kwargs: Any) -> Any:
        return _of_tensors(function)(tensor, *args, **_with_dim(function, kwargs))

    return call


def attribute(attribute: Attribute, tensor: torch.Tensor) -> Any:
    """The value of a listed attribute of a tensor."""
    if attribute.name in ("T", "H") and tensor.dim() != 2:
        raise LayerError(
            f"{attribute.name} transposes a matrix, found {tensor.dim()} dimensions: {tuple(tensor.shape)}",
            "x.mT swaps the last two dimensions, x.permute(…) puts all in any order",
        )
    return getattr(tensor, attribute.name)


def dtype_of(name: str) -> torch.dtype:
    """The dtype that a name of ``DTYPES`` stands for."""
    import torch

    dtype = getattr(torch, DTYPES[name])
    assert isinstance(dtype, torch.dtype)
    return dtype


def _with_dim(function: Function, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords, ``axis`` as ``dim``: torch takes either, but in ``torch.nn.functional`` and a few others."""
    if "axis" not in kwargs or "dim" not in function.keywords:
        return dict(kwargs)
    return {"dim" if name == "axis" else name: value for name, value in kwargs.items()}


def _of_numbers(function: Function) -> Callable[..., Any] | None:
    if function.target == "python":
        return PYTHON[function.name]
    if function.numbers is None:
        return None
    module, _, name = function.numbers.partition(".")
    if module == "python":
        return PYTHON[name]
    found: Callable[..., Any] = getattr({"math": math, "builtins": builtins}[module], name)
    return found


@cache
def _of_tensors(function: Function) -> Callable[..., Any]:
    if function.target == "own":
        return getattr(own_functions, function.name)  # type: ignore[no-any-return]
    if function.target == "python":
        return PYTHON[function.name]
    if function.target == "torch.Tensor":
        import torch

        found: Callable[..., Any] = getattr(torch.Tensor, function.name)
    else:
        found = getattr(importlib.import_module(function.target), function.name)
    wrap = _WRAPPED.get(function.name)
    return found if wrap is None else wrap(function, found)


def _sum(function: Function, torch_sum: Callable[..., Any]) -> Callable[..., Any]:
    """``sum`` of a tensor is torch's, of a list of tensors Python's."""

    def call(*args: Any, **kwargs: Any) -> Any:
        of_list = len(args) == 1 and not kwargs and isinstance(args[0], list | tuple)
        return add_up(args[0]) if of_list else torch_sum(*args, **kwargs)

    return call


def _to(function: Function, torch_to: Callable[..., Any]) -> Callable[..., Any]:
    """``to`` casts, and moves nowhere: a text would be a device."""

    def call(tensor: torch.Tensor, /, *args: Any, **kwargs: Any) -> Any:
        for value in (*args, *kwargs.values()):
            if isinstance(value, str | int):
                raise LayerError(f"to takes a dtype, found {value!r}", "the device is an option: --device")
        return torch_to(tensor, *args, **kwargs)

    return call


def _in_pieces(function: Function, split: Callable[..., Any]) -> Callable[..., Any]:
    """A function that gives as many tensors as a size says, which on meta may be any: bounded like a list."""

    def call(*args: Any, **kwargs: Any) -> Any:
        count = _pieces(function, args, kwargs)
        if count > limit("items"):
            raise LayerError(f"{function.name} would give {count:_} tensors, beyond the limit of {limit('items'):_}")
        return split(*args, **kwargs)

    return call


# What the functions that cut into pieces call the size or the number of the pieces.
_AMOUNTS = ("split_size_or_sections", "split_size", "chunks", "sections")


def _pieces(function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    # A method's signatures leave the tensor out, which is its first argument here.
    rest = args[1:] if function.target == "torch.Tensor" else args
    names = function.fit(len(rest), tuple(kwargs)).signature.by_position
    given = {parameter.name: value for parameter, value in zip(names, rest, strict=False)} | dict(kwargs)
    tensor: Any = args[0] if args else given.get("input", given.get("tensor"))
    dim = given.get("dim", 0)
    if not is_tensor(tensor) or not isinstance(dim, int) or not -tensor.dim() <= dim < tensor.dim():
        return 0  # torch says what is wrong
    size = int(tensor.shape[dim])
    if function.name == "unbind":
        return size
    amount = next((given[name] for name in _AMOUNTS if name in given), None)
    if not isinstance(amount, int) or amount <= 0:
        return 0  # a list, bounded itself; or torch says what is wrong
    if function.name == "split":
        return -(-size // amount)
    return min(amount, size) if function.name == "chunk" else amount


_WRAPPED: dict[str, Callable[[Function, Callable[..., Any]], Callable[..., Any]]] = {
    "sum": _sum,
    "to": _to,
    "split": _in_pieces,
    "chunk": _in_pieces,
    "unbind": _in_pieces,
    "tensor_split": _in_pieces,
}
