"""The formats of a check, drawn from outcomes made by hand, without torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from paths import ROOT

from fwdscope.commands.check.outcome import STATES, CheckMessage, CheckPoint, CheckRun, Outcome
from fwdscope.render.checks import FORMATS, render, text
from fwdscope.report.report import read_dataclass

UNKNOWN = CheckMessage("name", "unknown layer Relux", 6, 5)
SHORT = CheckMessage(
    "expect",
    "params: expected 74, got 75: 1 (1.4 %) too many",
    10,
    11,
    ("as promised up to fc1",),
    "a.yaml:10:11: error: params: expected 74, got 75 [expect]\n   |\n10 |   params: 74\n   |           ^^",
)
SUMS = (
    "4 specs: 1 ok, 1 failed, 1 invalid, 1 crashed  ·  2 met, 1 not met, 1 skipped, 1 other file skipped  ·  1.2 s "
    "(1 unchanged)"
)
HARD = 'x < 1 & "y" % 50, 100%:\r\nnext `line`\x1b[31m | ]]>'


def outcome(**given: object) -> Outcome:
    return Outcome(**{"file": "s/a.yaml", "name": "a", "state": "ok", "params": 75, "macs": 264, **given})  # type: ignore[arg-type]


def one_of_each() -> CheckRun:
    held = CheckPoint("promise", "shape of Linear(3)", "(B, 3)", "met", 7)
    short = CheckPoint("expect", "params", "74", "failed", 10, "75", "1 too many", problem=SHORT)
    skipped = CheckPoint("expect", "latency", "<= 40 ms on cuda", "skipped", 11, reason="there is no cuda here")
    note = CheckMessage("note", "linear has weights and no name", 5, 3, text="s/ok.yaml:5:3: note: linear has …")
    return CheckRun(
        (
            outcome(file="s/ok.yaml", points=(held, skipped), notes=(note,), seconds=0.25),
            outcome(file="s/short.yaml", state="failed", points=(held, short), cached=True),
            outcome(
                file="s/wrong.yaml", state="invalid", problems=(CheckMessage("name", "unknown layer Relux", 6, 5),) * 2
            ),
            outcome(file="s/ci.yaml", state="skipped", reason="not a spec", params=None, macs=None),
            outcome(file="s/bad.yaml", state="crashed", reason="this is a defect of fwdscope: boom"),
        ),
        1.25,
        ("base/gone.yaml.json is the baseline of a spec that is gone",),
    )


def draw(form: str, run: CheckRun | None = None) -> str:
    return render(run or one_of_each(), form)


def hard() -> CheckRun:
    told = CheckMessage("expect", HARD, 3, 4, (HARD,), HARD)
    point = CheckPoint("expect", HARD, HARD, "failed", 3, HARD, HARD, problem=told)
    note = CheckMessage("note", HARD, 1, 1, text=HARD)
    skipped = CheckPoint("promise", HARD, HARD, "skipped", 3, reason=HARD)
    return CheckRun((outcome(file="s/a, b:c%.yaml", state="failed", points=(point, skipped), notes=(note,)),), 1.0)


def test_the_worst_outcome_gives_the_exit_code() -> None:
    assert [CheckRun((outcome(state=state),), 0.0).exit_code for state in STATES] == [0, 0, 1, 2, 3]
    assert one_of_each().exit_code == 3


# --- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_text_is_a_line_for_each_spec_then_problems_then_totals() -> None:
    assert draw("text").splitlines() == [
        "s/ok.yaml     ok, 1 skipped                 75 params       264 MACs     0.25 s",
        "s/short.yaml  failed 1 of 2                 75 params       264 MACs  unchanged",
        "s/wrong.yaml  2 problems                    75 params       264 MACs     0.00 s",
        "s/ci.yaml     skipped               not a spec",
        "s/bad.yaml    crashed                       75 params       264 MACs     0.00 s",
        "",
        *SHORT.text.splitlines(),
        *["", "s/wrong.yaml:6:5: error: unknown layer Relux"] * 2,
        "",
        "s/bad.yaml: this is a defect of fwdscope: boom",
        "",
        "s/ok.yaml:11: skipped: latency <= 40 ms on cuda: there is no cuda here",
        "s/ok.yaml:5:3: note: linear has …",
        "note: base/gone.yaml.json is the baseline of a spec that is gone",
        "",
        SUMS,
    ]


def test_a_spec_that_cannot_be_built_has_no_costs_and_wide_names_keep_the_columns() -> None:
    some = CheckRun(
        (
            outcome(file="漢字.yaml"),
            outcome(file="a.yaml", state="invalid", problems=(CheckMessage("name", "m"),), params=None, macs=None),
        ),
        1.0,
    )
    first, second, *_ = draw("text", some).splitlines()
    assert first == "漢字.yaml  ok, expects nothing           75 params       264 MACs     0.00 s"
    assert second == "a.yaml     1 problem                                                  0.00 s"


def test_colour_changes_no_letter() -> None:
    coloured = text.render(one_of_each(), colour=True)
    assert "\033[31m" in coloured
    assert re.sub(r"\033\[[\d;]*m", "", coloured) == text.render(one_of_each())


def test_text_shows_what_a_terminal_would_obey() -> None:
    """What stands in a problem is drawn by Problem itself; notes and names are the renderer's."""
    note = CheckMessage("note", "", 1, 1, text="a\x1b[31mred")
    assert "\x1b" not in draw("text", CheckRun((outcome(file="a\x1b[2J.yaml", notes=(note,)),), 1.0))


