"""Scaled dot-product attention in every variant: one operator with one rule, whichever kernel a device would use.

softmax(QKᵀ·scale + mask)·V: two products, a scale for each score, a sum for each score if the mask is floating-point,
and a softmax over the keys. Causal and boolean masks only select: masked scores are counted too. Fused kernels never
write the scores, so they cost no memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from fwdscope.formula import kept_size

from .base import ResultSizes, Rule, Term, Terms, flops, like, macs, register, rule
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


def masked_macs(op: Op, macs: int) -> int:
    """How many MACs of an attention, or of its backward, are on scores that ``is_causal`` masks."""
    is_backward = op.name.endswith("_backward")
    if not (op.at(11) if is_backward else op.at(5) or op.keyword("is_causal")):
        return 0
    queries, keys = (op.operand(is_backward + i).shape[-2] for i in (0, 1))
    diagonal = min(queries, keys)
    needed = diagonal * (diagonal + 1) // 2 + (queries - diagonal) * keys
    return macs - macs * needed // (queries * keys)


# The positions of the mask (None: given by keyword) and of dropout_p in each variant.
_VARIANTS: dict[str, tuple[int | None, int]] = {
    "aten.scaled_dot_product_attention": (3, 4),  # torch.nn.functional's, before a kernel is chosen
    "aten._scaled_dot_product_attention_math": (3, 4),
    "aten._scaled_dot_product_attention_math_for_mps": (3, 4),
    # FlashAttention (Dao et al. 2022); on a CPU it takes a mask.
    "aten._scaled_dot_product_flash_attention": (None, 3),
    "aten._scaled_dot_product_flash_attention_for_cpu": (None, 3),
    # The memory-efficient kernel (Rabe and Staats 2021), and cuDNN's.
    "aten._scaled_dot_product_efficient_attention": (3, 5),
    "aten._scaled_dot_product_cudnn_attention": (3, 5),
    "aten._scaled_dot_product_fused_attention_overrideable": (3, 4),  # that of a device outside torch
}


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


def _terms(op: Op) -> Iterator[Term]:
    """Query (…, L, E), key (…, S, E), value (…, S, V); grouped queries share the heads of key and value."""
    (mask_place, dropout), (*lead, queries, _) = _VARIANTS[op.name], op.operand(0).shape
    mask = op.keyword("attn_mask") if mask_place is None else op.at(mask_place)
    heads = lead[-1] if lead else 1
    return _attention(op, math.prod(lead[:-1]), heads, queries, op.operand(1).shape[-2], mask, op.at(dropout, 0.0))


for _name in _VARIANTS:
    register(
        (_name,), Rule(_terms, _output if _name == "aten.scaled_dot_product_attention" else None, _traffic, _sizes)
    )


def product_of_scores(query: Operand, key: Operand, value: Operand) -> dict[str, int]:
    """The sizes of query (B, L, E), key (B, S, E) and value (B, S, V), with all heads in B."""
    queries, width = query.shape[-2:]
    return {"B": math.prod(query.shape[:-2]), "L": queries, "S": key.shape[-2], "E": width, "V": value.shape[-1]}


# Every operator that is an attention.
ATTENTIONS = frozenset((*_VARIANTS, "higher_order.flex_attention"))


@rule("higher_order.flex_attention", traffic=_traffic)
def flex_attention(op: Op) -> Iterator[Term]:
    """Attention whose scores a function changes: after the three tensors, how many FLOPs it takes for each score."""
    (*lead, heads, queries, _), keys, per_score = op.operand(0).shape, op.operand(1).shape[-2], op.at(3)
    yield from _attention(op, math.prod(lead), heads, queries, keys, None, 0.0)
    if per_score:
        scores = {"B": math.prod(lead), "H": heads, "L": queries, "S": keys}
        yield flops("score_mod, mask_mod", f"{per_score}·B·H·L·S", **scores)


@rule("_flash_attention_forward", "_efficient_attention_forward", traffic=_traffic)
def inner_kernel(op: Op) -> Terms:
    """The kernels inside, with query (B, L, H, E), key and value (B, S, H, …): position before head.

    Packed sequences (total, H, E) are counted as if each had the longest one's keys: shapes give no more.
    """
    if op.name == "aten._flash_attention_forward":
        mask, is_packed, longest, dropped = None, op.at(3) is not None, op.at(6), op.at(7, 0.0)
    else:
        mask, is_packed, longest, dropped = op.at(3), op.at(4) is not None, op.at(7), op.at(8, 0.0)
    q, k = op.operand(0).shape, op.operand(1).shape
    if not is_packed:
        return _attention(op, q[0], q[2], q[1], k[1], mask, dropped)
    return None if longest is None else _attention(op, 1, q[-2], math.prod(q[:-2]), longest, mask, dropped)
