"""What a training step runs on a GPU where torch, on meta, would take a function apart.

A fused attention keeps its query, key, value, result and the log-sum-exp of each row of scores for its backward, never
the scores. A fused dropout keeps a mask of a byte an element. A recurrent layer keeps gates and states of each step,
which is the least that its backward needs: what cuDNN reserves is published nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fwdscope.torch_private import without_modes

from .dispatch import META, OpRecord, operand, record_of
from .op import Op
from .recurrent import RNN_MODES

_BACKWARD = "aten._scaled_dot_product_efficient_attention_backward"


class Watch(Protocol):
    """What watches the operators."""

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a function as one operator."""

    def report(self, record: OpRecord | None, arguments: Any, result: Any) -> None:
        """Give the record of an operator, its arguments as (args, kwargs), and its result."""


class _FusedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, watch: Watch, keywords: dict[str, Any], dropped: float, *inputs: Tensor | None) -> Any:
        result = watch.run(F.scaled_dot_product_attention, inputs, {"dropout_p": dropped, **keywords})
        query = inputs[0]
        assert query is not None
        with without_modes():
            dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
            log_sums = torch.empty(query.shape[:-1], dtype=dtype, device=query.device)
        ctx.watch, ctx.dropped, ctx.is_causal = watch, dropped, keywords.get("is_causal", False)
        ctx.save_for_backward(*inputs, result, log_sums)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        saved, (_, _, _, *needed) = ctx.saved_tensors, ctx.needs_input_grad
        query, key, value, mask, result, log_sums = saved
        with without_modes():
            # The kernel gives those of query, key and value at once. On meta empty_like would import dynamo.
            given = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in saved[: 4 if needed[3] else 3]]
        places = [None if x is None else operand(x) for x in (query, key, value, mask, result, log_sums)]
        arguments = (operand(grads[0]), *places, None, None, ctx.dropped, tuple(needed), ctx.is_causal)
        op = Op(_BACKWARD, "default", arguments, (), tuple(map(operand, given)))
        ctx.watch.report(record_of(op), ((*grads, *[x for x in saved if x is not None]), {}), given)
        return None, None, None, *(x if n else None for x, n in zip([*given, None][:4], needed, strict=True))


class _FusedRecurrent(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, watch: Watch, func: Any, arguments: list[Any], *given: Tensor) -> Any:
        args = _filled(arguments, iter(given))
        results = watch.run(func, args, {})
        first = 2 if isinstance(args[3], _LISTS) else 1  # behind the batch sizes of packed sequences
        hidden, weights = args[first : first + 2]
        layers, dropout, _, is_both = args[first + 3 : first + 7]
        states = hidden if isinstance(hidden, _LISTS) else (hidden, None)
        x, kind, cells = args[0], func.__name__, layers * (2 if is_both else 1)
        gates, kept = _OF_A_STEP[kind]
        steps, width = x.shape[:-1].numel(), weights[1].shape[0] // gates
        inner = results[0].shape[-1] * (layers - 1)  # the outputs of the layers below the last
        with without_modes():
            reserve = torch.empty(steps * (cells * kept * width + inner), dtype=x.dtype, device=x.device)
        mask = (True, True, True, any(ctx.needs_input_grad[i + 3] for i in _places(weights, given)))
        ctx.watch, ctx.count = watch, len(given)
        head = (operand(x), tuple(map(operand, weights)), len(weights) // cells, None)
        places = [None if one is None else operand(one) for one in (*states, results[0])]
        settings = (RNN_MODES.index(kind), width, 0, layers, False, dropout, True, is_both, (), None)
        ctx.head, ctx.tail = (*head, *places), (*settings, operand(reserve), mask)
        ctx.save_for_backward(*given, results[0], reserve)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        saved, needed = ctx.saved_tensors, ctx.needs_input_grad[3:]
        with without_modes():
            given = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in saved[: ctx.count]]
        made = [x for x, n in zip(given, needed, strict=True) if n]
        of = [*map(operand, grads), None, None][:3]
        op = Op("aten._cudnn_rnn_backward", "default", (*ctx.head, *of, *ctx.tail), (), tuple(map(operand, made)))
        ctx.watch.report(record_of(op), ((*grads, *saved), {}), made)
        return None, None, None, *(x if n else None for x, n in zip(given, needed, strict=True))


_LISTS = (list, tuple)
# Gates, and what the backward needs of each step beside states and results, in multiples of the hidden size: an LSTM's
# gates and its cell, a GRU's gates and what its reset gate scales.
_OF_A_STEP = {"lstm": (4, 5), "gru": (3, 4), "rnn_tanh": (1, 0), "rnn_relu": (1, 0)}


def _filled(arguments: Any, given: Iterator[Tensor]) -> Any:
    """Arguments with tensors in place of :data:`META`."""
    if isinstance(arguments, _LISTS):
        return [_filled(one, given) for one in arguments]
    return next(given) if arguments is META else arguments


def _emptied(value: Any, found: list[Tensor]) -> Any:
    """Arguments with :data:`META` in place of tensors that a gradient may be of, which are put into a list."""
    if isinstance(value, Tensor) and value.is_floating_point():
        found.append(value)
        return META
    return [_emptied(one, found) for one in value] if isinstance(value, _LISTS) else value


def _places(tensors: Sequence[Tensor], among: Sequence[Tensor]) -> list[int]:
    return [i for i, one in enumerate(among) if any(one is tensor for tensor in tensors)]


def _recurrent(func: Any, watch: Watch, *args: Any) -> Any:
    given: list[Tensor] = []
    arguments = _emptied(args, given)
    return _FusedRecurrent.apply(watch, func, arguments, *given)


def _attention(
    watch: Watch,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **keywords: Any,
) -> Any:
    if attn_mask is None and is_causal:
        keywords["is_causal"] = True
    return _FusedAttention.apply(watch, keywords, dropout_p, query, key, value, attn_mask)


def _dropout(watch: Watch, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    if not training or inplace or not 0 < p < 1:
        return F.dropout(input, p, training, inplace)
    return torch.native_dropout(input, p, True)[0]


KERNELS: dict[Any, Callable[..., Any]] = {
    F.scaled_dot_product_attention: _attention,
    F.dropout: _dropout,
    torch.dropout: lambda watch, input, p, train: _dropout(watch, input, p, train),
    **{getattr(torch, name): partial(_recurrent, getattr(torch, name)) for name in RNN_MODES},
}
