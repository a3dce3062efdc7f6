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
    TensorInfo,
    multiplicities,
)
from fwdscope.report.mesh import RowShare
from fwdscope.report.report import SHARED


def render(report: Report, options: Options) -> str:
    """The rows with a heading. Shapes are ``1x64x112x112``; several things in one field are joined by ``;``.

    If the whole forward was timed, each row has its median, p90 and p99 in seconds, in columns after ``times``, and the
    device and settings.
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
    latency = report.run.latency if report.run else None
    whole = {f"whole_{name}": str(getattr(latency, name)) for name in ("median", "p90", "p99")} if latency else {}
    if latency and report.run:
        whole |= {name: _field(name, getattr(report.run, name)) for name in _SETTINGS}
    writer = csv.DictWriter(out, [*names, "times", *whole], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    rows = list(zip(report.layers, multiplicities(report.layers), strict=True))
    if options.depth is not None or options.sort is not None or options.top is not None:
        rows = [(shown.row, shown.times) for shown in view_for(report, options).rows]
    for row, times in rows:
        texts = {name: _field(name, value) for name, value in record(row).items()}
        writer.writerow(texts | {"times": str(times)} | whole)
    return out.getvalue()


_FIELDS = [field for field in dataclasses.fields(LayerRow) if field.name not in SHARED]
# Fields of several values, each in a column of its own.
_SEVERAL = {
    "promise": {"promise": "text", "promise_held": "held", "promise_got": "got"},
    "backward": {f"backward_{field.name}": field.name for field in dataclasses.fields(Backward)},
    "rank": {f"rank_{field.name}": field.name for field in dataclasses.fields(RowShare)},
    "stats": {f"stats_{field.name}": field.name for field in dataclasses.fields(ActivationStats)},
}


# Settings of a run.
_SETTINGS = (
    "device",
    "device_name",
    "dtype",
    "precision",
    "threads",
    "compiled",
    "channels_last",
    "batch",
    "tf32",
    "cudnn_benchmark",
    "repeats_are",
    "other_latency",
)


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
