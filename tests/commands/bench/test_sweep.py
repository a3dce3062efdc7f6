"""Sizes to try, read from the command line, and what came of them, saved and read again."""

from __future__ import annotations

import csv
import json

import pytest
from reports_of_runs import report

from fwdscope.render.sweep import as_csv, draw_sweep
from fwdscope.report import ReportError
from fwdscope.report.speedup import compare
from fwdscope.report.sweep import Sweep, SweepAxis, SweepPoint, combinations, parse, saved_points


@pytest.mark.core
@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("B=1,8,32", ("1", "8", "32")),
        ("B=1", ("1",)),
        ("T=128:1024:x2", ("128", "256", "512", "1024")),
        ("T=128:1000:x2", ("128", "256", "512", "1000")),
        ("T=128:512:+128", ("128", "256", "384", "512")),
        ("T=128:512:128", ("128", "256", "384", "512")),
        ("n=2:5", ("2", "3", "4", "5")),
        ("T=1,2,8:32:x2", ("1", "2", "8", "16", "32")),
        (" B = 4 , 4 ", ("4",)),
        ("shape=(8, 8),(16, 16)", ("(8, 8)", "(16, 16)")),
        ("dtype=float32,bfloat16", ("float32", "bfloat16")),
    ],
)
def test_values(text: str, values: tuple[str, ...]) -> None:
    assert parse(text) == SweepAxis(text.partition("=")[0].strip(), values)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("B", "a name and its values"),
        ("B=", "a name and its values"),
        ("B=1,,2", "missing between commas"),
        ("T=8:4", "does not grow"),
        ("T=1:8:x1", "does not grow"),
        ("T=0:8:x2", "does not grow"),
        ("T=1:8:+0", "does not grow"),
        ("T=1:x", "is not a range"),
        ("T=1:100000", "more than 200 values"),
    ],
)
def test_an_invalid_range_is_an_error_with_an_example(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(text)


def test_all_combinations_the_last_changing_fastest() -> None:
    axes = [parse("B=1,2"), parse("T=8,16")]
    assert [dict(one) for one in combinations(axes)] == [
        {"B": "1", "T": "8"}, {"B": "1", "T": "16"}, {"B": "2", "T": "8"}, {"B": "2", "T": "16"},
    ]  # fmt: skip
    with pytest.raises(ValueError, match="given twice"):
        combinations([parse("B=1"), parse("B=2")])
    with pytest.raises(ValueError, match="400 combinations"):
        combinations([parse("B=1:20"), parse("T=1:20")])


def swept() -> Sweep:
    points = [
        SweepPoint((("T", str(t)), ("B", str(b))), report([0.001 * t * b, 0.001 * t * b * 1.01, 0.001 * t * b]))
        for t in (1, 4)
        for b in (1, 2, 8)
    ]
    return Sweep(
        (parse("T=1,4"), parse("B=1,2,8,999")), (*points, SweepPoint((("T", "4"), ("B", "999")), None, "no room"))
    )


@pytest.mark.core
def test_a_sweep_keeps_every_repeat_and_loads_again() -> None:
    sweep = swept()
    assert saved_points(sweep.dumps()) == sweep.points
    assert saved_points(report([1.0]).dumps()) == (SweepPoint((), report([1.0])),)


@pytest.mark.parametrize("text", ["{", "[]", '{"sweep": [], "version": 9}', '{"sweep": [3], "version": 1}'])
def test_what_is_no_sweep_is_told(text: str) -> None:
    with pytest.raises(ReportError):
        saved_points(text)


def test_the_table_has_times_and_costs_and_what_could_not_run() -> None:
    text = draw_sweep(swept(), 100)
    lines = text.splitlines()
    (first,) = [line for line in lines if line.split()[:2] == ["1", "1"]]
    # 8 items in 1 ms; 8 GFLOPs in 1 ms are 8 TFLOP/s, eight times the peak.
    assert first.split() == ["1", "1", "1.00", "ms", "1", "%", "8.00", "K", "125", "µs", "8.00", "G", "8.00", "T",
                             "800", "%", "3.00", "MiB"]  # fmt: skip
    assert any(line.split()[:2] == ["4", "999"] and line.endswith("no room") for line in lines)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    compared = [
        None if p.report is None else compare(p.report.run.latency, p.report.run.latency) for p in swept().points
    ]  # type: ignore[union-attr, arg-type]
    for line in draw_sweep(swept(), width).splitlines():
        assert len(line) <= width
    assert "× before" in draw_sweep(swept(), 140, compared=compared)


def test_the_plot_has_a_mark_for_each_point_and_grows_upwards() -> None:
    sweep = Sweep((parse("B=1,2,4"),), tuple(SweepPoint((("B", str(b)),), report([0.001 * b] * 3)) for b in (1, 2, 4)))
    lines = draw_sweep(sweep, 80).splitlines()
    plot = [line for line in lines if "│" in line or "┤" in line]
    marks = [(row, line.index("●")) for row, line in enumerate(plot) if "●" in line]
    assert len(marks) == 3
    # Both scales are logarithmic, so that what doubles with its size is a straight line up.
    (top, right), (middle, centre), (bottom, left) = marks
    assert top < middle < bottom
    assert left < centre < right
    assert abs((right - centre) - (centre - left)) <= 1
    assert "4.00 ms" in plot[0]
    assert "1.00 ms" in plot[-1]


def test_two_sizes_are_no_plot() -> None:
    sweep = Sweep((parse("B=1,2"),), tuple(SweepPoint((("B", str(b)),), report([0.001 * b] * 3)) for b in (1, 2)))
    assert "└" not in draw_sweep(sweep, 80)


def test_csv_has_a_line_for_each_combination_with_its_settings() -> None:
    rows = list(csv.DictReader(as_csv(swept()).splitlines()))
    assert len(rows) == 7
    # 8 items in 1 ms, on a peak of 1 TFLOP/s; the repeats are 1, 1.01 and 1 ms.
    expected = {"T": "1", "B": "1", "median": "0.001", "items_per_second": "8000.0", "item": "item", "device": "cpu"}
    assert rows[0].items() >= {**expected, "dtype": "float32", "threads": "1", "device_name": "Test CPU"}.items()
    assert rows[-1] == {**dict.fromkeys(rows[0], ""), "T": "4", "B": "999", "problem": "no room"}


def test_a_saved_sweep_is_readable_json() -> None:
    data = json.loads(swept().dumps())
    assert data["vary"] == {"T": ["1", "4"], "B": ["1", "2", "8", "999"]}
    assert data["sweep"][0]["report"]["run"]["latency"]["times"] == [0.001, 0.00101, 0.001]


def test_notes_that_differ_in_numbers_alone_are_one() -> None:
    texts = [("noise: 12 % of 1.5", "alone"), ("noise: 9 % of 1.5",), ("noise: 31 % of 1.5",)]
    points = tuple(SweepPoint((("B", str(i)),), report([1e-3] * 5, notes=found)) for i, found in enumerate(texts))
    text = draw_sweep(Sweep((SweepAxis("B", ("0", "1", "2")),), points))
    assert "note: noise: 9 to 31 % of 1.5" in text
    assert "note: B=0: alone" in text
    assert text.count("note:") == 2
    some = Sweep((SweepAxis("B", ("0", "1", "2")),), (*points[:2], SweepPoint((("B", "2"),), report([1e-3] * 5))))
    assert "note: B=0, 1: noise: 9 to 12 % of 1.5" in draw_sweep(some)
