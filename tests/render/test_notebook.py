"""What a notebook shows, and what a report does from Python to be looked at."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import sample_reports
import sample_runs

import fwdscope
from fwdscope.commands.check.outcome import CheckPoint, CheckRun, Outcome
from fwdscope.commands.diff import compare
from fwdscope.display import InNotebook
from fwdscope.render import Options, checks, csv, layer, render
from fwdscope.report import Report, multiplicities

HOSTILE = "<script>alert(1)</script>"


class Parsed(HTMLParser):
    """Text and elements of HTML. Raises where an element is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.classes: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.classes += (dict(attrs).get("class") or "").split()
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if "style" not in self.open else ""


def shown(one: InNotebook) -> Parsed:
    return Parsed(one._repr_html_())


def checked() -> CheckRun:
    points = (
        CheckPoint("expect", "macs", "3", "failed", 9, "4"),
        CheckPoint("promise", "shape of fc", "(1, 2)", "met", 4),
    )
    return CheckRun(
        (Outcome("a.yaml", "a", "ok"), Outcome(f"{HOSTILE}.yaml", "b", "failed", points, params=10, macs=4)), 0.5
    )


def test_a_report_folds_as_its_tree_and_has_its_numbers() -> None:
    report = sample_reports.gpt2()
    parsed = shown(report)
    around = sum(after.depth > row.depth for row, after in zip(report.layers, report.layers[1:], strict=False))
    # One more folds the graph.
    assert parsed.tags.count("details") == around + 1
    assert parsed.classes.count("row") == len(report.layers) + 1
    assert {"svg", "style"} <= set(parsed.tags)
    for row in report.layers:
        assert f"{row.params:,}" in parsed.text
    assert f"{report.totals.params:,} parameters" in parsed.text


def test_the_largest_reports_leave_out_what_is_deepest() -> None:
    report = sample_reports.gpt2()
    many = replace(report, layers=report.layers * 60)
    parsed = shown(many)
    assert parsed.classes.count("row") <= 800
    assert "folded" in parsed.text


