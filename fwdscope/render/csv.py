"""The rows as CSV: one a layer, a column for every field of :class:`LayerRow` but formulas and operators.

All rows are written unless fewer are asked for. Figures are those of one copy. The column ``times`` is how many equal
rows the row stands for: over the rows that contain no other, the sum of a figure times that is the network's.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any

from fwdscope.printable import cell
from fwdscope.render.rows import Options, view_for
from fwdscope.report import (
    ActivationStats,
    Backward,
    CachedTensor,
    Histogram,
    LayerRow,
    Report,
    Run,
    TensorInfo,
    multiplicities,
)
from fwdscope.report.generation import items
from fwdscope.report.mesh import RowShare
from fwdscope.report.report import SHARED
from fwdscope.report.roofline import roofline, utilisation, whole_time


def render(report: Report, options: Options) -> str:
    """The rows with a heading. Shapes are ``1x64x112x112``; several things in one field are joined by ``;``.

    If the whole forward was timed, each row has what the time of all its copies is of the whole, its rate and its place
    under the roofline, in columns after ``times``; then the figures of the whole, with the device and all settings.
    Statistics of a run have columns of their own, as ``stats_mean``; a histogram is ``low..high:1 2 3``.
    """
    out = io.StringIO()
    names = [name for field in _FIELDS for name in _SEVERAL.get(field.name, (field.name,))]
    if not any(row.copy_item_stds for row in report.layers):
        names.remove("copy_item_stds")
    if all(row.eager is None for row in report.layers):
        names = [name for name in names if name.removeprefix("backward_") not in ("eager", "kernels")]
    if all(row.rank is None for row in report.layers):
        names = [name for name in names if not name.startswith("rank_")]
    figures, settings = figures_of(report), settings_of(report)
    whole = {f"whole_{name}": _field(name, value) for name, value in figures.items()}
    whole |= {name: _field(name, value) for name, value in settings.items()} if figures else {}
    timed = _TIMED if figures else ()
    writer = csv.DictWriter(out, [*names, "times", *timed, *whole], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    rows = list(zip(report.layers, multiplicities(report.layers), strict=True))
    if options.depth is not None or options.sort is not None or options.top is not None:
        rows = [(shown.row, shown.times) for shown in view_for(report, options).rows]
    for row, times in rows:
        texts = {name: _field(name, value) for name, value in record(row).items()}
        more = {name: _field(name, value) for name, value in _measured(report, row, times).items()} if timed else {}
        writer.writerow(texts | {"times": str(times)} | more | whole)
    return out.getvalue()


_FIELDS = [field for field in dataclasses.fields(LayerRow) if field.name not in SHARED]
# Fields of several values, each in a column of its own.
_SEVERAL = {
    "promise": {"promise": "text", "promise_held": "held", "promise_got": "got"},
    "backward": {f"backward_{field.name}": field.name for field in dataclasses.fields(Backward)},
    "rank": {f"rank_{field.name}": field.name for field in dataclasses.fields(RowShare)},
    "stats": {f"stats_{field.name}": field.name for field in dataclasses.fields(ActivationStats)},
}


# What a benchmark shows of a layer besides its figures.
_TIMED = ("share_of_time", "flops_per_second", "intensity", "bound", "of_roofline")
# Fields of a run that are no settings, or figures of their own here.
_NO_SETTINGS = {"notes", "first_nonfinite", "latency", "layers_latency", "processes", "ranks", "peaks", "peak_memory"}


def _measured(report: Report, row: LayerRow, times: int) -> dict[str, Any]:
    whole, run, seconds = whole_time(report), report.run, row.latency
    roof = roofline(row, run.peaks) if run and run.peaks else None
    return {
        "share_of_time": seconds * times / whole if seconds is not None and whole else None,
        "flops_per_second": row.flops / seconds if row.flops and seconds else None,
        "intensity": roof.intensity if roof else None,
        "bound": roof.bound if roof else None,
        "of_roofline": roof.share if roof else None,
    }


def figures_of(report: Report) -> dict[str, Any]:
    """What a benchmark shows of the whole forward; nothing of one that was not timed."""
    run = report.run
    if run is None or (latency := run.latency) is None:
        return {}
    (number, unit), totals = items(report), report.totals
    return {
        "median": latency.median, "iqr": latency.iqr, "p10": latency.p10, "p90": latency.p90, "p99": latency.p99,
        "repeats": len(latency.times), "items": number or None, "item": unit[:-1] if number else None,
        "items_per_second": number / latency.median if number else None,
        "flops": totals.flops, "macs": totals.macs,
        "flops_per_second": totals.flops / latency.median if totals.flops else None,
        "of_peak": utilisation(report, run.peaks, latency.median) if run.peaks else None,
        "layers": run.layers_latency, "peak_memory": run.peak_memory, "traced_peak_memory": totals.peak_memory,
    }  # fmt: skip


def settings_of(report: Report) -> dict[str, Any]:
    """The network, the device and all settings of a run, a column each; what has parts in a column for each part."""
    found: dict[str, Any] = {"model": report.name, "past": report.past or 0}
    for field in dataclasses.fields(Run) if report.run else ():
        value = getattr(report.run, field.name)
        if field.name in _NO_SETTINGS:
            continue
        parts = vars(value).items() if dataclasses.is_dataclass(value) else [("", value)]
        for name, part in parts:
            several = dataclasses.is_dataclass(part)  # the latencies of requests
            inner = {f"{name}_{q}": getattr(part, q) for q in ("median", "p90", "p99")} if several else {name: part}
            found |= {f"{field.name}_{one}".rstrip("_"): value for one, value in inner.items()}
    return found | {"torch": report.environment.torch}


def record(row: LayerRow) -> dict[str, Any]:
    """The value of each column."""
    found: dict[str, Any] = {}
    for field in _FIELDS:
        value, several = getattr(row, field.name), _SEVERAL.get(field.name)
        if several is None:
            found[field.name] = value
        else:
            found |= {name: getattr(value, of, None) for name, of in several.items()}
    return found


def _field(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, TensorInfo | CachedTensor):
        return f"{value.name}:{_shape(value.shape)}"
    if isinstance(value, Histogram):
        return f"{value.low}..{value.high}:{' '.join(map(str, value.counts))}"
    if isinstance(value, tuple):
        # A tuple of shapes contains tuples of sizes; any other contains values that are written as fields are.
        return ";".join(_shape(item) if name.endswith("_shapes") else _field(name, item) for item in value)
    return cell(value) if isinstance(value, str) else str(value)


def _shape(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes)) or "()"
