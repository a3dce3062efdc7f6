"""Small modules that well-known counters get wrong, through ``fwdscope.inspect``: MACs, FLOPs and parameters.

The numbers are derived beside each; ``tests/ops/test_miscounts.py`` holds the same operators below modules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from small_networks import Looped
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence

import fwdscope


@dataclass(frozen=True)
class Case:
    """A module, what it is given, and what is right."""

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Any, ...]]
    macs: int
    params: int
    # Where the module is small enough to derive them by hand.
    flops: int | None = None
    device: str = "meta"

    def __str__(self) -> str:
        return self.name


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


class Tied(nn.Module):
    """A table read at the start, and the weight of the layer at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 50, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.table(ids))


class Position(nn.Module):
    """A Parameter of the root's own."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 10, 8))
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x + self.position)


class MyLinear(nn.Linear):
    """A layer under another name."""


class Dictionary(nn.Module):
    """An output with more in it than tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"loss": None, "y": self.linear(x), "n": 3}


def of(*shapes: tuple[int, ...]) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: tuple(torch.rand(shape) for shape in shapes)


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2, enable_nested_tensor=False)


def same(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x, x, x


def packed() -> tuple[Any, ...]:
    return (pack_padded_sequence(torch.rand(5, 3, 6), torch.tensor([5, 2, 1])),)


CASES = [
    # 2 · 2·4 · 10·10·8; and for each of 2·4·10 rows of 10 scores the scale and 5·10 - 2 of a softmax
    Case("attention of its own keys", lambda: Function(F.scaled_dot_product_attention),
         lambda: same(torch.rand(2, 4, 10, 8)), 12_800, 0, 25_600 + 80 * (10 + 48)),
    # 2 · 2·4 · 10·7·8
    Case("attention of other keys", lambda: Function(lambda q, kv: F.scaled_dot_product_attention(q, kv, kv)),
         of((2, 4, 10, 8), (2, 4, 7, 8)), 8_960, 0, 17_920 + 80 * (7 + 33)),
    # four projections 4 · 20·16·16, scores and values 2 · 2·4·10·10·4
    Case("MultiheadAttention", lambda: nn.MultiheadAttention(16, 4, batch_first=True).eval(),
         lambda: same(torch.rand(2, 10, 16)), 26_880, 1_088),
    # 20·16·16 + 14·12·16 + 14·20·16 + 20·16·16 + 2 · 2·4·10·7·4; 16·(16 + 12 + 20) + 3·16 + 16·17
    Case("MultiheadAttention of other widths", lambda: nn.MultiheadAttention(16, 4, kdim=12, vdim=20, batch_first=True),
         of((2, 10, 16), (2, 7, 12), (2, 7, 20)), 21_888, 1_088),
    # 2 · (26,880 + 2 · 20·16·32)
    Case("TransformerEncoder", encoder, of((2, 10, 16)), 94_720, 4_448),
    # 50 · 3·8, and 50·8 sums of the bias
    Case("Linear over many dimensions", lambda: nn.Linear(3, 8), of((5, 10, 3)), 1_200, 32, 2_400 + 400),
    # 4 · 3·1·2·2: of the input, not the output; the bias 4·4
    Case("ConvTranspose2d", lambda: nn.ConvTranspose2d(3, 1, 2, stride=2), of((1, 3, 2, 2)), 48, 13, 96 + 16),
    # 8 · 2·3·27
    Case("ConvTranspose3d, dilated", lambda: nn.ConvTranspose3d(2, 3, 3, stride=2, dilation=2, padding=1),
         of((1, 2, 2, 2, 2)), 1_296, 165),
    # 36 · 5·3·9, and the bias of 36·5
    Case("Conv2d of a single sample", lambda: nn.Conv2d(3, 5, 3), of((3, 8, 8)), 4_860, 140, 9_720 + 180),
    # 15 steps · 2 directions · 4·8·(6 + 8), then 15 · 2 · 4·8·(16 + 8)
    Case("LSTM", lambda: nn.LSTM(6, 8, 2, bidirectional=True, batch_first=True), of((3, 5, 6)), 36_480, 2_688),
    # 8 real steps · 4·8·(6 + 8); how many they are is data
    Case("packed LSTM", lambda: nn.LSTM(6, 8), packed, 3_584, 512, device="cpu"),
    # 15 · 3·8·(6 + 8)
    Case("GRUCell in a loop", Looped, of((5, 3, 6)), 5_040, 384),
    # 5·4
    Case("matrix and vector", lambda: Function(torch.matmul), of((5, 4), (4,)), 20, 0, 40),
    # 4·6·7 + 4·7·8, from left to right
    Case("einsum of three", lambda: Function(lambda *xs: torch.einsum("bi,ij,jk->bk", *xs)),
         of((4, 6), (6, 7), (7, 8)), 392, 0, 784),
    # 4·5·6·7, then 4·6·7
    Case("Bilinear", lambda: nn.Bilinear(5, 7, 6), of((4, 5), (4, 7)), 840 + 168, 216),
    # 4 · 4·8·8
    Case("complex product", lambda: Function(torch.matmul),
         lambda: (torch.rand(4, 8) + 0j, torch.rand(8, 8) + 0j), 1_024, 0, 2_048),
    # 14 · 8·50; the table once
    Case("tied Embedding and Linear", Tied, lambda: (torch.zeros(2, 7, dtype=torch.int64),), 5_600, 400, 11_200),
    # 20 · 8·8; 80 + 72
    Case("Parameter of the root", Position, of((2, 10, 8)), 1_280, 152, 2_560 + 160 + 160),
    Case("subclass of Linear", lambda: nn.Sequential(MyLinear(8, 8)), of((4, 8)), 256, 72, 512 + 32),
    # the weight as direction and length: 64 + 8 + 8
    Case("weight_norm", lambda: parametrizations.weight_norm(nn.Linear(8, 8)), of((4, 8)), 256, 80),
    # beside 4·8·8 the products of the singular value, u·(W·v): 8·8 + 8
    Case("spectral_norm", lambda: parametrizations.spectral_norm(nn.Linear(8, 8)), of((4, 8)), 256 + 72, 72),
    Case("a dict that comes out", Dictionary, of((4, 8)), 256, 72, 512 + 32),
    # 4 · (5·8 + 2), weight and bias
    Case("LayerNorm", lambda: nn.LayerNorm(8), of((4, 8)), 0, 16, 4 * (5 * 8 + 2) + 2 * 32),
    # for each of 200 a difference, a product, weight and bias; for each of 4 the root of variance and epsilon, inverted
    Case("BatchNorm2d", lambda: nn.BatchNorm2d(4).train(), of((2, 4, 5, 5)), 0, 8),
    # 36·8·27 + 288·10
    Case("convolution and Linear",
         lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)),
         of((1, 3, 8, 8)), 10_656, 3_114, 2 * 10_656 + 288 + 288 + 10),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_other_counters_miss_is_right(case: Case) -> None:
    report = fwdscope.inspect(case.make(), *case.inputs())
    assert (report.totals.macs, report.totals.params, report.device) == (case.macs, case.params, case.device)
    assert report.uncounted == ()
    assert case.flops in (None, report.totals.flops)


