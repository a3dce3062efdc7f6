"""A U-Net of three levels."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DoubleConv(nn.Module):
    def __init__(self, inside: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        return self.second(x).relu()


class Up(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.conv = DoubleConv(2 * channels, channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        x = torch.cat([skip, x], dim=1)
        return self.conv(x)


class UNet(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.enc1 = DoubleConv(1, 16)
        self.enc2 = DoubleConv(16, 32)
        self.enc3 = DoubleConv(32, 64)
        self.bottom = DoubleConv(64, 128)
        self.dec3 = Up(64)
        self.dec2 = Up(32)
        self.dec1 = Up(16)
        self.pool = nn.MaxPool2d(2)
        self.logits = nn.Conv2d(16, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        a = self.enc1(image)
        b = self.enc2(self.pool(a))
        c = self.enc3(self.pool(b))
        x = self.bottom(self.pool(c))
        x = self.dec3(x, c)
        x = self.dec2(x, b)
        x = self.dec1(x, a)
        return self.logits(x)


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return UNet(), (torch.rand(1, 1, 64, 96),)
