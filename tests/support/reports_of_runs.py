"""Reports with runs, made by hand."""

from __future__ import annotations

from collections.abc import Sequence

from fwdscope.report import Environment, Latency, LayerRow, Peaks, Report, Run, TensorInfo, Totals

# 1 TFLOP/s and 100 GB/s: a ridge of 10 FLOPs per byte.
PEAKS = Peaks("Test CPU", "float32", 1e12, 1e11, 8 * 1024**3, "measured")


def row(path: str, seconds: float, depth: int = 1, **more: object) -> LayerRow:
    """A Linear of 2 GFLOPs and 20 MB."""
    figures = {"flops": 2_000_000_000, "macs": 10**9, "bytes_read": 15_000_000, "bytes_written": 5_000_000} | more
    kind = figures.pop("kind", "layer")
    return LayerRow(path, "Linear", kind, depth, text="Linear", latency=seconds, **figures)  # type: ignore[arg-type]


ROWS = (
    row("stem", 0.004),
    row("body", 0.024, kind="stack"),
    row("body.0", 0.012, 2, kind="copies", repeat=2),
    row("body.0.fc", 0.008, 3),
    row("body.0.add", 0.004, 3, kind="expression", flops=1_000, macs=0),
    row("head", 0.002),
)


def report(times: Sequence[float], rows: tuple[LayerRow, ...] = ROWS, notes: tuple[str, ...] = ()) -> Report:
    """A report of a run on one thread of a CPU."""
    return Report(
        name="small",
        inputs=(TensorInfo("x", (8, 16), "float32"),),
        outputs=(TensorInfo("head", (8, 4), "float32"),),
        layers=rows,
        totals=Totals(100, 100, 0, 400, 0, macs=4 * 10**9, flops=8 * 10**9 + 2_000, peak_memory=3 * 1024**2),
        environment=Environment("0", "3.12", "2.13", "Linux"),
        device="cpu",
        run=Run(
            device="cpu", device_name="Test CPU", dtype="float32", seed=0, latency=Latency.of(times) if times else None,
            layers_latency=0.030 if rows else None, peaks=PEAKS, threads=1, batch=8, notes=notes,
        ),
    )  # fmt: skip
