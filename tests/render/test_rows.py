from __future__ import annotations

from dataclasses import replace

import pytest
import sample_reports
from hypothesis import given
from hypothesis import strategies as st

from fwdscope.render import summary
from fwdscope.render.rows import (
    COLUMNS,
    MOST_ROWS,
    Cell,
    Options,
    ShownRow,
    View,
    again,
    chosen_columns,
    printable,
    shapes_cell,
    view,
)
from fwdscope.report import LayerRow, Report, Totals


def _cells(seen: View, column: str) -> list[str]:
    return [str(cell) for cell in COLUMNS[column].cells(seen.rows)]


def _params_shown(seen: View) -> int:
    """What the deepest rows shown add up to: rows whose contents are shown are left to those."""
    rows = seen.rows
    ends = [s for s, after in zip(rows, [*rows[1:], None], strict=True) if after is None or after.level <= s.level]
    return sum(s.row.params * s.times for s in ends)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("report", [sample_reports.resnet50(), sample_reports.gpt2()], ids=["resnet50", "gpt2"])
def test_at_every_depth_the_rows_shown_hold_all_parameters(report: Report, depth: int) -> None:
    assert _params_shown(view(report, depth)) == report.totals.params


def test_the_samples_have_the_published_counts() -> None:
    assert sample_reports.resnet50().totals.params == 25_557_032
    assert sample_reports.gpt2().totals.params == 124_439_808
    assert sample_reports.mlp().totals.params == 101_770


def _layers(*depths: int) -> Report:
    rows = tuple(LayerRow(f"r{i}", "Linear", "layer", depth, params=1) for i, depth in enumerate(depths))
    return replace(sample_reports.mlp(), layers=rows, totals=Totals(len(rows), len(rows), 0, 0, 0))


def test_the_default_depth_is_the_deepest_that_makes_a_screen() -> None:
    fits = [1, *[2] * (MOST_ROWS - 1)]
    assert view(_layers(*fits)).depth == 2
    assert view(_layers(*fits, 2)).depth == 1
    assert view(_layers(*fits, 3)).depth == 2


def test_one_level_is_shown_however_long() -> None:
    seen = view(_layers(*[1] * 500, 2))
    assert (seen.depth, len(seen.rows), len(seen.folded)) == (1, 500, 1)


def test_a_depth_asked_for_is_kept_within_what_there_is() -> None:
    assert view(_layers(1, 2, 3), 99).depth == 3
    assert view(_layers(1, 2, 3), 0).depth == 1
    assert view(_layers(*[1] * 100, *[2] * 100), 2).folded == ()


def test_a_report_without_rows_has_an_empty_view() -> None:
    assert view(replace(sample_reports.mlp(), layers=())).rows == ()


def test_copies_show_one_copy_and_share_of_all() -> None:
    seen = view(sample_reports.gpt2())
    copies = next(i for i, s in enumerate(seen.rows) if s.row.kind == "copies")
    assert _cells(seen, "layer")[copies] == "│ 0–11 × 12"
    assert _cells(seen, "params")[copies - 1 : copies + 1] == ["85,054,464", "7,087,872"]
    assert _cells(seen, "share")[copies - 1 : copies + 1] == ["68.3 %", "68.3 %"]
    # ln_1 of all twelve: 12 · 2 · 768 of 124,439,808
    assert seen.rows[copies + 1].share == pytest.approx(18_432 / 124_439_808)


def test_a_shape_that_repeats_is_not_said_again() -> None:
    seen = view(sample_reports.resnet50(), 1)
    assert _cells(seen, "output")[:5] == ["1 64 112 112", "″", "″", "1 64 56 56", "1 256 56 56"]


def test_a_broken_promise_shows_its_shape_even_where_it_repeats() -> None:
    report = sample_reports.mlp()
    rows = list(report.layers)
    rows[2] = replace(rows[2], promise=sample_reports.Promise("(B, 64)", held=False, got="(32, 128)"))
    seen = view(replace(report, layers=tuple(rows)))
    cells = COLUMNS["output"].cells(seen.rows)
    assert (cells[2].text, cells[2].tone) == ("32 128", "broken")


def test_zero_is_empty_and_unknown_is_a_dash() -> None:
    seen = view(sample_reports.troubled())
    assert _cells(seen, "output")[-1] == "—"
    assert _cells(seen, "params")[-1] == ""
    assert _cells(seen, "line")[1] == "—"


def test_unknown_is_no_ditto_of_unknown() -> None:
    seen = view(_layers(1, 1))
    assert _cells(seen, "output") == ["—", "—"]


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ((), "—"),
        (((),), "()"),
        (((1, 2), (3,)), "1 2 · 3"),
        (((1, 2), (1, 2), (1, 2)), "(1 2) × 3"),
        (((1,), (2,), (3,), (4,), (5,)), "1 · 2 · 3 · +2"),
    ],
)
def test_several_shapes_share_a_cell(shapes: tuple[tuple[int, ...], ...], text: str) -> None:
    assert shapes_cell(shapes) == text


