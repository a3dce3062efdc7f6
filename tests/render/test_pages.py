"""The pages of sweeps, comparisons and checks, in a headless Chromium where there is one."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from functools import cache

import pytest
import reports_of_runs
import sample_reports
import sample_runs
from browser import Browser, Opened

from fwdscope import units
from fwdscope.commands.check.outcome import CheckMessage, CheckPoint, CheckRun, Outcome
from fwdscope.commands.diff import Comparison, compare
from fwdscope.commands.scale import Scaling, grow, row_formulas
from fwdscope.inspection import inspect_target
from fwdscope.render import Options, checks, html, sweep_costs
from fwdscope.render.changes import DiffOptions
from fwdscope.render.html.diff import render as diff_page
from fwdscope.render.html.scale import render as scale_page
from fwdscope.render.html.sweep import render as sweep_page
from fwdscope.report import Estimate, Peaks, Report, parse_json
from fwdscope.report.speedup import against
from fwdscope.report.sweep import Sweep, SweepAxis, SweepPoint
from fwdscope.targets import Target

# Where HTML would do harm if it were read as such.
HOSTILE = "<script>document.title='owned'</script>"


def texts(browser: Browser, selector: str) -> list[str]:
    """The texts of all elements that a selector finds."""
    found: list[str] = browser.run(
        f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.textContent)"
    )
    return found


# --- benchmarks and sweeps -------------------------------------------------------------------------------------------


def timed_sweep() -> Sweep:
    """Two batch sizes and three lengths; one of them does not fit."""
    points = []
    for b, t in itertools.product((1, 8), (16, 64, 256)):
        report = reports_of_runs.report([0.001 * b * t * (1 + i / 50) for i in range(9)])
        points.append(SweepPoint((("B", str(b)), ("T", str(t))), report))
    points[-1] = replace(points[-1], report=None, problem=f"out of memory {HOSTILE}")
    return Sweep((SweepAxis("B", ("1", "8")), SweepAxis("T", ("16", "64", "256"))), tuple(points))


def costs_sweep() -> Sweep:
    def at(t: int) -> Report:
        report = sample_reports.gpt2(t, depth=2)
        peaks = [
            Peaks(name, "float32", flops, 1e12, 2**33, "table") for name, flops in (("Fast", 1e15), ("Slow", 1e14))
        ]
        times = [Estimate(one, t * 1e9 / (one.flops or 1), None, None, None, 2**33 + t, t < 1000) for one in peaks]
        return replace(report, estimates=tuple(times))

    axis = SweepAxis("T", ("64", "256", "1024"))
    return Sweep((axis,), tuple(SweepPoint((("T", t),), at(int(t))) for t in axis.values))


def test_a_sweep_is_read_back_from_its_json() -> None:
    for sweep in (timed_sweep(), costs_sweep()):
        assert Sweep.from_json(parse_json(sweep.dumps())) == sweep


def test_a_timed_sweep_has_a_curve_for_each_size_and_names_it(opened: Opened) -> None:
    sweep = timed_sweep()
    browser = opened(sweep_page(sweep))
    # Latency, throughput, arithmetic; the memory is the same at each size.
    assert texts(browser, ".chart h2") == ["Latency", "Throughput", "Arithmetic"]
    assert texts(browser, ".chart:first-child .named") == ["B=8", "B=1"]
    # Five of the six combinations ran: medians of nine evenly spaced times are the fifth, 1 + 4 / 50 of the least.
    titles = texts(browser, "section.table th")
    medians = texts(browser, f"section.table tbody td:nth-child({titles.index('median') + 1})")
    assert medians == ["17.3 ms", "69.1 ms", "276.5 ms", "138.2 ms", "553.0 ms", f"out of memory {HOSTILE}"]
    # On logarithmic scales the three lengths, each four times the one before, are equally far apart.
    x = "[...document.querySelectorAll('.chart:first-child .point')].slice(0, 3).map((one) => +one.getAttribute('cx'))"
    first, second, third = browser.run(x)
    assert third - second == pytest.approx(second - first, abs=0.2)
    browser.click(".check input")
    first, second, third = browser.run(x)
    assert (third - second) / (second - first) == pytest.approx((256 - 64) / (64 - 16), abs=0.05)


def test_a_combination_shows_its_repeats_and_its_slowest_steps(opened: Opened) -> None:
    sweep = timed_sweep()
    browser = opened(sweep_page(sweep))
    browser.click("section.table tbody tr:nth-child(2)")
    facts = texts(browser, ".detail dd")
    # Order statistics of 9 times: the 2nd to the 8th is the 95 % interval (Conover, 3.2).
    assert {"69.1 ms", "65.3 ms … 73.0 ms · ±5.6 %", "9"} <= set(facts)
    assert texts(browser, ".detail .bars td:first-child")[0] == "body.0.fc"
    assert browser.run("document.querySelectorAll('.point.chosen').length") == 3
    assert browser.run("decodeURIComponent(location.hash)") == "#B=1, T=64"
    opened(sweep_page(sweep), 390, dark=True, link="#B=8, T=256")
    assert HOSTILE in texts(browser, ".detail")[0]
    assert browser.run("document.title") == "small"


def test_a_sweep_of_costs_compares_devices(opened: Opened) -> None:
    sweep = costs_sweep()
    browser = opened(sweep_page(sweep))
    assert texts(browser, ".chart h2") == ["Least time by device", "MACs", "Bytes moved", "Peak memory"]
    assert texts(browser, ".chart:first-child .named") == ["Slow", "Fast"]
    # At 1024 neither device has the memory.
    assert browser.run("document.querySelectorAll('.chart:first-child .unfit').length") == 2
    titles = texts(browser, "section.table th")
    assert texts(browser, f"section.table tbody td:nth-child({titles.index('MACs') + 1})") == [
        row["MACs"] for row in sweep_costs.cost_rows(sweep)
    ]


def test_a_sweep_of_steps_of_generation_has_their_cache_and_tokens_a_second(opened: Opened) -> None:
    sweep = costs_sweep()

    def step(report: Report) -> Report:
        return replace(
            report, past=100, new_positions=1, estimates=report.estimates[:1],
            totals=replace(report.totals, kv_cache=2**20 * report.inputs[0].shape[1]),
        )  # fmt: skip

    sweep = replace(sweep, points=tuple(replace(one, report=one.report and step(one.report)) for one in sweep.points))
    browser = opened(sweep_page(sweep))
    assert texts(browser, ".chart h2")[:3] == ["Least time by device", "Throughput by device", "Cache"]
    # A token a step of each sequence, which takes 64, 256 or 1,024 times 1e9 FLOPs at 1e15 a second.
    batch = sweep.points[0].report.inputs[0].shape[0] if sweep.points[0].report else 0
    rates = [row["tokens/s"] for row in sweep_costs.cost_rows(sweep)]
    assert rates == [units.count(batch * 1e6 / t) for t in (64, 256, 1024)]


def test_the_page_of_a_benchmark_shows_its_repeats_and_what_it_is_compared_with(opened: Opened) -> None:
    times = [0.010 + 0.0001 * (i % 7) for i in range(40)]
    report = reports_of_runs.report([*times, 0.5])
    before = reports_of_runs.report([2 * time for time in times])
    browser = opened(html.draw(report, against(before, report)))
    figures = texts(browser, ".chart:first-child dd")
    assert figures[0] == "10.3 ms"
    assert figures[-1] == "41"
    assert "1 beyond, on the upper edge" in texts(browser, ".chart:first-child svg text")
    assert any("p10 20.0 ms before: 0.500 × the time" in text for text in texts(browser, ".messages li"))
    opened(html.draw(sample_runs.ran(sample_reports.mlp())), 390)


# --- checks ----------------------------------------------------------------------------------------------------------


def checked() -> CheckRun:
    wrong = CheckMessage("expect", "macs: expected 3, got 4", 9, 3, ("help: count them",), f"b.yaml:9:3: {HOSTILE}")
    points = (
        CheckPoint("promise", "shape of fc", "(B, 10)", "met", 4),
        CheckPoint("expect", "macs", "3", "failed", 9, "4", "1 (33 %) too many", problem=wrong),
        CheckPoint("expect", "latency", "< 1 ms", "skipped", 10, reason="no device"),
    )
    broken = CheckMessage("syntax", "this ( is never closed", 4, 11, text=f"c.yaml:4:11: error: {HOSTILE}")
    return CheckRun(
        (
            Outcome("a.yaml", "a", "ok", points[:1], params=100, macs=4_000, cached=True),
            Outcome("b.yaml", HOSTILE, "failed", points, params=100, macs=4_000, seconds=0.25),
            Outcome(f"{HOSTILE}.yaml", "c", "invalid", problems=(broken,), seconds=0.5),
            Outcome("notes.yaml", "notes", "skipped", reason="it is a workflow"),
        ),
        0.75,
        ("1 baseline is of no spec",),
    )


FILES = "[...document.querySelectorAll('.file')].filter((one) => !one.hidden).map((one) => one.id.slice(5))"


def test_a_check_is_read_back_from_its_json() -> None:
    run = checked()
    assert CheckRun.from_json(parse_json(checks.render(run, "json"))) == run


def test_a_check_shows_problems_first_and_what_was_found(opened: Opened) -> None:
    browser = opened(checks.render(checked(), "html"))
    assert browser.run(FILES) == [f"{HOSTILE}.yaml", "b.yaml", "a.yaml", "notes.yaml"]
    assert browser.run("[...document.querySelectorAll('details')].map((one) => one.open)") == [True, True, False, False]
    assert texts(browser, ".tile b") == ["1", "2", "2", "1", "0.75 s"]
    # The failed point comes first.
    rows = texts(browser, "[id='file-b.yaml'] tbody tr:not(.because)")
    assert rows == [
        "✗line 9macs (1 (33 %) too many)34",
        "–line 10latency< 1 msno device",
        "✓line 4shape of fc(B, 10)as expected",
    ]
    assert f"c.yaml:4:11: error: {HOSTILE}" in texts(browser, "pre")
    assert browser.run("document.title") == "fwdscope check"


def test_files_are_filtered_and_linked(opened: Opened) -> None:
    page = checks.render(checked(), "html")
    browser = opened(page, 390, dark=True, link="#a.yaml")
    assert browser.run("document.querySelector('.file.chosen').id") == "file-a.yaml"
    assert browser.run("document.querySelector('.file.chosen').open")
    browser.click(".chip.failed")
    assert browser.run(FILES) == ["b.yaml"]
    browser.click(".chip.failed")
    browser.click("input[type=search]")
    browser.send("Input.insertText", text="fc")
    assert browser.run(FILES) == ["b.yaml", "a.yaml"]
    assert texts(browser, "[role=status]") == ["2 of 4 files"]


# --- comparisons -----------------------------------------------------------------------------------------------------

CHANGES = "section.table tbody tr"
CHOSEN = (
    "[...document.querySelectorAll('.pair figure')].map((one) => one.querySelector('.node.chosen .name')?.textContent)"
)


def compared() -> Comparison:
    """Twelve blocks of GPT-2 against three of another width."""
    return compare(sample_reports.gpt2(), sample_reports.gpt2(d=512, depth=3))


def test_a_comparison_draws_both_networks_and_lists_the_changes(opened: Opened) -> None:
    one = compared()
    browser = opened(diff_page(one, DiffOptions()))
    totals = texts(browser, "section.totals tbody tr:first-child td")
    before, after = one.before.totals.params, one.after.totals.params
    assert totals[:4] == ["parameters", f"{before:,}", f"{after:,}", f"−{before - after:,}"]
    assert texts(browser, ".pair figcaption") == ["before specs/gpt2.yaml", "after specs/gpt2.yaml"]
    changed = [row for row in one.rows if row.kind == "changed"]
    assert f"~ {len(changed)} changed" in texts(browser, ".chip")
    assert browser.run(f"[...document.querySelectorAll('{CHANGES}.changed')].length") == len(changed)
    assert browser.run("document.querySelectorAll('.pair figure:first-child .node.changed').length") > 3


def test_a_change_is_chosen_in_both_networks(opened: Opened) -> None:
    one = compared()
    browser = opened(diff_page(one, DiffOptions()))
    place = next(index for index, row in enumerate(one.rows) if row.kind == "changed" and row.row.kind == "layer")
    change = one.rows[place]
    assert change.before is not None
    assert change.after is not None
    browser.run(
        f"[...document.querySelectorAll('{CHANGES} .name')].find((row) => row.title === {change.row.path!r}).click()"
    )
    assert browser.run(CHOSEN) == [change.before.label, change.after.label]
    figures = dict(zip(texts(browser, ".panel td:first-child"), texts(browser, ".panel td:nth-child(3)"), strict=True))
    assert figures["parameters"].replace(",", "") == f"{change.delta('params').after}"
    # A node chosen in the second network is chosen in the first too, and in the list.
    browser.click(".pair figure:last-child .node.changed:not(.chosen, .open)")
    left, right = browser.run(CHOSEN)
    assert left == right != change.after.label
    assert browser.run(f"document.querySelector('{CHANGES}[aria-selected=true] .name').title").endswith(right)
    browser.press("Escape")
    assert browser.run(CHOSEN) == [None, None]


def test_one_network_moves_with_the_other(opened: Opened) -> None:
    browser = opened(diff_page(compared(), DiffOptions()))
    browser.run("[...document.querySelectorAll('.view')].map((one) => (one.style.height = '200px'))")
    browser.run("document.querySelector('.view').dispatchEvent(new Event('pointerenter'))")
    browser.run("document.querySelector('.view').scrollTop = 200")
    browser.run("new Promise((done) => setTimeout(done, 100))")
    one, other = browser.run("[...document.querySelectorAll('.view')].map((one) => one.scrollTop)")
    assert one == 200
    assert other > 100


def test_changes_are_filtered_and_hostile_names_stay_text(opened: Opened) -> None:
    before = sample_reports.mlp()
    layers = [replace(row, path=f"{HOSTILE}{i}", label=HOSTILE, text=f"<b>{i}") for i, row in enumerate(before.layers)]
    browser = opened(
        diff_page(compare(before, replace(before, source=HOSTILE, layers=tuple(layers))), DiffOptions()), 390, True
    )
    assert HOSTILE in texts(browser, "h1")[0]
    assert any(HOSTILE in text for text in texts(browser, f"{CHANGES} .name"))
    browser.click("section.table input[type=search]")
    browser.send("Input.insertText", text="no such layer")
    assert browser.run(f"[...document.querySelectorAll('{CHANGES}')].filter((row) => !row.hidden).length") == 0
    assert browser.run("document.title") == "specs/mlp.yaml → <script>document.title='owned'</script>"


# --- growth ----------------------------------------------------------------------------------------------------------


@cache
def grown() -> Scaling:
    return grow(Target("lstm"), ["B", "hidden"], held_out=2)


def test_the_page_of_growth_draws_figures_and_their_terms(opened: Opened) -> None:
    browser = opened(scale_page(grown(), [{"hidden": 40}]))
    assert texts(browser, ".chart h2") == [
        f"{figure} against {var}"
        for var, figures in (("B", ("MACs", "peak memory")), ("hidden", ("params", "MACs", "peak memory")))
        for figure in figures
    ]
    # 4h(3h + 14) parameters at 20 and at 40: 5,920 and 21,440.
    row = texts(browser, ".formulas tbody tr:first-child td")
    assert row == ["params", "5.92 K", "21.4 K", "4·hidden·(3·hidden + 14)"]
    # The whole and its two terms, 12h² of 5,920 being 81.1 %.
    assert browser.run("document.querySelectorAll('.chart')[2].querySelectorAll('path.series').length") == 3
    assert "81.1 %" in texts(browser, ".bars")[0]


def test_a_panel_has_the_row_in_the_vars_of_the_spec(opened: Opened) -> None:
    target = Target("mlp_xor")
    report = inspect_target(target)[0]
    browser = opened(html.render(report, Options(formulas=row_formulas(target, report))), link="#hidden")
    found = browser.run(
        "[...document.querySelectorAll('h3')].find((one) => one.textContent === 'in the vars of the spec')"
        ".nextSibling.textContent"
    )
    # Four units with two inputs each, for each of B samples: as many products, twice as many FLOPs and one for the
    # bias; 2B inputs and 12 parameters are read.
    assert found.split() == ["MACs8B", "FLOPs20B", "read8·(B", "+", "6)", "written16B"]


@pytest.mark.parametrize("kind", ["sweep", "check", "diff", "scale"])
def test_axe_finds_no_violation_on_other_pages(opened: Opened, kind: str) -> None:
    page = {
        "sweep": lambda: sweep_page(timed_sweep()),
        "check": lambda: checks.render(checked(), "html"),
        "scale": lambda: scale_page(grown()),
        "diff": lambda: diff_page(compared(), DiffOptions()),
    }[kind]()
    assert "color-contrast" in opened(page, 390, True).passed_by_axe()


def test_two_training_steps_are_two_curves(opened: Opened) -> None:
    browser = opened(diff_page(compare(sample_reports.trained(), sample_reports.trained(2)), DiffOptions()))
    assert browser.run("document.querySelectorAll('.chart path.curve').length") == 2
    about = browser.run("document.querySelector('.chart p').textContent")
    assert re.findall(r"[\d.]+ MiB", about) == ["7.39 MiB", "14.4 MiB"]  # weights, and 7 or 14 MiB
