"""Watch every operator that runs: by ATen's names, and whole where torch would decompose what has a rule of its own.

``scaled_dot_product_attention`` and the recurrent functions are seen one level above the dispatcher, before torch
chooses a kernel or unrolls the steps, so that each is one record with one rule on every device. On meta, an operator
whose rule states its result is not run at all.
"""

from __future__ import annotations

import contextlib
import gc
import types
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from fwdscope.torch_private import OperatorMode

from .dispatch import OpRecord, run

# Is called after each operator with its record, its arguments as (args, kwargs), and its result.
OnOperator = Callable[[OpRecord, Any, Any], None]
# Is called after each operator with its arguments and its result, where no record is wanted.
OnUnread = Callable[[Any, Any], None]

_WHOLE = frozenset(
    {torch.nn.functional.scaled_dot_product_attention}
    | {getattr(torch, name) for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")}
    | {getattr(torch, f"{name}_cell") for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")}
)
_SEEN = _WHOLE | {torch.nn.functional.multi_head_attention_forward}


@cache
def _without_modes_asked(function: Any) -> Callable[..., Any]:
    """A copy of a Python function of torch's that does not call the function mode again, which would never end."""
    names = {**function.__globals__, "has_torch_function": lambda _: False}
    copy = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


class _Watch:
    """What both modes share: whom to call, and how deep what runs now lies in a function that is one record."""

    def __init__(self, on_operator: OnOperator | None, on_unread: OnUnread | None) -> None:
        self.on_operator = on_operator
        self.on_unread = on_unread
        self.inside = 0

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a function whole: the operators inside it get no records of their own."""
        self.inside += 1
        try:
            if self.on_unread is None:
                result, record = run(func, args, kwargs)
            else:
                result, record = func(*args, **kwargs) if kwargs else func(*args), None
        finally:
            self.inside -= 1
        self.report(record, (args, kwargs), result)
        return result

    def report(self, record: OpRecord | None, arguments: Any, result: Any) -> None:
        if self.inside:
            return
        if record is None:
            if self.on_unread is not None:
                self.on_unread(arguments, result)
        elif self.on_operator is not None:
            self.on_operator(record, arguments, result)


class _Dispatch(OperatorMode):
    """Sees every ATen operator."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_dispatch__(self, func: Any, classes: Any, args: Any = (), kwargs: Any = None) -> Any:
        watch = self.watch
        if watch.on_unread is not None:
            return watch.run(func, args, kwargs)
        result, record = run(func, args, kwargs)
        if not watch.inside and watch.on_operator is not None:
            watch.on_operator(record, (args, kwargs), result)
        return result


class _Functions(TorchFunctionMode):
    """Sees functions of torch before they are decomposed."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, classes: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _SEEN:
            return func(*args, **kwargs) if kwargs else func(*args)
        if func in _WHOLE:
            return self.watch.run(func, args, kwargs)
        # torch turns a mode off inside the function it was called for, and this one calls attention.
        with self:
            return _without_modes_asked(func)(*args, **(kwargs or {}))


@contextlib.contextmanager
def watching(on_operator: OnOperator | None = None, on_unread: OnUnread | None = None) -> Iterator[None]:
    """Watch the operators that run inside. torch takes no fused path for inference under a function mode.

    ``on_operator`` gets a record of each. With ``on_unread`` operators are not read, which on a device takes longer
    than running a small one. Without either, meta tensors still take the short way by rules.
    """
    watch = _Watch(on_operator, on_unread)
    # Every operator makes a few objects and no cycles; looking for cycles takes half of the time of a long trace.
    collecting = gc.isenabled()
    gc.disable()
    try:
        with _Functions(watch), _Dispatch(watch):
            yield
    finally:
        if collecting:
            gc.enable()
