from __future__ import annotations

import re
from dataclasses import replace

import pytest
import sample_reports
import sample_runs
from rich.cells import cell_len

from fwdscope.render import Options, terminal
from fwdscope.render.lines import shorten, wrap
from fwdscope.render.table import bar_of, share_style
from fwdscope.render.training import curve
from fwdscope.report import PHASES, LayerRow, Report, Totals

ALL = {
    "resnet50": sample_reports.resnet50(),
    "gpt2": sample_reports.gpt2(),
    "mlp": sample_reports.mlp(),
    "troubled": sample_reports.troubled(),
    "resnet50-ran": sample_runs.ran(sample_reports.resnet50()),
    "gpt2-overflown": sample_runs.overflown(),
    "deep": sample_runs.exploding(),
}


def _drawn(report: Report, width: int, options: Options | None = None, color: bool = False) -> str:
    return terminal.render(report, (options or Options())._replace(width=width, color=color))


def _table(text: str) -> list[str]:
    """The lines from the titles of the columns to the blank line after the rows."""
    lines = text.splitlines()
    rule = next(i for i, line in enumerate(lines) if line.strip().startswith("───"))
    return lines[rule - 1 : lines.index("", rule)] if "" in lines[rule:] else lines[rule - 1 :]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 160])
@pytest.mark.parametrize("name", ALL)
def test_no_row_is_wider_than_the_terminal(name: str, width: int) -> None:
    report = ALL[name]
    table = _table(_drawn(report, width, Options(depth=9)))
    assert len(table) >= 2 + len(report.layers)
    assert max(map(cell_len, table)) <= width


@pytest.mark.parametrize("name", ["resnet50", "gpt2", "mlp"])
def test_a_line_a_row_and_no_more(name: str) -> None:
    table = _table(_drawn(ALL[name], 60, Options(depth=9)))
    assert len(table) == 2 + len(ALL[name].layers)


def test_colour_changes_nothing_but_colour() -> None:
    colored = _drawn(ALL["gpt2"], 100, color=True)
    assert "\x1b[1m" in colored
    lines = re.sub(r"\x1b\[[\d;]*m", "", colored).splitlines()
    assert [line.rstrip() for line in lines] == _drawn(ALL["gpt2"], 100).splitlines()


def test_a_file_gets_no_colour_and_the_width_it_needs() -> None:
    text = terminal.render(ALL["gpt2"], Options())
    assert "\x1b" not in text
    assert "scaled_dot_product_attention(q, k, v, is_causal=True)" in text
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    narrow = terminal.render(ALL["gpt2"], Options(width=60))
    assert max(map(cell_len, _table(narrow))) <= 60


@pytest.mark.core
def test_what_a_stranger_wrote_cannot_command_the_terminal() -> None:
    nasty = "\x1b]0;owned\x07[bold]x[/bold]\r\u202e"
    report = ALL["troubled"]
    rows = tuple(replace(row, label=nasty, text=nasty, note=nasty, path=nasty) for row in report.layers)
    shortfalls = tuple(replace(s, what=nasty, expected=nasty, got=nasty) for s in report.shortfalls)
    report = replace(report, name=nasty, doc=nasty, source=nasty, notes=(nasty,), layers=rows, shortfalls=shortfalls)
    for text in (_drawn(report, 100), terminal.render(report, Options())):
        assert not {"\x1b", "\x07", "\r", "\u202e"} & set(text)
    # Square brackets are text and no markup.
    assert "[bold]x[/bold]" in _drawn(report, 200)


def test_the_bar_is_as_long_as_the_share_and_never_gone() -> None:
    assert bar_of(1.0, 10) == "█" * 10
    assert bar_of(0.5, 10) == "█" * 5
    assert bar_of(0.55, 10) == "█████▌"
    assert bar_of(1e-9, 10) == "▏"
    assert bar_of(1.5, 10) == "█" * 10


@pytest.mark.core
@pytest.mark.parametrize(
    ("share", "style"), [(0.31, "bold magenta"), (0.1, "yellow"), (0.02, "cyan"), (0.019, "dim"), (0, "dim")]
)
def test_the_colour_goes_by_share_in_four_steps(share: float, style: str) -> None:
    assert share_style(share) == style


def test_red_marks_what_is_broken_and_nothing_else() -> None:
    red = "\x1b[31m"
    assert red not in _drawn(ALL["resnet50"], 100, color=True)
    lines = [line for line in _drawn(ALL["troubled"], 100, color=True).splitlines() if red in line]
    wrong = ("4 128", "promised", "special.zeta(", "no counting rule", "expected")
    assert [next(text for text in wrong if text in line) for line in lines] == list(wrong)


