"""A measured peak that a network exceeds is measured again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdscope.device.local import LocalDevice
from fwdscope.report import Environment, LayerRow, Peaks, Report, TensorInfo, Totals
from fwdscope.run.exceeded import check_against_peak

CPU = LocalDevice("cpu", "Some CPU", None, None)
KNOWN = Peaks("Some CPU", "float32", 1e9, 1e9, None, "measured")
# A million FLOPs take 1 ms at the peak.
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
        # Caches are faster than memory.
        (replace(ROW, flops=10, macs=0, bytes_read=10**6, latency=0.1e-3), 2e-3, KNOWN, False),
        (replace(ROW, latency=0.5e-3), 0.5e-3, replace(KNOWN, source="table"), False),
        (replace(ROW, latency=0.5e-3), 0.5e-3, replace(KNOWN, flops=None), False),
    ],
    ids=["below", "a layer above", "the whole above", "cached traffic", "published", "unknown"],
)
def test_arithmetic_above_the_peak_measures_it_again(
    row: LayerRow, seconds: float | None, known: Peaks, again: bool
) -> None:
    higher = replace(known, flops=3e9)
    found = check_against_peak(known, CPU, REPORT, (row,), seconds, lambda device, dtype, exceeded: higher)
    assert found is (higher if again else known)


@pytest.mark.core
def test_a_peak_that_is_still_far_exceeded_is_not_known() -> None:
    rows = (replace(ROW, latency=2e-3),)
    found = check_against_peak(KNOWN, CPU, REPORT, rows, 0.1e-3, lambda device, dtype, exceeded: KNOWN)
    assert (found.flops, found.convolution_flops, found.bandwidth) == (None, None, KNOWN.bandwidth)
    # 0.9 ms, where the peak says 1 ms, is within the error of a layer's time.
    slightly = check_against_peak(
        KNOWN, CPU, REPORT, (replace(ROW, latency=0.9e-3),), 2e-3, lambda device, dtype, exceeded: KNOWN
    )
    assert slightly is KNOWN
