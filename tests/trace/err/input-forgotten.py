"""Forgot the mask in the call of a block of its own."""

import torch
from torch import Tensor, nn


class Gate(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.fc = nn.Linear(d, d)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.fc(x) * mask.unsqueeze(-1)


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.ModuleList([Gate(8), Gate(8)])

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for gate in self.gates:
            x = gate(x)
        return x


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Gated(), (torch.randn(2, 5, 8), torch.ones(2, 5))
