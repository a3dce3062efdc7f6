"""Choosing the device of a run: the one asked for, or the fastest one here if the forward fits and is quick there."""

from __future__ import annotations

import torch

from fwdscope.device.local import DeviceError, LocalDevice, find, preferred
from fwdscope.report import Report
from fwdscope.settings import RUN_BUDGET, RunError, RunSettings
from fwdscope.timing.layers import PASSES
from fwdscope.units import byte_size

# What a device of each kind does in a second: FLOPs (of the CPU, those of one thread), bytes read and written,
# parameters made and initialised, operators launched with the statistics of their results. Low figures, since users
# wait where the estimate is too short.
_SPEEDS = {"cpu": (1.5e10, 4e9, 5e7, 4e3), "cuda": (2e12, 1e11, 5e8, 4e3), "mps": (5e11, 3e10, 2e8, 2e3)}


def find_device(text: str | None) -> LocalDevice:
    """The device of this name, or the fastest one here for None. Raises RunError, which lists the devices here."""
    try:
        return preferred() if text is None else find(text)
    except DeviceError as error:
        raise RunError(f"--device {text}: {error}") from None


def choose_device(settings: RunSettings, report: Report, operators: int) -> tuple[LocalDevice | None, str]:
    """The device to run on; None, with the reason, if a run that was not asked for is too expensive.

    Giving a device, weights or an output to show asks for a run. ``operators`` is how many a forward runs.
    """
    if settings.device is not None or settings.weights is not None or settings.show is not None:
        return find_device(settings.device), ""
    device, totals = preferred(), report.totals
    passes = 1 + settings.stats + (2 * (PASSES + 1) if settings.latency else 0)
    memory = totals.peak_memory or totals.param_bytes + totals.buffer_bytes
    if device.free is not None and memory > device.free:
        return None, (
            f"not run: it needs {byte_size(memory)}, more than {device.device} has free; "
            f"--device {device.kind} shows both"
        )
    # The time to make the weights and run the passes; rather too long than too short.
    flops, traffic, parameters, launches = _SPEEDS[device.kind]
    flops *= torch.get_num_threads() if device.kind == "cpu" else 1
    moved = (totals.bytes_read or 0) + (totals.bytes_written or 0)
    forward = (totals.flops or 0) / flops + moved / traffic + operators / launches
    seconds = (totals.params + totals.buffers) / parameters + passes * forward
    if seconds > RUN_BUDGET:
        return None, (
            f"not run: it could take {_about(seconds)} on {device.device}, more than {RUN_BUDGET:.0f} s; "
            f"--device {device.kind} runs it anyway"
        )
    return device, ""


def _about(seconds: float) -> str:
    for size, unit in ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
