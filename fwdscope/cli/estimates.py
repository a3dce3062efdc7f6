"""``--on``: estimates for hardware that is not here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fwdscope.errors import InputError

if TYPE_CHECKING:
    from fwdscope.device.table import Accelerator
    from fwdscope.report import Report


class Hardware(NamedTuple):
    """The devices that ``--on`` names."""

    devices: tuple[Accelerator, ...] = ()
    # Whether it names the whole table, which is then sorted by time.
    every: bool = False


def find_hardware(text: str | None) -> Hardware:
    """The devices of ``H100,T4`` or ``all``; none for None. Raises InputError for an unknown name."""
    if text is None:
        return Hardware()
    from fwdscope.device.table import UnknownAcceleratorError, accelerators_of

    names = [name.strip() for name in text.split(",")]
    try:
        return Hardware(accelerators_of(names), "all" in map(str.lower, names))
    except UnknownAcceleratorError as error:
        raise InputError(f"--on {text}: {error}") from None


def add_estimates(report: Report, hardware: Hardware) -> Report:
    """The report with an estimate for each device, at the report's dtype."""
    if not hardware.devices:
        return report
    from fwdscope.report import roofline

    found = roofline.estimated(report, [one.peaks(report.dtype) for one in hardware.devices])
    return roofline.fastest_first(found) if hardware.every else found
