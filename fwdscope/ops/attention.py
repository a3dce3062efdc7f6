"""Scaled dot-product attention in every variant: one operator with one rule, whichever kernel a device would use.

softmax(QKᵀ·scale + mask)·V: two products, a scale for each score, a sum for each score if the mask is floating-point,
and a softmax over the keys. Causal and boolean masks only select: masked scores are counted too. Fused kernels never
write the scores, so they cost no memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from fwdscope.formula import kept_size

from .base import ResultSizes, Term, Terms, flops, like, macs, rule
from .layout import broadcast
from .op import Op, Operand
from .pointwise import elementwise_result


def _attention(
    op: Op, batch: int, heads: int, queries: int, keys: int, mask: Operand | None, dropped: float
) -> Iterator[Term]:
    """The terms of B·H score matrices of L queries and S keys, of key width E and value width V."""
    q, v = op.operand(0), op.operand(2)
    scores = {"B": batch, "H": heads, "L": queries, "S": keys}
    yield macs("query · key", "B·H·L·S·E", **scores, E=q.shape[-1])
    if op.keyword("scale") != 1.0:
        yield flops("scale", "B·H·L·S", **scores)
    if mask is not None and mask.dtype != "bool":
        yield flops("mask", "B·H·L·S", **scores)
    yield flops("softmax", "B·H·L·(5·S - 2)", **scores)
    if dropped:
        yield flops("dropout", "2·B·H·L·S", **scores)
    yield macs("weights · value", "B·H·L·S·V", **scores, V=v.shape[-1])


# The position of ``is_causal`` among the arguments of each variant.
_CAUSAL = {
    "aten.scaled_dot_product_attention": 5,
    "aten._scaled_dot_product_attention_math": 5,
    "aten._scaled_dot_product_flash_attention": 4,
    "aten._scaled_dot_product_flash_attention_for_cpu": 4,
    "aten._scaled_dot_product_efficient_attention": 6,
    "aten._scaled_dot_product_cudnn_attention": 6,
    "aten._scaled_dot_product_fused_attention_overrideable": 5,
}


def causal(op: Op) -> tuple[Term, ...] | None:
    """The terms of an attention without the scores that its causal mask hides; None if it is not causal.

    A query sees itself and the keys before it: A of the L·S scores. :func:`fwdscope.ops.cost` counts all scores.
    """
    if op.name not in _CAUSAL or not op.at(_CAUSAL[op.name], False):
        return None
    q, k, v = op.operand(0), op.operand(1), op.operand(2)
    queries, keys = q.shape[-2], k.shape[-2]
    seen = {"B": math.prod(q.shape[:-2]), "A": sum(min(i + 1, keys) for i in range(queries))}
    terms = [
        macs("query · key", "B·A·E", **seen, E=q.shape[-1]),
        flops("softmax", "B·(5·A - 2·L)", **seen, L=queries),
        macs("weights · value", "B·A·V", **seen, V=v.shape[-1]),
    ]
    return tuple(terms if op.keyword("scale") == 1.0 else [*terms, flops("scale", "B·A", **seen)])


def _traffic(op: Op) -> tuple[int, int]:
    """Query, key, value and mask are read once, the result is written. What a kernel keeps for backward is left out."""
    return sum(x.nbytes for x in op.operands), op.output.nbytes


def _fits(q: Operand, k: Operand, v: Operand, gqa: bool) -> bool:
    same = q.dtype == k.dtype == v.dtype and len(q.shape) == len(k.shape) == len(v.shape) >= 3
    if not same or q.shape[-1] != k.shape[-1] or k.shape[:-1] != v.shape[:-1] or 0 in (*q.shape, *k.shape):
        return False
    if not gqa or len(q.shape) < 4:
        return not gqa and q.shape[:-2] == k.shape[:-2]
    return q.shape[:-3] == k.shape[:-3] and q.shape[-3] % k.shape[-3] == 0


def _output(op: Op) -> tuple[Operand, ...] | None:
    q, k, v, mask = op.operand(0), op.operand(1), op.operand(2), op.at(3)
    if not _fits(q, k, v, bool(op.keyword("enable_gqa"))):
        return None
    shape = (*q.shape[:-1], v.shape[-1])
    scores = (*q.shape[:-1], k.shape[-2])
    masked = mask is not None and not op.at(5) and mask.dtype in ("bool", q.dtype)
    if mask is not None and not (masked and broadcast((mask.shape, scores)) == scores):
        return None
    # Fused kernels lay out their result like the query; values of another width go through plain products.
    return elementwise_result((q,), q.dtype) if shape == q.shape else (like(q, shape),)


def _sizes(op: Op) -> ResultSizes:
    query, value = op.operand(0).shape, op.operand(2).shape
    names = ("B", "H", "L")[-len(query) + 1 :] if len(query) <= 4 else [f"size_{i}" for i in range(len(query) - 1)]
    return ([*map(kept_size, names, query), kept_size("head_dim", value[-1], "the values' width")],)


def _dense(op: Op, mask: Operand | None, dropped: float) -> Iterator[Term]:
    """Query (…, L, E), key (…, S, E), value (…, S, V); grouped queries share the heads of key and value."""
    q, k = op.operand(0), op.operand(1)
    lead = q.shape[:-2]
    heads = lead[-1] if lead else 1
    return _attention(op, math.prod(lead[:-1]), heads, q.shape[-2], k.shape[-2], mask, dropped)


@rule("scaled_dot_product_attention", output=_output, traffic=_traffic, sizes=_sizes)
def scaled_dot_product_attention(op: Op) -> Terms:
    """torch.nn.functional's function, before a kernel is chosen."""
    return _dense(op, op.at(3), op.at(4, 0.0))


