"""Baselines: what a report was, in a small file that diffs well, and what of it moved since.

Shapes, types and parameters move by any difference; costs by more than a tolerance. A file holds nothing of the
machine it was written on, and no lines of the spec, so that it changes where the network does and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from typing import Any, Literal

from fwdscope.report import CONVENTION, LayerRow, Report, Shape

VERSION = 1
EXACT = ("params", "trainable_params", "buffers")
COSTS = ("macs", "flops", "bytes_read", "bytes_written", "peak_memory")
_ROW_COSTS = COSTS[:4]
_TELLING = frozenset(
    {"type", "output", "outputs", "inputs", "dtype", "repeat", "calls", "params", "macs", "peak_memory"}
)


class BaselineError(ValueError):
    """A text that is not a baseline of a version this program reads."""


@dataclass(frozen=True)
class Row:
    """What a baseline keeps of a layer. Figures of nothing are left out of the file.

    ``line``, ``column``, ``depth`` and ``text`` are those of the spec as it is now; a file does not hold them.
    """

    path: str
    type: str
    output: tuple[Shape, ...]
    figures: Mapping[str, int]
    repeat: int = 1
    calls: int = 1
    depth: int = 0
    text: str = ""
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True)
class Baseline:
    """What is kept of a report."""

    name: str
    dtype: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    totals: Mapping[str, int]
    rows: tuple[Row, ...]
    convention: str = CONVENTION

    @classmethod
    def of(cls, report: Report) -> Baseline:
        """What a baseline keeps of a report."""
        totals = {name: getattr(report.totals, name) for name in (*EXACT, *COSTS)}
        return cls(
            report.name,
            report.dtype,
            tuple(one.shape for one in report.inputs),
            tuple(one.shape for one in report.outputs),
            _trained({name: value for name, value in totals.items() if value is not None}),
            tuple(map(_row, report.layers)),
            report.convention,
        )

    def to_json(self, places: bool = False) -> dict[str, Any]:
        """The baseline as JSON's own types; ``places`` keeps lines and depths, for the way to another process."""
        return {
            "version": VERSION,
            "name": self.name,
            "convention": self.convention,
            "dtype": self.dtype,
            "inputs": [list(shape) for shape in self.inputs],
            "outputs": [list(shape) for shape in self.outputs],
            "totals": dict(self.totals),
            "layers": [_row_to_json(row, places) for row in self.rows],
        }

    def dumps(self) -> str:
        """The baseline as text, one layer a line."""
        data = self.to_json()
        rows = ",\n    ".join(json.dumps(row, ensure_ascii=False) for row in data.pop("layers"))
        shapes = {key: data.pop(key) for key in ("inputs", "outputs")}
        flat = "".join(f',\n  "{key}": {json.dumps(value)}' for key, value in shapes.items())
        head = json.dumps(data, indent=2, ensure_ascii=False)[:-2]
        return f'{head}{flat},\n  "layers": [{_lines(rows)}]\n}}\n'

    @classmethod
    def from_json(cls, data: Any) -> Baseline:
        """The baseline that :meth:`to_json` gave. Raises BaselineError where it is none."""
        if not isinstance(data, dict) or "convention" not in data or "layers" not in data:
            raise BaselineError("this is no baseline of fwdscope")
        if data.get("version") != VERSION:
            raise BaselineError(f"it has version {data.get('version')!r}; this fwdscope reads version {VERSION}")
        try:
            rows = tuple(_row_from_json(row) for row in data["layers"])
            totals = {str(name): _whole(value) for name, value in data["totals"].items()}
            shapes = (_shapes(data["inputs"]), _shapes(data["outputs"]))
            return cls(str(data["name"]), str(data["dtype"]), *shapes, totals, rows, str(data["convention"]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BaselineError(f"this is no baseline of fwdscope: {type(error).__name__}: {error}") from None

    @classmethod
    def loads(cls, text: str) -> Baseline:
        """The baseline in a JSON text. Raises BaselineError where it is none."""
        try:
            return cls.from_json(json.loads(text))
        except RecursionError:
            raise BaselineError("it is nested too deeply") from None
        except json.JSONDecodeError as error:
            raise BaselineError(f"it is not JSON: {error}") from None


def _lines(rows: str) -> str:
    return f"\n    {rows}\n  " if rows else ""


def _row(row: LayerRow) -> Row:
    figures = {name: getattr(row, name) for name in (*EXACT, *_ROW_COSTS)}
    kept = _trained({name: value for name, value in figures.items() if value})
    path = row.path or row.text
    return Row(
        path, row.type, row.output_shapes, kept, row.repeat, row.calls, row.depth, row.text, row.line, row.column
    )


def _trained(figures: dict[str, int]) -> dict[str, int]:
    """Figures without the trainable parameters, where those are all, as nearly everywhere."""
    if figures.get("trainable_params") == figures.get("params"):
        figures.pop("trainable_params", None)
    return figures


def _row_to_json(row: Row, places: bool) -> dict[str, Any]:
    data: dict[str, Any] = {"path": row.path, "type": row.type, "output": [list(shape) for shape in row.output]}
    data |= {name: getattr(row, name) for name in ("repeat", "calls") if getattr(row, name) != 1}
    data |= row.figures
    if places:
        data["place"] = [row.depth, row.text, row.line, row.column]
    return data


def _row_from_json(data: dict[str, Any]) -> Row:
    rest = dict(data)
    path, type_, output = rest.pop("path"), rest.pop("type"), _shapes(rest.pop("output"))
    repeat, calls = _whole(rest.pop("repeat", 1)), _whole(rest.pop("calls", 1))
    place = rest.pop("place", (0, "", None, None))
    figures = {name: _whole(value) for name, value in rest.items()}
    return Row(str(path), str(type_), output, figures, repeat, calls, *place)


def _shapes(data: Any) -> tuple[Shape, ...]:
    return tuple(tuple(_whole(size) for size in shape) for shape in data)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected a whole number, found {value!r}")
    return value


# --- what moved ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """One thing that differs: ``output`` or ``macs``, before and now as text, and the percent of a figure."""

    what: str
    before: str
    now: str
    percent: float | None = None

    def __str__(self) -> str:
        share = f" ({self.percent:+.1f} %)" if self.percent is not None and abs(self.percent) >= 0.05 else ""
        return f"{self.what} {self.before} → {self.now}{share}"


def said(changes: Sequence[Change]) -> str:
    """Changes on one line: those that say most, where there are such; the rest goes along with them."""
    telling = [change for change in changes if change.what in _TELLING] or changes
    return "; ".join(map(str, telling))


@dataclass(frozen=True)
class Move:
    """A row that differs from the baseline. Of one that is gone the place is where it ``stood``."""

    path: str
    kind: Literal["changed", "new", "gone"]
    type: str
    changes: tuple[Change, ...] = ()
    stood: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        if self.kind == "changed":
            return f"{self.path}: {said(self.changes)}"
        if self.kind == "new":
            return f"{self.path} ({self.type}) is new"
        return f"{self.path} ({self.type}) is gone" + (f", which stood {self.stood}" if self.stood else "")


@dataclass(frozen=True)
class Moves:
    """All that moved: of the network as a whole, and row by row in the order of execution."""

    whole: tuple[Change, ...] = ()
    rows: tuple[Move, ...] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.whole or self.rows)


def compare(old: Baseline, new: Baseline, tolerance: float = 0.0) -> Moves:
    """What moved. ``tolerance`` is the part (0.01 for 1 %) that a cost may differ by; all else is exact.

    Of rows inside one another the innermost is told, of new ones and of those gone the outermost.
    """
    whole = [Change(what, str(getattr(old, what)), str(getattr(new, what))) for what in ("inputs", "outputs", "dtype")]
    whole = [change for change in whole if change.before != change.now]
    whole += _figures(old.totals, new.totals, tolerance)
    return Moves(tuple(whole), tuple(_moves(old, new, tolerance)))


def _moves(old: Baseline, new: Baseline, tolerance: float) -> Iterator[Move]:
    found: list[tuple[int, Move]] = []
    # The depth of a new row, while the rows in it pass by.
    new_at: int | None = None
    for before, i, now in _aligned(old.rows, new.rows):
        if now is None:
            assert before is not None
            found.append((0, _gone(before, new.rows, i)))
        elif before is None:
            if new_at is None or now.depth <= new_at:
                new_at = now.depth
                found.append((now.depth, Move(now.path, "new", now.type, (), None, now.line, now.column)))
        else:
            new_at = None
            if changes := tuple(_changes(before, now, tolerance)):
                found.append((now.depth, Move(now.path, "changed", now.type, changes, None, now.line, now.column)))
    yield from _innermost(_outermost_gone(found))


def _gone(row: Row, now: Sequence[Row], index: int) -> Move:
    """A row that is gone, placed where it stood: before the row that is there now, or behind the last in its block."""
    around = row.path.rpartition(".")[0]
    following = now[index] if index < len(now) else None
    if following is not None and following.path.startswith(f"{around}." if around else ""):
        return Move(row.path, "gone", row.type, (), f"before {following.path}", following.line, following.column)
    beside = (one for one in reversed(now[:index]) if one.path.rpartition(".")[0] == around)
    if (last := next(beside, None)) is not None:
        return Move(row.path, "gone", row.type, (), f"after {last.path}", last.line, last.column)
    place = (following.line, following.column) if following is not None else (None, None)
    return Move(row.path, "gone", row.type, (), None, *place)


def _outermost_gone(found: list[tuple[int, Move]]) -> Iterator[tuple[int, Move]]:
    """Without the rows that are gone because the row around them is."""
    gone: list[str] = []
    for depth, move in found:
        if move.kind == "gone":
            if any(move.path.startswith(f"{path}.") for path in gone):
                continue
            gone.append(move.path)
        yield depth, move


def _innermost(found: Iterator[tuple[int, Move]]) -> Iterator[Move]:
    """Without the rows that changed because one inside them did, unless in more than the figures that add up."""
    moves = list(found)
    for i, (depth, move) in enumerate(moves):
        inner = moves[i + 1][1].path if i + 1 < len(moves) else ""
        if move.kind == "changed" and depth and inner.startswith(f"{move.path}."):
            rest = tuple(change for change in move.changes if change.what in ("type", "repeat", "calls"))
            if rest:
                yield replace(move, changes=rest)
        else:
            yield move


def _aligned(old: Sequence[Row], new: Sequence[Row]) -> Iterator[tuple[Row | None, int, Row | None]]:
    """Rows that are each other's, (old, index of new, new): by path, and between those by type, since default paths
    move.
    """
    matcher = SequenceMatcher(None, [row.path for row in old], [row.path for row in new], autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            yield from ((old[a + i], c + i, new[c + i]) for i in range(b - a))
            continue
        types = SequenceMatcher(None, [row.type for row in old[a:b]], [row.type for row in new[c:d]], autojunk=False)
        for _, e, f, g, h in types.get_opcodes():
            for i in range(max(f - e, h - g)):
                pair = e + i < f and g + i < h and old[a + e + i].type == new[c + g + i].type
                if pair:
                    yield old[a + e + i], c + g + i, new[c + g + i]
                    continue
                if e + i < f:
                    yield old[a + e + i], min(c + g + i, c + h), None
                if g + i < h:
                    yield None, c + g + i, new[c + g + i]


def _changes(old: Row, new: Row, tolerance: float) -> Iterator[Change]:
    if old.type != new.type:
        yield Change("type", old.type, new.type)
    if old.output != new.output:
        yield Change("output", _shown(old.output), _shown(new.output))
    for what in ("repeat", "calls"):
        before, now = getattr(old, what), getattr(new, what)
        if before != now:
            yield Change(what, f"{before:,}", f"{now:,}")
    yield from _figures(old.figures, new.figures, tolerance)


def _figures(old: Mapping[str, int], new: Mapping[str, int], tolerance: float) -> Iterator[Change]:
    for name in (*EXACT, *COSTS):
        if name == "trainable_params" and name not in old and name not in new:
            continue  # they are the parameters
        before, now = _figure(old, name), _figure(new, name)
        slack = tolerance * before if name in COSTS else 0
        if abs(now - before) > slack:
            yield Change(name, f"{before:,}", f"{now:,}", 100 * (now - before) / before if before else None)


def _figure(figures: Mapping[str, int], name: str) -> int:
    # All parameters are trained where nothing else is said.
    return figures.get(name, figures.get("params", 0) if name == "trainable_params" else 0)


def _shown(shapes: tuple[Shape, ...]) -> str:
    return ", ".join(map(str, shapes)) or "nothing"
