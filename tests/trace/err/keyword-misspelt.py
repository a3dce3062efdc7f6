"""Misspelt a keyword of forward."""

import torch
from torch import Tensor, nn


class Scorer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 1)

    def forward(self, tokens: Tensor, *, temperature: Tensor) -> Tensor:
        return self.fc(tokens) / temperature


def build() -> tuple[nn.Module, tuple[Tensor, ...], dict[str, Tensor]]:
    return Scorer(), (torch.randn(2, 8),), {"temprature": torch.ones(1)}
