"""``fwdscope devices``: the devices here, and published figures of other hardware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fwdscope.cli.boundary import boundary, page, put, terminal_of
from fwdscope.cli.options import AsJson
from fwdscope.cli.progress import show_progress
from fwdscope.errors import InputError

if TYPE_CHECKING:
    from fwdscope.device.local import LocalDevice
    from fwdscope.report import Peaks

# The dtypes that networks run in. Peaks of other dtypes are measured when a run needs them.
_DTYPES = ("float32", "bfloat16", "float16")


def devices(
    all_: Annotated[bool, typer.Option("--all", help="List all accelerators with published figures.")] = False,
    links: Annotated[
        bool, typer.Option("--links", help="List the links between devices and their published bandwidth.")
    ] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Measure the peaks of the devices here again.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the devices here, with memory and peak performance.

    Peaks that are not published are measured once and remembered.
    """

    def command() -> None:
        from fwdscope.render import devices as drawing

        if measure and (all_ or links):
            listing = "--all" if all_ else "--links"
            raise InputError(f"{listing} lists published figures, which cannot be measured: leave --measure out")
        if links:
            from fwdscope.device.links import links as published_links

            if as_json:
                put(drawing.links_as_json(published_links()), None)
            else:
                page(drawing.draw_links(published_links(), *terminal_of()))
            return
        if all_:
            from fwdscope.device.table import accelerators

            known = accelerators()
            if as_json:
                put(drawing.published_as_json(known), None)
            else:
                page(drawing.draw_published(known, *terminal_of()))
            return
        found = _find_devices(measure)
        put(drawing.local_as_json(found) if as_json else drawing.draw_local(found, *terminal_of()), None)

    boundary(command)


def _find_devices(measure: bool) -> list[tuple[LocalDevice, list[Peaks]]]:
    """Each device with its peaks; with ``measure``, those measured now follow the published ones."""
    from fwdscope.device import local, peaks

    found = []
    with show_progress() as report_progress:
        for one in local.devices():
            if peaks.is_published(one) or not measure:
                report_progress(f"measuring the peaks of {one.device}")
                found.append((one, [peaks.find_peaks(one, dtype) for dtype in _DTYPES]))
            if measure:
                peaks.forget(one)
                measured = []
                for dtype in _DTYPES:
                    report_progress(f"measuring the peaks of {one.device} in {dtype}")
                    measured.append(peaks.measure_peaks(one, dtype))
                found.append((one, measured))
    return found
