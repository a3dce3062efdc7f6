"""What a run saw, drawn: columns, their places, and the sentences around the table."""

from __future__ import annotations

import csv
from dataclasses import replace
from io import StringIO

import pytest
import sample_reports
import sample_runs
from hypothesis import given
from hypothesis import strategies as st

from fwdscope.render import COLUMNS, Options, render, summary, terminal
from fwdscope.render.columns import Cell, chosen_columns, spark
from fwdscope.render.rows import FIGURES, view, view_for
from fwdscope.report import (
    ActivationStats,
    DeviceState,
    Estimate,
    Histogram,
    Latency,
    LayerRow,
    NonFinite,
    Report,
    TensorInfo,
)

RESNET = sample_runs.ran(sample_reports.resnet50())
OVERFLOWN = sample_runs.overflown()


def _cells(report: Report, column: str, options: Options | None = None) -> list[Cell]:
    return COLUMNS[column].cells(view_for(report, options or Options(depth=1)).rows)


def _seen(*stats: ActivationStats | None) -> Report:
    rows = tuple(LayerRow(f"r{i}", "Linear", "layer", 1, stats=one) for i, one in enumerate(stats))
    return replace(sample_reports.mlp(), layers=rows)


def _titles(report: Report, options: Options | None = None) -> list[str]:
    options = options or Options()
    return [column.title for column in chosen_columns(options, view_for(report, options))]


def _drawn(report: Report, width: int, options: Options | None = None) -> str:
    return terminal.render(report, (options or Options())._replace(width=width))


# --- cells -----------------------------------------------------------------------------------------------------------


def test_times_share_a_unit_and_what_was_not_timed_is_a_dash() -> None:
    timed = [LayerRow(f"r{i}", "Linear", "layer", 1, latency=time) for i, time in enumerate((0.0123, 0.000_04, None))]
    report = replace(RESNET, layers=(*timed, LayerRow("p", "Parameter", "parameter", 1)))
    assert [str(cell) for cell in _cells(report, "latency")] == ["12.30 ms", "0.04 ms", "—", ""]


def test_a_mean_beside_its_spread_has_as_many_decimals() -> None:
    cells = _cells(_seen(sample_runs.bell(9, -1e-9, 1.0), sample_runs.bell(9, 0.5, 12.25), None), "stats")
    assert [str(cell) for cell in cells] == ["0.000 ±  1.000", "0.500 ± 12.250", "—"]


def test_values_that_are_not_finite_have_neither_mean_nor_spread() -> None:
    report = _seen(sample_runs.none_finite(8, nans=8), sample_runs.bell(9, 0.0, 1.0, nans=3, infs=4))
    assert [str(cell) for cell in _cells(report, "stats")] == ["—", "0.000 ± 1.000"]
    assert [str(cell) for cell in _cells(report, "nonfinite")] == ["all NaN", "4 Inf"]
    assert [str(cell) for cell in _cells(report, "nans")] == ["8", "3"]
    assert [str(cell) for cell in _cells(report, "infs")] == ["", "4"]
    assert [cell.style for cell in _cells(report, "nans")] == ["red", "red"]


def test_infinities_alone_are_not_red_where_they_may_be_a_mask() -> None:
    (cell,) = _cells(_seen(sample_runs.none_finite(8, nans=0, infs=8)), "nonfinite")
    assert (str(cell), cell.style) == ("all Inf", "yellow")


def test_zeros_are_a_part_of_the_values_and_odd_where_they_are_nearly_all() -> None:
    some = ActivationStats(200, 0.0, 0.0, 0.0, 1.0, 100)
    cells = _cells(_seen(some, replace(some, zeros=199), replace(some, zeros=0), None), "zeros")
    assert [(str(cell), cell.style) for cell in cells] == [
        ("50.0 %", ""),
        ("99.5 %", "yellow"),
        ("", ""),
        ("—", "dim"),
    ]


@pytest.mark.core
def test_what_bounds_a_row_and_how_near_it_came() -> None:
    # 10^6 FLOPs at 2.1·10^11 are 4.8 µs, 12 KB at 2.4·10^10 half a µs; it took 9.5.
    row = LayerRow("r", "Linear", "layer", 1, flops=10**6, bytes_read=12_000, bytes_written=0, latency=9.524e-6)
    report = replace(RESNET, layers=(row, replace(row, flops=1), replace(row, flops=0, bytes_read=0)))
    assert [str(cell) for cell in _cells(report, "bound")] == ["compute", "memory", ""]
    assert [str(cell) for cell in _cells(report, "roof")] == ["50 %", "5 %", ""]


