"""A measured peak that a network beats is measured again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdscope.device.local import LocalDevice
from fwdscope.report import Environment, LayerRow, Peaks, Report, TensorInfo, Totals
from fwdscope.run import roofs

CPU = LocalDevice("cpu", "Some CPU", None, None)
KNOWN = Peaks("Some CPU", "float32", 1e9, 1e9, None, "measured")
# A million FLOPs take 1 ms at the peak, and so do the million bytes of a row that moves so many.
ROW = LayerRow("fc", "Linear", "layer", 1, macs=500_000, flops=1_000_000, bytes_read=900, bytes_written=100)
REPORT = Report(
    name="net",
    inputs=(TensorInfo("x", (1,), "float32"),),
    outputs=(),
    layers=(ROW,),
    totals=Totals(0, 0, 0, 0, 0, macs=500_000, flops=1_000_000, bytes_read=900, bytes_written=100),
    environment=Environment("0", "3", "2", "none"),
)


@pytest.mark.parametrize(
    ("row", "seconds", "known", "again"),
    [
        (replace(ROW, latency=2e-3), 2e-3, KNOWN, False),
        (replace(ROW, latency=0.5e-3), 2e-3, KNOWN, True),
        (replace(ROW, latency=2e-3), 0.5e-3, KNOWN, True),
        (replace(ROW, latency=2e-3), None, KNOWN, False),
        # What a cache holds moves faster than memory.
        (replace(ROW, flops=10, macs=0, bytes_read=10**6, latency=0.1e-3), 2e-3, KNOWN, False),
        # Nothing is faster than what its maker says.
        (replace(ROW, latency=0.5e-3), 0.5e-3, replace(KNOWN, source="table"), False),
        (replace(ROW, latency=0.5e-3), 0.5e-3, replace(KNOWN, flops=None), False),
    ],
    ids=["below", "a layer above", "the whole above", "no whole", "cached traffic", "published", "unknown"],
)
def test_arithmetic_above_the_roof_raises_it(
    monkeypatch: pytest.MonkeyPatch, row: LayerRow, seconds: float | None, known: Peaks, again: bool
) -> None:
    higher = replace(known, flops=3e9)
    monkeypatch.setattr(roofs, "confirmed", lambda device, dtype: higher)
    found = roofs.held(known, CPU, REPORT, (row,), seconds)
    assert found is (higher if again else known)


def test_a_peak_that_is_beaten_again_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofs, "confirmed", lambda device, dtype: KNOWN)
    beaten = roofs.held(KNOWN, CPU, REPORT, (replace(ROW, latency=2e-3),), 0.1e-3)
    assert (beaten.flops, beaten.convolution_flops, beaten.bandwidth) == (None, None, KNOWN.bandwidth)
    slightly = roofs.held(KNOWN, CPU, REPORT, (replace(ROW, latency=0.9e-3),), 2e-3)
    assert slightly is KNOWN
