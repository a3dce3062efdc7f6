"""Measures the latencies that specs expect, on the devices they name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fwdscope.commands.check.expectations import MeasuredLatency
from fwdscope.language.names import listed

if TYPE_CHECKING:
    from fwdscope.language.check import Checked


def expected_latencies(checked: Checked, dtype: str) -> dict[str | None, MeasuredLatency]:
    """The latencies measured on each device that an expectation names; None stands for the default, the CPU.

    Weights are random, inputs those of the spec. Raises SpecError if a line fails on real numbers.
    """
    devices = {one.on for one in checked.spec.expect.figures if one.name == "latency"}
    return {device: _measure(checked, device or "cpu", dtype) for device in sorted(devices, key=str)}


def _measure(checked: Checked, device: str, dtype: str) -> MeasuredLatency:
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
        # The other lines suggest options of `inspect`.
        return MeasuredLatency(failed=str(error).partition("\n")[0])
    run = report.run
    return MeasuredLatency(run.latency.times if run is not None and run.latency is not None else (), report.layers)


def _find(text: str) -> str:
    """The device ``cpu`` or ``cuda:1``, or one whose name contains the text, as ``H100``. Raises DeviceError."""
    from fwdscope.device.local import DeviceError, devices, find
    from fwdscope.device.table import UnknownAcceleratorError, accelerator

    here = devices(free=False)
    for one in here:
        if one.kind != "cpu" and text.lower() in one.name.lower():
            return one.device
    if re.fullmatch(r"(cpu|cuda|mps)(:\d+)?", text.strip().lower()):
        return find(text).device
    message = f"no device here is called {text}; here is {listed([one.name for one in here])}"
    try:
        accelerator(text)
    except UnknownAcceleratorError as error:
        message += f" ({error})"  # the name may be misspelt
    raise DeviceError(message)
