"""Watch every operator that runs: by ATen's names, and whole where torch would take apart what has a rule of its own.

``scaled_dot_product_attention`` and the recurrent functions are caught one level above the dispatcher, before torch
chooses a kernel or unrolls the steps, so that they are one record with one rule on every device. On meta, an operator
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
from torch.utils._python_dispatch import TorchDispatchMode

from .base import Op, infer
from .dispatch import _on_meta, _outputs, default_dtype, make, read, run
from .linear import Linear, linear

# What is told of an operator: the call as data, its arguments, its result.
Tell = Callable[[Op, Any, Any], None]
# What is told where nobody wants to know which operator it was: its arguments, its result.
Ran = Callable[[Any, Any], None]

_WHOLE = frozenset(
    {torch.nn.functional.scaled_dot_product_attention}
    | {getattr(torch, name) for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")}
    | {getattr(torch, f"{name}_cell") for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")}
)


_LINEAR = torch._C._nn.linear
_CAUGHT = _WHOLE | {torch.nn.functional.multi_head_attention_forward}


@cache
def _unasked(function: Any) -> Callable[..., Any]:
    """A copy of a Python function of torch's that does not ask for modes once more, which would never end."""
    names = {**function.__globals__, "has_torch_function": lambda _: False}
    copy = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


class _Watch:
    """What both modes share: whom to tell, and whether the operators now running belong to one told already."""

    def __init__(self, tell: Tell | None, ran: Ran | None = None) -> None:
        self.tell = tell
        self.ran = ran
        # How deep what runs now lies in something that is told as a whole, or not at all.
        self.inside = 0

    def told(self, op: Op, arguments: Any, result: Any) -> None:
        if self.tell is not None and not self.inside:
            self.tell(op, arguments, result)

    def ran_unread(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operator, or a whole function, and tell no more than that it ran."""
        self.inside += 1
        try:
            result = func(*args, **kwargs) if kwargs else func(*args)
        finally:
            self.inside -= 1
        if self.ran is not None and not self.inside:
            self.ran((args, kwargs), result)
        return result


# Those that watch now, the innermost last.
_watches: list[_Watch] = []


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Run what is inside without telling: it makes a layer, and is no operator of the network's."""
    watch = _watches[-1] if _watches else _Watch(None)
    watch.inside += 1
    try:
        yield
    finally:
        watch.inside -= 1


class _Dispatch(TorchDispatchMode):
    """Sees every ATen operator."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # True, torch's default, wraps the handler in a guard of dynamo's and so imports dynamo: a second of nothing.
        return False

    def __torch_dispatch__(self, func: Any, classes: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.watch.ran is not None:
            return self.watch.ran_unread(func, args, kwargs)
        result, op = run(func, args, kwargs)
        self.watch.told(op, (args, kwargs), result)
        return result


class _Functions(TorchFunctionMode):
    """Sees functions of torch before they are taken apart."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, classes: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _LINEAR and not kwargs and 1 < len(args) < 4 and (layer := linear(*args)) is not None:
            return self.told_of_linear(layer, *args)
        if func not in _CAUGHT:
            return func(*args, **kwargs) if kwargs else func(*args)
        kwargs = kwargs or {}
        if func is torch.nn.functional.multi_head_attention_forward:
            # torch turns a mode off inside the function it was called for, and this one calls attention.
            with self:
                return _unasked(func)(*args, **kwargs)
        if self.watch.ran is not None:
            return self.watch.ran_unread(func, args, kwargs)
        op = read(func, args, kwargs, None)
        outputs = infer(op, default_dtype()) if _on_meta(args, kwargs) else None
        if outputs is None:
            self.watch.inside += 1
            try:
                result = func(*args, **kwargs)
            finally:
                self.watch.inside -= 1
            op = op._replace(outputs=_outputs(result))
        else:
            self.watch.inside += 1  # making the result is no operator of the network's
            made = make(outputs)
            self.watch.inside -= 1
            result = made if len(made) > 1 else made[0]
            op = op._replace(outputs=outputs)
        self.watch.told(op, (args, kwargs), result)
        return result

    def told_of_linear(self, layer: Linear, x: Any, weight: Any, bias: Any = None) -> Any:
        """Tell of both its operators as they would have run."""
        self.watch.told(layer.transpose, ((weight,), {}), layer.transposed)
        taken = (x, layer.transposed) if bias is None else (bias, x, layer.transposed)
        self.watch.told(layer.product, (taken, {}), layer.result)
        return layer.result


@contextlib.contextmanager
def watching(tell: Tell | None = None, ran: Ran | None = None) -> Iterator[None]:
    """Run what is inside under watch, by operators rather than by paths fused for inference.

    Without ``tell`` nobody is told, and meta tensors still take the short way. With ``ran`` operators are not even
    read: it hears that one ran, on a device, where reading each takes longer than running a small one.
    """
    watch = _Watch(tell, ran)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    # Every operator makes a few objects and no circles; looking for circles takes half of the time of a long trace.
    collecting = gc.isenabled()
    gc.disable()
    _watches.append(watch)
    try:
        with _Functions(watch), _Dispatch(watch):
            yield
    finally:
        _watches.pop()
        if collecting:
            gc.enable()
        torch.backends.mha.set_fastpath_enabled(fast)
