"""Latencies that specs expect, measured on the devices they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwdscope.expectations import Latencies

if TYPE_CHECKING:
    from fwdscope.spec.check import Checked


def expected_latencies(checked: Checked, dtype: str) -> dict[str | None, Latencies]:
    """What the file expects a latency for, by the device's name: of the whole, and of layers where it names some."""
    devices = {one.on for one in checked.spec.expect.figures if one.name == "latency"}
    return {device: measure(checked, device or "cpu", dtype) for device in sorted(devices, key=str)}


def measure(checked: Checked, device: str, dtype: str) -> Latencies:
    """The latencies of a spec on a device, with weights drawn at random and its own inputs.

    Where the device is not here nothing is measured; where it is and the network does not run there, that is told.
    Raises SpecError where a line fails on real numbers.
    """
    from fwdscope.device.local import DeviceError
    from fwdscope.inspection import inspect_spec
    from fwdscope.run_settings import RunError, RunSettings

    try:
        here = _find(device)
    except DeviceError as error:
        return Latencies(missing=str(error))
    try:
        report = inspect_spec(checked, {}, dtype, RunSettings(device=here, stats=False))
    except RunError as error:
        return Latencies(failed=str(error))
    run = report.run
    return Latencies(run.latency.median if run is not None and run.latency is not None else None, report.layers)


def _find(text: str) -> str:
    """The device that ``cpu`` or ``cuda:1`` means, or one whose name holds the text: ``H100``. Raises DeviceError."""
    from fwdscope.device.local import devices, find

    for one in devices(free=False):
        if one.kind != "cpu" and text.lower() in one.name.lower():
            return one.device
    return find(text).device
