"""Gives a grey picture to a backbone for colours."""

import torch
from torch import Tensor, nn


class Stem(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


class Depth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = Stem(32)
        self.head = nn.Conv2d(32, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        grey = image.mean(1, keepdim=True)
        return self.head(self.stem(grey))


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Depth(), (torch.randn(1, 3, 64, 64),)
