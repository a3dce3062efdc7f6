"""Small modules that counters of MACs miscount, with what is right, and two models to time them on.

Every module has a batch of 1, as some counters speak of one sample, and no biases, which some count as MACs and
others do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

# --- modules ---------------------------------------------------------------------------------------------------------


class Call(nn.Module):
    """Modules and parameters under names, and a function of them and the inputs."""

    def __init__(self, forward: Callable[..., Any], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.called = forward

    def forward(self, x: Tensor, y: Tensor | None = None, z: Tensor | None = None) -> Any:
        """The function, called on as many inputs as are given."""
        return self.called(self, *(value for value in (x, y, z) if value is not None))


class MyLinear(nn.Linear):
    """A class of the user's own."""


class Experts(nn.Module):
    """A mixture: every token goes to 2 of 4 experts, 8 to 32 to 8."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(8, 4, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 32, bias=False), nn.ReLU(), nn.Linear(32, 8, bias=False)) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The weighted sum of what the chosen experts say of each token."""
        tokens = x.flatten(0, 1)
        weights, chosen = self.router(tokens).softmax(-1).topk(2)
        result = torch.zeros_like(tokens)
        for i, expert in enumerate(self.experts):
            at, rank = (chosen == i).nonzero(as_tuple=True)
            result.index_add_(0, at, expert(tokens[at]) * weights[at, rank, None])
        return result.view_as(x)


class Unrolled(nn.Module):
    """A GRUCell that is called once a step."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(6, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The state after the last step."""
        state = x.new_zeros(x.shape[0], 8)
        for step in x.unbind(1):
            state = self.cell(step, state)
        return state


def _tied() -> nn.Module:
    model = Call(lambda self, ids: self.head(self.table(ids)), table=nn.Embedding(50, 8), head=nn.Linear(8, 50, False))
    model.head.weight = model.table.weight
    return model


class Module(NamedTuple):
    """A small module, shapes of its inputs, behind ``int`` those of whole numbers, and what is right."""

    name: str
    make: Callable[[], nn.Module]
    inputs: tuple[Any, ...]
    macs: int
    derivation: str
    params: int

    def example(self) -> tuple[Tensor, ...]:
        """Inputs of these shapes; whole numbers where it says so. On meta, other functions import sympy."""
        return tuple(
            torch.zeros(one[1:], dtype=torch.long) if one[0] is int else torch.rand(one) for one in self.inputs
        )


