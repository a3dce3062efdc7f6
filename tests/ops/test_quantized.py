"""Quantized layers run where they live, and count like those that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization

import fwdscope

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        torch.backends.quantized.engine == "none", reason="this build of torch has no quantized kernels"
    ),
]


class First(nn.Module):
    """The first result of a layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        found = self.layer(x)
        return found[0] if isinstance(found, tuple) else found


def dynamic(module: nn.Module, kind: type, dtype: torch.dtype = torch.qint8) -> nn.Module:
    return quantization.quantize_dynamic(First(module), {kind}, dtype=dtype)


# The parameters and MACs of the module itself; of x (3, 2, 4) or (5, 4).
DYNAMIC: list[tuple[Callable[[], nn.Module], type, tuple[int, ...], int, int]] = [
    (lambda: nn.Linear(4, 8), nn.Linear, (5, 4), 40, 160),
    (lambda: nn.Linear(4, 8, bias=False), nn.Linear, (5, 4), 32, 160),
    # 24 · (4 + 6) weights and 48 biases, six steps
    (lambda: nn.LSTM(4, 6), nn.LSTM, (3, 2, 4), 288, 1440),
    # a second layer of both directions takes 12: 2 · (240 + 48) + 2 · (24 · (12 + 6) + 48)
    (lambda: nn.LSTM(4, 6, 2, bidirectional=True), nn.LSTM, (3, 2, 4), 1536, 6 * 2 * (240 + 432)),
    (lambda: nn.GRU(4, 6), nn.GRU, (3, 2, 4), 216, 6 * 180),
    (lambda: nn.LSTMCell(4, 6), nn.LSTMCell, (5, 4), 288, 5 * 240),
    (lambda: nn.GRUCell(4, 6), nn.GRUCell, (5, 4), 216, 5 * 180),
    (lambda: nn.RNNCell(4, 6), nn.RNNCell, (5, 4), 72, 5 * 60),
]


@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
@pytest.mark.parametrize(("make", "kind", "shape", "params", "macs"), DYNAMIC)
def test_a_dynamically_quantized_layer_counts_as_before(
    make: Callable[[], nn.Module], kind: type, shape: tuple[int, ...], params: int, macs: int, dtype: torch.dtype
) -> None:
    plain, module, x = make(), dynamic(make(), kind, dtype), torch.rand(shape)
    before = module(x)
    found, expected = fwdscope.inspect(module, x), fwdscope.inspect(First(plain), x)
    assert (found.totals.params, found.totals.macs, found.uncounted) == (params, macs, ())
    assert (found.totals.params, found.totals.flops) == (expected.totals.params, expected.totals.flops)
    assert found.device == "cpu"
    assert "its weights are packed" in found.notes[0]
    assert module(x).equal(before)
    with pytest.raises(fwdscope.InputError, match="leave --device meta out, or give --device cpu"):
        fwdscope.inspect(module, x, device="meta")


def test_quantized_layers_under_autocast_never_run_on_stand_ins() -> None:
    # Their kernels would read memory that a stand-in does not have.
    class Cast(First):
        def forward(self, x: Tensor) -> Any:
            with torch.autocast("cpu"):
                return self.layer(x)

    module = Cast(dynamic(nn.Linear(4, 8), nn.Linear, torch.float16))
    assert fwdscope.inspect(module, torch.rand(5, 4)).totals.macs == 160


class Static(nn.Module):
    """Two layers between a quantization and its inverse."""

    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.conv: nn.Module = nn.ConvTranspose2d(4, 4, 3, groups=2) if transposed else nn.Conv2d(4, 4, 3, groups=2)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(4 * (49 if transposed else 9), 5)

    def forward(self, x: Tensor) -> Any:
        return self.dequant(self.fc(self.relu(self.conv(self.quant(x))).flatten(1)))


@pytest.mark.parametrize(("transposed", "fused"), [(False, True), (False, False), (True, False)])
def test_a_statically_quantized_module_counts_its_packed_layers(transposed: bool, fused: bool) -> None:
    module = Static(transposed).eval()
    module.qconfig = quantization.get_default_qconfig("x86")  # type: ignore[assignment]
    if transposed:
        module.conv.qconfig = quantization.get_default_qconfig("qnnpack")  # type: ignore[assignment]
    if fused:
        module = quantization.fuse_modules(module, [["conv", "relu"]])
    quantization.prepare(module, inplace=True)
    x = torch.rand(1, 4, 5, 5)
    module(x)
    quantization.convert(module, inplace=True)
    found = fwdscope.inspect(module, x)
    # Two groups: 4 · 9 places · 2 · 9 taps, or each of 4 · 25 inputs times 2 · 9; then 36 · 5 or 196 · 5.
    assert found.totals.macs == (4 * 25 * 18 + 196 * 5 if transposed else 4 * 9 * 18 + 36 * 5)
    assert found.uncounted == ()


def test_a_quantized_table_counts_its_rows() -> None:
    table = nn.Sequential(nn.EmbeddingBag(10, 4, mode="sum"))
    kinds = {nn.EmbeddingBag: quantization.float_qparams_weight_only_qconfig}
    found = fwdscope.inspect(quantization.quantize_dynamic(table, kinds), torch.tensor([[1, 2], [3, 4]]))
    # Four rows of four, each number scaled and shifted, and two sums for each of four columns.
    assert (found.totals.flops, found.totals.params, found.uncounted) == (2 * 16 + 8, 40, ())


def test_fake_quantization_is_there_and_back() -> None:
    module = nn.Sequential(quantization.FakeQuantize(observer=quantization.MinMaxObserver))
    found = fwdscope.inspect(module.apply(quantization.disable_observer), torch.rand(5, 4))
    # quotient, rounding, sum, two bounds, difference, product of 20; and whether it is on, and observes
    assert (found.totals.flops, found.uncounted) == (140 + 2, ())
