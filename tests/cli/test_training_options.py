"""``inspect --training`` with ``--on``, ``--vary`` and ``--batch``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fwdscope.cli import app
from fwdscope.render.rows import view
from fwdscope.report import Report

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
    assert "(launch-bound)" in text
    assert "samples/s" in text
    saved = json.loads(run("--on", "H100", "--format", "json").stdout)
    (found,) = saved["estimates"]
    assert [one["name"] for one in found["phases"]] == ["forward", "loss", "backward", "optimizer"]
    assert found["seconds"] == pytest.approx(sum(one["seconds"] for one in found["phases"]))
    assert found["needed"] == saved["training"]["peak_memory"]
    # Launching takes far longer than such small work: 20 µs for the product, and for that of the weight's gradient.
    hidden = saved["layers"][0]
    assert hidden["backward"]["eager"] > 0
    assert hidden["eager"] == pytest.approx(20e-6 * (hidden["kernels"] + hidden["backward"]["kernels"]))


def test_ways_to_train_are_options_that_the_report_keeps_and_the_next_command_has() -> None:
    options = [
        "--train-only",
        "out",
        "--train-only",
        "nor*",
        "--checkpoint",
        "hidden",
        "--accumulate",
        "2",
        "--autocast",
        "bf16",
    ]
    failed = run(*options)
    assert failed.exit_code == 2
    assert "--train-only nor*: no parameter has this path" in failed.output
    options[3] = "hid*"
    step = json.loads(run(*options, "--format", "json").stdout)["training"]
    kept = ("train_only", "checkpoint", "accumulate", "autocast")
    assert [step[name] for name in kept] == [["out", "hid*"], ["hidden"], 2, "bfloat16"]
    text = run(*options).stdout
    assert "a training step of 2 micro-batches under autocast to bfloat16" in text
    words = "--train-only out --train-only 'hid*' --checkpoint hidden --accumulate 2 --autocast bfloat16"
    assert f"fwdscope inspect net.yaml --training {words}" in " ".join(text.split())
    alone = CliRunner().invoke(app, ["inspect", "net.yaml", "--train-only", "out"])
    assert "--train-only is of a training step: add --training" in alone.output


def test_master_weights_are_of_a_smaller_dtype() -> None:
    assert "master weights" in run("--dtype", "bf16", "--master-weights").stdout
    assert "add --dtype bf16" in run("--master-weights").output


def test_shares_are_of_the_steps_eager_time() -> None:
    report = Report.loads(run("--on", "H100", "--format", "json").stdout)
    seen = view(report)
    assert seen.measure == "eager"
    (found,) = report.estimates
    of_layers = sum(phase.eager_seconds or 0 for phase in found.phases if phase.name in ("forward", "backward"))
    assert found.eager_seconds is not None
    assert sum(shown.share or 0 for shown in seen.rows) == pytest.approx(of_layers / found.eager_seconds)


def test_several_devices_are_a_table_with_the_phases() -> None:
    lines = run("--on", "H100,T4").stdout.splitlines()
    (heading,) = [line for line in lines if line.split()[:1] == ["device"]]
    assert heading.split()[:6] == ["device", "fused", "eager", "forward", "backward", "samples/s"]


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


# --- the largest batch -----------------------------------------------------------------------------------------------


def fitted(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["inspect", *arguments, "--format", "json"])
    assert (result.exit_code, result.stderr) == (0, "")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_largest_batch_of_a_forward() -> None:
    saved = fitted("net.yaml", "--batch", "max", "--on", "T4")
    (found,) = saved["estimates"]
    # 96 weights; for each item the input and, at the peak, the results of hidden and relu: 3 · 8 numbers of 4 bytes.
    batch = (16 * 10**9 - 4 * 96) // 96
    assert found["largest_batch"] == {"batch": batch, "next_needed": 4 * 96 + 96 * (batch + 1)}
    assert (found["needed"], found["fits"]) == (4 * 96 + 96 * batch, True)
    assert saved["inputs"][0]["shape"] == [batch, 8]


def test_the_largest_batch_of_a_step_is_that_of_the_report() -> None:
    text = run("--batch", "max", "--on", "T4", "--optimizer", "sgd").stdout
    (line,) = [line.strip() for line in text.splitlines() if "largest batch" in line]
    number = line.split(":")[0].removeprefix("largest batch ").replace(",", "")
    # The same by hand: at this batch it fits, at the next it does not.
    assert f"--set B={number}" in text
    for batch, fits in ((int(number), True), (int(number) + 1, False)):
        given = ("net.yaml", "--training", "--optimizer", "sgd", "--batch", str(batch), "--on", "T4")
        (found,) = fitted(*given)["estimates"]
        assert (found["fits"], found["largest_batch"]) == (fits, None)


def test_where_not_even_one_fits_it_is_said_what_decides() -> None:
    Path("net.yaml").write_text(SPEC.replace("d: 8", "d: 40_000"))
    text = run("--batch", "max", "--on", "T4").stdout
    # 1.6e9 and 1.6e5 weights of 4 bytes, their gradients, and two states of AdamW as large.
    assert "not even a batch of 1 fits: optimizer state 11.9 GiB, weights 5.96 GiB, gradients 5.96 GiB" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "max"], "--batch max finds what fits into one device's memory, without a run: add --on H100"),
        (["--batch", "max", "--on", "H100,T4"], "into one device's memory"),
        (
            ["--batch", "max", "--on", "T4", "--set", "B=3"],
            "the batch is the var B of net.yaml: give one of them, not both",
        ),
        (["--batch", "2", "--input", "x=3,8"], "--batch and --input are both given"),
        (["--batch", "2", "--vary", "B=1,2"], "leave --batch out"),
        (["--batch", "0"], "'0': expected a whole number above 0, or max"),
    ],
)
def test_batches_that_cannot_be_looked_for(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
