"""``expect`` with formulas: checked at the file's vars, and at any others that are given."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import fwdscope
from fwdscope.cli import app
from fwdscope.commands.check.outcome import CheckPoint

SPEC = """\
name: mlp
vars: {{B: 2, d: 8, depth: 3}}
inputs:
  x: rand(B, d)
layers:
  - h = depth * Linear(d)
  - ReLU
expect:
  params: {params}
  macs: B * d ** 2 * depth
  layers:
    h.0: {{params: d * (d + 1)}}
"""


def outcome(folder: Path, params: str) -> list[str]:
    file = folder / "mlp.yaml"
    file.write_text(SPEC.format(params=params))
    (found,) = fwdscope.check(file, cached=False).outcomes
    return [problem.message for problem in found.problems]


def test_a_formula_that_holds_is_met_at_any_vars(tmp_path: Path) -> None:
    assert outcome(tmp_path, "depth * (d * d + d)") == []
    for variables in ({}, {"d": 16}, {"d": 5, "depth": 7, "B": 1}):
        report = fwdscope.inspect(tmp_path / "mlp.yaml", variables=variables, device="meta")
        assert not report.shortfalls
        assert not any("not checked" in note for note in report.notes)


def test_a_formula_that_fails_says_its_value(tmp_path: Path) -> None:
    # 3 · (8 · 8 + 8) is 216.
    outcome(tmp_path, "depth * d * d")
    (point,) = fwdscope.check(tmp_path / "mlp.yaml", cached=False).outcomes[0].failed
    assert (point.what, point.expected, point.got) == ("params", "depth * d * d = 192", "216")
    report = fwdscope.inspect(tmp_path / "mlp.yaml", variables={"d": 16}, device="meta")
    assert [one.expected for one in report.shortfalls] == ["depth * d * d = 768"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth * width", "unknown name width"),
        ("depth * d / 7", "depth * d / 7 is 3.42857"),
        ("many", "many is not a figure"),
        ("4.1X", "4.1X is not a figure"),
    ],
)
def test_what_is_no_formula_says_why(tmp_path: Path, text: str, message: str) -> None:
    assert outcome(tmp_path, text) == [message]


# --- at other values of the vars -------------------------------------------------------------------------------------


def grown(folder: Path, text: str) -> list[CheckPoint]:
    (folder / "grown.yaml").write_text(text)
    (found,) = fwdscope.check(folder / "grown.yaml", cached=False, grow=True).outcomes
    return [point for point in found.points if point.what.endswith("at other vars")]


def test_formulas_that_hold_are_met_at_many_vars(tmp_path: Path) -> None:
    points = grown(tmp_path, SPEC.format(params="depth * (d * d + d)"))
    assert [(point.what, point.state) for point in points] == [
        (f"{what} at other vars", "met") for what in ("params", "macs", "h.0 params")
    ]
    assert all(point.got.startswith("as expected at ") for point in points)


def test_a_formula_that_holds_at_the_files_vars_alone_is_shown_where_it_fails(tmp_path: Path) -> None:
    first, *others = grown(tmp_path, SPEC.format(params="3 * d * (d + 1)"))
    # It says nothing of depth: four layers of 8 · 9 are 288.
    assert (first.state, first.expected, first.got) == ("failed", "3 * d * (d + 1) = 216", "288 at depth = 4")
    assert first.problem is not None
    assert first.problem.message.startswith("params at depth = 4: expected 3 * d * (d + 1) = 216, got 288: 72")
    assert "write d * depth * (d + 1), which holds at all" in first.problem.text
    assert [point.state for point in others] == ["met", "met"]


def test_what_is_no_polynomial_is_compared_all_the_same(tmp_path: Path) -> None:
    text = SPEC.format(params="d * (d + 1) * depth").replace("- ReLU", "- Linear(d // 3)")
    (params, macs, _) = grown(tmp_path, text)
    assert macs.problem is not None
    assert params.state == macs.state == "failed"
    assert "; no polynomial holds at all of them" in macs.problem.text


def test_what_is_kept_of_earlier_positions_is_checked_at_other_vars(tmp_path: Path) -> None:
    spec = "vars: {B: 1, T: 4, d: 6}\ninputs: {x: 'rand(B, T, d)'}\nlayers:\n  - LSTM(d, batch_first=True)\nexpect:\n  "
    # The state and the cell of each sequence, in float32.
    assert [one.state for one in grown(tmp_path, spec + "kv_cache: 2 * 4 * B * d\n")] == ["met"]
    assert [one.state for one in grown(tmp_path, spec + "kv_cache: 2 * 4 * d\n")] == ["failed"]


def test_vars_that_can_have_no_other_value_are_skipped(tmp_path: Path) -> None:
    text = "vars: {h: 2}\ninputs: {x: 'rand(3, 8)'}\nlayers:\n  - x.unflatten(-1, (4, h)).flatten(1)\n  - Linear(5)\n"
    (point,) = grown(tmp_path, text + "expect:\n  params: 5 * (4 * h + 1)\n")
    assert point.state == "skipped"
    assert point.reason == "the network can be built with no other values of its vars"


def test_the_option_has_an_outcome_of_its_own_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FWDSCOPE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mlp.yaml").write_text(SPEC.format(params="3 * d * (d + 1)"))
    command = ["check", str(tmp_path / "mlp.yaml")]
    codes = [CliRunner().invoke(app, [*command, *more]).exit_code for more in ((), ("--grow",)) * 2]
    assert codes == [0, 1, 0, 1]