@pytest.mark.parametrize(
    ("counts", "width", "drawn"),
    [
        ((8, 4, 1, 0), 4, "█▄▁ "),
        ((1000, 1), 2, "█▁"),
        # Bins of two and a half: 1 + 1 + ½, ½ + 1 + 1.
        ((1, 1, 1, 1, 1), 2, "██"),
        ((0, 0, 0, 0), 4, "    "),
        ((5,), 10, "█"),
        ((), 10, ""),
    ],
)
def test_a_histogram_in_a_line(counts: tuple[int, ...], width: int, drawn: str) -> None:
    assert spark(Histogram(0.0, 1.0, counts), width) == drawn


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=40), st.integers(1, 20))
def test_a_histogram_hides_no_value_and_what_is_symmetric_stays_so(counts: list[int], width: int) -> None:
    drawn = spark(Histogram(0.0, 1.0, tuple(counts)), width)
    assert len(drawn) == min(width, len(counts))
    assert (drawn.strip() == "") == (not any(counts))
    mirrored = spark(Histogram(0.0, 1.0, tuple(counts[::-1])), width)
    assert mirrored == drawn[::-1]


# --- which columns ---------------------------------------------------------------------------------------------------


def test_a_report_with_a_run_has_the_columns_that_say_something() -> None:
    assert _titles(RESNET) == [
        "layer", "type", "output", "params", "MACs", "latency", "share of time", "% of roofline", "mean ± std", "zeros",
        "histogram",
    ]  # fmt: skip
    assert "NaN, Inf" in _titles(OVERFLOWN)
    without = sample_runs.ran(sample_reports.resnet50(), peaks=None, stats=False)
    assert _titles(without)[-2:] == ["latency", "share of time"]
    assert _titles(sample_runs.ran(sample_reports.resnet50(), latency=False))[5] == "share of MACs"


def test_a_mask_of_infinities_makes_no_column() -> None:
    masked = _seen(sample_runs.none_finite(8, nans=0, infs=8), sample_runs.bell(8))
    assert "NaN, Inf" not in _titles(masked)


def test_wider_terminals_show_more_and_say_what_narrow_ones_have_no_room_for() -> None:
    shown = {width: _drawn(RESNET, width) for width in (80, 100, 170)}
    assert "mean ± std" not in shown[80]
    assert "mean ± std" in shown[100]
    assert "histogram" in shown[170].partition("───")[0]
    assert "no room for params, macs, roof, stats, zeros, histogram" in shown[80]
    assert "no room" not in shown[170]


def test_columns_asked_for_are_not_weighed_against_each_other() -> None:
    text = _drawn(RESNET, 80, Options(columns=("layer", "histogram", "stats", "roof")))
    assert "no room" not in text


def test_shares_are_of_the_time_of_the_whole() -> None:
    seen = view(RESNET, 1)
    assert seen.measure == "latency"
    assert RESNET.run is not None
    assert RESNET.run.latency is not None
    assert RESNET.run.layers_latency is not None
    whole = RESNET.run.latency.median
    assert sum(shown.share or 0 for shown in seen.rows) == pytest.approx(RESNET.run.layers_latency / whole)
    # Noise may make the layers' sum longer than the whole: then the shares are of that sum.
    noisy = replace(RESNET, run=replace(RESNET.run, latency=Latency.of([whole / 2])))
    assert sum(shown.share or 0 for shown in view(noisy, 1).rows) == pytest.approx(1)
    assert view(RESNET, sort="macs").measure == "macs"


