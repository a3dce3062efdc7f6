"""Scales the token ids before it gives them to BERT."""

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel


class Sentiment(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        config = BertConfig(
            vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
        )
        self.bert = BertModel(config)
        self.head = nn.Linear(32, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens / 100
        hidden = self.bert(input_ids=tokens).last_hidden_state
        return self.head(hidden[:, 0])


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Sentiment(), (torch.randint(0, 100, (2, 12)),)
