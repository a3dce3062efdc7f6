"""Gives a picture as bytes, as a file has it."""

import torch
from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())

    def forward(self, image: Tensor) -> Tensor:
        return self.stem(image)


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Net(), (torch.zeros(1, 3, 16, 16, dtype=torch.uint8),)
