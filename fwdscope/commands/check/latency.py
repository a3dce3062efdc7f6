"""Latencies that specs expect, measured on the devices they name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fwdscope.commands.check.expectations import MeasuredLatency
from fwdscope.language.names import listed

if TYPE_CHECKING:
    from fwdscope.language.check import Checked


def expected_latencies(checked: Checked, dtype: str) -> dict[str | None, MeasuredLatency]:
    """What the file expects a latency for, by the device's name: of the whole, and of layers where it names some."""
    devices = {one.on for one in checked.spec.expect.figures if one.name == "latency"}
    return {device: measure(checked, device or "cpu", dtype) for device in sorted(devices, key=str)}


def measure(checked: Checked, device: str, dtype: str) -> MeasuredLatency:
    """The latencies of a spec on a device, with weights drawn at random and its own inputs.

    Where the device is not here nothing is measured; where it is and the network does not run there, that is told.
    Raises SpecError where a line fails on real numbers.
    """
    from fwdscope.device.local import DeviceError
    from fwdscope.inspection import inspect_spec
    from fwdscope.settings import RunError, RunSettings

    try:
        here = _find(device)
    except DeviceError as error:
        return MeasuredLatency(missing=str(error))
    try:
        report = inspect_spec(checked, {}, dtype, RunSettings(device=here, stats=False))
    except RunError as error:
        # The way out that its further lines show is for who runs it by hand.
        return MeasuredLatency(failed=str(error).partition("\n")[0])
    run = report.run
    return MeasuredLatency(run.latency.median if run is not None and run.latency is not None else None, report.layers)


def _find(text: str) -> str:
    """The device that ``cpu`` or ``cuda:1`` means, or one whose name holds the text: ``H100``. Raises DeviceError."""
    from fwdscope.device.local import DeviceError, devices, find

    here = devices(free=False)
    for one in here:
        if one.kind != "cpu" and text.lower() in one.name.lower():
            return one.device
    if re.fullmatch(r"(cpu|cuda|mps)(:\d+)?", text.strip().lower()):
        return find(text).device
    raise DeviceError(f"no device here is called {text}; here is {listed([one.name for one in here])}{_doubt(text)}")


def _doubt(text: str) -> str:
    """What is said of a name that no device is known by, which may be misspelt."""
    from fwdscope.device.table import UnknownAcceleratorError, accelerator

    try:
        accelerator(text)
    except UnknownAcceleratorError as error:
        return f" ({error})"
    return ""
