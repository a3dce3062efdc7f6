"""Choosing the device of a run: the one asked for, or the fastest one here if the forward fits and is quick there."""

from __future__ import annotations

from collections.abc import Callable

from fwdscope.device.local import DeviceError, LocalDevice, find, preferred
from fwdscope.report import Peaks, Report
from fwdscope.run.duration import Work, estimate_run, measure_speeds
from fwdscope.settings import RUN_BUDGET, RunError, RunSettings
from fwdscope.trace import Node
from fwdscope.units import byte_size

# What a run that was not asked for leaves free besides what is counted: a share of that, and bytes.
_ROOM, _ROOM_BYTES = {"cpu": 0.0, "cuda": 0.2, "mps": 0.2}, 2**27
# A slow device. What is quick even there needs no measurement of the one that is here.
_SLOW = Peaks("", "", 1e10, 2e9, None, "measured")


def find_device(text: str | None) -> LocalDevice:
    """The device of this name, or the fastest one here for None. Raises RunError, which lists the devices here."""
    try:
        return preferred() if text is None else find(text)
    except DeviceError as error:
        raise RunError(f"--device {text}: {error}") from None


def choose_device(
    settings: RunSettings, report: Report, root: Node, here: Callable[[], LocalDevice] = preferred
) -> tuple[LocalDevice | None, str]:
    """The device to run on; None, with the reason, if a run that was not asked for is too expensive.

    Giving a device, weights or an output to show asks for a run. ``root`` has the operators of the forward.
    """
    if settings.device is not None or settings.weights is not None or settings.show is not None:
        return find_device(settings.device), ""
    device, totals = here(), report.totals
    memory = totals.peak_memory or totals.param_bytes + totals.buffer_bytes
    if device.free is not None and memory + _ROOM[device.kind] * memory + _ROOM_BYTES > device.free:
        more = f", more than {device.device} has free; --device {device.kind} shows both"
        if memory <= device.free:
            has = f"{device.device} has {byte_size(device.free)} free"
            more = f" and some room, and {has}; --device {device.kind} runs it if it fits"
        return None, f"not run: it needs {byte_size(memory)}{more}"
    work = Work.of(root)
    seconds = estimate_run(work, totals, _SLOW, device.kind, settings)
    if seconds > RUN_BUDGET / 2:
        settings.on_progress(f"measuring how fast {device.device} is")
        seconds = estimate_run(work, totals, measure_speeds(device, report.dtype), device.kind, settings)
    if seconds > RUN_BUDGET:
        return None, (
            f"not run: it would take about {_about(seconds)} on {device.device}, more than {RUN_BUDGET:.0f} s; "
            f"--device {device.kind} runs it anyway"
        )
    return device, ""


def _about(seconds: float) -> str:
    for size, unit in ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