@rule(
    "_scaled_dot_product_attention_math", "_scaled_dot_product_attention_math_for_mps", traffic=_traffic, sizes=_sizes
)
def by_parts(op: Op) -> Terms:
    """The implementation by other operators, where it is seen as a whole."""
    return _dense(op, op.at(3), op.at(4, 0.0))


@rule(
    "_scaled_dot_product_flash_attention", "_scaled_dot_product_flash_attention_for_cpu",
    traffic=_traffic, sizes=_sizes,
)  # fmt: skip
def flash(op: Op) -> Terms:
    """FlashAttention (Dao et al. 2022); on a CPU it takes a mask."""
    return _dense(op, op.keyword("attn_mask"), op.at(3, 0.0))


@rule("_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention", traffic=_traffic)
def efficient(op: Op) -> Terms:
    """The memory-efficient kernel (Rabe and Staats 2021), and cuDNN's."""
    return _dense(op, op.at(3), op.at(5, 0.0))


@rule("_scaled_dot_product_fused_attention_overrideable", traffic=_traffic)
def overrideable(op: Op) -> Terms:
    """The kernel of a device that is not part of torch."""
    return _dense(op, op.at(3), op.at(4, 0.0))


def _by_position(op: Op, mask: Operand | None, packed: bool, longest: int | None, dropped: float) -> Terms:
    """Query (B, L, H, E), key and value (B, S, H, …): position before head.

    Packed sequences (total, H, E) are counted as if each had the longest one's keys: shapes give no more.
    """
    q, k = op.operand(0), op.operand(1)
    if not packed:
        return _attention(op, q.shape[0], q.shape[2], q.shape[1], k.shape[1], mask, dropped)
    if longest is None:
        return None
    return _attention(op, 1, q.shape[-2], math.prod(q.shape[:-2]), longest, mask, dropped)


@rule("_flash_attention_forward", traffic=_traffic)
def flash_forward(op: Op) -> Terms:
    """The inner kernel, with tensors of (B, L, H, E)."""
    return _by_position(op, None, op.at(3) is not None, op.at(6), op.at(7, 0.0))


@rule("_efficient_attention_forward", traffic=_traffic)
def efficient_forward(op: Op) -> Terms:
    """The inner kernel, with tensors of (B, L, H, E)."""
    return _by_position(op, op.at(3), op.at(4) is not None, op.at(7), op.at(8, 0.0))
