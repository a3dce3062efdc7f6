"""What a device can do at most, held against what a network was just seen to do there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fwdscope.device.local import LocalDevice
from fwdscope.device.peaks import confirmed
from fwdscope.report import LayerRow, Peaks, Report
from fwdscope.report.roofline import roofline, utilisation

# What times of single layers may be off by is no proof against a peak; this much more of it is.
_BEATEN = 1.25


def held(known: Peaks, device: LocalDevice, report: Report, rows: Sequence[LayerRow], seconds: float | None) -> Peaks:
    """The roofs of a device over a forward that took some seconds and its timed rows.

    Where arithmetic went faster than the measured peak, that was measured too low, while other programs ran perhaps,
    and is measured again. A peak that is far beaten all the same is none, and is not known.
    """
    if known.source == "table" or _most(report, rows, seconds, known) <= 1:
        return known
    known = confirmed(device, known.dtype)
    if _most(report, rows, seconds, known) <= _BEATEN:
        return known
    return replace(known, flops=None, convolution_flops=None)


def _most(report: Report, rows: Sequence[LayerRow], seconds: float | None, known: Peaks) -> float:
    return max(_shares(report, rows, seconds, known), default=0.0)


def _shares(report: Report, rows: Sequence[LayerRow], seconds: float | None, known: Peaks) -> Iterator[float]:
    """The part of the peak FLOP/s that the whole reached, and each row that arithmetic bounds.

    Traffic says nothing: what a cache holds is faster than memory.
    """
    if seconds and (used := utilisation(replace(report, layers=tuple(rows)), known, seconds)) is not None:
        yield used
    for row in rows:
        roof = roofline(row, known)
        if roof is not None and roof.bound == "compute" and roof.share is not None:
            yield roof.share
