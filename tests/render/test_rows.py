from __future__ import annotations

from dataclasses import replace

import pytest
import sample_reports
from hypothesis import given
from hypothesis import strategies as st

from fwdscope.render import summary
from fwdscope.render.columns import COLUMNS, Cell, chosen_columns, shapes_cell
from fwdscope.render.rows import (
    FIGURES,
    MOST_ROWS,
    Options,
    ShownRow,
    View,
    again,
    printable,
    view,
    view_for,
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
    assert sample_reports.resnet50().totals.macs == 4_089_184_256


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


@pytest.mark.core
def test_copies_show_one_copy_and_share_of_all() -> None:
    seen = view(sample_reports.gpt2())
    copies = next(i for i, s in enumerate(seen.rows) if s.row.kind == "copies")
    assert _cells(seen, "layer")[copies] == "│ 0–11 × 12"
    assert _cells(seen, "params")[copies - 1 : copies + 1] == ["85,054,464", "7,087,872"]
    # 12 · 8,858,370,048 of 145,824,153,600
    assert _cells(seen, "share")[copies - 1 : copies + 1] == ["72.9 %", "72.9 %"]
    # c_attn of all twelve: 12 · 1024 · 768 · 2304
    assert seen.rows[copies + 3].share == pytest.approx(12 * 1024 * 768 * 2304 / 145_824_153_600)


def test_shares_are_of_parameters_where_there_are_no_macs() -> None:
    seen = view(sample_reports.uncounted(sample_reports.gpt2()))
    copies = next(i for i, s in enumerate(seen.rows) if s.row.kind == "copies")
    # ln_1 of all twelve: 12 · 2 · 768 of 124,439,808
    assert seen.rows[copies + 1].share == pytest.approx(18_432 / 124_439_808)
    assert [column.title for column in chosen_columns(Options(), seen)] == [
        "layer", "type", "output", "params", "share of params",
    ]  # fmt: skip


@pytest.mark.core
def test_a_shape_that_repeats_is_not_said_again() -> None:
    seen = view(sample_reports.resnet50(), 1)
    assert _cells(seen, "output")[:5] == ["1 64 112 112", "″", "″", "1 64 56 56", "1 256 56 56"]


def test_a_broken_promise_shows_its_shape_even_where_it_repeats() -> None:
    report = sample_reports.mlp()
    rows = list(report.layers)
    rows[2] = replace(rows[2], promise=sample_reports.Promise("(B, 64)", held=False, got="(32, 128)"))
    seen = view(replace(report, layers=tuple(rows)))
    cells = COLUMNS["output"].cells(seen.rows)
    assert (cells[2].text, cells[2].style) == ("32 128", "red")


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
    with pytest.raises(ValueError, match="unknown column 'gflops'; there are: layer, type, input"):
        chosen_columns(Options(columns=("gflops",)), seen)


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
        "53,173 buffer elements (208 KiB)",
    )
    assert summary.costs(report)[0] == "4.09 G MACs"
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
        "fwdscope inspect resnet50 --set B=8 --top 10",
        "fwdscope inspect resnet50 --set B=8 --format json -o resnet50.json",
    )
    whole = Options(saved=True, target="resnet50", top=5)
    assert summary.next_steps(report, view_for(report, whole), whole) == ("fwdscope layers Conv2d",)
    loaded = Options(target="resnet50.json", depth=4)
    assert summary.next_steps(report, view(report, 4), loaded) == (
        "fwdscope inspect resnet50.json --top 10",
        "fwdscope layers Conv2d",
    )


def test_a_report_without_a_name_on_the_command_line_suggests_no_command_for_it() -> None:
    report = replace(sample_reports.resnet50(), source=None)
    assert summary.next_steps(report, view(report), Options()) == ("fwdscope layers Conv2d",)


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


# --- costs -----------------------------------------------------------------------------------------------------------


def _totals(**fields: int | None) -> Report:
    report = sample_reports.mlp()
    return replace(report, totals=replace(report.totals, **fields))


