"""Estimates for devices that are not here, as text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdscope.render import Options, estimates, render
from fwdscope.report import Environment, Estimate, Peaks, Report, Totals

GIB = 1024**3
H100 = Peaks("H100 SXM 80GB", "bfloat16", 989.4e12, 3.35e12, 80 * 10**9, "table")
T4 = Peaks("T4", "bfloat16", None, 320e9, 16 * 10**9, "table")
FAST = Estimate(H100, 8.55e-3, 7.91e-3, 8.55e-3, 14.2e-3, 15 * GIB, True)
# 15 GiB are 16.1e9 bytes.
SMALL = Estimate(T4, None, None, 89.5e-3, None, 15 * GIB, False)


def report(*found: Estimate, **fields: object) -> Report:
    totals = Totals(0, 0, 0, 0, 0, flops=7_826_000_000_000, bytes_read=9, bytes_written=1, peak_memory=15 * GIB)
    environment = Environment("0.1.0", "3.11.9", "2.13.0", "linux")
    return Report("net", (), (), (), totals, environment, estimates=found, dtype="bfloat16", **fields)  # type: ignore[arg-type]


def text(one: Report, width: int = 98) -> str:
    return "\n".join("".join(piece for piece, _ in line) for line in estimates.lines(one, width))


def test_a_report_without_estimates_prints_nothing() -> None:
    assert text(report()) == ""


def test_one_device_is_described_in_words() -> None:
    assert text(report(FAST), 130) == (
        "on H100 SXM 80GB in bfloat16: fused at least 8.55 ms, eager about 14.2 ms, by published peaks "
        "(989 TFLOP/s, 3.35 TB/s)\n"
        "  arithmetic 7.91 ms, traffic 8.55 ms: memory-bound (273 FLOPs per byte, ridge at 295)\n"
        "  fits: needs 15.0 GiB, 20.1 % of its 80 GB\n"
        "fused: all arithmetic at the peak, or weights, inputs, outputs and what no fusion keeps on the chip at full "
        "bandwidth, whichever\n  is longer; eager: each layer at 80 % of FLOP/s and 85 % of bandwidth, or 20.0 µs a "
        "kernel if launching all of them takes longer"
    )


def test_a_device_without_a_peak_or_enough_memory_says_so() -> None:
    assert text(report(SMALL)) == (
        "on T4 in bfloat16: no time, since no bfloat16 peak is published\n"
        "  ✗ does not fit: needs 15.0 GiB, 100.7 % of its 16 GB"
    )


@pytest.mark.core
def test_several_devices_are_a_table_with_times_in_one_unit() -> None:
    drawn = text(report(FAST, SMALL)).splitlines()
    assert drawn[:6] == [
        "estimates in bfloat16 from published peaks",
        "device           fused     eager  arithmetic   traffic  bound by  ridge  memory     needed",
        "──────────────────────────────────────────────────────────────────────────────────────────",
        "H100 SXM 80GB  8.55 ms  14.20 ms     7.91 ms   8.55 ms  memory      295   80 GB     20.1 %",
        "T4                   —         —           —  89.50 ms                —   16 GB  ✗ 100.7 %",
        "—  no bfloat16 peak is published",
    ]


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (98, "device fused eager arithmetic traffic bound by ridge memory needed"),
        (78, "device fused eager arithmetic bound by memory needed"),
        (60, "device fused eager ridge memory needed"),
        (40, "device fused eager memory needed"),
    ],
)
def test_narrow_tables_leave_out_the_least_important_columns(width: int, titles: str) -> None:
    lines = text(report(FAST, SMALL), width).splitlines()
    assert " ".join(lines[1].split()) == titles
    if width >= 60:
        assert all(len(line) <= width for line in lines)


def test_a_line_breaks_before_no_unit() -> None:
    for width in range(40, 120):
        for line in text(report(FAST), width).splitlines():
            assert not line.lstrip().startswith(("ms", "GiB", "GB", "%", "TFLOP/s", "TB/s", "FLOPs")), (width, line)


def test_another_peak_of_convolutions_is_given() -> None:
    peaks = replace(H100, dtype="float32", flops=67e12, convolution_flops=494.5e12)
    drawn = text(report(replace(FAST, peaks=peaks)), 200)
    assert "(67.0 TFLOP/s, convolutions in TF32 494 TFLOP/s, 3.35 TB/s)" in drawn
    # 67e12 / 3.35e12 = 20; 494.5e12 / 3.35e12 = 147.6
    assert "ridge at 20, of convolutions at 148)" in drawn


def test_operators_without_a_rule_are_reported() -> None:
    assert "operators without" not in text(report(FAST))
    assert "operators without a counting rule are not included" in text(report(FAST, uncounted=("aten::mystery",)))


def test_unknown_memory_is_no_fit() -> None:
    nowhere = replace(FAST, peaks=replace(H100, memory=None), fits=None)
    assert "needs 15.0 GiB; its memory is not known" in text(report(nowhere))
    assert "the memory that it needs is not known" in text(report(replace(FAST, needed=None, fits=None)))
    assert text(report(FAST, nowhere)).splitlines()[4].split()[-2:] == ["—", "—"]


@pytest.mark.parametrize("form", ["table", "tree", "markdown"])
def test_every_text_format_has_them(form: str) -> None:
    assert "fused at least 8.55 ms, eager about 14.2 ms" in render(report(FAST), form, Options())
    drawn = render(report(FAST, SMALL), form, Options())
    assert "estimates in bfloat16 from published peaks" in drawn
    assert "✗ 100.7 %" in drawn


def test_a_name_from_a_saved_report_cannot_steer_the_terminal() -> None:
    evil = replace(FAST, peaks=replace(H100, name="H\x1b[2J100"))
    assert "\x1b" not in text(report(evil)) + text(report(evil, SMALL))


@pytest.mark.parametrize(
    ("needed", "text_of_it"),
    # 141.1 and 141.01 of 141 GB, 150 of 141 GB, 160 of 141 GB, 4.5 times as much.
    [
        (141_100_000_000, "100.1 % of"),
        (141_010_000_000, ">100 % of"),
        (150_000_000_000, "106.4 % of"),
        (160_000_000_000, "1.13 ×"),
        (634_500_000_000, "4.5 ×"),
    ],
)
def test_too_little_memory_is_never_said_to_be_once_what_is_needed(needed: int, text_of_it: str) -> None:
    one = replace(SMALL, needed=needed, peaks=replace(SMALL.peaks, memory=141_000_000_000))
    assert f"{text_of_it} its 141 GB" in text(report(one))
