"""A network at several sizes as a table, a plot and CSV: what it costs, or how long it takes."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from fwdscope import units
from fwdscope.printable import cell, printable
from fwdscope.render.bench import BAD, against, differing, facts_of, notes, style_of, wrapped, write_blocks
from fwdscope.render.csv import figures_of, settings_of
from fwdscope.render.lines import Line, shorten
from fwdscope.render.rows import UNKNOWN
from fwdscope.render.summary import arithmetic_of
from fwdscope.render.table import Cell, Column, lay_out
from fwdscope.report import Report, Run
from fwdscope.report.generation import items
from fwdscope.report.roofline import utilisation
from fwdscope.report.speedup import Speedup
from fwdscope.report.sweep import Sweep, SweepPoint

# Rows of characters of a plot, and its widest.
_HEIGHT = 12
_WIDEST = 72
_MARKS = "●○▲△■□◆◇"
# Times further apart than this are not shown in one unit.
_FAR = 50
# The share of the most items a second from which more of them are hardly worth the wait.
_KNEE = 0.9


def draw_sweep(sweep: Sweep, width: int = 100, color: bool = False, compared: Sequence[Speedup | None] = ()) -> str:
    """A benchmark as text: a row for each combination, and how the time grows with the last name varied."""
    width = max(width, 60)
    medians = [(point, run.latency.median) for point, _, run in _runs(sweep) if run.latency]
    blocks = (
        _head(sweep, width),
        table(sweep, list(timed_rows(sweep, compared)), width),
        _compared(sweep, width, compared),
        plot(sweep, medians, "median time", units.shared_seconds, width),
        wrapped(knee_of(sweep), width),
        notes(notes_of(sweep), width),
    )
    return write_blocks(blocks, color)


def knee_of(sweep: Sweep) -> str:
    """Where the items a second stop to grow with the one number that is varied; empty if items do not grow with it."""
    found = [
        (point.values[0][1], number, number / run.latency.median, run.latency.median, unit)
        for point, report, run in _runs(sweep)
        for number, unit in [items(report)]
        if number and run.latency and point.values[0][1].isdigit()
    ]
    found.sort(key=lambda one: int(one[0]))
    if len(sweep.axes) > 1 or len(found) < 3 or any(b[1] <= a[1] for a, b in itertools.pairwise(found)):
        return ""
    name, most = printable(sweep.axes[0].name), max(found, key=lambda one: one[2])
    knee = next(one for one in found if one[2] >= _KNEE * most[2])
    if knee is found[-1]:
        return f"no knee up to {name}={knee[0]}: {knee[4]}/s still grow"
    if knee is most:
        return f"knee of the curve: {name}={knee[0]}, with the most {knee[4]}/s"
    reaches = f"{name}={knee[0]} reaches {units.share(knee[2] / most[2])} of the {knee[4]}/s of {name}={most[0]}"
    return f"knee of the curve: {reaches}, whose forward takes {most[3] / knee[3]:.3g} × as long"


def notes_of(sweep: Sweep) -> list[str]:
    """The notes of all runs, each once."""
    return grouped_notes(sweep, [(point, run.notes) for point, _, run in _runs(sweep)])


def _runs(sweep: Sweep) -> list[tuple[SweepPoint, Report, Run]]:
    return [
        (point, point.report, point.report.run)
        for point in sweep.points
        if point.report is not None and point.report.run is not None and point.report.run.latency is not None
    ]


def _head(sweep: Sweep, width: int) -> Iterator[Line]:
    measured = _runs(sweep)
    if not measured:
        yield (("nothing was measured", BAD),)
        return
    yield ((printable(measured[0][1].name), "bold"), (f"  ·  {ends_of(sweep)}", ""))
    yield from wrapped("  ·  ".join(facts_of_sweep(sweep)), width, "dim")


def facts_of_sweep(sweep: Sweep) -> list[str]:
    """How all combinations were run."""
    run, varied = _runs(sweep)[0][-1], {axis.name for axis in sweep.axes}
    facts = [fact for fact in facts_of(run) if not (varied & {"dtype"} and fact.startswith(run.dtype))]
    if varied & {"tf32", "cudnn-benchmark"}:
        facts = [fact for fact in facts if fact not in arithmetic_of(run)]
    return [fact for fact in facts if not ("threads" in varied and "thread" in fact)]


def ends_of(sweep: Sweep) -> str:
    """The first and the last value of each name: ``B 1 to 32, T 128 to 1024``."""
    ends = ((axis.name, " to ".join(dict.fromkeys((axis.values[0], axis.values[-1])))) for axis in sweep.axes)
    return ", ".join(f"{printable(name)} {printable(values)}" for name, values in ends)


# Columns that are left out where there is no room, the last first.
_DROPPED = ("memory", "per item", "per token", "FLOP/s", "FLOPs", "read", "written", "input", "traced peak", "spread")


def table(sweep: Sweep, rows: Sequence[Mapping[str, str]], width: int) -> Iterator[Line]:
    """A row for each combination; the problem of one without a report stands behind its values."""
    varied = [axis.name for axis in sweep.axes]
    laid_out = lay_out(list(columns_of(rows, varied)), width - 2)
    yield from laid_out.heading()
    for index, point in enumerate(sweep.points):
        if point.problem is None:
            yield laid_out.row(index)
        else:
            head = laid_out.row(index, columns=len(varied))
            room = width - 2 - sum(laid_out.widths[: len(varied)]) - 2 * len(varied)
            yield (*head, ("  ", ""), (shorten(printable(point.problem), max(20, room)), BAD))


def _compared(sweep: Sweep, width: int, compared: Sequence[Speedup | None]) -> Iterator[Line]:
    for point, one in zip(sweep.points, compared, strict=False):
        if one is not None:
            values = ", ".join(f"{name}={value}" for name, value in point.values)
            yield from wrapped(f"{values}: {against(one)}", width, style_of(one), hanging="  ")
    yield from differing(dict.fromkeys(text for one in compared if one is not None for text in one.differs), width)


def columns_of(rows: Sequence[Mapping[str, str]], varied: Sequence[str], missing: str = UNKNOWN) -> Iterator[Column]:
    """The columns that are not empty; a cell that is shows ``missing``."""
    for name in dict.fromkeys(name for row in rows for name in row):
        texts = [row.get(name, "") for row in rows]
        if any(texts):
            style = "bold" if name in varied else ""
            drop = _DROPPED.index(name) + 1 if name in _DROPPED else 0
            yield Column(name, [Cell(text or missing, style=style) for text in texts], right=True, drop=drop)


def timed_rows(sweep: Sweep, compared: Sequence[Speedup | None] = ()) -> Iterator[dict[str, str]]:
    """The cells of each combination, by the titles of their columns."""
    medians = [run.latency.median for *_, run in _runs(sweep) if run.latency]
    far = bool(medians) and max(medians) > _FAR * min(medians)
    texts = iter(map(units.seconds, medians) if far else units.shared_seconds(medians))
    for point, one in itertools.zip_longest(sweep.points, compared):
        row = {name: printable(value) for name, value in point.values}
        run = point.report.run if point.report else None
        if point.report and run and (latency := run.latency):
            (number, unit), time = items(point.report), latency.median
            totals, flops = point.report.totals, point.report.totals.flops
            used = utilisation(point.report, run.peaks, latency.median) if run.peaks else None
            row |= {
                "median": next(texts),
                "spread": f"{100 * latency.iqr / latency.median:.0f} %",
                f"{unit}/s": units.count(number / time) if number else "",
                f"per {unit[:-1]}": units.seconds(time / number) if number else "",
                "FLOPs": units.count(flops) if flops is not None else "",
                "FLOP/s": units.count(flops / latency.median) if flops is not None else "",
                "of peak": f"{100 * used:.0f} %" if used is not None else "",
                "memory": units.byte_size(run.peak_memory) if run.peak_memory is not None else "",
                "traced peak": units.byte_size(totals.peak_memory) if totals.peak_memory is not None else "",
                "× before": f"{one.ratio:.3f}" if one else "",
            }
        yield row


# A number in a note: those of several notes that are the same otherwise become a range.
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def grouped_notes(sweep: Sweep, of_points: Sequence[tuple[SweepPoint, Sequence[str]]]) -> list[str]:
    """Each note once, with the combinations that it is about where it is not all of them.

    Of notes that differ in their numbers alone one is left, from the least to the largest.
    """
    about: dict[str, dict[str, list[SweepPoint]]] = {}
    for point, texts in of_points:
        for note in texts:
            about.setdefault(_NUMBER.sub("#", note), {}).setdefault(note, []).append(point)
    every = len(of_points)
    found = []
    for alike in about.values():
        points = [point for same in alike.values() for point in same]
        ranges = [
            texts[0] if len(set(texts)) == 1 else f"{min(texts, key=_size)} to {max(texts, key=_size)}"
            for texts in zip(*map(_NUMBER.findall, alike), strict=True)
        ]
        words = _NUMBER.split(next(iter(alike)))
        text = "".join(map("".join, zip(words, [*ranges, ""], strict=True)))
        found.append(text if len(points) == every else f"{_list_points(sweep, points, every)}: {text}")
    return found


def _size(text: str) -> float:
    return float(text.replace(",", ""))


def _list_points(sweep: Sweep, points: Sequence[SweepPoint], every: int) -> str:
    """Which combinations: ``B=1, 8, 32``, ``B=1, T=2 and B=1, T=4``, or how many where that would be long."""
    if len(sweep.axes) == 1:
        return f"{sweep.axes[0].name}={', '.join(point.values[0][1] for point in points)}"
    if len(points) > 2:
        return f"{units.exact(len(points))} of the {units.exact(every)} combinations"
    return " and ".join(", ".join(f"{name}={value}" for name, value in point.values) for point in points)


def plot(
    sweep: Sweep,
    figures: Sequence[tuple[SweepPoint, float]],
    title: str,
    texts: Callable[[Sequence[float]], list[str]],
    width: int,
) -> Iterator[Line]:
    """A figure against the last name varied, both on logarithmic scales; a mark for each value of the others."""
    series = _series(figures)
    xs = sorted({x for points in series.values() for x, _ in points})
    ys = [y for points in series.values() for _, y in points]
    if len(xs) < 3 or xs[0] <= 0:
        return
    columns = min(_WIDEST, width - 14)
    low, high = min(ys), max(ys)
    if high <= 1.2 * low:
        low, high = low / 1.2, high * 1.2
    canvas = [[" "] * columns for _ in range(_HEIGHT)]
    for number, points in enumerate(series.values()):
        _trace(canvas, points, (xs[0], xs[-1]), (low, high), _MARKS[number % len(_MARKS)])
    labels = texts([high, math.sqrt(high * low), low])
    room = max(map(len, labels))
    beside = {0: labels[0], _HEIGHT // 2: labels[1], _HEIGHT - 1: labels[2]}
    for i, line in enumerate(canvas):
        sign = "┤" if i in beside else "│"
        yield ((beside.get(i, "").rjust(room), "dim"), (f" {sign}", "dim"), ("".join(line).rstrip(), "cyan"))
    yield ((" " * room + " └" + "─" * columns, "dim"),)
    yield ((" " * (room + 2) + _ticks(xs, columns), "dim"), (f"  {printable(sweep.axes[-1].name)}", ""))
    if len(series) > 1:
        names = [f"{_MARKS[i % len(_MARKS)]} {printable(name)}" for i, name in enumerate(series)]
        yield from wrapped("   ".join(names), width, "", " " * (room + 2))
    yield ((" " * (room + 2) + f"{title}, both scales logarithmic", "dim"),)


def _series(figures: Sequence[tuple[SweepPoint, float]]) -> dict[str, list[tuple[float, float]]]:
    """The points by the values of all names but the last; x is the last one's, where it is a number."""
    found: dict[str, list[tuple[float, float]]] = {}
    for point, figure in figures:
        *others, (_, text) = point.values
        with contextlib.suppress(ValueError):
            name = ", ".join(f"{name}={value}" for name, value in others)
            found.setdefault(name, []).append((float(text), figure))
    return found


