"""``expect`` with formulas: checked at the file's vars, and at any others that are given."""

from __future__ import annotations

from pathlib import Path

import pytest

import fwdscope

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
