"""Inverted residuals with squeeze and excitation."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Excite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // 4, 1)
        self.expand = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3), keepdim=True)
        gate = self.expand(self.reduce(pooled).relu())
        return x * nn.functional.hardsigmoid(gate)


class Inverted(nn.Module):
    def __init__(self, inside: int, width: int, stride: int = 1) -> None:
        super().__init__()
        hidden = int(2.5 * inside)
        self.adds = stride == 1 and inside == width
        self.conv = nn.Sequential(
            nn.Conv2d(inside, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.Hardswish(),
            nn.Conv2d(hidden, hidden, 3, stride=stride, padding=1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.Hardswish(),
            Excite(hidden),
            nn.Conv2d(hidden, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return x + y if self.adds else y


class MobileNet(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.stage1 = nn.Sequential(Inverted(16, 24, stride=2), Inverted(24, 24))
        self.stage2 = nn.Sequential(Inverted(24, 40, stride=2), Inverted(40, 40), Inverted(40, 56))
        self.classifier = nn.Linear(56, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = nn.functional.hardswish(self.stem(image))
        x = self.stage2(self.stage1(x))
        return self.classifier(x.mean((2, 3)))


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return MobileNet(), (torch.rand(2, 3, 96, 96),)
