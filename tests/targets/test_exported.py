"""``model.pt2``: programs of torch.export."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import fwdscope
from fwdscope.cli import app
from fwdscope.errors import TargetError


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(16, 4, batch_first=True)
        self.ff = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x, x, x, need_weights=False)[0]
        return x + self.ff(x)


class Tied(nn.Module):
    """Blocks in a list, a tied head, numbers made on a device, and two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(50, 16)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, ids: Tensor, scale: Tensor) -> dict[str, Tensor]:
        x = self.emb(ids) + torch.arange(ids.shape[1], device=ids.device)[:, None]
        for block in self.blocks:
            x = block(x)
        return {"logits": self.head(x) * scale}


def convolutions() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 6, 5))


def recurrent() -> nn.Module:
    return nn.LSTM(6, 5, batch_first=True)


CASES = {
    "tied": (Tied, (torch.zeros(2, 7, dtype=torch.int64), torch.ones(50)), ["blocks.0.ff.1", "blocks.1", "head"]),
    "convolutions": (convolutions, (torch.zeros(2, 3, 8, 8),), ["0", "1", "4"]),
    "recurrent": (recurrent, (torch.zeros(2, 4, 6),), []),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    for name, (make, inputs, _) in CASES.items():
        torch.export.save(torch.export.export(make().eval(), inputs), folder / f"{name}.pt2")
    return folder


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("name", CASES)
def test_a_program_has_the_rows_and_costs_of_the_module_that_was_exported(name: str, device: str, folder: Path) -> None:
    make, inputs, paths = CASES[name]
    module = make().eval()
    report = fwdscope.inspect(folder / f"{name}.pt2", device=device, latency=False)
    original = fwdscope.inspect(module, *inputs, device="meta")
    assert report.device == device
    assert report.name == type(module).__name__
    assert report.totals.params == sum(p.numel() for p in module.parameters())
    assert report.totals.macs == original.totals.macs
    assert [(one.shape, one.dtype) for one in report.inputs] == [(one.shape, one.dtype) for one in original.inputs]
    assert [one.shape for one in report.outputs] == [one.shape for one in original.outputs]
    kinds = {row.path: row.type for row in original.layers}
    found = {row.path: row.type for row in report.layers}
    for path in paths:
        assert found.get(path) == kinds.get(path)


def test_inputs_have_the_names_of_forward_and_are_replaced_within_the_exports_range(tmp_path: Path) -> None:
    batch = torch.export.Dim("B", min=1, max=8)
    program = torch.export.export(Block().eval(), (torch.zeros(2, 3, 16),), dynamic_shapes={"x": {0: batch}})
    file = tmp_path / "block.pt2"
    torch.export.save(program, file)

    def run(shape: str) -> tuple[int, str]:
        result = CliRunner().invoke(
            app, ["inspect", str(file), "--allow-import", "--input", f"x={shape}", "--device", "meta"]
        )
        return result.exit_code, result.output

    code, text = run("5,3,16")
    assert (code, "x (5, 3, 16)  →  output (5, 3, 16)" in text) == (0, True)
    code, text = run("9,3,16")
    assert (code, "<= 8, but got 9" in text) == (2, True)


def test_what_is_no_program_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.pt2").write_text("hello")
    torch.save({"w": torch.zeros(2)}, tmp_path / "weights.pt2")
    for name in ("text", "weights"):
        with pytest.raises(TargetError, match="is no program"):
            fwdscope.inspect(tmp_path / f"{name}.pt2")
    with pytest.raises(TargetError, match="there is no file"):
        fwdscope.inspect(tmp_path / "none.pt2")
