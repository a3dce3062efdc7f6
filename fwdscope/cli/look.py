"""The report of a target: kept of an earlier look, or made with progress, and ended by Ctrl-C with what is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from fwdscope import kept
from fwdscope.cli.progress import show_progress
from fwdscope.errors import InputError
from fwdscope.interrupt import Stop
from fwdscope.settings import META, RUN_BUDGET, SHOW_ALL, Interrupted, RunSettings
from fwdscope.targets import Target

if TYPE_CHECKING:
    from fwdscope.report import Report
    from fwdscope.report.pictures import Picture

NO_CACHE = "Look anew, also if the report of an earlier look at the same text is kept."


class Look(NamedTuple):
    """A report, the picture that --show asks for, and whether Ctrl-C ended the run."""

    report: Report
    picture: Picture | None = None
    interrupted: bool = False
    # What to say of figures that were measured earlier.
    note: str = ""


def look_at(target: Target, settings: RunSettings = META, cached: bool = True) -> Look:
    """The report of a target. A run by default, not asked for, ends after ``RUN_BUDGET`` seconds.

    With ``cached``, that of an earlier look at the same text is taken. A new one is kept.
    """
    entry, on_meta = kept.entry_of(target, settings), kept.entry_of(target, META)
    found = kept.find(entry, settings) if cached and entry is not None else None
    if found is not None:
        what = "statistics and times are of a run" if found.report.run else "this was found"
        age = f"{max(1, found.age):.0f} s" if found.age < 90 else f"{found.age / 60:.0f} min"
        note = f"{what} {age} ago; --no-cache looks again" if settings.device is None else ""
        return Look(found.report, note=note)

    def keep(report: Report, settings: RunSettings) -> None:
        place = kept.entry_of(target, settings)
        # Not of a file that was saved in the meantime.
        if place is not None and on_meta is not None and place.key == on_meta.key:
            kept.keep(place, report)

    def before_run(report: Report) -> None:
        # In training mode a report without a run says so.
        if not settings.train:
            keep(report, META)

    look = _look(target, settings, before_run)
    if not look.interrupted:
        keep(look.report, settings)
    return look


def _look(target: Target, settings: RunSettings, before_run: Callable[[Report], None]) -> Look:
    from fwdscope.inspection import inspect_target

    if settings.device in ("auto", "meta") and (settings.weights is not None or settings.show is not None):
        option = "--show" if settings.show is not None else "--weights"
        raise InputError(f"{option} needs a forward on real numbers, which meta has none of: --device cpu")
    latency = settings.latency and settings.show in (None, SHOW_ALL)
    peaks = latency and settings.device is not None
    known: list[Report] = []
    with show_progress() as report_progress, Stop() as stop:

        def arm(report: Report) -> None:
            known.append(report)
            before_run(report)
            stop.arm(None if settings.device or settings.weights or settings.show else RUN_BUDGET)

        running = replace(settings, latency=latency, peaks=peaks, on_progress=report_progress, before_run=arm)
        try:
            return Look(*inspect_target(target, running))
        except BaseException as early:  # in the middle of an import it comes out as another exception
            if not (stop.interrupted or stop.timed_out) or settings.show is not None:
                raise
            report = early.report if isinstance(early, Interrupted) else known[0]
    note = "not run" if report.run is None else "timing ended early"
    if stop.interrupted:
        note += ": interrupted"
    else:
        note += f": more than {RUN_BUDGET:.0f} s here, beyond the estimate; --device cpu runs it to the end"
    return Look(replace(report, notes=(*report.notes, note)), interrupted=stop.interrupted)