def test_costs_say_what_is_computed_and_moved() -> None:
    report = _totals(macs=4_089_184_256, flops=8_239_712_616, bytes_read=2**28, bytes_written=2**27)
    # 8,239,712,616 / (3 · 2^27)
    assert summary.costs(report) == (
        "4.09 G MACs",
        "8.24 G FLOPs",
        "256 MiB read, 128 MiB written",
        "20.5 FLOPs per byte",
    )
    assert summary.costs(sample_reports.uncounted(report)) == ()


def test_the_peak_is_told_with_the_parts_that_count() -> None:
    sizes = {"param_bytes": 100 * 2**20, "buffer_bytes": 2**10, "input_bytes": 2 * 2**20}
    report = _totals(**sizes, peak_activations=25 * 2**20, peak_memory=127 * 2**20 + 2**10)
    assert summary.memory(report) == "peak memory 127 MiB (weights 100, inputs 2.00, activations 25.0)"


def test_a_mixture_says_how_many_parameters_a_token_meets() -> None:
    assert summary.active(_totals(params=46_702_792_704, active_params=12_879_925_248)) == (
        "12.9 G of 46.7 G parameters active per token"
    )
    assert summary.active(_totals(active_params=101_770)) == ""
    assert summary.active(_totals(active_params=None)) == ""


def test_a_convention_of_another_program_is_told_in_its_words() -> None:
    report = sample_reports.mlp()
    assert summary.convention(report).startswith("MACs: multiply-adds, bias excluded")
    assert summary.convention(replace(report, convention="A MAC\nis one.")) == "A MAC is one."


def _with_unknown() -> View:
    rows = (
        LayerRow("known", "Linear", "layer", 1, macs=2_000_000, flops=4_000_000, bytes_read=10, bytes_written=10),
        LayerRow("partly", "Block", "layer", 1, macs=1_000_000, flops=2_000_000, uncounted=("aten.x",)),
        LayerRow("unknown", "x", "layer", 1, macs=0, flops=0, uncounted=("aten.x",)),
        LayerRow("nothing", "Flatten", "layer", 1, macs=0, flops=0, bytes_read=0, bytes_written=0),
        LayerRow("silent", "Linear", "layer", 1),
    )
    report = replace(sample_reports.mlp(), layers=rows, totals=replace(sample_reports.mlp().totals, macs=3_000_000))
    return view(report)


def test_nothing_is_empty_unknown_a_dash_and_part_of_it_a_bound() -> None:
    seen = _with_unknown()
    assert _cells(seen, "macs") == ["2.00 M", "≥1.00 M", "—", "", "—"]
    assert _cells(seen, "uncounted") == ["", "aten.x", "aten.x", "", ""]
    assert _cells(seen, "intensity") == ["200,000.0", "—", "—", "", ""]
    assert [cell.style for cell in COLUMNS["macs"].cells(seen.rows)][1:3] == ["red", "red"]


def test_a_receptive_field_is_sizes_and_empty_where_none_is_known() -> None:
    fields = ((7, 5), (3,), None)
    rows = [ShownRow(LayerRow("p", "Conv2d", "layer", 1, receptive_field=field), 0, 1, None) for field in fields]
    assert [str(cell) for cell in COLUMNS["receptive"].cells(rows)] == ["7×5", "3", ""]


# --- flat lists ------------------------------------------------------------------------------------------------------


def test_a_flat_list_counts_all_copies_and_begins_with_the_most() -> None:
    seen = view(sample_reports.gpt2(), sort="params", top=2)
    assert _cells(seen, "layer") == ["wte", "h.0.mlp.c_fc × 12"]
    # 50257 · 768 and 12 · (768 · 3072 + 3072)
    assert _cells(seen, "params") == ["38,597,376", "28,348,416"]
    assert seen.measure == "params"
    assert (len(seen.rows), seen.below, seen.without) == (2, 7, 8)


