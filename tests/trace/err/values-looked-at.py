"""Looks at values, and is to be inspected on meta alone."""

import torch
from torch import Tensor, nn

DEVICE = "meta"


class Clipped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        if y.abs().max() > 3:
            y = y / y.abs().max()
        return y


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Clipped(), (torch.randn(2, 8),)
