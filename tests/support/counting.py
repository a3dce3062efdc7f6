"""The operators of a call and what they cost, as a trace sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.ops import Cost, Op, cost
from fwdscope.ops.watch import watching


def traced(function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Op]:
    """The operators of a call, in order."""
    ops: list[Op] = []
    with torch.no_grad(), watching(lambda record, arguments, result: ops.append(record.op)):
        function(*args, **kwargs)
    return ops


def costs(ops: list[Op]) -> list[Cost]:
    """What each costs; each must have a rule."""
    found = [(op, cost(op)) for op in ops]
    missing = sorted({f"{op.name}.{op.overload}" for op, c in found if c is None})
    assert not missing, f"no rule for {missing}"
    return [c for _, c in found if c is not None]


def macs(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    return sum(c.macs for c in costs(traced(function, *args, **kwargs)))


def flops(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    return sum(c.flops for c in costs(traced(function, *args, **kwargs)))


def on_meta(value: Any) -> Any:
    """A value with its tensors, or a module's, on meta."""
    if isinstance(value, nn.utils.rnn.PackedSequence):
        return nn.utils.rnn.PackedSequence(on_meta(value.data), value.batch_sizes)
    if isinstance(value, Tensor | nn.Module):
        return value.to("meta")
    if isinstance(value, tuple | list):
        return type(value)(on_meta(x) for x in value)
    return value