# --- github ----------------------------------------------------------------------------------------------------------


def unescaped(line: str) -> tuple[str, dict[str, str], str]:
    """A command read as GitHub's runner reads it: level, properties, message."""
    found = re.fullmatch(r"::(\w+) (.*?)::(.*)", line)
    assert found, line

    def back(value: str, more: bool) -> str:
        for code, sign in (("%3A", ":"), ("%2C", ",")) if more else ():
            value = value.replace(code, sign)
        return value.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")

    properties = dict(item.split("=", 1) for item in found[2].split(","))
    return found[1], {name: back(value, True) for name, value in properties.items()}, back(found[3], False)


@pytest.mark.core
def test_github_gets_an_error_on_the_line_of_each_problem() -> None:
    *commands, last = draw("github").splitlines()
    read = [unescaped(command) for command in commands]
    assert [(level, one["file"], one.get("line")) for level, one, _ in read[:-1]] == [
        ("notice", "s/ok.yaml", "11"),
        ("notice", "s/ok.yaml", "5"),
        ("error", "s/short.yaml", "10"),
        ("error", "s/wrong.yaml", "6"),
        ("error", "s/wrong.yaml", "6"),
        ("error", "s/bad.yaml", None),
    ]
    assert read[2][1] == {"file": "s/short.yaml", "line": "10", "col": "11", "title": "a: expect"}
    assert read[2][2] == f"{SHORT.message}\nas promised up to fc1"
    assert read[-1][0] == "warning"
    assert not last.startswith("::")


def test_github_reads_back_what_was_written() -> None:
    commands = draw("github", hard()).splitlines()[:-1]
    level, properties, message = unescaped(commands[0])
    assert (level, properties["file"], message) == ("error", "s/a, b:c%.yaml", f"{HARD}\n{HARD}")


def test_github_gets_files_as_seen_from_the_root_of_the_repository(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(folder.parent))
    assert unescaped(draw("github").splitlines()[0])[1]["file"] == "work/s/ok.yaml"


# --- junit -----------------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_junit_has_a_case_for_each_spec_and_each_check() -> None:
    suite = ET.fromstring(draw("junit"))[0]
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time")} == {
        "tests": "9",
        "failures": "1",
        "errors": "2",
        "skipped": "2",
        "time": "1.250",
    }
    cases = [
        (case.get("classname"), case.get("name"), [child.tag for child in case]) for case in suite.iter("testcase")
    ]
    assert cases == [
        ("s/ok.yaml", "builds", ["system-out"]),
        ("s/ok.yaml", "line 7: shape of Linear(3) -> (B, 3)", []),
        ("s/ok.yaml", "line 11: latency is <= 40 ms on cuda", ["skipped"]),
        ("s/short.yaml", "builds", []),
        ("s/short.yaml", "line 7: shape of Linear(3) -> (B, 3)", []),
        ("s/short.yaml", "line 10: params is 74", ["failure"]),
        ("s/wrong.yaml", "builds", ["error"]),
        ("s/ci.yaml", "builds", ["skipped"]),
        ("s/bad.yaml", "builds", ["error"]),
    ]
    (failure,) = suite.iter("failure")
    assert (failure.get("type"), failure.get("message")) == ("expect", SHORT.message)
    assert failure.text == SHORT.text


