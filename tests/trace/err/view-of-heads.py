"""Divides 100 features among 8 heads."""

import torch
from torch import Tensor, nn


class Heads(nn.Module):
    def __init__(self, d: int = 100, heads: int = 8) -> None:
        super().__init__()
        self.heads, self.per_head = heads, d // heads
        self.query = nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q = self.query(x)
        return q.view(batch, length, self.heads, self.per_head).transpose(1, 2)


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Heads(), (torch.randn(2, 10, 100),)
