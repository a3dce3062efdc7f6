"""A report of a large network, made without torch."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import sample_reports
from sample_reports import layer

from fwdscope.report import LayerRow, Report

_SHAPE = (1, 256, 56, 56)
_KINDS = (
    ("conv1", "Conv2d 1×1", {"weight": (64, 256, 1, 1)}),
    ("bn1", "BatchNorm2d", {"weight": (64,), "bias": (64,)}),
    ("relu1", "ReLU", None),
    ("conv2", "Conv2d 3×3", {"weight": (256, 64, 3, 3)}),
    ("bn2", "BatchNorm2d", {"weight": (256,), "bias": (256,)}),
    ("relu2", "ReLU", None),
    ("drop", "Dropout", None),
)


@cache
def deep_network(stages: int = 25, blocks: int = 10) -> Report:
    """250 residual blocks of eight steps, none equal to the next: 2,000 operators in 2,275 rows."""
    rows: list[LayerRow] = []
    last: int | None = None
    for stage in range(stages):
        outer = len(rows)
        rows.append(_around(f"stage{stage}", "Stage", 1))
        for block in range(blocks):
            inner, path = len(rows), f"stage{stage}.{block}"
            rows.append(_around(path, "Bottleneck", 2))
            came = last
            for name, text, weights in _KINDS:
                width = 64 + 8 * block + stage
                shape = (1, width, *_SHAPE[2:])
                given = {key: (width, *sizes[1:]) for key, sizes in weights.items()} if weights else None
                row = layer(f"{path}.{name}", text, shape, given, depth=3, line=inner, input_shapes=(shape,))
                rows.append(replace(row, sources=() if last is None else (last,), receptive_field=(inner, inner)))
                last = len(rows) - 1
            add = layer(f"{path}.add", "add", shape, depth=3, kind="expression", label="", input_shapes=(shape, shape))
            sources = (last,) if came is None else (last, came)
            rows.append(replace(add, text="drop + x", sources=sources))
            last = len(rows) - 1
            rows[inner] = _summed(rows[inner], rows[inner + 1 :])
        rows[outer] = _summed(rows[outer], [row for row in rows[outer:] if row.depth == 2])
    outer_rows = [row for row in rows if row.depth == 1]
    sums = {name: sum(getattr(row, name) or 0 for row in outer_rows) for name in ("params", "macs", "flops")}
    sums |= {name: sum(getattr(row, name) or 0 for row in outer_rows) for name in ("bytes_read", "bytes_written")}
    report = sample_reports.mlp()
    totals = replace(report.totals, trainable_params=sums["params"], param_bytes=4 * sums["params"], **sums)
    return replace(report, name="deep", layers=tuple(rows), totals=totals)


def _around(path: str, type: str, depth: int) -> LayerRow:
    return LayerRow(path, type, "block", depth, type, path.rpartition(".")[2], output_shapes=(_SHAPE,))


def _summed(row: LayerRow, inside: list[LayerRow]) -> LayerRow:
    names = ("params", "trainable_params", "macs", "flops", "bytes_read", "bytes_written")
    sums = {name: sum(getattr(one, name) or 0 for one in inside) for name in names}
    size = 4 * math.prod(_SHAPE)
    return replace(row, output_bytes=size, **sums)  # type: ignore[arg-type]
