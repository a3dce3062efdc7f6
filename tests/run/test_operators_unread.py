"""A run that does not record its operators gives the same report as one that does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils._python_dispatch import TorchDispatchMode

from fwdscope.inspection import inspect_module, inspect_spec
from fwdscope.language import load
from fwdscope.run import forward
from fwdscope.run.observation import Observation
from fwdscope.settings import RunSettings
from fwdscope.targets import shipped_specs

ON_CPU = RunSettings(device="cpu", latency=False)

LINES = """
inputs:
  x: randn(2, 4, 8)
layers:
  - a = Linear(8)
  - relu(a) + x * 2
  - b = Linear(8)(cat([prev, a], dim=-1))
  - scaled_dot_product_attention(b, b, a)
  - c = LayerNorm()(prev.transpose(1, 2).contiguous())
  - out, _ = GRU(4)(c)
  - log(out - out)
"""


class Functional(nn.Module):
    """Work between the modules, and a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.first(x)) * self.scale
        return self.second(y + x).exp()


def both(monkeypatch: pytest.MonkeyPatch, inspect: Any) -> tuple[Any, Any]:
    """The report of a run that does not record operators, and of one that does."""
    read: list[bool] = []
    start = Observation.__init__

    def counted(self: Observation, collector: Any, wanted: Any = None, operators: bool = True, **more: Any) -> None:
        if not more.get("closely"):  # a further run looks where the first NaN or infinity was made
            read.append(operators)
        start(self, collector, wanted, operators, **more)

    monkeypatch.setattr(Observation, "__init__", counted)
    unread = inspect()
    monkeypatch.setattr(forward, "_data_decide", lambda _: True)
    whole = inspect()
    assert read == [False, True]
    return unread, whole


@pytest.mark.parametrize("name", ["lstm", "multi_head_attention", "norms", "mnist_cnn", "transformer_decoder_layer"])
def test_the_report_of_a_spec_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unread, whole = both(monkeypatch, lambda: inspect_spec(load(shipped_specs()[name]), settings=ON_CPU))
    assert any(row.stats for row in unread.layers)
    assert unread == whole


def test_the_report_of_lines_that_compute_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lines.yaml"
    path.write_text(LINES)
    unread, whole = both(monkeypatch, lambda: inspect_spec(load(path), settings=ON_CPU))
    assert unread == whole
    assert all(row.stats for row in unread.layers)
    assert unread.run is not None
    assert unread.run.first_nonfinite is not None
    assert unread.run.first_nonfinite.text == "log(out - out)"


def test_the_report_of_a_module_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module, x = Functional(), torch.randn(2, 4, 8)
    unread, whole = both(monkeypatch, lambda: inspect_module(module, (x,), settings=ON_CPU))
    assert unread == whole
    assert all(row.stats is not None for row in unread.layers if row.kind != "parameter")


class Seen(TorchDispatchMode):
    """Counts operators."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


class Failing(nn.Module):
    """A layer that fails when it meets numbers."""

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            raise ValueError("numbers")
        return x + 1


def test_operators_are_dispatched_again_after_a_layer_failed() -> None:
    with pytest.raises(ValueError, match="numbers"):
        inspect_module(nn.Sequential(nn.ReLU(), Failing()), (torch.ones(3),), settings=ON_CPU)
    with Seen() as seen:
        torch.ones(3)
    assert seen.count


@pytest.mark.parametrize("name", ["moe_small", "while"])
def test_a_run_that_differs_from_the_trace_is_repeated_and_counted(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = shipped_specs().get(name, tmp_path / "while.yaml")
    if name == "while":
        path.write_text(
            "inputs:\n  x: ones(4, 8)\nlayers:\n  - start = x * 1\n"
            "  - while: prev.sum() > 1\n    do:\n      - prev / 2\n      - relu(prev)\n"
        )
    known = inspect_spec(load(path), settings=ON_CPU)
    monkeypatch.setattr(forward, "_data_decide", lambda _: False)
    found = inspect_spec(load(path), settings=ON_CPU)
    assert found == known
    assert any("data decided" in note for note in found.notes)