MODULES = (
    Module("`Conv2d(8, 16, 3, groups=4)`", lambda: nn.Conv2d(8, 16, 3, groups=4, bias=False), ((1, 8, 10, 10),),
           8 * 8 * 16 * 2 * 9, "8·8·16·(8/4)·3·3", 288),
    Module("`Conv2d(3, 5, 3)` without a batch", lambda: nn.Conv2d(3, 5, 3, bias=False), ((3, 8, 8),),
           6 * 6 * 5 * 3 * 9, "6·6·5·3·3·3", 135),
    Module("`ConvTranspose2d(3, 1, 2, stride=2)`", lambda: nn.ConvTranspose2d(3, 1, 2, stride=2, bias=False),
           ((1, 3, 2, 2),), 2 * 2 * 3 * 1 * 4, "2·2·3·1·2·2, by the input's size", 12),
    Module("`Conv2d`, `BatchNorm2d`", lambda: nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)),
           ((1, 3, 5, 5),), 5 * 5 * 4 * 3, "5·5·4·3; a norm is no product", 12 + 8),
    Module("`Linear(3, 8)` on 10 tokens", lambda: nn.Linear(3, 8, bias=False), ((1, 10, 3),),
           10 * 3 * 8, "10·3·8", 24),
    Module("one `Linear(8, 8)` called twice", lambda: Call(lambda self, x: self.fc(self.fc(x).relu()),
           fc=nn.Linear(8, 8, bias=False)), ((1, 8),), 2 * 8 * 8, "2·8·8", 64),
    Module("a class of your own from `Linear`", lambda: nn.Sequential(MyLinear(8, 8, bias=False)), ((1, 8),),
           64, "8·8", 64),
    Module("`Embedding` tied to the head", _tied, ((int, 1, 7),), 7 * 8 * 50, "7·8·50", 400),
    Module("`F.linear(x, w) @ v`", lambda: Call(lambda self, x: functional.linear(x, self.w) @ self.v,
           w=nn.Parameter(torch.randn(6, 8)), v=nn.Parameter(torch.randn(6, 4))), ((1, 10, 8),),
           10 * 8 * 6 + 10 * 6 * 4, "10·8·6 + 10·6·4", 72),
    Module("`einsum('bi,ij,jk->bk')`", lambda: Call(lambda self, x: torch.einsum("bi,ij,jk->bk", x, self.w, self.v),
           w=nn.Parameter(torch.randn(6, 7)), v=nn.Parameter(torch.randn(7, 8))), ((1, 6),),
           6 * 7 + 7 * 8, "6·7 + 7·8, from left to right", 98),
    Module("`scaled_dot_product_attention`", lambda: Call(lambda self, *x: functional.scaled_dot_product_attention(*x)),
           ((1, 4, 10, 8),) * 3, 2 * 4 * 10 * 10 * 8, "2·4·10·10·8", 0),
    Module("`MultiheadAttention(16, 4)`", lambda: Call(lambda self, x: self.attn(x, x, x, need_weights=False)[0],
           attn=nn.MultiheadAttention(16, 4, bias=False, batch_first=True)), ((1, 10, 16),),
           4 * 10 * 16 * 16 + 2 * 10 * 10 * 16, "4·10·16² + 2·10²·16", 1024),
    Module("`TransformerEncoderLayer(16, 4, 64)`", lambda: nn.TransformerEncoderLayer(16, 4, 64, batch_first=True,
           bias=False), ((1, 10, 16),), 4 * 10 * 16 * 16 + 2 * 10 * 10 * 16 + 2 * 10 * 16 * 64,
           "4·10·16² + 2·10²·16 + 2·10·16·64", 1024 + 2048 + 32),
    Module("`LSTM(6, 8, 2, bidirectional=True)`", lambda: nn.LSTM(6, 8, 2, bias=False, batch_first=True,
           bidirectional=True), ((1, 5, 6),), 5 * 2 * (32 * (6 + 8) + 32 * (16 + 8)),
           "5·2·4·8·((6 + 8) + (16 + 8))", 2 * (32 * 14 + 32 * 24)),
    Module("`GRUCell(6, 8)` in a loop of 5", Unrolled, ((1, 5, 6),), 5 * 24 * 14, "5·3·8·(6 + 8)", 24 * 14),
    Module("a mixture of experts, 2 of 4", Experts, ((1, 10, 8),), 10 * 8 * 4 + 10 * 2 * 2 * 8 * 32,
           "10·8·4 + 10·2·(8·32 + 32·8)", 32 + 4 * 512),
)  # fmt: skip


# --- models to time --------------------------------------------------------------------------------------------------


class Bottleneck(nn.Module):
    """The block of ResNet-50."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        sizes = ((channels, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1))
        self.body = nn.Sequential()
        for i, (c_in, c_out, kernel, step) in enumerate(sizes):
            self.body.append(nn.Conv2d(c_in, c_out, kernel, step, kernel // 2, bias=False))
            self.body.append(nn.BatchNorm2d(c_out))
            if i < 2:
                self.body.append(nn.ReLU(inplace=True))
        self.shortcut = (
            nn.Sequential(nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))
            if channels != 4 * width
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways."""
        return functional.relu(self.body(x) + self.shortcut(x))


def _resnet50() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    channels = 64
    for width, depth in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for i in range(depth):
            model.append(Bottleneck(channels, width, 2 if i == 0 and width > 64 else 1))
            channels = 4 * width
    return model.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()).append(nn.Linear(2048, 1000))


class Block(nn.Module):
    """A block of GPT-2."""

    def __init__(self, width: int = 768, heads: int = 12) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Attention, then the two linear layers."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.c_attn(self.ln_1(x)).chunk(3, -1)
        )
        x = x + self.c_proj(functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.mlp(self.ln_2(x))


def _gpt2() -> nn.Module:
    """GPT-2 (124M) on 128 tokens, its head tied to the table."""
    return Call(
        lambda self, ids: functional.linear(
            self.norm(self.h(functional.embedding(ids, self.wte) + self.wpe)), self.wte
        ),
        wte=nn.Parameter(torch.empty(50257, 768)),
        wpe=nn.Parameter(torch.empty(128, 768)),
        h=nn.Sequential(*(Block() for _ in range(12))),
        norm=nn.LayerNorm(768),
    )


# MACs of GPT-2: 12 blocks of 12·768² a token and attention of 2·128²·768, and the head of 768·50257 a token.
MODELS = (
    Module("ResNet-50", _resnet50, ((1, 3, 224, 224),), 4_089_184_256, "torchvision", 25_557_032),
    Module("GPT-2, 128 tokens", _gpt2, ((int, 1, 128),),
           128 * (12 * 12 * 768**2 + 768 * 50257) + 12 * 2 * 128**2 * 768, "", 124_439_808 - 896 * 768),
)  # fmt: skip
