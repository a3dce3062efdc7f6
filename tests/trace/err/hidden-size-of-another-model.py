"""Projects audio features to the width of another model."""

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model


class Captioner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(80, 48)
        self.decoder = GPT2Model(GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=2, n_positions=64))

    def encode(self, audio: Tensor) -> Tensor:
        return self.project(audio.transpose(1, 2))

    def forward(self, audio: Tensor) -> Tensor:
        return self.decoder(inputs_embeds=self.encode(audio)).last_hidden_state


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Captioner(), (torch.randn(2, 80, 30),)