def _trace(
    canvas: list[list[str]],
    points: Sequence[tuple[float, float]],
    xs: tuple[float, float],
    ys: tuple[float, float],
    mark: str,
) -> None:
    """Marks at the points, dots between them."""
    placed = [(_place(x, xs, len(canvas[0])), len(canvas) - 1 - _place(y, ys, len(canvas))) for x, y in sorted(points)]
    for (left, top), (right, bottom) in itertools.pairwise(placed):
        for column in range(left + 1, right):
            row = round(top + (bottom - top) * (column - left) / (right - left))
            if canvas[row][column] == " ":
                canvas[row][column] = "·"
    for column, row in placed:
        canvas[row][column] = mark


def _place(value: float, ends: tuple[float, float], size: int) -> int:
    low, high = map(math.log, ends)
    return round((math.log(value) - low) / (high - low) * (size - 1))


def _ticks(xs: Sequence[float], columns: int) -> str:
    """The values below their marks, as many as fit; both ends first."""
    line = [" "] * columns
    for x in (xs[0], xs[-1], *xs[1:-1]):
        text = f"{x:g}"
        start = max(0, min(columns - len(text), _place(x, (xs[0], xs[-1]), columns) - len(text) // 2))
        if all(sign == " " for sign in line[max(0, start - 1) : start + len(text) + 1]):
            line[start : start + len(text)] = text
    return "".join(line)


def as_csv(sweep: Sweep, compared: Sequence[Speedup | None] = ()) -> str:
    """A line for each combination: its values, seconds, costs, device and settings; repeats are in the JSON alone."""
    table = []
    for point, one in itertools.zip_longest(sweep.points, compared):
        row: dict[str, object] = {**figures_of(point.report), **settings_of(point.report)} if point.report else {}
        row |= {"before": one.before, "of_before": one.ratio, "answer": one.answer} if one else {}
        table.append({**row, **dict(point.values), "problem": cell(point.problem or "")})
    names = [axis.name for axis in sweep.axes]
    columns = dict.fromkeys([*names, *[name for row in table for name in row if name != "problem"], "problem"])
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return file.getvalue()
