"""Takes three sizes of a tensor of two dimensions."""

import torch
from torch import Tensor, nn


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        batch, length, width = y.shape
        return y.view(batch * length, width)


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Pooled(), (torch.randn(2, 8),)
