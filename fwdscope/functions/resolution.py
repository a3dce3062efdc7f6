"""Resolves the functions, methods and attributes of the tables to the callables that they name.

Only entries of the tables are looked up, so no other name of torch can be reached. torch is imported when a tensor is
given, or when a function that makes one is called.
"""

from __future__ import annotations

import builtins
import importlib
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from fwdscope.errors import LayerError
from fwdscope.functions import own_functions
from fwdscope.functions.functions import DTYPES
from fwdscope.functions.python_functions import PYTHON, add_up, holds_tensor
from fwdscope.functions.vocabulary import Function, TensorAttribute
from fwdscope.layers.base import is_tensor
from fwdscope.limits import limit

if TYPE_CHECKING:
    import torch


@cache
def implementation(function: Function) -> Callable[..., Any]:
    """The callable of a function: torch's, or one of plain numbers if the entry has one and no tensor is given.

    A function that ``makes`` a tensor also takes ``device=``. The callable raises what torch and Python raise
    (RuntimeError, TypeError, ValueError, IndexError, OverflowError, …) and LayerError.
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
    """The callable of a method: a function of the tensor and the arguments."""

    def call(tensor: torch.Tensor, /, *args: Any, **kwargs: Any) -> Any:
        return _of_tensors(function)(tensor, *args, **_with_dim(function, kwargs))

    return call


def attribute(attribute: TensorAttribute, tensor: torch.Tensor) -> Any:
    """Get an attribute of a tensor."""
    if attribute.name in ("T", "H") and tensor.dim() != 2:
        message = f"{attribute.name} transposes a matrix, found {tensor.dim()} dimensions: {tuple(tensor.shape)}"
        raise LayerError(message, "x.mT swaps the last two dimensions, x.permute(…) reorders all dimensions")
    return getattr(tensor, attribute.name)


def dtype_of(name: str) -> torch.dtype:
    """The dtype with a name in ``DTYPES``."""
    import torch

    dtype = getattr(torch, DTYPES[name])
    assert isinstance(dtype, torch.dtype)
    return dtype


def _with_dim(function: Function, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords, with ``axis`` renamed to ``dim``: torch accepts either in most but not all functions."""
    if "axis" not in kwargs or "dim" not in function.keywords:
        return dict(kwargs)
    return {"dim" if name == "axis" else name: value for name, value in kwargs.items()}


def _of_numbers(function: Function) -> Callable[..., Any] | None:
    if function.target == "python":
        return PYTHON[function.name]
    if function.numbers is None:
        return None
    module, _, name = function.numbers.partition(".")
    functions: dict[str, Mapping[str, Any]] = {"math": vars(math), "builtins": vars(builtins), "python": PYTHON}
    found: Callable[..., Any] = functions[module][name]
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
    def call(*args: Any, **kwargs: Any) -> Any:
        of_list = len(args) == 1 and not kwargs and isinstance(args[0], list | tuple)
        return add_up(args[0]) if of_list else torch_sum(*args, **kwargs)

    return call


def _to(function: Function, torch_to: Callable[..., Any]) -> Callable[..., Any]:
    """Restrict ``to`` to casts: a string or number would be a device."""

    def call(*args: Any, **kwargs: Any) -> Any:
        for value in (*args[1:], *kwargs.values()):
            if isinstance(value, str | int):
                raise LayerError(f"to takes a dtype, found {value!r}", "the device is an option: --device")
        return torch_to(*args, **kwargs)

    return call


def _in_pieces(function: Function, split: Callable[..., Any]) -> Callable[..., Any]:
    """Limit how many tensors a function returns, which on meta costs nothing and so may be any number."""

    def call(*args: Any, **kwargs: Any) -> Any:
        count = _pieces(function, args, kwargs)
        if count > limit("turns"):
            message = f"{function.name} would give {count:_} tensors, beyond the limit of {limit('turns'):_}"
            raise LayerError(message, "--limit turns=N raises it")
        return split(*args, **kwargs)

    return call


# The parameters for the size or the number of the pieces of a split.
_AMOUNTS = ("split_size_or_sections", "split_size", "chunks", "sections")


def _pieces(function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    # The signatures of methods leave out the tensor, the first argument here.
    rest = args[1:] if function.target == "torch.Tensor" else args
    names = function.fit(len(rest), tuple(kwargs)).signature.by_position
    given = {parameter.name: value for parameter, value in zip(names, rest, strict=False)} | dict(kwargs)
    tensor: Any = args[0] if args else given.get("input", given.get("tensor"))
    dim = given.get("dim", 0)
    if not is_tensor(tensor) or not isinstance(dim, int) or not -tensor.dim() <= dim < tensor.dim():
        return 0  # torch reports the error
    size = int(tensor.shape[dim])
    if function.name == "unbind":
        return size
    amount = next((given[name] for name in _AMOUNTS if name in given), None)
    if not isinstance(amount, int) or amount <= 0:
        return 0  # a list, limited itself; or torch reports the error
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
