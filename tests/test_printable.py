r"""What terminals and readers would obey: control characters, directions of text, formulas of spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sample_reports

from fwdscope.printable import cell, escaped, printable
from fwdscope.render import FORMATS, render
from fwdscope.render.lines import write
from fwdscope.report import Report

# A title of the terminal, a cleared screen, a right-to-left override, a new line, a separator, C1's own sequences.
HOSTILE = "a\x1b]0;owned\x07\x1b[2J\u202eb\r\nc\u2028\x9b31m\x00"
OBEYED = "\x1b\x07\u202e\r\u2028\x9b\x00"


def hostile(report: Report) -> Report:
    rows = [
        replace(row, path=f"{row.path}{HOSTILE}", label=HOSTILE, type=HOSTILE, text=HOSTILE, note=HOSTILE)
        for row in report.layers
    ]
    inputs = tuple(replace(one, name=HOSTILE) for one in report.inputs)
    return replace(
        report, name=HOSTILE, doc=HOSTILE, source=HOSTILE, notes=(HOSTILE,), layers=tuple(rows), inputs=inputs
    )


def test_what_is_obeyed_becomes_an_escape() -> None:
    assert printable(HOSTILE) == r"a\x1b]0;owned\x07\x1b[2J\u202eb c \x9b31m\x00"
    assert escaped("a\tb\n\x1b[1mc\u202e") == "a\tb\n\\u001b[1mc\\u202e"
    # Colours that fwdscope itself wrote stay on a terminal; whatever else a text holds does not.
    assert escaped("\x1b[1mc\x1b[0m\x1b[2J\u202e", color=True) == "\x1b[1mc\x1b[0m\\u001b[2J\\u202e"
    assert write([(("\x1b[31mred", "bold"),)], color=True) == "\x1b[1m\\u001b[31mred\x1b[0m\n"


def test_json_reads_an_escape_as_the_character() -> None:
    assert json.loads(escaped(json.dumps(HOSTILE, ensure_ascii=False))) == HOSTILE


@pytest.mark.parametrize(
    ("text", "found"), [("=cmd|' /C calc'!A0", "'=cmd"), ("-1+2", "'-1"), ("-", "-"), ("a=b", "a=b")]
)
def test_formulas_are_quoted(text: str, found: str) -> None:
    assert cell(text).startswith(found)


@pytest.mark.parametrize("form", [name for name in FORMATS if name != "json"])
def test_no_format_lets_a_text_of_a_report_be_obeyed(form: str) -> None:
    text = escaped(render(hostile(sample_reports.mlp()), form))
    assert not set(OBEYED) & set(text)


def test_a_cell_of_csv_is_no_formula() -> None:
    report = sample_reports.mlp()
    rows = tuple(replace(row, path=f"={row.path}", text="+1", type="@x") for row in report.layers)
    for row in csv.DictReader(io.StringIO(render(replace(report, layers=rows), "csv"))):
        assert [row["path"][:2], row["text"], row["type"]] == ["'=", "'+1", "'@x"]


def test_commands_write_what_they_read_as_text(tmp_path: Path) -> None:
    report = hostile(sample_reports.mlp())
    (tmp_path / "r.json").write_text(report.dumps(), encoding="utf-8")
    odd = tmp_path / "n\x1b[2J\u202e.yaml"
    odd.write_text("inputs:\n  x: randn(2)\nlayers:\n  - Lin\u202eear\x85(3)\n", encoding="utf-8")
    code = (
        "import sys; from fwdscope.cli import run\n"
        "for command in (['inspect', 'r.json'], ['inspect', 'r.json', '--format', 'json'],\n"
        "                ['diff', 'r.json', 'r.json'],\n"
        "                ['inspect', sys.argv[1]], ['check', '.'], ['view', 'r.json', '--no-open', '-o', 'r.html']):\n"
        "    sys.argv[1:] = command\n"
        "    run()\n"
    ).replace("sys.argv[1]]", f"{odd.name!r}]")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path, check=False)
    text = (done.stdout + done.stderr + (tmp_path / "r.html").read_bytes()).decode("utf-8")
    assert "Traceback" not in text
    assert "owned" in text
    assert not set(OBEYED) & set(text)
