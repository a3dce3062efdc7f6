"""The rows as CSV: one a layer, a column for every field of :class:`LayerRow`, all rows unless fewer are asked for.

Figures are those of one copy. The column ``times`` is how many equal rows the row stands for: over the rows
that contain no other, the sum of a figure times that is the network's.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any

from fwdscope.render.rows import Options, view_for
from fwdscope.report import ActivationStats, Histogram, LayerRow, Promise, Report, TensorInfo, multiplicities


def render(report: Report, options: Options) -> str:
    """The rows with a heading. Shapes are ``1x64x112x112``; several things in one field are joined by ``;``.

    Where the whole was timed, its median, p90 and p99 in seconds stand in each row, in columns behind ``times``.
    What a run saw is in columns of its own, ``stats_mean``; a histogram is ``low..high:1 2 3``.
    """
    out = io.StringIO()
    names = [name for field in dataclasses.fields(LayerRow) for name in _headings(field.name)]
    latency = report.run.latency if report.run else None
    whole = {f"whole_{name}": str(getattr(latency, name)) for name in ("median", "p90", "p99")} if latency else {}
    writer = csv.DictWriter(out, [*names, "times", *whole], lineterminator="\n")
    writer.writeheader()
    for row, times in _rows(report, options):
        writer.writerow(_record(row) | {"times": str(times)} | whole)
    return out.getvalue()


def _rows(report: Report, options: Options) -> list[tuple[LayerRow, int]]:
    if options.depth is None and options.sort is None and options.top is None:
        return list(zip(report.layers, multiplicities(report.layers), strict=True))
    return [(shown.row, shown.times) for shown in view_for(report, options).rows]


# Fields that hold several things, each in a column of its own.
_SEVERAL = {
    "promise": ("promise", "promise_held", "promise_got"),
    "stats": tuple(f"stats_{field.name}" for field in dataclasses.fields(ActivationStats)),
}


def _headings(name: str) -> tuple[str, ...]:
    return _SEVERAL.get(name, (name,))


def _record(row: LayerRow) -> dict[str, str]:
    plain = (field.name for field in dataclasses.fields(row) if field.name not in _SEVERAL)
    promise = row.promise or Promise("", held=False)
    held = "" if row.promise is None else _field("promise_held", promise.held)
    return (
        {name: _field(name, getattr(row, name)) for name in plain}
        | {"promise": promise.text, "promise_held": held, "promise_got": promise.got or ""}
        | {heading: _field(heading, getattr(row.stats, heading[6:], None)) for heading in _SEVERAL["stats"]}
    )


def _field(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, TensorInfo):
        return f"{value.name}:{_shape(value.shape)}"
    if isinstance(value, Histogram):
        return f"{value.low}..{value.high}:{' '.join(map(str, value.counts))}"
    if isinstance(value, tuple):
        # A field of shapes holds tuples of sizes; every other tuple holds things that are fields themselves.
        return ";".join(_shape(item) if name.endswith("_shapes") else _field(name, item) for item in value)
    return str(value)


def _shape(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes)) or "()"
