"""What a training step runs on a GPU where torch, on meta, would take a function apart: attention and dropout.

A fused attention keeps its query, key, value, result and the log-sum-exp of each row of scores for its backward, never
the scores. A fused dropout keeps a mask of a byte an element.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fwdscope.torch_private import without_modes

from .dispatch import OpRecord, operand, record_of
from .op import Op

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
        ctx.watch, ctx.dropped = watch, dropped
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
        arguments = (operand(grads[0]), *places, None, None, ctx.dropped, tuple(needed))
        op = Op(_BACKWARD, "default", arguments, (), tuple(map(operand, given)))
        ctx.watch.report(record_of(op), ((*grads, *[x for x in saved if x is not None]), {}), given)
        return None, None, None, *(x if n else None for x, n in zip([*given, None][:4], needed, strict=True))


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
}
