"""Takes the output of a model of transformers, an object with fields, for a tensor."""

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        config = ViTConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=32,
            patch_size=8,
        )
        self.backbone = ViTModel(config)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 10)

    def forward(self, image: Tensor) -> Tensor:
        features = self.backbone(image)
        return self.head(self.norm(features))


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Classifier(), (torch.randn(2, 3, 32, 32),)
