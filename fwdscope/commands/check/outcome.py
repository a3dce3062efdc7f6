"""The results of a check as plain data, which renderers, worker processes and the cache share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from fwdscope.display import Paged
from fwdscope.language.problems import Problem
from fwdscope.report.report import ReportError, check_count, read_dataclass

# Of the JSON of a check.
VERSION = 1
# From the best to the worst.
State = Literal["ok", "skipped", "failed", "invalid", "crashed"]
STATES: tuple[State, ...] = ("ok", "skipped", "failed", "invalid", "crashed")
EXIT_CODES: dict[State, int] = {"ok": 0, "skipped": 0, "failed": 1, "invalid": 2, "crashed": 3}


@dataclass(frozen=True)
class CheckMessage:
    """A problem or a note with its place.

    ``detail`` holds the lines under the message (causes, and what to write), ``text`` all of it as a terminal shows it.
    """

    code: str
    message: str
    line: int | None = None
    column: int | None = None
    detail: tuple[str, ...] = ()
    text: str = ""

    @classmethod
    def of(cls, problem: Problem) -> CheckMessage:
        """A problem of the spec."""
        source = problem.source
        line, column = source.place(problem.span.start)
        detail = [c.text + (f"  {source.at(c.span.start)}" if c.span else "") for c in problem.causes]
        detail += [f"help: {problem.help}"] if problem.help else []
        return cls(problem.code, problem.message, line, column, tuple(detail), str(problem))


@dataclass(frozen=True)
class CheckPoint:
    """One thing that is checked: a promise, an expectation, the baseline, the layout of a line.

    ``problem`` says how it failed, ``reason`` why it was skipped.
    """

    kind: Literal["promise", "expect", "baseline", "format"]
    what: str
    expected: str
    state: Literal["met", "failed", "skipped"]
    line: int | None = None
    got: str = ""
    by: str | None = None
    reason: str | None = None
    problem: CheckMessage | None = None


@dataclass(frozen=True)
class Outcome:
    """The result for one file. ``seconds`` is for reading, building and tracing; 0 if it came from the cache.

    ``problems`` are mistakes of the spec, after which nothing else is checked; ``reason`` says why a file was skipped,
    or what crashed in fwdscope.
    """

    file: str
    name: str
    state: State
    points: tuple[CheckPoint, ...] = ()
    problems: tuple[CheckMessage, ...] = ()
    notes: tuple[CheckMessage, ...] = ()
    params: int | None = None
    macs: int | None = None
    # Whether an operator has no counting rule, so that the costs are lower bounds.
    at_least: bool = False
    seconds: float = 0.0
    cached: bool = False
    reason: str | None = None

    @property
    def failed(self) -> tuple[CheckPoint, ...]:
        """The points that failed."""
        return tuple(point for point in self.points if point.state == "failed")

    @property
    def skipped(self) -> tuple[CheckPoint, ...]:
        """The points that could not be checked."""
        return tuple(point for point in self.points if point.state == "skipped")

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON's own types."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class CheckRun(Paged):
    """The outcomes of all files in order, and remarks on the whole run (baselines written, stale ones)."""

    outcomes: tuple[Outcome, ...]
    seconds: float
    remarks: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Any) -> CheckRun:
        """The run in data that ``check --format json`` wrote. Raises ReportError for any other."""
        if data.get("version") != VERSION:
            raise ReportError(f"this check has version {data.get('version')!r}; this fwdscope reads version {VERSION}")
        if not isinstance(data["specs"], list):
            raise ReportError("this check has no list of specs")
        check_count(data["specs"], "specs")
        whole = {"outcomes": data["specs"], "seconds": data.get("seconds"), "remarks": data.get("remarks", [])}
        return read_dataclass(cls, whole, "check")

    @property
    def exit_code(self) -> int:
        """That of the worst outcome."""
        return max((EXIT_CODES[outcome.state] for outcome in self.outcomes), default=0)


def state_of(points: Iterable[CheckPoint]) -> State:
    """The state of a spec that could be built."""
    return "failed" if any(point.state == "failed" for point in points) else "ok"
