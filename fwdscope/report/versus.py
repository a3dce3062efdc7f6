"""Two programs that were measured in turn, as data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from fwdscope.display import Paged
from fwdscope.report.report import Report, ReportError, median_interval, quantile
from fwdscope.report.speedup import CONFIDENCE, FLOORS, Answer, Interval, Speedup, differences, in_turn

VERSION = 1


@dataclass(frozen=True)
class LayerTurns:
    """A layer of one network beside that of the other: seconds of all its copies in passes of both in turn."""

    # None on a side that has no such layer.
    paths: tuple[str | None, str | None]
    type: str
    passes: tuple[tuple[float, float], ...]
    # Seconds below which these are not known.
    noise: float = 0.0

    @property
    def medians(self) -> tuple[float, float]:
        """Seconds of both."""
        first, second = (quantile(sorted(side), 0.5) for side in zip(*self.passes, strict=True))
        return first, second

    def interval(self, of: int) -> Interval | None:
        """That of the difference: 99 % for as many layers together; None with too few passes."""
        return median_interval([second - first for first, second in self.passes], 1 - (1 - CONFIDENCE) / max(1, of))

    def answer(self, of: int) -> Answer:
        """Whether it is faster or slower in the second, of so many layers."""
        interval = self.interval(of)
        least = max(self.noise, FLOORS["rounds"] * self.medians[0])
        if interval is None:
            return "cannot tell"
        return "slower" if interval[0] > least else "faster" if interval[1] < -least else "cannot tell"


@dataclass(frozen=True)
class Versus(Paged):
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
    # The layers of both; empty if they were not timed.
    layers: tuple[LayerTurns, ...] = ()

    @property
    def speedup(self) -> Speedup | None:
        """The second compared with the first; None without a round."""
        differs = differences(*self.reports, words=("of A", "of B"))
        return in_turn(self.rounds, differs) if self.rounds else None

    @property
    def too_few_passes(self) -> bool:
        """Whether the layers were timed too few times for any answer."""
        return any(one.interval(len(self.layers)) is None for one in self.layers)

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
            "layers": [asdict(one) for one in self.layers],
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
            layers = tuple(_layer_of(one) for one in data.get("layers", ()))
            return cls((one, other), rounds, (first, second), (a, b), tuple(map(str, data["notes"])), layers=layers)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ReportError(f"this comparison cannot be read: {error}") from None


def _layer_of(data: Any) -> LayerTurns:
    one, other = (None if path is None else str(path) for path in data["paths"])
    passes = tuple((float(first), float(second)) for first, second in data["passes"])
    if not passes:
        raise ReportError("this comparison has a layer without a time")
    return LayerTurns((one, other), str(data["type"]), passes, float(data["noise"]))