def test_the_sign_of_weights_met_before() -> None:
    row = LayerRow("fc", "Linear", "layer", 1)
    assert again(row) == ""
    assert again(replace(row, calls=25)) == " ↺ 25 calls"
    assert again(replace(row, call=2)) == " ↺ call 2"
    assert again(replace(row, call=2, calls=24)) == " ↺ calls 2–25"
    assert again(replace(row, reads=("wte.weight",))) == " ↺ wte.weight"


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert printable("a\x1b[31mb\n\tc\u202e") == "a\\x1b[31mb c\\u202e"


@given(st.text())
def test_printable_text_is_one_printable_line(text: str) -> None:
    assert printable(text).isprintable()


def test_columns_are_chosen_by_name_once_each() -> None:
    seen = view(sample_reports.mlp())
    chosen = chosen_columns(Options(columns=("line", "layer", "line")), seen)
    assert [column.name for column in chosen] == ["line", "layer"]
    with pytest.raises(ValueError, match="unknown column 'flops'; there are: layer, type, input"):
        chosen_columns(Options(columns=("flops",)), seen)


def test_shares_of_nothing_are_no_column() -> None:
    report = _layers(1)
    bare = replace(report, layers=(replace(report.layers[0], params=0),), totals=Totals(0, 0, 0, 0, 0))
    assert "share" in [column.name for column in chosen_columns(Options(), view(report))]
    assert "share" not in [column.name for column in chosen_columns(Options(), view(bare))]


def test_every_column_has_a_cell_for_every_row() -> None:
    seen = view(sample_reports.troubled())
    for column in COLUMNS.values():
        cells = column.cells(seen.rows)
        assert len(cells) == len(seen.rows)
        assert all(isinstance(cell, Cell) for cell in cells)


# --- sentences -------------------------------------------------------------------------------------------------------


def test_totals_say_what_is_trained_and_what_is_in_buffers() -> None:
    report = sample_reports.resnet50()
    assert summary.totals(report) == (
        "25,557,032 parameters (97.5 MiB)",
        "all trainable",
        "53,173 in buffers (208 KiB)",
    )
    assert summary.totals(replace(report, totals=Totals(10, 0, 0, 40, 0)))[1:] == ("all frozen",)
    assert summary.totals(replace(report, totals=Totals(10, 4, 0, 40, 0)))[1:] == ("4 trainable, 6 frozen",)
    assert summary.totals(replace(report, totals=Totals(0, 0, 0, 0, 0))) == ("0 parameters",)


def test_broken_promises_of_folded_rows_are_told_with_their_place() -> None:
    report = sample_reports.gpt2()
    rows = list(report.layers)
    inner = next(i for i, row in enumerate(rows) if row.path.endswith("c_fc"))
    rows[inner] = replace(rows[inner], promise=sample_reports.Promise("(B, 9)", held=False, got="(1, 9)"), line=23)
    broken = replace(report, layers=tuple(rows))
    assert summary.folded_promises(view(broken, 1)) == ("✗ promised (B, 9), got (1, 9): h.0.mlp.c_fc  (line 23)",)
    assert summary.folded_promises(view(broken, 4)) == ()


def test_next_steps_never_advise_what_was_done() -> None:
    report = sample_reports.resnet50()
    first = summary.next_steps(report, view(report), Options(target="resnet50 --set B=8"))
    assert first == (
        "fwdscope inspect resnet50 --set B=8 --depth 3",
        "fwdscope inspect resnet50 --set B=8 --format json -o resnet50.json",
        "fwdscope layers Conv2d",
    )
    whole = Options(depth=4, saved=True, target="resnet50")
    assert summary.next_steps(report, view(report, 4), whole) == ("fwdscope layers Conv2d",)


def test_next_steps_quote_what_a_shell_would_take_apart() -> None:
    report = replace(sample_reports.mlp(), name="my net/v2", source="my specs/net.yaml")
    steps = summary.next_steps(report, view(report), Options())
    assert steps[0] == "fwdscope inspect 'my specs/net.yaml' --format json -o v2.json"


def test_a_class_of_ones_own_has_no_page_to_read() -> None:
    report = sample_reports.mlp()
    own = tuple(replace(row, type=f"mine.{row.type}") for row in report.layers)
    report = replace(report, layers=own)
    assert not [step for step in summary.next_steps(report, view(report), Options()) if "layers" in step.split()]


def test_a_row_without_a_path_is_referred_to_by_its_text() -> None:
    shown = ShownRow(LayerRow("", "add", "expression", 1, "x + y", note="odd", line=3), 0, 1, None)
    seen = View((), (shown,), 1, 2)
    assert summary.notes(sample_reports.mlp(), seen.folded) == ("x + y  (line 3): odd",)
