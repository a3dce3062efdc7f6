"""Tags for the words of a sentence and a topic for the whole, by an LSTM in both directions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Tagger(nn.Module):
    def __init__(self, vocab: int = 200, d: int = 30, hidden: int = 20, tags: int = 7) -> None:
        super().__init__()
        self.hidden = hidden
        self.embed = nn.Embedding(vocab, d)
        self.lstm = nn.LSTM(d, hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.scores = nn.Linear(2 * hidden, tags)
        self.topic = nn.Linear(2 * hidden, 3)

    def forward(self, words: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        x = self.embed(words)
        h0 = x.new_zeros(4, len(words), self.hidden)
        c0 = x.new_zeros(4, len(words), self.hidden)
        out, (h, _) = self.lstm(x, (h0, c0))
        scores = self.scores(out)
        loss = nn.functional.cross_entropy(scores.transpose(1, 2), labels)
        return loss, self.topic(torch.cat([h[-2], h[-1]], dim=1))


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    words = torch.randint(0, 200, (4, 10))
    labels = torch.randint(0, 7, (4, 10))
    return Tagger(), (words, labels)
