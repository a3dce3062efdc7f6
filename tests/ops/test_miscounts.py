"""Small modules that well-known counters get wrong, each with the right number of MACs, on a CPU and on meta."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from counting import costs, macs, on_meta, traced
from small_networks import Looped
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Made = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclass(frozen=True)
class Case:
    """A function or module, what it is given, and the MACs that it takes."""

    name: str
    make: Callable[[], Made]
    macs: int

    def __str__(self) -> str:
        return self.name

    def on(self, device: str) -> Made:
        torch.manual_seed(0)
        function, inputs = self.make()
        if device == "meta":
            return on_meta(function) if isinstance(function, nn.Module) else function, on_meta(inputs)
        return function, inputs


def rand(*shape: int) -> Tensor:
    return torch.rand(shape)


def attention(**widths: int) -> nn.Module:
    return nn.MultiheadAttention(16, 4, batch_first=True, **widths).eval()


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


class Tied(nn.Module):
    """A table read at the start and multiplied with at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 8)

    def forward(self, ids: Tensor) -> Tensor:
        return F.linear(self.table(ids), self.table.weight)


class Subclass(nn.Linear):
    """A layer under another name."""


class Dictionary(nn.Module):
    """An output with more in it than tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"loss": None, "y": self.linear(x), "n": 3}


def packed() -> nn.utils.rnn.PackedSequence:
    return nn.utils.rnn.pack_padded_sequence(rand(5, 3, 6), torch.tensor([5, 2, 1]))


def sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def chain(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.einsum("bi,ij,jk->bk", a, b, c)


q, kv, row = rand(2, 4, 10, 8), rand(2, 4, 7, 8), rand(2, 10, 16)
CASES = [
    # 2 · 2·4 · 10·10·8
    Case("attention of its own keys", lambda: (sdpa, (q, q, q)), 12_800),
    # 2 · 2·4 · 10·7·8
    Case("attention of other keys", lambda: (sdpa, (q, kv, kv)), 8_960),
    # four projections 4 · 20·16·16, scores and values 2 · 2·4·10·10·4
    Case("MultiheadAttention", lambda: (attention(), (row, row, row)), 26_880),
    # 20·16·16 + 14·12·16 + 14·20·16 + 20·16·16 + 2 · 2·4·10·7·4
    Case("MultiheadAttention, other widths",
         lambda: (attention(kdim=12, vdim=20), (row, rand(2, 7, 12), rand(2, 7, 20))), 21_888),
    # 2 · (26,880 + 2 · 20·16·32)
    Case("TransformerEncoder", lambda: (encoder(), (row,)), 94_720),
    # 50 · 3·8
    Case("Linear over many dimensions", lambda: (nn.Linear(3, 8), (rand(5, 10, 3),)), 1_200),
    # 4 · 3·1·2·2: of the input, not the output
    Case("ConvTranspose2d", lambda: (nn.ConvTranspose2d(3, 1, 2, stride=2), (rand(1, 3, 2, 2),)), 48),
    # 8 · 2·3·27
    Case("ConvTranspose3d, dilated",
         lambda: (nn.ConvTranspose3d(2, 3, 3, stride=2, dilation=2, padding=1), (rand(1, 2, 2, 2, 2),)), 1_296),
    # 36 · 5·3·9
    Case("Conv2d of a single sample", lambda: (nn.Conv2d(3, 5, 3), (rand(3, 8, 8),)), 4_860),
    # 15 steps · 2 directions · 4·8·(6 + 8), then 15 · 2 · 4·8·(16 + 8)
    Case("LSTM", lambda: (nn.LSTM(6, 8, 2, bidirectional=True, batch_first=True), (rand(3, 5, 6),)), 36_480),
    # 8 real steps · 4·8·(6 + 8)
    Case("packed LSTM", lambda: (nn.LSTM(6, 8), (packed(),)), 3_584),
    # 15 · 3·8·(6 + 8)
    Case("GRUCell in a loop", lambda: (Looped(), (rand(5, 3, 6),)), 5_040),
    # 5·4
    Case("matrix and vector", lambda: (torch.matmul, (rand(5, 4), rand(4))), 20),
    # 4·6·7 + 4·7·8
    Case("einsum of three", lambda: (chain, (rand(4, 6), rand(6, 7), rand(7, 8))), 392),
    # 4·5·6·7, then 4·6·7
    Case("Bilinear", lambda: (nn.Bilinear(5, 7, 6), (rand(4, 5), rand(4, 7))), 1_008),
    # 4 · 4·8·8
    Case("complex product", lambda: (torch.matmul, (rand(4, 8) + 0j, rand(8, 8) + 0j)), 1_024),
    # 14 · 8·50
    Case("tied Embedding and Linear", lambda: (Tied(), (torch.zeros(2, 7, dtype=torch.int64),)), 5_600),
    Case("subclass of Linear", lambda: (nn.Sequential(Subclass(8, 8)), (rand(4, 8),)), 256),
    Case("weight_norm",
         lambda: (nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)).eval(), (rand(4, 8),)), 256),
    # beside 4·8·8 the two products of the singular value, u·(W·v): 8·8 + 8
    Case("spectral_norm",
         lambda: (nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)).eval(), (rand(4, 8),)), 256 + 72),
    Case("a dict that comes out", lambda: (Dictionary(), (rand(4, 8),)), 256),
    Case("LayerNorm", lambda: (nn.LayerNorm(8), (rand(4, 8),)), 0),
    Case("BatchNorm2d in training", lambda: (nn.BatchNorm2d(4, track_running_stats=False), (rand(2, 4, 5, 5),)), 0),
    # 36·8·27 + 288·10
    Case("convolution and Linear",
         lambda: (nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)), (rand(1, 3, 8, 8),)),
         10_656),
]  # fmt: skip


@pytest.mark.core
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_other_counters_miss_is_counted(case: Case, device: str) -> None:
    function, inputs = case.on(device)
    assert macs(function, *inputs) == case.macs


def test_norms_do_work_that_is_no_mac() -> None:
    # 4 · (5·8 + 2), weight, bias; and 4 channels of 50, running statistics, weight, bias
    layer, batch = nn.LayerNorm(8), nn.BatchNorm2d(4)
    assert sum(c.flops for c in costs(traced(layer, rand(4, 8)))) == 4 * (5 * 8 + 2) + 2 * 32
    expected = 4 * (5 * 50 + 2) + 6 * 4 + 2 * 200
    assert sum(c.flops for c in costs(traced(batch, rand(2, 4, 5, 5)))) == expected + 1  # num_batches_tracked


@pytest.mark.parametrize("name", ["_flash_attention_forward", "_efficient_attention_forward"])
def test_the_kernels_of_attention_have_position_before_head(name: str) -> None:
    x = torch.rand(2, 32, 4, 8, device="meta")
    kernel = getattr(torch.ops.aten, name)
    flash = name.startswith("_flash")
    ops = traced(lambda: kernel(x, x, x, None, None, 32, 32, 0.0, False, False) if flash else kernel(
        x, x, x, None, None, None, 32, 32, 0.0, 0, False))  # fmt: skip
    found = costs(ops)
    # 2 · 2·4 · 32·32·8 MACs, two FLOPs each
    assert 2 * sum(c.macs for c in found) == 262_144


@pytest.mark.filterwarnings("ignore")
def test_a_quantized_linear_layer_has_its_products() -> None:
    if torch.backends.quantized.engine == "none":
        pytest.skip("this build of torch has no quantized kernels")
    layer = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 8)), {nn.Linear})
    # 4·8·8
    assert macs(layer, rand(4, 8)) == 256


def test_integer_products_are_counted() -> None:
    a, b = torch.ones(32, 16, dtype=torch.int8), torch.ones(16, 8, dtype=torch.int8)
    assert macs(torch._int_mm, a, b) == 32 * 16 * 8


def test_counting_twice_gives_the_same() -> None:
    layer = encoder()
    assert costs(traced(layer, row)) == costs(traced(layer, row))


@pytest.mark.parametrize("grad", [True, False])
def test_gradients_leave_the_macs_alone(grad: bool) -> None:
    ops = []
    from fwdscope.ops.watch import watching

    layer = encoder()
    with torch.set_grad_enabled(grad), watching(lambda record, arguments, result: ops.append(record.op)):
        layer(row)
    assert sum(c.macs for c in costs(ops)) == 94_720
