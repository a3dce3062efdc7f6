"""A GRU that reads, a GRU that writes, and attention between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Seq2Seq(nn.Module):
    def __init__(self, vocab: int = 90, d: int = 24, hidden: int = 40) -> None:
        super().__init__()
        self.src = nn.Embedding(vocab, d)
        self.tgt = nn.Embedding(vocab, d)
        self.encoder = nn.GRU(d, hidden, batch_first=True)
        self.decoder = nn.GRU(d, hidden, batch_first=True)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.mix = nn.Linear(2 * hidden, d)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, state = self.encoder(self.src(source))
        out, _ = self.decoder(self.tgt(target), state)
        scores = self.query(out) @ memory.transpose(1, 2)
        context = scores.softmax(-1) @ memory
        both = torch.cat([out, context], dim=-1)
        words = self.mix(both).tanh()
        logits = words @ self.tgt.weight.T
        return nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    source = torch.randint(0, 90, (3, 14))
    return Seq2Seq(), (source, torch.randint(0, 90, (3, 11)))
