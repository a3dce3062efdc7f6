from __future__ import annotations

import csv
import io
import subprocess
import sys
from dataclasses import fields, replace

import pytest
import sample_reports

from fwdscope.render import FORMATS, Options, render, view
from fwdscope.report import ActivationStats, LayerRow, Promise, Report

REPORTS = {
    "resnet50": sample_reports.resnet50(),
    "gpt2": sample_reports.gpt2(),
    "troubled": sample_reports.troubled(),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", REPORTS)
def test_every_format_writes_whole_lines_without_colour(form: str, name: str) -> None:
    text = render(REPORTS[name], form)
    assert text.endswith("\n")
    assert "\x1b" not in text


def test_an_unknown_format_is_told_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="unknown format 'xml'; there are: table, tree, json, csv, markdown, svg"):
        render(REPORTS["gpt2"], "xml")


@pytest.mark.core
def test_json_loads_back_into_the_same_report_whatever_the_options() -> None:
    for report in REPORTS.values():
        assert Report.loads(render(report, "json", Options(depth=1))) == report


def _records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_a_line_for_every_row_and_a_column_for_every_field() -> None:
    records = _records(render(REPORTS["gpt2"], "csv"))
    assert len(records) == len(REPORTS["gpt2"].layers)
    several = {
        "stats",
        "backward",
        "formulas",
        "operators",
        "backward_operators",
        "eager",
        "kernels",
        "rank",
        "copy_item_stds",
    }
    assert {field.name for field in fields(LayerRow)} - several <= set(records[0])
    assert {f"stats_{field.name}" for field in fields(ActivationStats)} <= set(records[0])


@pytest.mark.core
def test_csv_figures_are_plain_numbers_that_sum_to_the_total() -> None:
    records = _records(render(REPORTS["resnet50"], "csv"))
    assert sum(int(r["params"]) for r in records if r["depth"] == "1") == 25_557_032
    assert records[0]["output_shapes"] == "1x64x112x112"
    assert records[0]["parameters"] == "weight:64x3x7x7"


def test_csv_takes_promises_apart_and_joins_lists() -> None:
    records = _records(render(REPORTS["troubled"], "csv"))
    broken = next(r for r in records if r["promise"])
    assert (broken["promise"], broken["promise_held"], broken["promise_got"]) == ("(B, 96)", "false", "(4, 128)")
    assert records[0]["promise_held"] == ""
    assert next(r for r in records if r["path"] == "loop.cell")["varies"] == "true"
    several = next(r for r in _records(render(REPORTS["gpt2"], "csv")) if "unflatten" in r["text"])
    assert several["output_shapes"] == "1x12x1024x64;1x12x1024x64;1x12x1024x64"


def test_csv_folds_only_where_asked() -> None:
    assert len(_records(render(REPORTS["gpt2"], "csv", Options(depth=1)))) == 6


def test_the_tree_is_indented_by_two_spaces_a_level() -> None:
    lines = render(REPORTS["gpt2"], "tree").splitlines()
    assert lines[0] == "gpt2: tokens (1, 1024) int64  →  (1, 1024, 50257)"
    # 12 · 768 · 768 · 1024 of the matrices and 2 · 1024 · 1024 · 768 of the attention
    assert "    0–11 × 12: Block  (1, 1024, 768)  7,087,872 params, 8.86 G MACs each" in lines
    assert "        c_attn: Linear  (1, 1024, 2304)  1,771,776 params, 1.81 G MACs" in lines
    assert "  linear(ln_f, wte.weight) ↺ wte.weight  (1, 1024, 50257)  39.5 G MACs" in lines


def test_csv_rows_times_how_many_they_stand_for_are_the_totals() -> None:
    report = REPORTS["gpt2"]
    records = _records(render(report, "csv"))
    depths = [int(r["depth"]) for r in records]
    ends = [r for r, here, after in zip(records, depths, [*depths[1:], 0], strict=True) if after <= here]
    for name in ("params", "macs", "flops", "bytes_read", "bytes_written"):
        assert sum(int(r[name]) * int(r["times"]) for r in ends) == getattr(report.totals, name)


def test_csv_of_the_most_costly_rows_keeps_the_figures_of_one_copy() -> None:
    records = _records(render(REPORTS["gpt2"], "csv", Options(sort="macs", top=2)))
    # 1024 · 768 · 50257, and of each of twelve 1024 · 768 · 3072
    assert [(r["macs"], r["times"]) for r in records] == [("39523713024", "1"), ("2415919104", "12")]


