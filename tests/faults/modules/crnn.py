"""Text read off a picture of a line."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CRNN(nn.Module):
    def __init__(self, chars: int = 37) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.pool2 = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(32, 48, 3, padding=1)
        self.pool3 = nn.MaxPool2d((2, 1))
        self.conv4 = nn.Conv2d(48, 48, (4, 1))
        self.lstm = nn.LSTM(48, 32, bidirectional=True)
        self.logits = nn.Linear(64, chars)

    def forward(self, image: Tensor, labels: Tensor) -> Tensor:
        x = self.pool1(self.conv1(image).relu())
        x = self.pool2(self.conv2(x).relu())
        x = self.pool3(self.conv3(x).relu())
        x = self.conv4(x)
        x = x.squeeze(2)
        x = x.permute(2, 0, 1)
        x, _ = self.lstm(x)
        logits = self.logits(x)
        return nn.functional.cross_entropy(logits.permute(1, 2, 0), labels)


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    image = torch.rand(4, 1, 32, 100)
    return CRNN(), (image, torch.randint(0, 37, (4, 25)))
