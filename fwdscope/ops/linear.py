"""A linear layer on meta: the transpose and the product that torch takes it apart into, without asking torch.

Each way through torch's dispatcher and back takes as long as all that is recorded of an operator, and nearly half of
the operators of most networks are these two. Only the plainest call is made here, and everything that might make torch
go another way leaves it to torch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .base import Op, Operand, inferred, remember
from .dispatch import META, default_dtype, laid_out
from .plain import is_plain, runs_plainly

# The product has to be one that these are multiplied in as they are: of complex ones conjugates are made first.
_DTYPES = frozenset(("float32", "float64", "float16", "bfloat16"))


class Operators(NamedTuple):
    """The operators of a linear layer, and shape and strides of what comes out."""

    transpose: Op
    product: Op
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Linear(NamedTuple):
    """The operators of a linear layer, with the tensor between them and what comes out."""

    transpose: Op
    transposed: Tensor
    product: Op
    result: Tensor


def linear(x: Any, weight: Any, bias: Any = None) -> Linear | None:
    """``torch.nn.functional.linear`` of a matrix without gradients; None where torch has to be asked.

    To be called with no dispatch mode around it but one, which does not see what is made here.
    """
    if not runs_plainly() or not (is_plain(x) and is_plain(weight) and (bias is None or is_plain(bias))):
        return None
    known = operators(x, weight, bias)
    if known is None:
        return None
    transpose, product, shape, stride = known
    with torch._C._DisableTorchDispatch():  # what is made is none of the network's operators
        result = torch.empty_strided(shape, stride, dtype=x.dtype, device=META)
        return Linear(transpose, weight.t(), product, result)


def operators(x: Tensor, weight: Tensor, bias: Tensor | None) -> Operators | None:
    """The operators of a linear layer on plain tensors; None where torch has to be asked for them."""
    key = x.dtype, x.shape, x.stride(), weight.dtype, weight.shape, weight.stride()
    if bias is not None:
        key = (*key, bias.dtype, bias.shape, bias.stride())  # type: ignore[assignment]
    known: Operators | None = _LINEAR.get(key, _UNSEEN)
    if known is _UNSEEN:
        known = _worked_out(*_operands(key))
        remember(_LINEAR, key, known)
    return known


# By what :func:`operators` asks of the tensors.
_LINEAR: dict[tuple[Any, ...], Operators | None] = {}
_UNSEEN: Any = object()


def _operands(key: tuple[Any, ...]) -> list[Operand]:
    """The tensors that a key tells of; it has asked them for all that they are known by."""
    return [laid_out(*key[i : i + 3]) for i in range(0, len(key), 3)]


def _worked_out(x: Operand, weight: Operand, bias: Operand | None = None) -> Operators | None:
    """Both operators of a call that was not met before."""
    if len(x.shape) != 2 or len(weight.shape) != 2 or x.dtype not in _DTYPES or weight.dtype != x.dtype:
        return None
    if bias is not None and (len(bias.shape) != 1 or bias.dtype != x.dtype):
        return None
    turned = Operand(weight.shape[::-1], weight.dtype, weight.itemsize, weight.stride[::-1])
    name, taken = ("aten.mm", (x, turned)) if bias is None else ("aten.addmm", (bias, x, turned))
    outputs = inferred(Op(name, "default", taken), default_dtype())
    if outputs is None:
        return None
    transpose = Op("aten.t", "default", (weight,), (), (turned,))
    return Operators(transpose, Op(name, "default", taken, (), outputs), outputs[0].shape, outputs[0].stride)
