"""Misspelt a layer."""

import torch
from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(8, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.encodr(x)


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Net(), (torch.randn(2, 8),)
