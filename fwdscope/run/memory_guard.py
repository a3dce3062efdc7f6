"""Comparing the memory that a forward needs with what a device has free, before anything is allocated."""

from __future__ import annotations

from collections.abc import Callable

from fwdscope.device.local import LocalDevice
from fwdscope.report import Totals
from fwdscope.run.batch import PeakByBatch, largest_batch
from fwdscope.settings import RunError
from fwdscope.units import byte_size


def check_memory(
    memory: int,
    totals: Totals,
    device: LocalDevice,
    batch: int | None,
    peak_by_batch: Callable[[int | None], PeakByBatch | None],
) -> None:
    """Refuse a forward that needs more memory than a device has free.

    Raises RunError with both numbers and the largest batch that fits.
    """
    if device.free is None or memory <= device.free:
        return
    cache = f"cache {byte_size(totals.kv_cache)}, " if totals.kv_cache else ""
    message = (
        f"the forward needs {byte_size(memory)} (weights {byte_size(totals.param_bytes + totals.buffer_bytes)}, {cache}"
        f"inputs {byte_size(totals.input_bytes or 0)}, activations {byte_size(totals.peak_activations or 0)} at the "
        f"peak), and {device.device} ({device.name}) has {byte_size(device.free)} free"
    )
    peak = peak_by_batch(batch)
    if peak is None or batch is None or batch < 2:
        help = f"use a smaller dtype or {'fewer earlier positions' if cache else 'smaller inputs'}"
    elif largest := largest_batch(device.free, peak, 1, batch):
        help = f"the largest batch that fits is {largest:,}, not {batch:,}"
    else:
        help = "not even a batch of 1 fits"
    raise RunError(f"{message}\n  {help}; --device meta shows shapes and costs without running it")
