"""A decoder of words with its attention written out."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.d, self.heads = d, heads
        self.c_attn = nn.Linear(d, 3 * d)
        self.c_proj = nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        size = self.d // self.heads
        q, k, v = self.c_attn(x).split(self.d, dim=-1)
        q = q.view(n, t, self.heads, size).transpose(1, 2)
        k = k.view(n, t, self.heads, size).transpose(1, 2)
        v = v.view(n, t, self.heads, size).transpose(1, 2)
        scores = q @ k.mT / size**0.5
        future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        scores = scores.masked_fill(future, -torch.inf)
        out = scores.softmax(-1) @ v
        out = out.transpose(1, 2).reshape(n, t, self.d)
        return self.c_proj(out)


class Block(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(d)
        self.attn = Attention(d, heads)
        self.ln_2 = nn.LayerNorm(d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, vocab: int = 100, context: int = 48, d: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocab, d)
        self.wpe = nn.Embedding(context, d)
        self.h = nn.ModuleList([Block(d, heads) for _ in range(2)])
        self.ln_f = nn.LayerNorm(d)

    def forward(self, tokens: Tensor, target: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.wte(tokens) + self.wpe(places)
        for block in self.h:
            x = block(x)
        logits = self.ln_f(x) @ self.wte.weight.T
        return nn.functional.cross_entropy(logits.transpose(1, 2), target)


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    tokens = torch.randint(0, 100, (2, 32))
    return GPT(), (tokens, torch.randint(0, 100, (2, 32)))
