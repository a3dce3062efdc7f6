"""Where a forward runs: the device that was asked for, or the one here that holds it in good time."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fwdscope.device.local import DeviceError, LocalDevice, find, preferred
from fwdscope.report import Totals
from fwdscope.run.memory_guard import needed
from fwdscope.settings import RUN_BUDGET, RunError
from fwdscope.units import byte_size


@dataclass(frozen=True)
class _Pace:
    """What a device does at least: each figure a second. Slow ones are meant, since a promise hangs on them."""

    flops: float
    traffic: float
    # Parameters made and initialised.
    parameters: float
    # Operators begun, with what it takes to look at their results.
    operators: float


# The CPU's FLOP/s are those of one thread.
_PACES = {"cpu": _Pace(1.5e10, 4e9, 5e7, 4e3), "cuda": _Pace(2e12, 1e11, 5e8, 4e3), "mps": _Pace(5e11, 3e10, 2e8, 2e3)}


def asked(text: str | None) -> LocalDevice:
    """The device of this name, or the fastest here. Raises RunError, naming those that are here, where it is not."""
    try:
        return preferred() if text is None else find(text)
    except DeviceError as error:
        raise RunError(f"--device {text}: {error}") from None


def chosen(totals: Totals, operators: int, passes: int) -> tuple[LocalDevice | None, str]:
    """The device that a forward runs on where none was asked for; None, and why, where it is not to be run.

    ``operators`` is how many it takes, ``passes`` how often it would be run.
    """
    device = preferred()
    memory = needed(totals)
    if device.free is not None and memory > device.free:
        return None, (
            f"not run: it needs {byte_size(memory)}, more than {device.device} has free; "
            f"--device {device.kind} says how much that is"
        )
    seconds = estimated_seconds(totals, operators, device.kind, passes)
    if seconds > RUN_BUDGET:
        return None, (
            f"not run: on {device.device} it could take {_about(seconds)}, more than {RUN_BUDGET:.0f} s; "
            f"--device {device.kind} runs it all the same"
        )
    return device, ""


def estimated_seconds(totals: Totals, operators: int, kind: str, passes: int) -> float:
    """How long it could take to make the weights and run a forward some times, rather too long than too short."""
    pace = _PACES[kind]
    traffic = (totals.bytes_read or 0) + (totals.bytes_written or 0)
    flops = pace.flops * (torch.get_num_threads() if kind == "cpu" else 1)
    forward = (totals.flops or 0) / flops + traffic / pace.traffic + operators / pace.operators
    return (totals.params + totals.buffers) / pace.parameters + passes * forward


def _about(seconds: float) -> str:
    for size, unit in ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
