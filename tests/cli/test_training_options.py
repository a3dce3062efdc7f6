"""``inspect --training`` with ``--on`` and ``--vary``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fwdscope.cli import app

SPEC = """
name: net
vars: {B: 2, d: 8}
inputs: {x: "randn(B, d)"}
layers:
  - hidden = Linear(d, bias=False)
  - ReLU
  - out = Linear(4, bias=False)
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["inspect", "net.yaml", "--training", *arguments])


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.yaml").write_text(SPEC)


def test_one_device_gives_the_phases_and_each_layers_time() -> None:
    text = run("--on", "H100").stdout
    assert "of it backward" in text
    assert "ns a step by published peaks" in text
    assert "samples/s" in text
    saved = json.loads(run("--on", "H100", "--format", "json").stdout)
    (found,) = saved["estimates"]
    assert [one["name"] for one in found["phases"]] == ["forward", "loss", "backward", "optimizer"]
    assert found["seconds"] == pytest.approx(sum(one["seconds"] for one in found["phases"]))
    assert found["needed"] == saved["training"]["peak_memory"]
    # All of it waits for memory, 3.35e12 bytes a second. hidden reads 2·8 and 8·8 numbers and writes 2·8; its backward
    # reads the gradient and the input, 2·16, and writes the weight's gradient, 64.
    hidden = saved["layers"][0]
    assert hidden["backward"]["least"] == pytest.approx(4 * (32 + 64) / 3.35e12)
    assert hidden["least"] == pytest.approx(4 * (96 + 96) / 3.35e12)


def test_several_devices_are_a_table_with_the_phases() -> None:
    lines = run("--on", "H100,T4").stdout.splitlines()
    (heading,) = [line for line in lines if line.split()[:1] == ["device"]]
    assert heading.split()[:7] == ["device", "at", "least", "forward", "backward", "optimizer", "samples/s"]


def test_sizes_have_the_figures_of_the_step() -> None:
    text = run("--vary", "B=1:4:x2", "--optimizer", "sgd", "--format", "csv", "--on", "H100").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    for row, b in zip(rows, (1, 2, 4), strict=True):
        # Forward b·(64 + 32); backward the weights' gradients, as many, and that of the last layer's input, b·32.
        assert int(row["train_macs"]) == b * (96 + 96 + 32)
        # Kept are x, the result of hidden for relu (as its result, which the last layer keeps too): b·8 numbers.
        assert int(row["saved_activations"]) == 4 * b * 8
        assert int(row["train_memory"]) > 4 * 96
        assert float(row["H100 SXM 80GB"]) > 0


def test_a_sweep_of_steps_says_what_was_stepped_and_draws_its_time() -> None:
    text = run("--vary", "B=1:256:x4", "--optimizer", "sgd", "--on", "H100").stdout
    assert "figures of a training step: loss sum of out, optimizer sgd" in text
    assert "least time of a step, on H100 SXM 80GB, both scales logarithmic" in text
    assert "fwdscope inspect net.yaml --training --optimizer sgd --on H100 --vary B=1:256:x4" in text
    assert "fwdscope bench" not in text
    assert "samples/s" in text


def test_the_page_of_a_sweep_has_the_steps_figures() -> None:
    assert run("--vary", "B=1,2", "-o", "page.html").exit_code == 0
    assert "Saved activations" in Path("page.html").read_text()
