"""Puts a prompt before the tokens and leaves the mask as it was."""

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel


class Prompted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        config = LlamaConfig(
            vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
        )
        self.llama = LlamaModel(config)
        self.prompt = nn.Parameter(torch.zeros(1, 4, 32))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        words = self.llama.embed_tokens(tokens)
        x = torch.cat([self.prompt.expand(len(words), -1, -1), words], 1)
        allowed = mask[:, None, None, :].expand(-1, 1, x.shape[1], -1)
        return self.llama(inputs_embeds=x, attention_mask=allowed).last_hidden_state


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Prompted(), (torch.randint(0, 100, (2, 12)), torch.ones(2, 12, dtype=torch.bool))