def test_memory_and_intensity_do_not_add_up_over_copies() -> None:
    report = sample_reports.gpt2()
    seen = view(report, sort="memory", top=2)
    # 1024 · 50257 · 4, and 1024 · 3072 · 4 of each of twelve
    assert [s.amount(FIGURES["memory"]) for s in seen.rows] == [205_852_672, 12_582_912]
    assert seen.measure == "macs"


def test_what_cannot_be_sorted_by_is_told_with_what_can() -> None:
    with pytest.raises(ValueError, match="cannot sort by 'type'; there are: params, macs, flops"):
        view(sample_reports.mlp(), sort="type")


def test_rows_that_are_not_known_come_first() -> None:
    report = sample_reports.troubled()
    assert _cells(view(report, sort="macs"), "layer")[0] == "special.zeta(prev, 2)"


def test_broken_promises_of_rows_outside_the_list_are_told() -> None:
    seen = view(sample_reports.troubled(), sort="params", top=1)
    assert summary.folded_promises(seen) == ("✗ promised (B, 96), got (4, 128): cat([skip, prev], dim=1)  (line 14)",)


def test_a_container_shows_what_it_does_itself() -> None:
    report = sample_reports.gpt2()
    rows = list(report.layers)
    attn = next(i for i, row in enumerate(rows) if row.path == "h.0.attn")
    # A thousand MACs of its own, in each of twelve; the rows around it have them too.
    for index, more in ((attn, 1000), (attn - 2, 1000), (attn - 3, 12_000)):
        rows[index] = replace(rows[index], macs=rows[index].macs + more)
    report = replace(report, layers=tuple(rows), totals=replace(report.totals, macs=report.totals.macs + 12_000))
    last = view(report, sort="macs").rows[-1]
    assert (last.row.text, last.amount(FIGURES["macs"])) == ("Attention, itself", 12_000)


@pytest.mark.parametrize("measure", ["macs", "params", "flops", "read", "written"])
@pytest.mark.parametrize("depth", [None, 1, 2, 3])
@pytest.mark.parametrize("report", [sample_reports.resnet50(), sample_reports.gpt2()], ids=["resnet50", "gpt2"])
def test_shares_of_a_flat_list_sum_to_all(report: Report, depth: int | None, measure: str) -> None:
    seen = view(report, depth, sort=measure)
    assert seen.measure == measure
    assert sum(s.share or 0 for s in seen.rows) == pytest.approx(1)


@st.composite
def _nested(draw: st.DrawFn) -> Report:
    """Rows of any nesting whose containers hold what is inside them and something of their own."""
    rows: list[LayerRow] = []

    def add(depth: int) -> int:
        at, own, repeat = len(rows), draw(st.integers(0, 50)), draw(st.integers(1, 3))
        rows.append(LayerRow(f"r{at}", "T", "layer", depth))
        inside = [add(depth + 1) for _ in range(draw(st.integers(0, 3 if depth < 3 else 0)))]
        rows[at] = replace(rows[at], macs=own + sum(inside), repeat=repeat)
        return (own + sum(inside)) * repeat

    total = sum(add(1) for _ in range(draw(st.integers(1, 3))))
    report = sample_reports.mlp()
    return replace(report, layers=tuple(rows), totals=replace(report.totals, macs=total, params=0))


@given(_nested(), st.integers(1, 4))
def test_whatever_the_nesting_a_flat_list_loses_nothing_and_descends(report: Report, depth: int) -> None:
    figure = FIGURES["macs"]
    amounts = [s.amount(figure) or 0 for s in view(report, depth, sort="macs").rows]
    assert sum(amounts) == report.totals.macs
    assert amounts == sorted(amounts, reverse=True)


@given(_nested())
def test_at_every_level_the_shares_of_a_tree_are_those_of_the_rows_around_them(report: Report) -> None:
    rows = view(report, 9).rows
    if report.totals.macs:
        assert sum(s.share or 0 for s in rows if s.level == 0) == pytest.approx(1)