def test_a_norm_has_work_that_is_no_mac() -> None:
    totals = fwdscope.inspect(nn.BatchNorm2d(4).train(), torch.rand(2, 4, 5, 5)).totals
    assert totals.macs == 0
    assert totals.flops is not None
    assert totals.flops >= 4 * 200


def test_a_module_of_meta_is_counted_like_any_other() -> None:
    case = CASES[-1]
    report = fwdscope.inspect(case.make().to("meta"), *(x.to("meta") for x in case.inputs()))
    assert (report.totals.macs, report.totals.params) == (case.macs, case.params)


@pytest.mark.core
def test_attention_called_by_keyword_counts_the_same() -> None:
    x = torch.rand(2, 10, 16)
    report = fwdscope.inspect(nn.MultiheadAttention(16, 4, batch_first=True), query=x, key=x, value=x)
    assert report.totals.macs == 26_880


@pytest.mark.parametrize("name", ["_flash_attention_forward", "_efficient_attention_forward"])
def test_the_kernels_of_attention_have_position_before_head(name: str) -> None:
    kernel = getattr(torch.ops.aten, name)
    flash = name.startswith("_flash")
    module = Function(lambda x: kernel(x, x, x, None, None, 32, 32, 0.0, False, False) if flash else kernel(
        x, x, x, None, None, None, 32, 32, 0.0, 0, False))  # fmt: skip
    # 2 · 2·4 · 32·32·8 MACs, two FLOPs each
    assert fwdscope.inspect(module, torch.rand(2, 32, 4, 8, device="meta")).totals.macs == 262_144 // 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(torch.backends.quantized.engine == "none", reason="this build of torch has no quantized kernels")
def test_a_quantized_layer_has_its_products_and_the_parameters_that_it_packs() -> None:
    layer = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), {nn.Linear})
    report = fwdscope.inspect(layer, torch.rand(4, 8))
    # 4·8·8 in int8; 64 weights of a byte and 8 biases of four
    assert (report.totals.macs, report.totals.params, report.totals.param_bytes) == (256, 72, 64 + 32)
    assert (report.totals.trainable_params, report.layers[0].params) == (0, 72)
