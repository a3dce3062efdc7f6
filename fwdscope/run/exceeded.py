"""Measure a device's peak again when a network exceeded it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fwdscope.device.local import LocalDevice
from fwdscope.device.peaks import measure_peaks
from fwdscope.report import LayerRow, Peaks, Report
from fwdscope.report.roofline import roofline, utilisation

# Times of single layers are inexact: a peak is wrong only if it is exceeded by more than this factor.
_MARGIN = 1.25


def check_against_peak(
    known: Peaks,
    device: LocalDevice,
    report: Report,
    rows: Sequence[LayerRow],
    seconds: float | None,
    measure: Callable[..., Peaks] = measure_peaks,
) -> Peaks:
    """The peaks of a device, for a forward that took some seconds and its timed rows.

    Where arithmetic was faster than the measured peak, that was measured too low, perhaps while other programs ran,
    and is measured again. A peak that is far exceeded even then is dropped: it is not known.
    """
    if known.source == "table" or _highest_share(report, rows, seconds, known) <= 1:
        return known
    known = measure(device, known.dtype, exceeded=True)
    if _highest_share(report, rows, seconds, known) <= _MARGIN:
        return known
    return replace(known, flops=None, convolution_flops=None)


def _highest_share(report: Report, rows: Sequence[LayerRow], seconds: float | None, known: Peaks) -> float:
    """The highest share of peak FLOP/s, of the whole or a compute-bound row: caches are faster than memory."""
    roofs = [roofline(row, known) for row in rows]
    shares = [roof.share for roof in roofs if roof is not None and roof.bound == "compute"]
    if seconds:
        shares.append(utilisation(replace(report, layers=tuple(rows)), known, seconds))
    return max((share for share in shares if share is not None), default=0.0)