@pytest.mark.parametrize(
    "one",
    [
        sample_reports.mlp(),
        sample_reports.troubled(),
        sample_runs.overflown(),
        compare(sample_reports.gpt2(), sample_reports.gpt2(d=512, depth=3)),
        compare(sample_reports.mlp(), sample_reports.mlp()),
        checked(),
        replace(sample_reports.mlp(), layers=(), name=HOSTILE),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_notebook_needs_no_script_and_keeps_its_own_look(one: InNotebook) -> None:
    text = one._repr_html_()
    parsed = Parsed(text)
    assert not {"script", "link", "img", "iframe"} & set(parsed.tags)
    # No rule of the style sheets reaches out of the block: those of the graph's picture begin with .fwd- too.
    for sheet in re.findall(r"<style>(.*?)</style>", text, re.S):
        rules = re.sub(r"/\*.*?\*/|@media[^{]*", "", sheet, flags=re.S)
        selectors = [one.strip() for rule in re.findall(r"([^{}]+)\{", rules) for one in rule.split(",")]
        assert [one for one in selectors if one and not one.startswith((".fwdscope", ".fwd-", "pre)"))] == []
    assert not re.search(r"color-scheme|background: ?(#fff|white)", text.partition("<svg")[0])


def test_texts_of_a_report_stay_text() -> None:
    rows = [
        replace(row, path=f"{HOSTILE}{i}", label=HOSTILE, text=f"<b>{i}")
        for i, row in enumerate(sample_reports.mlp().layers)
    ]
    report = replace(sample_reports.mlp(), layers=tuple(rows), name=HOSTILE, notes=(HOSTILE,))
    parsed = shown(report)
    assert "b" not in parsed.tags
    assert parsed.text.count(HOSTILE) >= len(rows) + 2
    assert f"{HOSTILE}.yaml" in shown(checked()).text


def test_a_comparison_has_its_totals_and_changes() -> None:
    compared = compare(sample_reports.gpt2(), sample_reports.gpt2(d=512, depth=3))
    parsed = shown(compared)
    for total in (compared.before.totals.params, compared.after.totals.params):
        assert f"{total:,}" in parsed.text
    assert parsed.text.count("~") >= len(compared.changes)
    assert parsed.tags.count("svg") == 2


def test_a_check_opens_what_failed() -> None:
    text = checked()._repr_html_()
    assert text.count("<details open>") == 1
    parsed = Parsed(text)
    assert parsed.text.index(f"{HOSTILE}.yaml") < parsed.text.index("a.yaml")
    assert "macs: expected 3, got 4" in parsed.text


def test_an_explanation_is_what_the_terminal_prints() -> None:
    explanation = fwdscope.explain("mlp_xor", "hidden")
    parsed = shown(explanation)
    assert parsed.tags.count("pre") == 1
    assert "PARAMETERS" in parsed.text


def test_pages_are_those_of_the_commands() -> None:
    report = sample_reports.mlp()
    assert report.to_html() == render(report, "html")
    assert checked().to_html() == checks.render(checked(), "html")
    assert 'id="page-words"' in compare(report, report).to_html()


def test_show_prints_a_layer(capsys: pytest.CaptureFixture[str]) -> None:
    report = sample_runs.ran(sample_reports.resnet50())
    row = report.layers[0]
    report.show(row.path)
    text = capsys.readouterr().out
    assert text.splitlines()[0].startswith(f"{row.path}  ·  {row.text}")
    assert f"{row.params:,}" in text
    assert "latency" in text
    report.show()
    assert "25,557,032 parameters" in capsys.readouterr().out
    with pytest.raises(LookupError, match="there is no layer covn1; did you mean conv1"):
        report.show("covn1")


def test_every_row_of_a_report_can_be_shown() -> None:
    for report in (sample_runs.overflown(), sample_reports.troubled(), sample_reports.gpt2()):
        for index in range(len(report.layers)):
            assert list(layer.lines(report, index, 60))


def test_show_displays_in_a_notebook(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    displayed: list[str] = []
    ipython = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(HTML=str, display=displayed.append))
    report = sample_reports.mlp()
    report.show()
    report.show(report.layers[0].path)
    assert displayed[0] == report._repr_html_()
    assert report.layers[0].path in Parsed(displayed[1]).text
    assert capsys.readouterr().out == ""


def test_rows_as_a_dataframe(monkeypatch: pytest.MonkeyPatch) -> None:
    report = sample_runs.ran(sample_reports.resnet50())
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        report.to_dataframe()
    fake = ModuleType("pandas")
    fake.DataFrame = list  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", fake)
    rows = report.to_dataframe()
    times = multiplicities(report.layers)
    assert sum(row["params"] * row["times"] for row in rows if row["parameters"]) == report.totals.params
    assert [row["times"] for row in rows] == list(times)
    assert rows[0]["stats_mean"] == report.layers[0].stats.mean  # type: ignore[union-attr]
    # Of a file, columns for the whole and its settings follow; a column of estimates is left out if there are none.
    header = csv.render(report, Options()).splitlines()[0].split(",")
    estimated = ("eager", "kernels", "backward_eager", "backward_kernels")
    shares = [name for name in rows[0] if name.startswith("rank_") or name == "copy_item_stds"]
    assert [name for name in rows[0] if name not in (*estimated, *shares)] == header[: header.index("times") + 1]


def test_none_of_it_needs_torch(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(sample_runs.ran(sample_reports.mlp()).dumps(), encoding="utf-8")
    code = (
        "import sys, fwdscope\n"
        "report = fwdscope.load(sys.argv[1])\n"
        "report._repr_html_(), report.to_html(), report.show(), report.show(report.layers[0].path)\n"
        "fwdscope.diff(report, report)._repr_html_()\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, check=False).returncode == 0
    assert isinstance(Report.loads(file.read_text(encoding="utf-8")), InNotebook)
