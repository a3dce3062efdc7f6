"""Function modes for networks on meta: layers without numbers, and a default dtype that is the network's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fwdscope.default_dtype import default_dtype, use_default_dtype
from fwdscope.torch_private import without_dispatch, without_functions

_META = torch.device("meta")


class WithoutInitialisation(TorchFunctionMode):
    """Makes the tensors of layers on meta, and skips what would fill them: torch's references are slow to load."""

    _MAKE = frozenset([torch.empty, torch.zeros, torch.ones, torch.tensor])
    _FILL = frozenset(
        [
            *("zero_", "zeros_", "fill_", "ones_", "constant_"),
            *("uniform_", "normal_", "trunc_normal_", "bernoulli_", "exponential_"),
            *("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_"),
        ]
    )
    # Called most often, and of no interest to the modes below.
    _SKIP = frozenset(["dim", "size", "is_contiguous", "__get__", "_set_grad_enabled"])

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self._MAKE:
            device = kwargs.get("device")
            with without_functions(), without_dispatch():
                return _make(func, args, {**kwargs, "device": _META if device is None else device})
        name = getattr(func, "__name__", "")
        if name in self._SKIP:
            with without_functions():
                return func(*args, **kwargs)
        if name in self._FILL:
            filled = args[0] if args else kwargs.get("tensor")
            with without_functions():
                if isinstance(filled, Tensor) and filled.is_meta:
                    return filled
        with _META:
            return func(*args, **kwargs)


def _make(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Call a function that makes a tensor; in place of torch's default dtype it gets the network's."""
    made = func(*args, **kwargs)
    if kwargs.get("dtype") is None and made.dtype == torch.get_default_dtype() != default_dtype():
        return func(*args, **{**kwargs, "dtype": default_dtype()})
    return made


class _NumbersToTensors(TorchFunctionMode):
    """Where torch makes tensors of Python's numbers before any operator runs, gives them the default dtype."""

    _MAKE = frozenset([torch.tensor, torch.as_tensor, torch.scalar_tensor])

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self._MAKE:
            return _make(func, args, kwargs)
        if func is torch.where and len(args) == 3 and any(isinstance(value, float) for value in args[1:]):
            condition, *values = args
            if not any(isinstance(value, Tensor) for value in values):
                numbers = (torch.scalar_tensor(v, dtype=default_dtype(), device=condition.device) for v in values)
                return func(condition, *numbers)
        return func(*args, **kwargs)


@contextlib.contextmanager
def use_default_dtype_on_meta(dtype: torch.dtype) -> Iterator[None]:
    """Make a dtype the default of all that this thread does on meta."""
    modes = _NumbersToTensors() if dtype != torch.get_default_dtype() else contextlib.nullcontext()
    with use_default_dtype(dtype), modes:
        yield
