"""What a forward needs held against what a device has free, before anything is allocated."""

from __future__ import annotations

from collections.abc import Callable

from fwdscope.device.local import LocalDevice
from fwdscope.report import Totals
from fwdscope.settings import RunError
from fwdscope.units import byte_size


def needed(totals: Totals) -> int:
    """Bytes at the peak of a forward: weights, buffers, inputs and the activations alive at once."""
    return (totals.peak_memory or 0) or totals.param_bytes + totals.buffer_bytes


def hold_memory(totals: Totals, device: LocalDevice, peak_at: Callable[[int], int] | None, batch: int | None) -> None:
    """Refuse a forward that a device has no room for.

    ``peak_at`` gives the bytes needed with a batch of some size, ``batch`` the size now; None where the network has
    none. Raises RunError with both numbers and the largest batch that fits.
    """
    memory = needed(totals)
    if device.free is None or memory <= device.free:
        return
    message = (
        f"the forward needs {byte_size(memory)} (weights {byte_size(totals.param_bytes + totals.buffer_bytes)}, "
        f"inputs {byte_size(totals.input_bytes or 0)}, activations {byte_size(totals.peak_activations or 0)} at the "
        f"peak), and {device.device} ({device.name}) has {byte_size(device.free)} free"
    )
    raise RunError(f"{message}\n  {_way_out(device.free, peak_at, batch)}")


def _way_out(free: int, peak_at: Callable[[int], int] | None, batch: int | None) -> str:
    meta = "--device meta shows shapes and costs without running it"
    if peak_at is None or batch is None or batch < 2:
        return f"a dtype of fewer bytes or smaller inputs need less; {meta}"
    largest = largest_batch(free, peak_at, batch)
    if not largest:
        return f"not even a batch of 1 fits; {meta}"
    return f"the largest batch that fits is {largest:,}, not {batch:,}; {meta}"


def largest_batch(free: int, peak_at: Callable[[int], int], batch: int) -> int:
    """The largest batch below ``batch`` whose forward fits into some bytes; 0 where none does.

    Memory grows evenly with the batch but for the odd buffer: what two batches say is tried, and mended.
    """
    one = peak_at(1)
    if one > free:
        return 0
    each = max(1, peak_at(2) - one)
    guesses = [min(batch - 1, 1 + (free - one) // each)] * 2
    guesses[1] += 1
    low, high = 1, batch
    while high - low > 1:
        guess = min(max(guesses.pop(0), low + 1), high - 1) if guesses else (low + high) // 2
        if peak_at(guess) <= free:
            low = guess
        else:
            high = guess
    return low
