"""What other programs read of checks and reports: SARIF, badges, the schema of reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

import fwdscope
from fwdscope.cli import app
from fwdscope.report import Report
from fwdscope.report.schema import schema
from fwdscope.targets import shipped_specs

WRONG = "inputs:\n  x: rand(2, 3)\nlayers:\n  - fc = Linear(8)  -> (2, 9)\n  - Linear(3)\nexpect:\n  params: 1\n"
REPORTS = Draft202012Validator(schema())


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout


@pytest.mark.core
@pytest.mark.parametrize("name", ["mlp_xor", "resnet18", "moe_small", "fixed_hidden_mlp", "simple_rnn"])
def test_every_report_is_what_its_schema_says(name: str) -> None:
    Draft202012Validator.check_schema(schema())
    report = fwdscope.inspect(str(shipped_specs()[name]), device="cpu" if name in ("mlp_xor", "simple_rnn") else "meta")
    data = json.loads(report.dumps())
    assert data["$schema"] == schema()["$id"]
    assert [error.message for error in REPORTS.iter_errors(data)] == []
    assert Report.loads(report.dumps()) == report


@pytest.mark.parametrize(
    "change", [{"name": 3}, {"more": 1}, {"totals": {}}, {"device": None}, {"layers": [{"path": "x"}]}, {"version": 99}]
)
def test_the_schema_refuses_what_the_reader_refuses(change: dict[str, object]) -> None:
    data = json.loads(fwdscope.inspect("mlp_xor", device="meta").dumps()) | change
    assert not REPORTS.is_valid(data)
    with pytest.raises(fwdscope.ReportError):
        Report.from_json(data)


def test_a_check_as_sarif_has_a_result_at_each_place(tmp_path: Path) -> None:
    spec = tmp_path / "wrong.yaml"
    spec.write_text(WRONG)
    code, text = run("check", str(spec), "--format", "sarif", "--no-cache")
    assert code == 1
    (one,) = json.loads(text)["runs"]
    places = [
        (result["ruleId"], result["level"], result["locations"][0]["physicalLocation"]["region"]["startLine"])
        for result in one["results"]
    ]
    assert places == [("promise", "error", 4), ("expect", "error", 7), ("note", "note", 5)]
    assert [rule["id"] for rule in one["tool"]["driver"]["rules"]] == ["promise", "expect", "note"]
    run("check", str(spec), "-o", str(tmp_path / "out.sarif"))
    assert json.loads((tmp_path / "out.sarif").read_text())["version"] == "2.1.0"


def test_a_badge_says_a_figure_or_whether_all_is_well(tmp_path: Path) -> None:
    def badge(name: str, *targets: str) -> dict[str, object]:
        run("check", *targets, "--badge", str(tmp_path / name))
        return dict(json.loads((tmp_path / name).read_text()))

    assert badge("params.json", "resnet50") == {
        "schemaVersion": 1, "label": "parameters", "message": "25.6 M", "color": "blue",
    }  # fmt: skip
    assert badge("macs.json", "resnet50")["message"] == "4.09 G"
    assert badge("all.json", "resnet50", "unet")["message"] == "2 specs: 2 ok"
    (tmp_path / "wrong.yaml").write_text(WRONG)
    assert badge("red.json", str(tmp_path / "wrong.yaml"))["color"] == "red"
    code, _ = run("check", "resnet50", "unet", "--badge", str(tmp_path / "params.json"))
    assert code == 2
    assert run("check", "resnet50", "--badge", str(tmp_path / "params.svg"))[0] == 2