def test_junit_keeps_to_elements_and_attributes_that_every_reader_knows() -> None:
    """As in the schema that Jenkins publishes for JUnit's reports (junit-10.xsd)."""
    known = {
        "testsuites": set(),
        "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
        "testcase": {"classname", "name", "time"},
        "failure": {"type", "message"},
        "error": {"type", "message"},
        "skipped": {"message"},
        "system-out": set(),
    }
    for run in (one_of_each(), hard()):
        for element in ET.fromstring(draw("junit", run)).iter():
            assert set(element.attrib) <= known[element.tag]


def test_junit_names_every_case_once_on_one_line_and_counts_them() -> None:
    for run in (one_of_each(), hard()):
        suite = ET.fromstring(draw("junit", run))[0]
        names = [(case.get("classname"), case.get("name")) for case in suite.iter("testcase")]
        assert len(set(names)) == len(names) == int(suite.get("tests", ""))
        assert not any("\n" in str(name) for _, name in names)
        found = {tag: len(list(suite.iter(tag))) for tag in ("failure", "error", "skipped")}
        told = {
            tag: int(suite.get(name, "")) for tag, name in zip(found, ("failures", "errors", "skipped"), strict=True)
        }
        assert found == told


def test_junit_is_valid_xml_for_any_text_of_a_file() -> None:
    (failure,) = ET.fromstring(draw("junit", hard())).iter("failure")
    assert failure.text is not None
    # XML has no escape characters, and reads every line end as one sign.
    assert failure.text == HARD.replace("\x1b", "\ufffd").replace("\r\n", "\n")


# --- json and markdown -----------------------------------------------------------------------------------------------


@pytest.mark.core
def test_json_contains_everything_and_loads_back() -> None:
    for run in (one_of_each(), hard()):
        found = json.loads(draw("json", run))
        assert tuple(read_dataclass(Outcome, spec, "outcome") for spec in found["specs"]) == run.outcomes
    assert found["version"] == 1
    assert json.loads(draw("json"))["states"] == {"crashed": 1, "ok": 1, "failed": 1, "skipped": 1, "invalid": 1}


@pytest.mark.core
def test_markdown_shows_what_failed_and_folds_the_rest() -> None:
    drawn = draw("markdown")
    assert drawn.startswith("### ❌ fwdscope check\n")
    shown, folded = drawn.split("<details>")
    assert "| s/short.yaml | ❌ failed 1 of 2 | 75 | 264 |" in shown
    assert f"```text\n{SHORT.text}\n```" in shown
    assert "s/ok.yaml |" in folded
    assert "s/ok.yaml |" not in shown
    assert draw("markdown", CheckRun((outcome(),), 1.0)).startswith("### ✅ fwdscope check\n")


def test_markdown_cannot_be_broken_out_of() -> None:
    fence = CheckMessage("expect", "m", 1, 1, text="before\n```\n<script>")
    drawn = draw(
        "markdown",
        CheckRun((outcome(state="failed", points=(CheckPoint("expect", "", "", "failed", problem=fence),)),), 1.0),
    )
    assert "````text\nbefore\n```\n<script>\n````" in drawn
    assert "a\\|b\\<c" in draw("markdown", CheckRun((outcome(file="a|b<c.yaml"),), 1.0))


def test_every_format_is_a_file_of_its_name() -> None:
    files = {path.stem for path in (ROOT / "fwdscope/render/checks").glob("*.py")}
    assert set(FORMATS) == files - {"__init__", "words"}
