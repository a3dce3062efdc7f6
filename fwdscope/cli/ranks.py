"""Commands that several ranks run together, each in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from fwdscope.cli.boundary import boundary, tell

if TYPE_CHECKING:
    from fwdscope.run.ranks import RankSession


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
