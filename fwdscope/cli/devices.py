"""``fwdscope devices``: what is here, and what is published of other hardware."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from fwdscope.cli.boundary import InputError, boundary, put, terminal_of
from fwdscope.cli.progress import progress

if TYPE_CHECKING:
    from fwdscope.device.local import LocalDevice
    from fwdscope.report import Peaks

# The dtypes that networks run in; others can be asked for where they are used.
_DTYPES = ("float32", "bfloat16", "float16")


def devices(
    all_: Annotated[bool, typer.Option("--all", help="All hardware that figures are published of.")] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Measure the peaks here, and anew.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As data.")] = False,
) -> None:
    """List the devices here with their memory and peaks; those not published are measured once and remembered."""

    def command() -> None:
        from fwdscope.render import devices as drawing

        if all_ and measure:
            raise InputError("--all lists published figures, of which none can be measured: leave --measure out")
        if all_:
            from fwdscope.device.table import accelerators

            known = accelerators()
            put(drawing.published_as_json(known) if as_json else drawing.draw_published(known, *terminal_of()), None)
            return
        found = _here(measure)
        put(drawing.local_as_json(found) if as_json else drawing.draw_local(found, *terminal_of()), None)

    boundary(command)


def _here(measure: bool) -> list[tuple[LocalDevice, list[Peaks]]]:
    """Each device with its roofs; with ``measure`` those measured now stand beside published ones."""
    from fwdscope.device import local, peaks

    found = []
    with progress() as say:
        for one in local.devices():
            if peaks.is_published(one) or not measure:
                say(f"measuring what {one.device} can do")
                found.append((one, [peaks.find_peaks(one, dtype) for dtype in _DTYPES]))
            if measure:
                peaks.forget(one)
                found.append((one, [_measured(one, dtype, say) for dtype in _DTYPES]))
    return found


def _measured(one: LocalDevice, dtype: str, say: Callable[[str], None]) -> Peaks:
    from fwdscope.device import peaks

    say(f"measuring what {one.device} can do in {dtype}")
    return peaks.measure_peaks(one, dtype)
