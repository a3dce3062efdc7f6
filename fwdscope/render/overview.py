"""Several reports in one text: a table of their totals, then each of them; as data, all in one list or table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from fwdscope import units
from fwdscope.printable import cell, printable
from fwdscope.render import render
from fwdscope.render.lines import write
from fwdscope.render.rows import AT_LEAST, Options
from fwdscope.render.table import Column, lay_out, markdown_table
from fwdscope.report import Report

# What a report is called, the report, and how it is shown.
NamedReport = tuple[str, Report, Options]

# Columns are left out before names get shorter than this.
_MIN_NAME = 28


def render_several(reports: Sequence[NamedReport], format: str) -> str:
    """The reports in one of :data:`~fwdscope.render.FORMATS`. Raises ValueError for an unknown format or column."""
    texts = [render(report, format, options) for _, report, options in reports]
    if format == "json":
        return "[" + ",\n".join(text.rstrip() for text in texts) + "]\n"
    if format == "csv":
        return _csv([name for name, _, _ in reports], texts)
    if format == "markdown":
        return "\n".join(["\n".join(markdown_table(_columns(reports))) + "\n", *texts])
    width, color = reports[0][2].width or 200, reports[0][2].color
    table = lay_out(_columns(reports), width - 2)
    overview = write([(), *(((" ", ""), *line) for line in table.lines())], color)
    return "\n".join([overview, *texts]) if format == "tree" else overview + "".join(texts)


def _columns(reports: Sequence[NamedReport]) -> list[Column]:
    """What each network is called, its totals, and its time if it ran."""

    def column(title: str, of: Callable[[Report], float | None], text: Callable[[float], str], drop: int = 0) -> Column:
        values = [(of(report), AT_LEAST * bool(report.uncounted and title != "params")) for _, report, _ in reports]
        cells = ["—" if value is None else least + text(value) for value, least in values]
        return Column(title, cells, right=True, drop=drop)

    def time(report: Report) -> float | None:
        return report.run.latency.median if report.run and report.run.latency else None

    names = [printable(name) for name, _, _ in reports]
    columns = [
        Column("network", names, cut="middle", min_width=min(_MIN_NAME, max(map(len, names))), is_code=True),
        column("params", lambda report: report.totals.params, lambda value: units.exact(int(value))),
        column("MACs", lambda report: report.totals.macs, units.count),
        column("FLOPs", lambda report: report.totals.flops, units.count, 1),
        column("peak memory", lambda report: report.totals.peak_memory, units.byte_size, 2),
    ]
    if any(time(report) is not None for _, report, _ in reports):
        columns.append(column("forward", time, units.seconds))
    outputs = [", ".join(units.shape(one.shape) for one in report.outputs) for _, report, _ in reports]
    return [*columns, Column("output", outputs, cut="end", min_width=10, drop=3)]


def _csv(names: Sequence[str], texts: Sequence[str]) -> str:
    """The tables as one, with the network of each row in front."""
    tables = [list(csv.DictReader(io.StringIO(text))) for text in texts]
    heads = [next(csv.reader(io.StringIO(text))) for text in texts]
    out = io.StringIO()
    fields = ["network", *dict.fromkeys(field for head in heads for field in head)]
    writer = csv.DictWriter(out, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows({"network": cell(name), **row} for name, rows in zip(names, tables, strict=True) for row in rows)
    return out.getvalue()
