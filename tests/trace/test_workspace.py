"""Memory that an operator needs beside its operands and results."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdscope

TIME, BATCH, HIDDEN = 50, 8, 128


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        # One layer writes its output, (8, 50, 128), and the last states, (1, 8, 128) each.
        (nn.LSTM, {}, 4 * (8 * 50 * 128 + 2 * 8 * 128)),
        # Two layers: the second reads the output of the first while it writes its own; twice as many states.
        (nn.LSTM, {"num_layers": 2}, 4 * (2 * 8 * 50 * 128 + 2 * 2 * 8 * 128)),
        # Of three, never more than two outputs are alive.
        (nn.GRU, {"num_layers": 3}, 4 * (2 * 8 * 50 * 128 + 3 * 8 * 128)),
        (nn.RNN, {"num_layers": 2}, 4 * (2 * 8 * 50 * 128 + 2 * 8 * 128)),
        # In both directions an output has twice the width.
        (nn.LSTM, {"num_layers": 2, "bidirectional": True}, 4 * (2 * 8 * 50 * 256 + 2 * 4 * 8 * 128)),
        (nn.GRU, {"num_layers": 2, "bidirectional": True}, 4 * (2 * 8 * 50 * 256 + 4 * 8 * 128)),
    ],
)
def test_a_recurrent_layer_reads_the_output_of_the_one_before(
    kind: type[nn.Module], settings: dict[str, Any], expected: int
) -> None:
    # The first states are zeros of the shapes of the last ones, which torch makes before and drops after the call.
    states = 4 * settings.get("num_layers", 1) * (2 if settings.get("bidirectional") else 1) * BATCH * HIDDEN
    states *= 2 if kind is nn.LSTM else 1
    report = fwdscope.inspect(kind(64, HIDDEN, batch_first=True, **settings), torch.zeros(BATCH, TIME, 64))
    assert report.totals.peak_activations is not None
    assert expected <= report.totals.peak_activations <= expected + states


def test_two_layers_take_what_two_modules_take() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.LSTM(64, HIDDEN, batch_first=True), nn.LSTM(HIDDEN, HIDDEN, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x)[0])[0]  # type: ignore[no-any-return]

    x = torch.zeros(BATCH, TIME, 64)
    apart = fwdscope.inspect(Two(), x).totals.peak_activations
    together = fwdscope.inspect(nn.LSTM(64, HIDDEN, 2, batch_first=True), x).totals.peak_activations
    assert apart is not None
    assert together is not None
    assert abs(apart - together) <= 4 * 4 * BATCH * HIDDEN  # but for states


class Attends(nn.Module):
    def __init__(self, width: int, heads: int, weights: bool, **settings: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, **{"batch_first": True, **settings})
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=self.weights)[0]  # type: ignore[no-any-return]


# Measured with torch.profiler on the CPU (profile_memory, no_grad, eval), over inputs and weights.
@pytest.mark.parametrize(
    ("shape", "heads", "measured"), [((4, 300, 256), 8, "14.5 MiB"), ((2, 1024, 64), 8, "65.5 MiB")]
)
def test_the_memory_of_fused_attention_is_noted(shape: tuple[int, int, int], heads: int, measured: str) -> None:
    notes = fwdscope.inspect(Attends(shape[-1], heads, False), torch.zeros(shape)).notes
    assert any(note.startswith("attention: the fused attention") and measured in note for note in notes), notes


@pytest.mark.parametrize(
    "settings",
    [{"batch_first": False}, {"add_zero_attn": True}, {"bias": False}, {"add_bias_kv": True}],
    ids=str,
)
def test_attention_that_torch_does_not_fuse_has_no_note(settings: dict[str, Any]) -> None:
    module = Attends(64, 8, False, **settings)
    assert not any("fused" in note for note in fwdscope.inspect(module, torch.zeros(2, 512, 64)).notes)


def test_attention_in_training_has_no_note() -> None:
    report = fwdscope.inspect(Attends(64, 8, False), torch.zeros(2, 512, 64), train=True)
    assert not any("fused" in note for note in report.notes)
