"""``--on``: estimates for devices that are not here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwdscope.cli.boundary import InputError
from fwdscope.report import Report

if TYPE_CHECKING:
    from fwdscope.device.table import Accelerator


@dataclass(frozen=True)
class Hardware:
    """The devices that ``--on`` names."""

    devices: tuple[Accelerator, ...] = ()
    # Whether the whole table was asked for, which is then sorted by time.
    every: bool = False


def hardware(text: str | None) -> Hardware:
    """The devices of ``H100,T4`` or ``all``; none without a text. Raises InputError where a name is not known."""
    if text is None:
        return Hardware()
    from fwdscope.device.table import UnknownAcceleratorError, accelerators_of

    asked = [name.strip() for name in text.split(",")]
    try:
        return Hardware(accelerators_of(asked), "all" in map(str.lower, asked))
    except UnknownAcceleratorError as error:
        raise InputError(f"--on {text}: {error}") from None


def estimated(report: Report, on: Hardware) -> Report:
    """The report with an estimate for each of the devices, at the report's dtype; as it was without any."""
    if not on.devices:
        return report
    from fwdscope.report import roofline

    found = roofline.estimated(report, [one.peaks(report.dtype) for one in on.devices])
    return roofline.fastest_first(found) if on.every else found
