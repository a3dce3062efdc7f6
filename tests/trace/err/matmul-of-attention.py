"""Forgot to transpose the keys."""

import math

import torch
from torch import Tensor, nn


class SelfAttention(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = map(self.split, self.qkv(x).chunk(3, -1))
        scores = q @ k / math.sqrt(q.shape[-1])
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.attention = SelfAttention(d, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.norm(x))


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return nn.Sequential(nn.Embedding(100, 64), Layer(64), Layer(64)), (torch.randint(0, 100, (2, 10)),)
