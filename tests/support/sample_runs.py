"""Reports of runs made by hand: the samples with values, times and peaks as a device gives them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sample_reports

from fwdscope.report import (
    ActivationStats,
    Histogram,
    Latency,
    LayerRow,
    NonFinite,
    Peaks,
    Report,
    Run,
    parents,
)

PEAKS = Peaks("AMD EPYC 9V74", "float32", 2.1e11, 2.4e10, 16 * 2**30, "measured")
# As one sees them of a normal distribution in 24 bins, and of what a ReLU leaves of it.
_BELL = (1, 2, 5, 12, 30, 66, 130, 230, 370, 530, 680, 780, 780, 680, 530, 370, 230, 130, 66, 30, 12, 5, 2, 1)
_HALF = (5400, 640, 560, 470, 380, 300, 230, 170, 120, 90, 60, 40, 30, 20, 14, 9, 6, 4, 3, 2, 1, 1, 1, 1)


def bell(elements: int, mean: float = 0.0, std: float = 1.0, **fields: Any) -> ActivationStats:
    """Values around a mean, as a normal distribution spreads them."""
    low, high = mean - 4 * std, mean + 4 * std
    return replace(ActivationStats(elements, mean, std, low, high, 0, histogram=Histogram(low, high, _BELL)), **fields)


def half(elements: int, std: float = 1.0) -> ActivationStats:
    """What a ReLU leaves of values around zero."""
    high = 4.2 * std
    # Of the positive half of a normal distribution: mean 1/√(2π), mean square 1/2.
    mean, square = std / math.sqrt(2 * math.pi), std * std / 2
    spread = math.sqrt(square - mean * mean)
    return ActivationStats(elements, mean, spread, 0.0, high, elements // 2, histogram=Histogram(0.0, high, _HALF))


def none_finite(elements: int, nans: int, infs: int = 0) -> ActivationStats:
    """No finite value at all."""
    return ActivationStats(elements, None, None, None, None, 0, nans, infs)


def _elements(row: LayerRow) -> int:
    return sum(map(math.prod, row.output_shapes)) * row.repeat * row.calls


def _seen(row: LayerRow) -> ActivationStats | None:
    if row.kind in ("parameter", "loop") or not row.output_shapes:
        return None
    if row.type in ("ReLU", "MaxPool2d"):
        return half(_elements(row))
    means = {"BatchNorm2d": 1e-9, "LayerNorm": -2e-9, "GELU": 0.28, "Linear": 0.004}
    stds = {"BatchNorm2d": 1.0, "LayerNorm": 1.0, "Conv2d": 0.58, "Linear": 0.577, "Embedding": 0.02, "GELU": 0.52}
    return bell(_elements(row), means.get(row.type, -0.012), stds.get(row.type, 0.8))


def _time(row: LayerRow) -> float | None:
    """What the row would take at a third of the arithmetic and half of the traffic, and a call's 4 µs."""
    if row.kind == "parameter":
        return None
    moved = (row.bytes_read or 0) + (row.bytes_written or 0)
    return (row.macs or 0) * 2 / 0.7e11 + moved / 1.2e10 + 4e-6 * row.calls


def ran(report: Report, peaks: Peaks | None = PEAKS, latency: bool = True, stats: bool = True, **run: Any) -> Report:
    """The report with what a run saw."""
    rows = [replace(row, stats=_seen(row) if stats else None) for row in report.layers]
    if latency:
        rows = _timed(rows)
    whole = sum((row.latency or 0.0) * row.repeat for row in rows if row.depth == 1)
    given: dict[str, Any] = {"batch": 1, "threads": 2, "peaks": peaks, "peak_memory": 131_072_000}
    if latency:
        times = [whole * factor for factor in (1.02, 1.031, 1.018, 1.027, 1.022, 1.09, 1.019, 1.024)]
        given |= {"latency": Latency.of(times), "layers_latency": whole}
    inputs = tuple(replace(tensor, stats=bell(math.prod(tensor.shape)) if stats else None) for tensor in report.inputs)
    last = rows[-1].stats
    outputs = tuple(replace(tensor, stats=last) for tensor in report.outputs)
    made = Run("cpu", "AMD EPYC 9V74 80-Core Processor", report.dtype, 0, **(given | run))
    return replace(report, device="cpu", inputs=inputs, outputs=outputs, layers=tuple(rows), run=made)


def _timed(rows: Sequence[LayerRow]) -> list[LayerRow]:
    """The rows with times, those that contain others with the sum of what is inside."""
    around = parents(rows)
    times: list[float | None] = [_time(row) for row in rows]
    for index in reversed(range(len(rows))):
        inside = [i for i, parent in enumerate(around) if parent == index]
        if inside:
            times[index] = sum((times[i] or 0.0) * rows[i].repeat for i in inside)
    return [replace(row, latency=time) for row, time in zip(rows, times, strict=True)]


def overflown() -> Report:
    """A GPT-2 in half precision whose attention scores overflow, so that all behind them is NaN."""
    report = ran(sample_reports.gpt2(dtype="float16"))
    rows = list(report.layers)
    start = next(i for i, row in enumerate(rows) if row.type == "scaled_dot_product_attention")
    for index in range(start, len(rows)):
        elements = _elements(rows[index])
        rows[index] = replace(rows[index], stats=none_finite(elements, elements), line=20 + index)
    for index in range(start):
        if rows[index].type == "Block":
            rows[index] = replace(rows[index], stats=none_finite(_elements(rows[index]), _elements(rows[index])))
    broken = rows[start]
    first = NonFinite(
        broken.path,
        broken.text,
        broken.line,
        _elements(broken),
        0,
        (bell(_elements(broken), 0.0, 410.0), bell(_elements(broken), 0.0, 380.0)),
    )
    assert report.run is not None
    run = replace(report.run, first_nonfinite=first, dtype="float16", precision="cast", notes=_NOTES)
    outputs = tuple(replace(tensor, stats=rows[-1].stats) for tensor in report.outputs)
    tokens = replace(report.inputs[0], stats=ActivationStats(1024, 25012.3, 14503.2, 12.0, 50211.0, 0))
    return replace(report, inputs=(tokens,), outputs=outputs, layers=tuple(rows), run=run)


_NOTES = ("times vary: the middle half lies within 14 % of the median",)


def exploding() -> Report:
    """64 linear layers whose weights have a standard deviation of 1."""
    stack = sample_reports.layer(
        "h.0–63", "Linear", (8, 64), {"weight": (64, 64)}, kind="copies", label="0–63", depth=2, repeat=64
    )
    rows = [
        *sample_reports.around("h", "64 × Linear", [stack], kind="stack"),
        sample_reports.layer("fc", "Linear", (8, 10), {"weight": (10, 64)}),
    ]
    report = ran(sample_reports.report("deep", [sample_reports.TensorInfo("x", (8, 64), "float32")], rows))
    # Each multiplies by √64.
    stds = tuple(8.0**n for n in range(1, 43))
    seen = bell(64 * 512, 0.0, 1e36, nans=21 * 512, infs=512)
    row = replace(report.layers[1], stats=seen, copy_stds=(*stds, *[None] * 22))
    return replace(report, layers=(replace(report.layers[0], stats=seen), row, report.layers[2]))
