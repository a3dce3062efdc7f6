"""The shapes and costs of a network at several sizes, ``inspect --vary``: as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from fwdscope import units
from fwdscope.printable import cell, printable
from fwdscope.render import estimates, mesh_times, summary, training
from fwdscope.render.bench import notes, wrapped, write_blocks
from fwdscope.render.estimates import rates_of_items
from fwdscope.render.lines import Line, escape_markdown, next_steps
from fwdscope.render.rows import BROKEN
from fwdscope.render.sweep import columns_of, ends_of, grouped_notes, plot, table
from fwdscope.render.table import markdown_table
from fwdscope.report import Report, TensorInfo, TrainingStep, throughput
from fwdscope.report.generation import items
from fwdscope.report.mesh import RANK_FIGURES
from fwdscope.report.sweep import Sweep, SweepPoint

FORMATS = ("table", "json", "csv", "markdown")
# Figures further apart than this are not shown in one unit.
_FAR = 1000


class _SweptFigure(NamedTuple):
    """A figure of the whole: the title of its column, how a column is written in one unit, how a value is, its value.

    Without a value of its own it is that of its name in the totals.
    """

    title: str
    together: Callable[[Sequence[int]], list[str]]
    alone: Callable[[float], str]
    of: Callable[[TrainingStep], int] | None = None


_COUNT, _BYTES = (units.shared_counts, units.count), (units.shared_bytes, units.byte_size)
_FIGURES = {
    "params": _SweptFigure("params", units.count_column, units.count),
    "macs": _SweptFigure("MACs", *_COUNT),
    "flops": _SweptFigure("FLOPs", *_COUNT),
    "bytes_read": _SweptFigure("read", *_BYTES),
    "bytes_written": _SweptFigure("written", *_BYTES),
    "kv_cache": _SweptFigure("KV cache", *_BYTES),
    "peak_memory": _SweptFigure("peak memory", *_BYTES),
}
_FIGURES_OF_STEP = {
    "params": _FIGURES["params"],
    "train_macs": _SweptFigure("MACs", *_COUNT, lambda step: step.macs),
    "train_flops": _SweptFigure("FLOPs", *_COUNT, lambda step: step.flops),
    "saved_activations": _SweptFigure("saved", *_BYTES, lambda step: step.saved_bytes),
    "train_memory": _SweptFigure("peak memory", *_BYTES, lambda step: step.peak_memory),
}
_FIGURES_OF_RANK = {
    "rank_params": _SweptFigure("params a rank", *_COUNT),
    "rank_flops": _SweptFigure("FLOPs a rank", *_COUNT),
    "rank_memory": _SweptFigure("memory a rank", *_BYTES),
    "rank_sent": _SweptFigure("a rank sends", *_BYTES),
}
# The plot is of the first that is not the same everywhere.
_PLOTTED = ("rank_memory", "macs", "train_macs", "peak_memory", "train_memory", "flops", "params")


def _figures(sweep: Sweep) -> dict[str, _SweptFigure]:
    if any(report.mesh for _, report in _reports(sweep)):
        return _FIGURES_OF_RANK
    return _FIGURES_OF_STEP if any(report.training for _, report in _reports(sweep)) else _FIGURES


def _value(report: Report, name: str, figure: _SweptFigure) -> int | None:
    if name in RANK_FIGURES:
        return report.mesh.figures[name] if report.mesh else None
    if figure.of is not None and report.training is not None:
        return figure.of(report.training)
    value: int | None = getattr(report.totals, name)
    return value


def render(sweep: Sweep, form: str, width: int = 100, color: bool = False, commands: Sequence[str] = ()) -> str:
    """The sweep in one of :data:`FORMATS`."""
    if form == "json":
        return sweep.dumps()
    if form == "csv":
        return _csv(sweep)
    if form == "markdown":
        return "\n".join(_markdown(sweep)) + "\n"
    width = max(width, 60)
    blocks = (
        [((title, "bold"), (f"  ·  {rest}", "")) for title, rest in head(sweep)],
        table(sweep, cost_rows(sweep), width),
        _plot(sweep, width),
        [line for text in small_print(sweep) for line in wrapped(text, width, "dim", hanging="  ")],
        notes(notes_of(sweep), width),
        next_steps(commands, width),
    )
    return write_blocks(blocks, color)


def _reports(sweep: Sweep) -> list[tuple[SweepPoint, Report]]:
    return [(point, point.report) for point in sweep.points if point.report is not None]


def head(sweep: Sweep) -> Iterator[tuple[str, str]]:
    """The name, and what was varied; nothing if no combination could be inspected."""
    for _, report in _reports(sweep)[:1]:
        name, dtype, *where = summary.title_parts(report)
        facts = [dtype] * all(axis.name != "dtype" for axis in sweep.axes)
        yield name, "  ·  ".join([ends_of(sweep), *facts, *where])


def cost_rows(sweep: Sweep) -> list[dict[str, str]]:
    """The cells of each combination, by the titles of their columns."""
    rows = [{name: printable(value) for name, value in point.values} for point in sweep.points]
    known = [(row, point.report) for row, point in zip(rows, sweep.points, strict=True) if point.report is not None]
    for row, report in known:
        row |= {"input": _shapes(report.inputs), "output": _shapes(report.outputs)}
    for name, figure in _figures(sweep).items():
        found = [(row, value) for row, report in known if (value := _value(report, name, figure)) is not None]
        values = [value for _, value in found]
        near = any(values) and max(values) <= _FAR * min(filter(None, values))
        texts = figure.together(values) if near else [figure.alone(value) if value else "" for value in values]
        for (row, _), text in zip(found, texts, strict=True):
            row[figure.title] = text or "0" * any(values)
    for row, report in known:
        for what, (rate, *others) in rates_of_items(report) if report.training and report.estimates else ():
            row |= {f"{what}/s": rate} if not others else {}
        for one in report.estimates:
            time = units.seconds(one.seconds) if one.seconds is not None else ""
            row[printable(one.peaks.name)] = f"{time} {BROKEN}".strip() if one.fits is False else time
        for on_mesh in report.mesh_estimates:
            time = units.seconds(on_mesh.seconds) if on_mesh.seconds is not None else ""
            row[printable(on_mesh.cluster.device)] = f"{time} {BROKEN}".strip() if on_mesh.fits is False else time
            if len(report.mesh_estimates) == 1:
                row |= {f"{_items(report)}/s": units.count(on_mesh.rate)} if on_mesh.rate else {}
                row["bound by"] = on_mesh.bound
        (number, unit), times = items(report), [one.seconds for one in report.estimates]
        if unit == "tokens" and number and len(times) == 1 and times[0]:
            row["tokens/s"] = units.count(number / times[0])
    return rows


def _items(report: Report) -> str:
    return (throughput.items(report) or (1, "items"))[1]


def _times(report: Report) -> list[tuple[str, float | None]]:
    """The devices and clusters of ``--on``, and the seconds there."""
    return [
        *((one.peaks.name, one.seconds) for one in report.estimates),
        *((one.cluster.device, one.seconds) for one in report.mesh_estimates),
    ]


def _shapes(tensors: Sequence[TensorInfo]) -> str:
    return ", ".join(units.shape_cell(one.shape) for one in tensors)


def _plot(sweep: Sweep, width: int) -> Iterator[Line]:
    # Of steps of generation and of training the time, where there is one.
    stepped = [(point, report) for point, report in _reports(sweep) if report.past or report.training]
    timed = [(point, report.estimates[0]) for point, report in stepped if report.estimates]
    times = [(point, one.seconds) for point, one in timed if one.seconds]
    meshed = [(point, report.mesh_estimates[0]) for point, report in _reports(sweep) if report.mesh_estimates]
    if len({one.rate for _, one in meshed}) > 1:
        title = f"{_items(_reports(sweep)[0][1])}/s, on {printable(meshed[0][1].cluster.device)}"
        rates = [(point, one.rate) for point, one in meshed if one.rate]
        yield from plot(sweep, rates, title, lambda ys: [*map(units.count, ys)], width)
        return
    if len({seconds for _, seconds in times}) > 1:
        title = f"least time of a step, on {printable(timed[0][1].peaks.name)}"
        yield from plot(sweep, times, title, lambda ys: [*map(units.seconds, ys)], width)
        return
    for name, figure in (
        (name, figures[name]) for figures in [_figures(sweep)] for name in _PLOTTED if name in figures
    ):
        values = [(point, _value(report, name, figure) or 0) for point, report in _reports(sweep)]
        if len({value for _, value in values}) > 1 and all(value > 0 for _, value in values):
            yield from plot(sweep, values, figure.title, lambda ys, one=figure.alone: [*map(one, ys)], width)  # type: ignore[misc]
            return


def small_print(sweep: Sweep) -> Iterator[str]:
    """What the figures mean."""
    for _, report in _reports(sweep)[:1]:
        yield summary.convention(report)
        if step := report.training:
            yield f"figures of a training step: loss {printable(step.loss)}, optimizer {printable(step.optimizer)}"
        if report.estimates:
            yield f"{estimates.heading(report.estimates)}: the least time"
        if report.mesh_estimates:
            yield f"times on clusters are of a whole step, run eagerly: {mesh_times.LEGEND}"
    fits = [one.fits for _, report in _reports(sweep) for one in report.estimates]
    if False in (*fits, *(one.fits for _, report in _reports(sweep) for one in report.mesh_estimates)):
        yield f"{BROKEN}  needs more memory than the device has"


def notes_of(sweep: Sweep) -> list[str]:
    """The notes of all combinations, each once."""
    of_points = [
        (point, (summary.uncounted(report), training.uncounted(report), *report.notes))
        for point, report in _reports(sweep)
    ]
    return grouped_notes(sweep, [(point, list(filter(None, texts))) for point, texts in of_points])


def _markdown(sweep: Sweep) -> Iterator[str]:
    for name, rest in head(sweep):
        yield from (f"### {escape_markdown(name)}", "", escape_markdown(rest), "")
    rows = cost_rows(sweep)
    for row, point in zip(rows, sweep.points, strict=True):
        row["problem"] = printable(point.problem or "")
    yield from markdown_table(list(columns_of(rows, [axis.name for axis in sweep.axes], missing="")))
    texts = [escape_markdown(text) for text in filter(None, small_print(sweep))]
    yield from ("", "  \n".join(texts), *(f"\n- {escape_markdown(note)}" for note in notes_of(sweep)))


def _csv(sweep: Sweep) -> str:
    """A line for each combination: its values, the shapes as ``1x3x224x224``, the totals, the problem."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    reports = [report for _, report in _reports(sweep)]
    devices = dict.fromkeys(name for report in reports for name, _ in _times(report))
    has_cache = any(report.past for report in reports)
    figures = {name: one for name, one in _figures(sweep).items() if name != "kv_cache" or has_cache}
    writer.writerow([*(axis.name for axis in sweep.axes), "input", "output", *figures, *devices, "problem"])
    for point in sweep.points:
        cells = [value for _, value in point.values]
        if (report := point.report) is not None:
            cells += [_shapes(ends).replace(", ", ";").replace(" ", "x") for ends in (report.inputs, report.outputs)]
            values = [_value(report, name, one) for name, one in figures.items()]
            found = [*values, *(seconds for _, seconds in _times(report))]
            cells += ["" if value is None else str(value) for value in found]
        else:
            cells += [""] * (2 + len(figures) + len(devices))
        writer.writerow([*cells, cell(point.problem or "")])
    return file.getvalue()