@pytest.mark.parametrize(
    ("text", "width", "cut", "short"),
    [
        ("adaptiveavgpool2d", 9, "middle", "adap…ol2d"),
        ("adaptiveavgpool2d", 17, "middle", "adaptiveavgpool2d"),
        ("scaled_dot_product", 7, "end", "scaled…"),
        ("cat(a, b)", 8, "end", "cat(a,…"),
        ("ab", 1, "end", "…"),
        ("漢字漢字漢字", 7, "middle", "漢字…字"),
    ],
)
def test_what_is_too_long_is_shortened_where_it_tells_least(text: str, width: int, cut: str, short: str) -> None:
    got = shorten(text, width, cut)
    assert cell_len(got) <= width
    assert got.replace(" ", "") == short.replace(" ", "")


def test_deep_rows_keep_their_names_before_their_guides() -> None:
    rows = tuple(LayerRow(f"r{i}", "Linear", "layer", i + 1, label=f"name{i}", params=1) for i in range(20))
    report = replace(ALL["mlp"], layers=rows, totals=Totals(1, 1, 0, 4, 0))
    table = _table(_drawn(report, 60, Options(depth=20)))
    assert "name19" in table[-1]


def test_columns_without_room_are_named() -> None:
    text = _drawn(ALL["gpt2"], 40)
    assert "no room for params, macs, share" in text
    assert "no room" not in _drawn(ALL["gpt2"], 80)


def test_a_report_without_rows_is_drawn() -> None:
    empty = replace(ALL["mlp"], layers=(), totals=Totals(0, 0, 0, 0, 0))
    assert "0 parameters" in _drawn(empty, 80)


def test_at_most_five_findings_are_shown_and_the_rest_counted() -> None:
    report = ALL["mlp"]
    wide = LayerRow(
        "emb", "Embedding", "layer", 1, params=4, parameters=(sample_reports.TensorInfo("weight", (4,), "f"),)
    )
    readers = tuple(LayerRow(f"r{i}", "linear", "expression", 1, reads=(f"t{i}.weight",)) for i in range(7))
    tables = tuple(replace(wide, path=f"t{i}") for i in range(7))
    crowded = replace(report, layers=tables + readers, totals=Totals(28, 28, 0, 112, 0))
    text = _drawn(crowded, 100)
    assert text.count("tied weights") == 5
    assert "and 2 more" in text


def test_a_narrow_table_says_numbers_in_fewer_digits_of_one_unit() -> None:
    wide, narrow = (_table(_drawn(ALL["resnet50"], width, Options(depth=1))) for width in (100, 72))
    fc = [next(line for line in lines if " fc " in line) for lines in (wide, narrow)]
    assert "2,049,000" in fc[0]
    assert "2.05 M" in fc[1]
    assert "share of MACs" in wide[0]


def test_the_column_sorted_by_stays_while_there_is_room_for_one() -> None:
    assert "MiB" in _table(_drawn(ALL["gpt2"], 56, Options(sort="memory")))[2]


def test_a_number_stays_with_its_unit() -> None:
    assert wrap("about twenty: (22.4 %) and 1.61 G MACs", 20) == [
        "about twenty:",
        "(22.4 %) and 1.61 G",
        "MACs",
    ]
    assert wrap("3 Get one and of 12 KiB", 20) == ["3 Get one and of", "12 KiB"]


@pytest.mark.parametrize("width", [60, 100, 140])
def test_the_memory_of_a_training_step_is_a_line_above_its_phases(width: int) -> None:
    report = sample_reports.trained()
    assert not list(curve(report, width))  # of so few layers there is nothing to see
    assert report.training is not None
    step = replace(report.training, curve=report.training.curve * 4)
    bars, names = ("".join(text for text, _ in line) for line in curve(replace(report, training=step), width))
    # 101,770 weights of 4 bytes and a state of 2 MiB; 5 MiB more at the peak.
    assert bars.startswith("2.39 MiB ▁")
    assert bars.endswith(" 7.39 MiB")
    # The least is in the forward, the peak in the backward: a column of eight heights, the same for both.
    at = {name: names.index(name) - 2 for name in PHASES}
    assert set(bars[at["loss"] : at["backward"]]) == {"▆"}
    assert bars.index("█") in range(at["backward"], at["optimizer"])
    assert len(bars) <= width
