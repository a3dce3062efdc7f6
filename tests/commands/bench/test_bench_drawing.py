"""The benchmark as a reader sees it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from reports_of_runs import ROWS, report, row

from fwdscope.render.bench import distribution, draw, steps
from fwdscope.report import Latency, Peaks
from fwdscope.report.roofline import whole_time
from fwdscope.report.speedup import compare


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.split()[:1] == [start])


@pytest.mark.core
def test_the_whole_comes_first_with_its_flops() -> None:
    text = draw(report([0.030, 0.032, 0.031, 0.033, 0.030]), 100)
    # 8 items in 31 ms; 8 GFLOPs in 31 ms are 258 GFLOP/s, a quarter of a peak of 1 TFLOP/s.
    latency = line_of(text, "latency")
    assert "31.0 ms median" in latency
    assert "IQR 2.00 ms (6.5 %)" in latency
    assert "258 items/s" in latency
    assert "258 GFLOP/s: 25.8 % of peak (measured 1.00 TFLOP/s)" in line_of(text, "arithmetic")
    assert "sum 30.0 ms, 96.8 % of the whole" in line_of(text, "layers")


def test_layers_are_sorted_by_the_time_of_all_their_copies() -> None:
    found = [(row.path, times, seconds) for row, times, seconds in steps(report([0.03]))]
    assert found == [
        ("body.0.fc", 2, 0.016), ("body.0.add", 2, 0.008), ("stem", 1, 0.004), ("head", 1, 0.002),
    ]  # fmt: skip
    assert sum(seconds for _, _, seconds in found) == pytest.approx(0.030)


@pytest.mark.parametrize("seconds", [0.020, 0.031])
def test_shares_are_never_above_the_whole_in_sum(seconds: float) -> None:
    # The layers take 30 ms, which is more than a whole of 20 ms: then shares are of the layers' sum.
    one = report([seconds])
    assert sum(time for *_, time in steps(one)) / (whole_time(one) or 0) == pytest.approx(0.030 / max(seconds, 0.030))


def test_of_nested_layers_the_outermost_is_listed() -> None:
    rows = (row("enc", 0.03), row("enc.linear1", 0.01, 2), row("last", 0.001))
    assert [row.path for row, *_ in steps(report([0.03], rows))] == ["enc", "last"]


def test_each_layer_has_its_share_of_the_roofline() -> None:
    text = draw(report([0.031]), 140)
    # 2 GFLOPs over 20 MB are 100 FLOPs a byte, beyond the ridge of 10: 2 ms at the peak, of 8.
    assert line_of(text, "body.0.fc").split()[-5:] == ["G", "100.0", "compute", "25", "%"]
    # 1,000 FLOPs over 20 MB: memory, 0.2 ms of 4.
    assert line_of(text, "body.0.add").split()[-3:] == ["memory", "5", "%"]


def test_a_time_below_the_clocks_noise_is_given_as_that() -> None:
    one = report([0.031])
    assert one.run is not None
    # A call of the head takes 2 ms, where the clock knows 3; two copies of the addition take 8, and it knows 6.
    text = draw(replace(one, run=replace(one.run, clock_noise=0.003)), 140)
    assert "< 3.00 ms" in line_of(text, "head")
    assert "<" not in line_of(text, "body.0.add")
    assert "<" not in draw(one, 140)


def test_only_the_slowest_are_shown_and_the_rest_is_summed() -> None:
    text = draw(report([0.031]), 100, layers=2)
    assert "stem" not in text
    assert "2 more: 19.4 %" in text
    assert "more:" not in draw(report([0.031]), 100, layers=None)


@pytest.mark.core
@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = report([0.03 + 0.001 * i for i in range(20)], (*ROWS, row("a.very.long.path." * 6, 0.1)), ("a note " * 30,))
    same = compare(Latency.of([1.0] * 20), Latency.of([0.5] * 20), differs=("one thing another " * 9,))
    for line in draw(long, width, comparison=same).splitlines():
        assert len(line) <= width, line


def test_the_command_to_run_next_is_never_cut() -> None:
    command = "fwdscope bench x --set A=1 " * 9
    assert f"next: {command.strip()}" in draw(report([0.03]), 60, commands=[command.strip()])


def test_a_forward_above_the_measured_peak_is_explained() -> None:
    slow = report([0.031])
    assert slow.run is not None
    low = replace(slow, run=replace(slow.run, peaks=Peaks("Test CPU", "float32", 1e10, 1e11, None, "measured")))
    text = " ".join(draw(low, 100).split())
    assert "some convolutions compute fewer FLOPs than are counted" in text
    unknown = replace(slow, run=replace(slow.run, peaks=Peaks("Test CPU", "float8", None, None, None, "table")))
    assert "no float8 peak of Test CPU is known" in " ".join(draw(unknown, 100).split())


def test_a_comparison_says_whether_it_is_noise() -> None:
    steady, half = Latency.of([1.0] * 20), Latency.of([0.5] * 20)
    text = draw(report([0.5] * 20), 100, comparison=compare(steady, half))
    assert "p10 1.00 s before: 0.500 × the time (99 %: 0.500 to 0.500): 50.0 % faster" in " ".join(text.split())
    text = draw(report([1.0] * 20), 100, comparison=compare(steady, steady))
    assert "cannot tell from noise" in " ".join(text.split())
    text = draw(report([0.9] * 20), 100, comparison=compare(steady, Latency.of([0.9] * 20)))
    assert "cannot tell, differences up to 25 % mean nothing between single processes" in " ".join(text.split())


def test_a_report_without_times_says_so() -> None:
    assert "nothing was measured" in draw(report([]), 80)


def test_a_histogram_of_repeats_counts_outliers() -> None:
    columns, words = distribution(Latency.of([1.0] * 50 + [1.1] * 50 + [9.0]), 10)
    assert len(columns) == 10
    assert columns[0] != " "
    assert words.endswith(", 1 beyond")
    assert distribution(Latency.of([1.0, 1.0]), 10) == ("", "1.00 s to 1.00 s")


def test_colours_change_no_letter() -> None:
    plain = draw(report([0.03, 0.031]), 100)
    coloured = re.sub(r"\x1b\[[0-9;]*m", "", draw(report([0.03, 0.031]), 100, color=True))
    assert [line.rstrip() for line in coloured.splitlines()] == [line.rstrip() for line in plain.splitlines()]
