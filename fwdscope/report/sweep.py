"""Reports of one network at several sizes: parsing ``--vary``, and the results.

``--vary B=1,8,32`` lists values, ``T=128:4096:x2`` doubles from 128 to 4096, ``T=128:1024:+128`` adds; both ends are
included. ``1k`` is 1024. Several axes are combined, the last one changing fastest.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fwdscope.report.report import Report, ReportError, check_count, parse_json
from fwdscope.units import positions

MOST = 200
VERSION = 1

_RANGE = re.compile(r"(?P<first>\d+[kKmM]?):(?P<last>\d+[kKmM]?)(?::(?P<sign>[x×*+])?(?P<step>\d+))?\Z")
_EXAMPLE = "write --vary B=1,8,32 or --vary T=128:4096:x2 (doubling) or T=128:1024:+128 (adding)"


@dataclass(frozen=True)
class SweepAxis:
    """A name and its values, as ``--set`` takes them."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class SweepPoint:
    """One combination: its report, or why it has none (out of memory, shapes that do not fit)."""

    values: tuple[tuple[str, str], ...]
    report: Report | None
    problem: str | None = None


@dataclass(frozen=True)
class Sweep:
    """All combinations that were inspected or measured, in order."""

    axes: tuple[SweepAxis, ...]
    points: tuple[SweepPoint, ...]

    def dumps(self) -> str:
        """The sweep as JSON, with the whole report of each point."""
        data = {
            "version": VERSION,
            "vary": {axis.name: list(axis.values) for axis in self.axes},
            "sweep": [
                {
                    "values": dict(point.values),
                    "problem": point.problem,
                    "report": point.report.to_json() if point.report else None,
                }
                for point in self.points
            ],
        }
        return json.dumps(data, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, data: Any) -> Sweep:
        """The sweep in data that :meth:`dumps` wrote. Raises ReportError for any other."""
        points, vary = _points(data), data.get("vary")
        if not vary or not isinstance(vary, dict) or not all(one and isinstance(one, list) for one in vary.values()):
            raise ReportError("this sweep does not say what was varied")
        if any([name for name, _ in point.values] != list(vary) for point in points):
            raise ReportError("this sweep has a point with other names than those that were varied")
        return cls(tuple(SweepAxis(name, tuple(map(str, values))) for name, values in vary.items()), points)


def saved_points(text: str) -> tuple[SweepPoint, ...]:
    """The points of a saved sweep, or the single point of a saved report. Raises ReportError for other text."""
    data = parse_json(text)
    if not isinstance(data, dict) or "sweep" not in data:
        return (SweepPoint((), Report.from_json(data)),)
    return _points(data)


def _points(data: dict[str, Any]) -> tuple[SweepPoint, ...]:
    if data.get("version") != VERSION or not isinstance(data["sweep"], list):
        raise ReportError(f"this sweep has version {data.get('version')!r}; this fwdscope reads version {VERSION}")
    check_count(data["sweep"], "points")
    points: list[SweepPoint] = []
    for item in data["sweep"]:
        if not isinstance(item, dict) or not isinstance(item.get("values"), dict):
            raise ReportError("this sweep has a point without values")
        report = Report.from_json(item["report"]) if item.get("report") is not None else None
        values = tuple((str(name), str(value)) for name, value in item["values"].items())
        problem = item.get("problem")
        points.append(SweepPoint(values, report, str(problem) if problem is not None else None))
    return tuple(points)


def parse(text: str, most: int = MOST) -> SweepAxis:
    """Parse ``B=1,8,32`` or ``T=128:4096:x2``. Raises ValueError with an example."""
    name, equals, values = (piece.strip() for piece in text.partition("="))
    if not equals or not name or not values:
        raise ValueError(f"--vary {text}: expected a name and its values; {_EXAMPLE}")
    if name == "mesh":
        return SweepAxis(name, tuple(dict.fromkeys(_meshes(values))))
    found: list[str] = []
    # Commas inside brackets do not separate values: shape=(8, 8),(16, 16).
    for piece in re.split(r",(?![^(\[]*[)\]])", values):
        found += _values(piece.strip(), text, most)
    if len(found) > most:
        raise ValueError(f"--vary {text}: more than {most:,} values; give fewer, or a wider step")
    if name == "past":
        found = [str(positions(value)) for value in found]
    return SweepAxis(name, tuple(dict.fromkeys(found)))


def _meshes(text: str) -> Iterator[str]:
    """``tp=1,2,4`` is three meshes of one dimension; others stand behind semicolons: ``tp=8; dp=2,tp=4``."""
    for piece in filter(None, map(str.strip, text.split(";"))):
        name, _, sizes = piece.partition("=")
        several = "=" not in sizes and "," in sizes
        yield from (f"{name.strip()}={size.strip()}" for size in sizes.split(",")) if several else (piece,)


def _values(piece: str, text: str, most: int) -> list[str]:
    if not piece:
        raise ValueError(f"--vary {text}: a value is missing between commas; {_EXAMPLE}")
    match = _RANGE.match(piece)
    if match is not None and len(piece) > 60:
        raise ValueError(f"--vary {text[:60]}…: a range of {len(piece):,} characters; {_EXAMPLE}")
    if match is None:
        if ":" in piece:
            raise ValueError(f"--vary {text}: {piece} is not a range; {_EXAMPLE}")
        return [piece]
    first, last = (0 if end == "0" else positions(end) for end in (match["first"], match["last"]))
    step = int(match["step"] or 1)
    grows = match["sign"] in ("x", "×", "*")
    if first > last or step < (2 if grows else 1) or (grows and first == 0):
        raise ValueError(f"--vary {text}: {piece} does not grow from {first} to {last}; {_EXAMPLE}")
    found = [first]
    while found[-1] < last and len(found) <= most:
        found.append(min(last, found[-1] * step if grows else found[-1] + step))
    return [str(value) for value in found]


def combinations(axes: Sequence[SweepAxis]) -> Iterator[tuple[tuple[str, str], ...]]:
    """All combinations. Raises ValueError for a name given twice, or too many combinations."""
    names = [axis.name for axis in axes]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"--vary {twice} is given twice; write all its values behind one: {twice}=1,8,32")
    count = math.prod(len(axis.values) for axis in axes)
    if count > MOST:
        raise ValueError(f"--vary: {count:,} combinations; at most {MOST} are tried")
    return (tuple(zip(names, values, strict=True)) for values in itertools.product(*(a.values for a in axes)))
