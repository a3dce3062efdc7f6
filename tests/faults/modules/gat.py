"""Convolution and attention over the nodes of a graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Convolve(nn.Module):
    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        self.xw = nn.Linear(inside, width, bias=False)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        return a @ self.xw(x)


class Attend(nn.Module):
    def __init__(self, inside: int, width: int, heads: int) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.h = nn.Linear(inside, heads * width, bias=False)
        self.left = nn.Linear(width, 1)
        self.right = nn.Linear(width, 1)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        per_head = self.h(x).view(len(x), self.heads, self.width).transpose(0, 1)
        left = self.left(per_head)
        right = self.right(per_head)
        score = nn.functional.leaky_relu(left + right.transpose(1, 2), 0.2)
        score = score.masked_fill(a == 0, -torch.inf)
        out = score.softmax(-1) @ per_head
        return out.transpose(0, 1).flatten(1)


class GAT(nn.Module):
    def __init__(self, features: int = 16, hidden: int = 8, heads: int = 4, classes: int = 3) -> None:
        super().__init__()
        self.g1 = Convolve(features, 3 * hidden)
        self.g2 = Attend(3 * hidden, hidden, heads)
        self.logits = nn.Linear(heads * hidden, classes)

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        scale = adjacency.sum(1) ** -0.5
        normed = scale[:, None] * adjacency * scale
        x = self.g1(nodes, normed).relu()
        x = self.g2(x, adjacency)
        return self.logits(x)


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return GAT(), (torch.randn(12, 16), torch.ones(12, 12))
