"""A linear layer on meta: the transpose and the product that torch takes it apart into, without asking torch.

Each way through torch's dispatcher and back takes as long as all that is recorded of an operator, and nearly half of
the operators of most networks are these two. Only the plainest call is made here, and everything that might make torch
go another way leaves it to torch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, is_grad_enabled, is_inference_mode_enabled
from torch._C import (
    _dispatch_keys,
    _get_tracing_state,
    _len_torch_dispatch_stack,
    _pop_torch_dispatch_stack,
    _push_on_torch_dispatch_stack,
)
from torch._C._functorch import peek_interpreter_stack
from torch.nn import Parameter

from .base import Op, Operand, inferred, remember
from .dispatch import META, default_dtype, operand

# The product has to be one that these are multiplied in as they are: of complex ones conjugates are made first.
_DTYPES = frozenset((torch.float32, torch.float64, torch.float16, torch.bfloat16))


class Linear(NamedTuple):
    """The operators of a linear layer, with the tensors that go in, and what comes out."""

    transpose: Op
    transposed: Tensor | None
    product: Op
    result: Tensor


def linear(x: Any, weight: Any, bias: Any = None, turned: bool = True) -> Linear | None:
    """``torch.nn.functional.linear`` of a matrix without gradients; None where torch has to be asked.

    To be called with no dispatch mode around it but one, which does not see what is made here. The transposed weight is
    made where it is wanted.
    """
    key = _key(x, weight, bias)
    if key is None:
        return None
    known = _LINEAR.get(key, _UNSEEN)
    if known is _UNSEEN:
        known = _worked_out(x, weight, bias)
        remember(_LINEAR, key if known is None else _shared(key, known), known)
    if known is None:
        return None
    transpose, product, shape, stride = known
    # What is made is none of the network's operators. Taken off and put back by hand, since this is done for every
    # layer of a network and a context manager takes as long as the rest.
    mode = _pop_torch_dispatch_stack(None)
    try:
        result = torch.empty_strided(shape, stride, dtype=x.dtype, device=META)
        return Linear(transpose, weight.t() if turned else None, product, result)
    finally:
        _push_on_torch_dispatch_stack(mode)


# What is known of calls: both operators, and shape and strides of the result.
_Known = tuple[Op, Op, tuple[int, ...], tuple[int, ...]]
# By :func:`_key`.
_LINEAR: dict[tuple[Any, ...], _Known | None] = {}
_UNSEEN: Any = object()


def _key(x: Any, weight: Any, bias: Any) -> tuple[Any, ...] | None:
    """What tells plain calls apart; None of a call that is not plain."""
    if is_grad_enabled() or is_inference_mode_enabled() or _get_tracing_state():
        return None
    if _len_torch_dispatch_stack() != 1 or peek_interpreter_stack() is not None:
        return None
    if not (_is_plain(x) and _is_plain(weight)):
        return None
    if bias is None:
        return x.dtype, x.shape, x.stride(), weight.dtype, weight.shape, weight.stride()
    if not _is_plain(bias):
        return None
    return (
        x.dtype, x.shape, x.stride(), weight.dtype, weight.shape, weight.stride(), bias.dtype, bias.shape, bias.stride()
    )  # fmt: skip


def _shared(key: tuple[Any, ...], known: _Known) -> tuple[Any, ...]:
    """An equal key of the shapes and strides that the operators hold, so that they are kept once."""
    *bias, x, _ = known[1].operands
    shared = list(key)
    for i, one in enumerate((x, *known[0].operands, *bias)):
        shared[3 * i + 1], shared[3 * i + 2] = one.shape, one.stride
    return tuple(shared)


# The dispatch keys of a tensor that is on meta and nothing else.
with torch.inference_mode(mode=False):
    _PLAIN_KEYS = _dispatch_keys(torch.empty(0, device=META)).raw_repr()


def _is_plain(tensor: Any) -> bool:
    """Whether it is a tensor on meta and nothing else.

    That is: not sparse, conjugated, named or wrapped by a transform, nor made in inference mode, where torch leaves the
    whole as it is.
    """
    kind = type(tensor)
    return (kind is Tensor or kind is Parameter) and _dispatch_keys(tensor).raw_repr() == _PLAIN_KEYS


def _worked_out(x: Tensor, weight: Tensor, bias: Tensor | None) -> _Known | None:
    """Both operators of a call that was not met before."""
    if x.dim() != 2 or weight.dim() != 2 or x.dtype not in _DTYPES or weight.dtype is not x.dtype:
        return None
    if bias is not None and (bias.dim() != 1 or bias.dtype is not x.dtype):
        return None
    a, b = operand(x), operand(weight)
    turned = Operand(b.shape[::-1], b.dtype, b.itemsize, b.stride[::-1])
    name, taken = ("aten.mm", (a, turned)) if bias is None else ("aten.addmm", (operand(bias), a, turned))
    outputs = inferred(Op(name, "default", taken), default_dtype())
    if outputs is None:
        return None
    transpose = Op("aten.t", "default", (b,), (), (turned,))
    return transpose, Op(name, "default", taken, (), outputs), outputs[0].shape, outputs[0].stride
