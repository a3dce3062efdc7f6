"""Did not give an input that may be left out by its signature, but not by its code."""

import torch
from torch import Tensor, nn


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Linear(8, 8)
        self.cross = nn.Linear(6, 8)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        y = self.own(x)
        return y + self.cross(context)


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Decoder(), (torch.randn(2, 8),)
