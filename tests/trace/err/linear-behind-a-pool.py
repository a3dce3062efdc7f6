"""Computed the inputs of the head for pictures of 28, and feeds pictures of 32."""

import torch
from torch import Tensor, nn


class Digits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Linear(32 * 7 * 7, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = x.flatten(1)
        return self.classifier(x)


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Digits(), (torch.randn(2, 1, 32, 32),)
