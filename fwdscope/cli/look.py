"""The report of a target for ``inspect``: with progress, and ended by Ctrl-C or after a while with what is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from fwdscope.cli.progress import show_progress
from fwdscope.errors import InputError
from fwdscope.interrupt import Stop
from fwdscope.settings import RUN_BUDGET, Interrupted, RunSettings
from fwdscope.targets import Target

if TYPE_CHECKING:
    from fwdscope.report import Report
    from fwdscope.report.pictures import Picture


class Look(NamedTuple):
    """A report, the picture that --show asks for, and whether Ctrl-C ended the run."""

    report: Report
    picture: Picture | None = None
    interrupted: bool = False


def look_at(target: Target, settings: RunSettings) -> Look:
    """Inspect a target. A run that nobody asked for ends after ``RUN_BUDGET`` seconds."""
    from fwdscope.inspection import inspect_target

    if settings.device in ("auto", "meta") and (settings.weights is not None or settings.show is not None):
        option = "--show" if settings.show is not None else "--weights"
        raise InputError(f"{option} needs a forward on real numbers, which meta has none of: --device cpu")
    latency = settings.latency and settings.show is None
    peaks = latency and settings.device is not None
    known: list[Report] = []
    with show_progress() as report_progress, Stop() as stop:

        def before_run(report: Report) -> None:
            known.append(report)
            stop.arm(None if settings.device or settings.weights or settings.show else RUN_BUDGET)

        running = replace(settings, latency=latency, peaks=peaks, on_progress=report_progress, before_run=before_run)
        try:
            return Look(*inspect_target(target, running))
        except KeyboardInterrupt as early:
            if not known or settings.show is not None:
                raise
            report = early.report if isinstance(early, Interrupted) else known[0]
    note = "not run" if report.run is None else "timing ended early"
    if stop.interrupted:
        note += ": interrupted"
    else:
        note += f": more than {RUN_BUDGET:.0f} s here, beyond the estimate; --device cpu runs it to the end"
    return Look(replace(report, notes=(*report.notes, note)), interrupted=stop.interrupted)
