"""What a check found, as plain data: renderers, worker processes and the cache see nothing else. To and from JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from fwdscope.language.problems import Problem

# In order of gravity; of a run, the worst counts.
State = Literal["ok", "skipped", "short", "wrong", "defect"]
STATES: tuple[State, ...] = ("ok", "skipped", "short", "wrong", "defect")
EXIT_CODES: dict[State, int] = {"ok": 0, "skipped": 0, "short": 1, "wrong": 2, "defect": 3}


@dataclass(frozen=True)
class Told:
    """A problem, a shortfall or a note with its place; ``text`` is the whole of it as a terminal shows it.

    ``detail`` holds the lines of explanation under the message: causes, and what to write.
    """

    code: str
    message: str
    line: int | None = None
    column: int | None = None
    detail: tuple[str, ...] = ()
    text: str = ""

    @classmethod
    def of(cls, problem: Problem) -> Told:
        """A problem of the spec."""
        source = problem.source
        line, column = source.place(problem.span.start)
        detail = [c.text + (f"  {source.at(c.span.start)}" if c.span else "") for c in problem.causes]
        detail += [f"help: {problem.help}"] if problem.help else []
        return cls(problem.code, problem.message, line, column, tuple(detail), str(problem))


@dataclass(frozen=True)
class Point:
    """One thing that was held against the network: a promise, an expectation, the baseline.

    ``told`` is what fell short; ``reason`` why it could not be held.
    """

    kind: Literal["promise", "expect", "baseline"]
    what: str
    expected: str
    state: Literal["held", "short", "skipped"]
    line: int | None = None
    got: str = ""
    by: str | None = None
    reason: str | None = None
    told: Told | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one file. ``seconds`` is what reading, building and tracing took; 0 where it came from the cache.

    ``problems`` are mistakes of the spec, after which nothing was held; ``reason`` says why a file was skipped, or what
    broke in fwdscope.
    """

    file: str
    name: str
    state: State
    points: tuple[Point, ...] = ()
    problems: tuple[Told, ...] = ()
    notes: tuple[Told, ...] = ()
    params: int | None = None
    macs: int | None = None
    # Whether an operator without a rule ran, so that the costs are "at least".
    at_least: bool = False
    seconds: float = 0.0
    cached: bool = False
    reason: str | None = None

    @property
    def short(self) -> tuple[Point, ...]:
        """What fell short."""
        return tuple(point for point in self.points if point.state == "short")

    @property
    def skipped(self) -> tuple[Point, ...]:
        """What could not be held."""
        return tuple(point for point in self.points if point.state == "skipped")

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON's own types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Outcome:
        """The outcome that :meth:`to_json` gave. Raises KeyError, TypeError or ValueError where it is none."""
        points = tuple(Point(**{**one, "told": one["told"] and _told(one["told"])}) for one in data["points"])
        told = {key: tuple(_told(one) for one in data[key]) for key in ("problems", "notes")}
        if data["state"] not in STATES:
            raise ValueError(data["state"])
        return cls(**{**data, **told, "points": points})


def _told(data: dict[str, Any]) -> Told:
    return Told(**{**data, "detail": tuple(data["detail"])})


@dataclass(frozen=True)
class Run:
    """A whole run: every file's outcome in order, and what is to be said of the run itself (stale baselines)."""

    outcomes: tuple[Outcome, ...]
    seconds: float
    remarks: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """That of the worst outcome."""
        return max((EXIT_CODES[outcome.state] for outcome in self.outcomes), default=0)


def state_of(points: Iterable[Point]) -> State:
    """The state of a spec that could be built."""
    return "short" if any(point.state == "short" for point in points) else "ok"