def test_a_time_below_the_clocks_noise_is_given_as_that() -> None:
    assert RESNET.run is not None
    times = sorted(row.latency for row in RESNET.layers if row.latency)
    # Between the shortest and the longest; a row of a list stands for several copies, whose noise is that times them.
    noise = times[len(times) // 2]
    noisy = replace(RESNET, run=replace(RESNET.run, clock_noise=noise))
    cells = COLUMNS["latency"].cells
    for seen in (view(noisy, 9).rows, view(noisy, top=99).rows):
        texts = list(map(str, cells(seen)))
        below = [
            (one.amount(FIGURES["latency"]) or 0) < noise * one.row.calls * (one.times if one.flat else 1)
            for one in seen
        ]
        assert [text.startswith("< ") for text in texts] == below
        assert True in below
        assert False in below
    assert not any(str(cell).startswith("<") for cell in cells(view(RESNET, 9).rows))


def test_how_a_gpu_ran_it_is_said() -> None:
    assert RESNET.run is not None
    assert RESNET.run.latency is not None
    state = DeviceState("550.54", 1755, 1980, 412.0, 700.0, 61, ("power cap",))
    ran = replace(RESNET.run, tf32="off", cudnn_benchmark=True, repeats_are="queued", other_latency=0.5, state=state)
    report = replace(RESNET, run=ran)
    assert summary.ran_on(report)[-5:] == (
        "1,755 of 1,980 MHz", "412 of 700 W", "61 °C", "slowed by power cap", "driver 550.54",
    )  # fmt: skip
    assert {"no TF32", "cudnn.benchmark"} < set(summary.ran_on(report))
    assert summary.times(report)[0].endswith(", queued")
    assert summary.times(report)[1] == "500 ms alone"
    # What a driver does not tell is left out.
    assert list(summary.state_of(DeviceState(clock=1755))) == ["1,755 MHz"]


@pytest.mark.parametrize("sort", ["latency", "std", "mean", "max", "min", "zeros"])
def test_rows_can_be_listed_by_what_a_run_saw(sort: str) -> None:
    figure = FIGURES[sort]
    amounts = [shown.amount(figure) or 0 for shown in view(RESNET, sort=sort).rows]
    assert len(amounts) > 20
    assert amounts == sorted(amounts, reverse=sort != "min")


def test_a_list_by_time_takes_equal_rows_together_and_loses_none() -> None:
    seen = view(RESNET, top=3)
    assert seen.sort == "latency"
    assert str(COLUMNS["layer"].cells(seen.rows)[0]) == "layer3.1.conv2 × 5"
    every = view(RESNET, sort="latency").rows
    assert sum(shown.amount(FIGURES["latency"]) or 0 for shown in every) == pytest.approx(
        RESNET.run.layers_latency if RESNET.run else None
    )
    assert "of the time" in summary.extent(seen)


def test_a_mean_of_zero_is_a_value_like_any_other() -> None:
    seen = view(_seen(sample_runs.bell(8, 0.0), sample_runs.bell(8, -1.0), None), sort="mean")
    assert ([shown.row.path for shown in seen.rows], seen.without) == (["r0", "r1"], 1)


# --- where values broke ----------------------------------------------------------------------------------------------


def test_the_row_where_values_broke_is_marked_however_deep_it_lies() -> None:
    marked = [
        (shown.row.type, shown.broke) for depth in (1, 2, 4) for shown in view(OVERFLOWN, depth).rows if shown.broke
    ]
    assert marked == [("Block", "NaN"), ("Block", "NaN"), ("scaled_dot_product_attention", "NaN")]
    assert "└ ✗ the first NaN" in _drawn(OVERFLOWN, 100)
    flat = [shown.row.type for shown in view(OVERFLOWN, sort="latency").rows if shown.broke]
    assert flat == ["scaled_dot_product_attention"]


def test_the_first_bad_value_is_named_in_every_text() -> None:
    for form in ("table", "tree", "markdown"):
        text = render(OVERFLOWN, form).replace("\\", "")
        assert "✗ NaN in 11 of 17 rows, first in scaled_dot_product_attention(q, k, v, is_causal=True)" in text
        assert "the middle half lies within 14 %" in text


def test_infinities_count_as_bad_where_they_broke_first() -> None:
    report = _seen(sample_runs.none_finite(8, 0, infs=8), sample_runs.none_finite(8, nans=8), sample_runs.bell(8))
    run = sample_runs.ran(report).run
    assert run is not None
    first = NonFinite("r0", "Linear", 3, 0, 8, ())
    assert summary.broken(replace(report, run=replace(run, first_nonfinite=first))) == (
        "✗ NaN or Inf in 2 of 3 rows, first in r0  (line 3)"
    )
    later = replace(first, path="r1", nans=8, infs=0)
    assert summary.broken(replace(report, run=replace(run, first_nonfinite=later))).startswith("✗ NaN in 1 of 3 rows")
    assert summary.broken(replace(report, run=run)) == ""


# --- sentences -------------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_the_header_says_how_it_was_run() -> None:
    assert summary.title_parts(RESNET)[:3] == ("resnet50", "float32", "cpu")
    assert summary.ran_on(RESNET) == (
        "AMD EPYC 9V74 80-Core Processor", "2 threads", "eval", "seed 0", "weights initialised",
    )  # fmt: skip
    run = replace(RESNET.run, weights="r50.safetensors", mode="train", compiled=True, channels_last=True, threads=None)
    cast = replace(RESNET, run=replace(run, precision="autocast", dtype="bfloat16"))
    assert summary.ran_on(cast)[1:] == (
        "autocast to bfloat16", "compiled", "channels last", "train", "seed 0", "weights from r50.safetensors",
    )  # fmt: skip
    # A module of Python's has no file, and weights before it is run.
    own = replace(RESNET, source=None)
    assert summary.ran_on(own)[-1] == "the module's own weights"
    loaded = replace(own, run=replace(own.run, weights="r50.safetensors"))
    assert summary.ran_on(loaded)[-1] == "weights from r50.safetensors"
    assert summary.ran_on(sample_reports.resnet50()) == ()


def test_times_say_the_whole_the_layers_and_the_part_of_the_peak() -> None:
    times = (1.0, 1.1, 1.2, 1.3, 1.4)
    run = replace(RESNET.run, latency=sample_runs.Latency.of(times), layers_latency=1.08, batch=6)
    report = replace(RESNET, run=run, totals=replace(RESNET.totals, flops=42_000_000_000))
    assert summary.times(report)[:3] == (
        "1.20 s a forward (median of 5, IQR 200 ms)",
        "5 items/s",
        "layers sum to 1.08 s, 90.0 % of it",
    )
    assert summary.times(report)[3].startswith("35.0 GFLOP/s, ")
    assert summary.times(report)[3].endswith("% of the measured peak of 210 GFLOP/s")
    assert summary.times(replace(report, run=replace(run, peaks=None)))[3] == "35.0 GFLOP/s"
    assert len(summary.times(replace(report, uncounted=("aten.x",)))) == 3
    assert summary.times(sample_reports.resnet50()) == ()


def test_layers_timed_without_the_whole_are_summed() -> None:
    run = replace(RESNET.run, latency=None, layers_latency=0.25)
    assert summary.times(replace(RESNET, run=run)) == ("layers take 250 ms",)


def test_values_of_inputs_and_results_are_told_in_their_kind() -> None:
    stats = ActivationStats(4, 0.125, 1.5, -2.0, 3.0, 0, nans=2)
    tokens = TensorInfo("tokens", (4,), "int64", stats=replace(stats, min=0.0, max=50256.0, nans=0))
    report = replace(
        RESNET,
        inputs=(tokens, TensorInfo("mask", (4,), "bool")),
        outputs=(TensorInfo("", (4,), "float32", stats=stats),),
    )
    assert summary.values(report) == "tokens 0 … 50,256  →  0.125 ± 1.50 (−2.00 … 3.00), 2 NaN"
    assert summary.values(sample_reports.resnet50()) == ""
    assert summary.spread(sample_runs.none_finite(8, nans=8)) == "8 NaN"


def test_a_report_without_a_run_is_drawn_as_before() -> None:
    text = _drawn(sample_reports.resnet50(), 100)
    assert "a forward" not in text
    assert "±" not in text


def test_estimates_are_drawn_in_every_text() -> None:
    peaks = replace(sample_runs.PEAKS, name="H100", source="table")
    report = replace(sample_reports.mlp(), estimates=(Estimate(peaks, 1e-3, 1e-3, 5e-4, 2e-3, 10**9, True),))
    for form in ("table", "tree", "markdown"):
        assert "H100" in render(report, form)


def test_csv_has_what_a_run_saw_in_columns_of_its_own() -> None:
    rows = list(csv.DictReader(StringIO(render(sample_runs.exploding(), "csv"))))
    assert (rows[1]["stats_nans"], rows[1]["stats_std"]) == ("10752", "1e+36")
    assert rows[1]["copy_stds"].startswith("8.0;64.0;")
    assert rows[2]["stats_histogram"].startswith("-2.304..2.312:1 2 5 ")
    meta = list(csv.DictReader(StringIO(render(sample_reports.mlp(), "csv"))))
    assert (meta[0]["stats_mean"], meta[0]["latency"]) == ("", "")
