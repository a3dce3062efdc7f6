"""Forgot the return of a block."""

import torch
from torch import Tensor, nn


class Norm(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(d))

    def forward(self, x: Tensor) -> None:
        x * self.scale / x.norm(dim=-1, keepdim=True)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = Norm(8)
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(x))


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Encoder(), (torch.randn(2, 8),)
