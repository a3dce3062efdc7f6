"""Commands that several ranks run together, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fwdscope.cli.boundary import boundary, check_writable, tell
from fwdscope.cli.options import files_of
from fwdscope.cli.progress import show_progress

if TYPE_CHECKING:
    from fwdscope.commands.bench.request import BenchRequest
    from fwdscope.report import Report
    from fwdscope.run.ranks import RankSession


def report_on_ranks(
    session: RankSession | None, request: BenchRequest, output: Path | None, inspects: bool = False
) -> Report | None:
    """What all ranks found, on the first of them, which alone shows progress."""
    from fwdscope.commands.bench.request import run_on_ranks

    is_first = session is None or session.is_first
    if is_first:
        check_writable(output, files_of(request.target))
    quiet = contextlib.nullcontext(lambda _: None)
    with show_progress("loading torch") if is_first else quiet as report_progress:
        settings = replace(request.settings, on_progress=report_progress)
        place = session.place if session else None
        return run_on_ranks(request._replace(settings=settings), place, shlex.join(sys.argv[1:]), inspects)


def boundary_of_ranks(command: Callable[[RankSession | None], None], limits: list[str] | None = None) -> None:
    """Run a command on each rank that a launcher started, or on this process alone.

    An error is printed by the first rank that has it, and all ranks end with its exit code.
    """
    sessions: list[RankSession] = []

    # Kineto, torch's profiler, writes each of its sessions on stderr.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")

    def connected() -> None:
        from fwdscope.run.ranks import RankSession, find_place

        place = find_place()
        if place is None:
            command(None)
            return
        sessions.append(RankSession(place))
        sessions[0].guard(lambda: command(sessions[0]), tell)()

    code = 1
    try:
        boundary(connected, limits)
        code = 0
    except typer.Exit as stop:
        code = stop.exit_code
        raise
    finally:
        sys.stderr.flush()
        if sessions:
            sessions[0].end(code)