@pytest.mark.parametrize("form", ["table", "tree", "markdown"])
def test_operators_without_a_rule_are_told_and_make_the_totals_a_lower_bound(form: str) -> None:
    text = render(REPORTS["troubled"], form).replace("\\", "")
    assert "≥ 2.97 M MACs" in text
    assert "≥ no counting rule: aten.special_zeta.default in 1 row" in text
    assert "≥" not in render(REPORTS["gpt2"], form)


@pytest.mark.parametrize("form", ["table", "tree", "markdown"])
def test_a_report_that_did_not_count_shows_no_costs(form: str) -> None:
    text = render(sample_reports.uncounted(sample_reports.mlp()), form)
    assert "MACs" not in text
    assert "peak memory" not in text
    assert "101,770 parameters" in text


@pytest.mark.parametrize("form", ["table", "tree", "markdown"])
def test_a_flat_list_names_rows_by_path(form: str) -> None:
    text = render(REPORTS["gpt2"], form, Options(top=3)).replace("`", "")
    assert "h.0.mlp.c_fc × 12" in text
    assert "sorted by MACs  ·  3 of 6 rows, 66.9 % of all MACs  ·  11 rows without MACs left out" in text


def test_broken_promises_and_shortfalls_are_in_every_text() -> None:
    for form in ("table", "tree", "markdown"):
        for depth in (1, 4):
            text = render(REPORTS["troubled"], form, Options(depth=depth)).replace("\\", "")
            assert "✗ promised (B, 96), got (4, 128)" in text
            assert "✗ params: expected 184_320, got 184,608" in text
            assert "replaced by --input" in text


def test_notes_of_rows_are_in_every_text() -> None:
    for form in ("table", "tree", "markdown"):
        assert "the data decides how often" in render(REPORTS["troubled"], form)


def _cells(line: str) -> list[str]:
    """The cells of a line of a GitHub table: a bar with a backslash before it is text."""
    return line.replace("\\|", "\0").strip("|").split("|")


def test_a_markdown_table_has_as_many_cells_in_every_line() -> None:
    report = REPORTS["troubled"]
    tricky = replace(report.layers[0], label="a|b", text="x | y `z`", kind="expression")
    text = render(replace(report, layers=(tricky, *report.layers[1:])), "markdown")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(view(report).rows)
    assert {len(_cells(line)) for line in table} == {6}
    assert "`` x \\| y `z` ``" in text


def test_markdown_lets_no_html_through() -> None:
    report = replace(REPORTS["troubled"], name="<script>", notes=("<img src=x>",))
    layers = (replace(report.layers[0], text="<b>", promise=Promise("<i>", held=False, got="<u>")), *report.layers[1:])
    text = render(replace(report, layers=layers), "markdown")
    assert "\\<script" in text
    assert not [tag for tag in ("script", "img", "b>", "i>", "u>") if f"<{tag}" in text.replace(f"\\<{tag}", "")]


_STAYS_OUT = """
import sys
from fwdscope.render import FORMATS, Options, render
from fwdscope.report import Report
report = Report.loads(sys.stdin.read())
for name in FORMATS.keys() - {"svg"}:  # which Rich draws
    render(report, name, Options(color=True))
loaded = [name for name in ("torch", "rich", "yaml", "typer") if name in sys.modules]
print(loaded)
"""


def test_a_report_is_drawn_without_torch_rich_yaml_and_typer() -> None:
    text = REPORTS["gpt2"].dumps()
    done = subprocess.run(
        [sys.executable, "-c", _STAYS_OUT], input=text, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert done.stdout.strip() == "[]"


def test_csv_has_the_latency_of_the_whole_where_it_was_timed() -> None:
    import csv

    from torch import nn, randn

    from fwdscope.inspection import inspect_module
    from fwdscope.settings import RunSettings

    module, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), randn(2, 4)
    assert "whole_median" not in render(inspect_module(module, (x,)), "csv", Options())
    report = inspect_module(module, (x,), settings=RunSettings("cpu", stats=False))
    assert report.run is not None
    latency = report.run.latency
    assert latency is not None
    for row in csv.DictReader(render(report, "csv", Options()).splitlines()):
        assert [float(row[f"whole_{name}"]) for name in ("median", "p90", "p99")] == [
            latency.median,
            latency.p90,
            latency.p99,
        ]
