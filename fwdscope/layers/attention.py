"""Multi-head attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY
from typing import Any

from fwdscope.errors import LayerError
from fwdscope.formula import Shape, Size, Sizes, kept_size, set_size

from .base import Count, Layer, Probability, dtype_text, inferred, number_kind, shape_text


def check_mask(layer: Layer, name: str, mask: Any, *shapes: tuple[int, ...], meant: str = "") -> None:
    """Check that a mask, if given, is boolean or floating-point and has one of the shapes.

    ``meant`` is the help for one that has none of them.
    """
    if mask is None:
        return
    layer.check_tensor(mask, name)
    if number_kind(mask) not in ("bool", "float"):
        message = f"{type(layer).__name__} takes {name} as booleans or floating-point numbers, found {dtype_text(mask)}"
        raise LayerError(message, "cast it: `.bool()`; True masks a position out")
    if tuple(mask.shape) not in shapes:
        expected = " or ".join(map(str, shapes))
        raise LayerError(
            f"{type(layer).__name__}'s {name} must have the shape {expected}, found {shape_text(mask.shape)}",
            meant or None,
        )


def check_masks(
    layer: Layer, masks: tuple[tuple[str, Any], tuple[str, Any]], query: Any, key: Any, batch_first: bool, heads: int
) -> None:
    """Check that the masks of an attention, pairs of (name, mask), have its shape."""
    (name, mask), (padding_name, padding) = masks
    along = 1 if batch_first and query.dim() == 3 else 0
    length, source = int(query.shape[along]), int(key.shape[along])
    batch = (int(query.shape[1 - along]),) if query.dim() == 3 else ()
    is_padding = tuple(getattr(mask, "shape", ())) == (*batch, source)
    help = f"a mask of (batch, positions) is a {padding_name}, in which True masks a position out" * is_padding
    check_mask(layer, name, mask, (length, source), (math.prod(batch) * heads, length, source), meant=help)
    check_mask(layer, padding_name, padding, (*batch, source))


class MultiheadAttention(Layer):
    """Each query gets a mean of the values, weighted by how well it matches their keys; in several heads.

    head = softmax(Q Kᵀ / √d_head + mask) V, with Q, K, V linear maps of query, key and value, split into num_heads
    parts of d_head = E / num_heads; the concatenated heads go through a last linear map.

    inputs:  query (L, N, E), key (S, N, E), value (S, N, E); (N, L, E) and so on with batch_first=True; or without N.
             Self-attention is MultiheadAttention(8)(x, x, x).
    output:  (L, N, E), and the weights (N, L, S), the mean of the heads; None with need_weights=False:
             attn = MultiheadAttention(8)(x, x, x), and below it y, w = attn
    weights: in_proj_weight (3E, E), in_proj_bias (3E), out_proj.weight (E, E), out_proj.bias (E): 4E · (E + 1);
             q_proj_weight, k_proj_weight, v_proj_weight if key or value have another size (kdim, vdim)
    masks:   attn_mask (L, S) or (N · heads, L, S), key_padding_mask (N, S). In a boolean one, True masks a position
             OUT: the opposite of scaled_dot_product_attention and causal_mask. Write attn_mask=~causal_mask(T).
    Vaswani et al. 2017.
    """

    forward = (
        "(query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None, average_attn_weights=True, "
        "is_causal=False)"
    )
    dtype_rule = "same"
    shown = "{num_heads} heads"
    parameters = (
        "out_proj.weight (embed_dim, embed_dim); out_proj.bias (embed_dim); q_proj_weight (embed_dim, embed_dim); "
        "k_proj_weight (embed_dim, kdim); v_proj_weight (embed_dim, vdim)"
    )

    embed_dim: Count = inferred()
    num_heads: Count
    dropout: Probability = 0.0
    bias: bool = True
    add_bias_kv: bool = False
    add_zero_attn: bool = False
    _: KW_ONLY
    kdim: Count = inferred()
    vdim: Count = inferred()
    batch_first: bool = False

    def validate(self, *inputs: Any) -> None:
        query, key, value, padding, _, mask, _, causal = (*inputs, *(None,) * 8)[:8]
        batched = "(N, L, E)" if self.batch_first else "(L, N, E)"
        for label, x in (("query", query), ("key", key), ("value", value)):
            self.check_dimensions(x, batched, "(L, E)", label=f"a {label}")
        if not query.dim() == key.dim() == value.dim():
            raise LayerError(
                "MultiheadAttention takes query, key and value all with a batch or all without one, found "
                f"{shape_text(query.shape)}, {shape_text(key.shape)}, {shape_text(value.shape)}"
            )
        self.check_divisible("embed_dim", int(query.shape[-1]), "num_heads", self.num_heads)
        if key.shape[:-1] != value.shape[:-1]:
            message = f"key {shape_text(key.shape)} and value {shape_text(value.shape)} must have the same length"
            raise LayerError(message, "they may only differ in the last dimension")
        across = 0 if self.batch_first else 1
        if query.dim() == 3 and query.shape[across] != key.shape[across]:
            raise LayerError(
                f"query {shape_text(query.shape)} and key {shape_text(key.shape)} differ in the batch "
                f"(dimension {across}): {int(query.shape[across])} and {int(key.shape[across])}",
                "write batch_first=True if the batch comes first" if not self.batch_first else None,
            )
        masks = (("attn_mask", mask), ("key_padding_mask", padding))
        check_masks(self, masks, query, key, self.batch_first, self.num_heads)
        if causal and mask is None:
            raise LayerError("is_causal=True needs attn_mask", "write attn_mask=~causal_mask(T)")

    def infer(self, *inputs: Any) -> dict[str, Any]:
        """embed_dim is the query's last dimension; kdim and vdim are the key's and the value's if they differ."""
        embed, keys, values = (int(x.shape[-1]) for x in inputs[:3])
        return {
            "embed_dim": embed,
            "kdim": keys if keys != embed or self.kdim is not None else None,
            "vdim": values if values != embed or self.vdim is not None else None,
        }

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """The query's, its features the heads side by side; and the attention weights, if asked for."""
        query = inputs[0]
        head = {"num_heads": self.num_heads, "head_dim": query[-1] // self.num_heads}
        names = ("L",) if len(query) == 2 else ("N", "L") if self.batch_first else ("L", "N")
        found = [(*map(kept_size, names, query), Size("features", "num_heads·head_dim", head))]
        if len(outputs) > 1:
            found.append(self._weight_sizes(query, inputs[1] if len(inputs) > 1 else query, len(outputs[1])))
        return found

    def _weight_sizes(self, query: Shape, key: Shape, rank: int) -> Sizes:
        """The sizes of the attention weights: the mean of the heads, or one matrix for each head."""
        along = 1 if self.batch_first and len(query) == 3 else 0
        source = kept_size("S", key[along])
        if added := self.add_bias_kv + self.add_zero_attn:
            numbers = {"S": key[along], "added": added}
            source = Size("S", "S + added", numbers, "add_bias_kv, add_zero_attn: a key each")
        batch = (kept_size("N", query[1 - along]),) if len(query) == 3 else ()
        heads = (set_size("heads", "num_heads", self.num_heads),) if rank == len(batch) + 3 else ()
        return (*batch, *heads, kept_size("L", query[along]), source)

    def parameter_sizes(self, name: str, shape: Shape) -> Sequence[Size]:
        """The projections of query, key and value are one, three times as large."""
        if name in ("in_proj_weight", "in_proj_bias"):
            first = Size("features", "3·embed_dim", {"embed_dim": shape[0] // 3})
            return (first, *(kept_size("embed_dim", size) for size in shape[1:]))
        return super().parameter_sizes(name, shape)
