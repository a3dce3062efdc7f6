"""``inspect --vary``: shapes and costs of a spec at several sizes."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fwdscope.cli import app
from fwdscope.report import Report

SPEC = """
name: net
vars: {B: 2, T: 4, d: 8, heads: 2}
inputs: {x: "randn(B, T, d)"}
layers:
  - q = Linear(d, bias=False)
  - q @ q.mT                                 -> (B, T, T)
  - prev @ q
  - prev.unflatten(-1, (heads, -1))
expect: {params: 64}
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["inspect", "net.yaml", *arguments])


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.yaml").write_text(SPEC)


def macs(b: int, t: int, d: int = 8) -> int:
    """Linear, and two products over all pairs of positions."""
    return b * t * d * d + 2 * b * t * t * d


def test_every_combination_has_its_shapes_and_costs() -> None:
    result = run("--vary", "B=1,3", "--vary", "T=4:16:x2", "--format", "csv")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["B"], row["T"]) for row in rows] == [(b, t) for b in "13" for t in ("4", "8", "16")]
    for row in rows:
        b, t = int(row["B"]), int(row["T"])
        assert (row["input"], row["output"]) == (f"{b}x{t}x8", f"{b}x{t}x2x4")
        assert int(row["macs"]) == macs(b, t)
        assert int(row["params"]) == 8 * 8
        assert row["problem"] == ""


@pytest.mark.parametrize("width", [80, 140])
def test_the_table_and_the_plot_fit_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fwdscope.cli.vary.terminal_of", lambda: (width, False))
    text = run("--vary", "B=1,3", "--vary", "T=4:16:x2", "--on", "H100,T4").stdout
    assert max(len(line) for line in text.splitlines() if "fwdscope " not in line) <= width  # commands stay whole
    (first,) = [line.split() for line in text.splitlines() if re.match(r" +3 +16 ", line)]
    # 3 · 16 · 8 · 8 + 2 · 3 · 16 · 16 · 8 = 15,360
    assert "15.36" in first
    assert "64" in first
    assert text.count("●") == 3 + 1  # one for each T, and one in the legend
    assert "MACs, both scales logarithmic" in text
    assert "● B=1   ○ B=3" in text
    assert "H100 SXM 80GB" in text


def test_an_error_at_one_value_stands_beside_it_and_the_others_stand() -> None:
    result = run("--vary", "heads=2,3,4,x,1+")
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "unflatten: dimension 2 has 8, which (3, -1) does not divide" in lines["3"]
    assert lines["x"].endswith("unknown name x")
    assert "the expression ends too soon" in lines["1+"]
    assert "2 4 2 4" in lines["2"]
    assert "2 4 4 2" in lines["4"]
    saved = csv.DictReader(io.StringIO(run("--vary", "heads=2,3", "--format", "csv").stdout))
    assert [(row["macs"], bool(row["problem"])) for row in saved] == [(str(macs(2, 4)), False), ("", True)]


def test_where_nothing_can_be_inspected_the_exit_code_is_2() -> None:
    result = run("--vary", "heads=3,5")
    assert result.exit_code == 2
    assert result.stderr == "error: no combination could be inspected\n"
    assert "(5, -1) does not divide" in result.stdout


def test_what_does_not_grow_is_not_drawn() -> None:
    assert "logarithmic" not in run("--vary", "heads=1,2,4,8").stdout


def test_a_dtype_can_be_varied() -> None:
    result = run("--vary", "dtype=float32,bf16,float64", "--format", "csv")
    read = {row["dtype"]: int(row["bytes_read"]) for row in csv.DictReader(io.StringIO(result.stdout))}
    # x, the weight, and the operands of both products: 64 + 64 + 2 · 64 + (32 + 64) numbers of 4, 2 and 8 bytes.
    assert read == {"float32": 352 * 4, "bf16": 352 * 2, "float64": 352 * 8}


def test_a_plot_is_of_the_first_figure_that_changes() -> None:
    (Path("net.yaml")).write_text("vars: {n: 1}\ninputs: {x: 'rand(n)'}\nlayers:\n  - relu(x)\n")
    assert "peak memory, both scales logarithmic" in run("--vary", "n=8:64:x2").stdout


def test_json_keeps_the_report_of_each_point(tmp_path: Path) -> None:
    assert run("--vary", "T=4,8,x", "-o", "sweep.json").exit_code == 0
    data = json.loads((tmp_path / "sweep.json").read_text())
    assert data["vary"] == {"T": ["4", "8", "x"]}
    reports = [Report.from_json(point["report"]) for point in data["sweep"][:2]]
    assert [report.totals.macs for report in reports] == [macs(2, 4), macs(2, 8)]
    assert data["sweep"][2] == {"values": {"T": "x"}, "problem": "unknown name x", "report": None}


def test_markdown_has_a_table_with_the_problems() -> None:
    lines = run("--vary", "heads=2,3", "--format", "markdown").stdout.splitlines()
    assert lines[0] == "### net"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    heading, _, two, three = cells
    assert dict(zip(heading, two, strict=True))["output"] == "2 4 2 4"
    assert "does not divide" in dict(zip(heading, three, strict=True))["problem"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vary", "b=1,2"], "--vary b:1:1: error: there is no var b [name]"),
        (["--vary", "B=1,2", "--set", "B=4"], "--vary B and --set B=… are both given: leave one of them out"),
        (["--vary", "B=1", "--vary", "B=2"], "--vary B is given twice; write all its values behind one: B=1,8,32"),
        (["--vary", "B=4:1"], "4:1 does not grow from 4 to 1; write --vary B=1,8,32"),
        (["--vary", "B=1", "--depth", "2"], "--vary gives the totals at each size, without a run: leave --depth out"),
        (["--vary", "B=1", "--device", "cpu"], "without a run: leave --device out"),
        (["--vary", "B=1", "--show", "q"], "without a run: leave --show out"),
        (["--vary", "B=1", "--format", "tree"], "unknown format tree"),
        (["--vary", "dtype=float33"], "--vary dtype:"),
        (["--vary", "B=1,2", "--set", "d=x"], "--set d:1:1: error: unknown name x [name]"),
    ],
)
def test_wrong_options_are_told(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_what_has_no_vars_is_refused(tmp_path: Path) -> None:
    run("-o", "net.json", "--device", "meta")
    saved = CliRunner().invoke(app, ["inspect", "net.json", "--vary", "B=1"])
    assert "net.json is a saved report, whose sizes are fixed: --vary needs the spec" in saved.stderr
    module = CliRunner().invoke(app, ["inspect", "torch.nn:ReLU", "--vary", "B=1"])
    assert "torch.nn:ReLU cannot be called with B" in module.stderr
    assert "it is ReLU(inplace=False): --arg name=value" in module.stderr


def test_a_run_of_the_command_shown_below_measures_the_same() -> None:
    text = run("--vary", "B=1,2", "--set", "d=4").stdout
    assert "fwdscope bench net.yaml --set d=4 --vary B=1,2" in text
