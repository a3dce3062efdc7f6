"""Common functions that torch does not have. They import torch when called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fwdscope.default_dtype import default_dtype
from fwdscope.errors import LayerError
from fwdscope.layers.base import shape_text

if TYPE_CHECKING:
    from torch import Tensor


def sinusoidal(length: int, dim: int, theta: float = 10_000, device: Any = None) -> Tensor:
    """Sinusoidal positions of the Transformer: a tensor (length, dim) to add to the embeddings.

    ``PE[t, 2i] = sin(t / theta^(2i / dim))`` and ``PE[t, 2i + 1] = cos(t / theta^(2i / dim))`` (Vaswani et al. 2017,
    section 3.5). Of the default dtype. Raises LayerError where ``dim`` is odd.
    """
    import torch

    _even("dim", dim)
    angles = _angles(torch.arange(length, device=device), dim, theta)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).to(default_dtype())


def rope(input: Tensor, theta: float = 10_000, offset: int = 0, interleaved: bool = False) -> Tensor:
    """Rotary positions: rotates each pair of features by an angle that grows with the position.

    The input is (…, T, head_dim). Feature ``i`` is paired with ``i + head_dim / 2`` (rotate-half, as GPT-NeoX and Llama
    do) or, ``interleaved``, with its neighbour (as Su et al. 2021, GPT-J and DeepSeek do), and at position ``t`` the
    pair turns by ``(t + offset) · theta^(−2i / head_dim)``. Angles are computed in float32 and their sines and cosines
    cast to the input's dtype. ``offset`` is the position of the first row, if earlier rows are cached.
    Raises LayerError if head_dim is odd, or the input is not floating-point or has fewer than 2 dimensions.
    """
    import torch

    if input.dim() < 2:
        raise LayerError(f"rope expects an input of shape (…, T, head_dim), found {shape_text(input.shape)}")
    if not input.is_floating_point():
        name = str(input.dtype).removeprefix("torch.")
        raise LayerError(f"rope computes on floating-point numbers, found {name}", "cast it: `.float()`")
    length, dim = input.shape[-2:]
    _even("head_dim", dim)
    half = _angles(torch.arange(offset, offset + length, device=input.device), dim, theta)
    if interleaved:
        angles = half.repeat_interleave(2, dim=-1)
        turned = torch.stack((-input[..., 1::2], input[..., ::2]), dim=-1).flatten(-2)
    else:
        angles = torch.cat((half, half), dim=-1)
        first, second = input.chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1)
    return input * angles.cos().to(input.dtype) + turned * angles.sin().to(input.dtype)


def causal_mask(length: int, device: Any = None) -> Tensor:
    """A boolean (T, T): True if the query of the row may attend to the key of the column, at or before it.

    ``scaled_dot_product_attention`` takes it as ``attn_mask``. ``MultiheadAttention`` and the Transformer layers read
    masks the other way round, with True for positions to mask OUT: give them ``~causal_mask(T)``.
    """
    import torch

    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def _angles(positions: Tensor, dim: int, theta: float) -> Tensor:
    """``t · theta^(−2i / dim)`` for every position t and i below dim / 2: (T, dim / 2), in float32."""
    import torch

    exponents = torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32) / dim
    return torch.outer(positions.to(torch.float32), 1.0 / theta**exponents)


def _even(name: str, size: int) -> None:
    if size % 2:
        message = f"{name} must be even, since features form pairs; found {size}"
        raise LayerError(message, f"{size - 1} and {size + 1} would fit" if size > 1 else None)
