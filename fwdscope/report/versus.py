"""Two programs that were measured in turn, as data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fwdscope.report.report import Report, ReportError
from fwdscope.report.speedup import Speedup, differences, in_turn

VERSION = 1


@dataclass(frozen=True)
class Versus:
    """Both reports, whose latencies are those of the rounds."""

    reports: tuple[Report, Report]
    # Seconds of a forward of both, the fastest of each turn.
    rounds: tuple[tuple[float, float], ...]
    # The forwards that were timed in each turn.
    forwards: tuple[int, int]
    # What each is called.
    labels: tuple[str, str]
    notes: tuple[str, ...] = ()
    # Whether Ctrl-C ended it early.
    interrupted: bool = False

    @property
    def speedup(self) -> Speedup | None:
        """The second compared with the first; None without a round."""
        differs = differences(*self.reports, words=("of A", "of B"))
        return in_turn(self.rounds, differs) if self.rounds else None

    def dumps(self) -> str:
        """The comparison as JSON, with both reports."""
        found = self.speedup
        data = {
            "version": VERSION,
            "answer": found.answer if found else None,
            "ratio": found.ratio if found else None,
            "interval": found.interval if found else None,
            "floor": found.floor if found else None,
            "labels": self.labels,
            "forwards": self.forwards,
            "rounds": self.rounds,
            "notes": self.notes,
            "reports": [report.to_json() for report in self.reports],
        }
        return json.dumps(data, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, data: Any) -> Versus:
        """The comparison in data that :meth:`dumps` wrote. Raises ReportError for any other."""
        try:
            if data["version"] != VERSION:
                raise ReportError(f"this comparison has version {data['version']!r}; version {VERSION} is read")
            one, other = map(Report.from_json, data["reports"])
            rounds = tuple((float(first), float(second)) for first, second in data["rounds"])
            if min((min(pair) for pair in rounds), default=1.0) <= 0:
                raise ReportError("this comparison has a round without a time")
            first, second = map(int, data["forwards"])
            a, b = map(str, data["labels"])
            return cls((one, other), rounds, (first, second), (a, b), tuple(map(str, data["notes"])))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ReportError(f"this comparison cannot be read: {error}") from None
