"""Baselines: the part of a report that a small file keeps, and how a network differs from it.

Shapes, types and parameters must be equal, costs within a tolerance. A file contains nothing about the machine that
wrote it and no lines of the spec, so that it changes only with the network.
"""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fwdscope.commands import diff
from fwdscope.report import (
    STEP_FIGURES,
    Environment,
    LayerRow,
    Report,
    ReportError,
    Shape,
    TensorInfo,
    Totals,
    TrainingStep,
)
from fwdscope.report.report import check_count, check_number, check_rows, dump_rows, parse_json, shortened

VERSION = 1
EXACT = ("params", "trainable_params", "buffers")
COSTS = ("macs", "flops", "bytes_read", "bytes_written", "peak_memory")
_ROW_COSTS = COSTS[:4]
# Differences that are always shown; the others follow from them.
_SHOWN_FIRST = frozenset(
    {"type", "output", "outputs", "inputs", "dtype", "repeat", "calls", "params", "macs", "peak_memory", *STEP_FIGURES}
)


class Baseline:
    """The part of a report that is kept: the path, type, output shapes and figures of each row, and the totals.

    One made from a report also knows the place of each row in the spec, which its file does not contain.
    """

    def __init__(self, data: Mapping[str, Any], report: Report | None = None) -> None:
        self._data, self._report = data, report

    @classmethod
    def of(cls, report: Report, step: TrainingStep | None = None) -> Baseline:
        """The baseline of a report, with the figures of a training step."""
        totals = {name: getattr(report.totals, name) for name in (*EXACT, *COSTS)} | (step.figures if step else {})
        layers = []
        for row in report.layers:
            output = [list(shape) for shape in row.output_shapes]
            layer: dict[str, Any] = {"path": row.path or row.text, "type": row.type, "output": output}
            layer |= {name: getattr(row, name) for name in ("repeat", "calls") if getattr(row, name) != 1}
            figures = _figures({name: getattr(row, name) for name in (*EXACT, *_ROW_COSTS)})
            layer |= {name: value for name, value in figures.items() if value or name == "trainable_params"}
            layers.append({**layer, "place": [row.line, row.column]})
        return cls(
            {
                "version": VERSION,
                "name": report.name,
                "convention": report.convention,
                "dtype": report.dtype,
                "inputs": [list(one.shape) for one in report.inputs],
                "outputs": [list(one.shape) for one in report.outputs],
                "totals": _figures({name: value for name, value in totals.items() if value is not None}),
                "layers": layers,
            }
        )

    @classmethod
    def from_json(cls, data: Any) -> Baseline:
        """The baseline in data of :meth:`to_json`. Raises ReportError for any other data."""
        if not isinstance(data, dict) or "convention" not in data or "layers" not in data:
            raise ReportError("this is no baseline of fwdscope")
        if data.get("version") != VERSION:
            raise ReportError(f"it has version {shortened(data.get('version'))}; this fwdscope reads version {VERSION}")
        try:
            json.dumps(data, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ReportError("this is no baseline of fwdscope: it holds half of a character") from None
        try:
            return cls(data, _report(data))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            name = "" if isinstance(error, ReportError) else f"{type(error).__name__}: "
            raise ReportError(f"this is no baseline of fwdscope: {name}{error}") from None

    @classmethod
    def loads(cls, text: str) -> Baseline:
        """The baseline in a JSON text. Raises ReportError if it is none."""
        return cls.from_json(parse_json(text))

    def to_json(self, places: bool = False) -> dict[str, Any]:
        """The baseline as JSON's own types; ``places`` keeps lines and columns, for the cache."""
        rows = self._data["layers"]
        if not places:
            rows = [{name: value for name, value in row.items() if name != "place"} for row in rows]
        return {**self._data, "layers": rows}

    def dumps(self) -> str:
        """The baseline as text, one layer a line."""
        return dump_rows(self.to_json(), ("inputs", "outputs"))

    @property
    def convention(self) -> str:
        """How the figures were counted."""
        return str(self._data["convention"])

    @property
    def step_figures(self) -> dict[str, int | None]:
        """The figures of a training step; None where it has none."""
        return {name: self._data["totals"].get(name) for name in STEP_FIGURES}

    @property
    def report(self) -> Report:
        """A report of the kept part."""
        if self._report is None:
            self._report = _report(self._data)
        return self._report


def _report(data: Mapping[str, Any]) -> Report:
    totals = {str(name): _whole(value, f"totals, {name}") for name, value in data["totals"].items()}
    check_count(data["layers"])
    rows = tuple(_rows(data["layers"]))
    check_rows(rows)
    params = totals.get("params", 0)
    trainable, buffers = totals.get("trainable_params", params), totals.get("buffers", 0)
    dtype = _string(data["dtype"], "dtype")
    inputs, outputs = (
        tuple(TensorInfo("", shape, dtype) for shape in _shapes(data[side])) for side in ("inputs", "outputs")
    )
    return Report(
        _string(data["name"], "name"),
        inputs,
        outputs,
        rows,
        # Not typed by its fields' names, all of which are counts.
        Totals(params, trainable, buffers, 0, 0, **{name: totals.get(name) for name in COSTS}),  # type: ignore[arg-type]
        Environment("", "", "", ""),
        dtype=dtype,
        convention=_string(data["convention"], "convention"),
    )


def _figures(figures: dict[str, int]) -> dict[str, int]:
    """Figures without the trainable parameters if those are all, as is usual."""
    if figures["trainable_params"] == figures["params"]:
        del figures["trainable_params"]
    return figures


def _rows(data: Sequence[Mapping[str, Any]]) -> Iterator[LayerRow]:
    """The rows of a file, nested by their paths; an expression is inside the row before it."""
    paths = [_string(row["path"], "path") for row in data]
    inner = sorted(filter(_is_path, set(paths)))
    open_paths: list[str] = []
    for path, row in zip(paths, data, strict=True):
        while _is_path(path) and open_paths and not path.startswith(f"{open_paths[-1]}."):
            open_paths.pop()
        yield _row_from_json(path, dict(row), len(open_paths) + 1)
        after = bisect.bisect(inner, f"{path}.")
        if after < len(inner) and inner[after].startswith(f"{path}."):
            open_paths.append(path)


def _is_path(path: str) -> bool:
    return re.fullmatch(r"[\w.]+", path) is not None


def _row_from_json(path: str, rest: dict[str, Any], depth: int) -> LayerRow:
    del rest["path"]
    type_, output = _string(rest.pop("type"), f"{path}, type"), _shapes(rest.pop("output"))
    line, column = rest.pop("place", (None, None))
    if unknown := rest.keys() - {*EXACT, *_ROW_COSTS, "repeat", "calls"}:
        raise TypeError(f"{path}: unknown key {min(unknown)!r}")
    figures = {name: _whole(value, f"{path}, {name}") for name, value in rest.items()}
    params = figures.get("params", 0)
    return LayerRow(
        path,
        type_,
        "layer",
        depth,
        label=path.rpartition(".")[2] if _is_path(path) else "",
        line=line,
        column=column,
        output_shapes=output,
        **{"trainable_params": params, **dict.fromkeys(_ROW_COSTS, 0), **figures},  # type: ignore[arg-type]
    )


def _shapes(data: Any) -> tuple[Shape, ...]:
    return tuple(tuple(_whole(size) for size in shape) for shape in data)


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{where}: expected text, found {shortened(value)}")
    return value


def _whole(value: Any, where: str = "a size") -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{where}: expected a whole number, found {shortened(value)}")
    return int(check_number(value, where))


class Difference(NamedTuple):
    """One thing that differs: ``output`` or ``macs``, before and now as text, and the change of a figure in percent."""

    what: str
    before: str
    now: str
    percent: float | None = None

    def __str__(self) -> str:
        share = f" ({self.percent:+.1f} %)" if self.percent is not None and abs(self.percent) >= 0.05 else ""
        return f"{self.what} {self.before} → {self.now}{share}"


class RowDifference(NamedTuple):
    """A row that differs, with its place in the spec; for a removed one, where it was."""

    path: str
    text: str
    details: tuple[Difference, ...] = ()
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return f"{self.path}{self.text}{describe(self.details)}"


class Differences(NamedTuple):
    """All differences: of the whole network, and of each row in the order of execution."""

    whole: tuple[Difference, ...] = ()
    rows: tuple[RowDifference, ...] = ()


def describe(details: Sequence[Difference]) -> str:
    """Differences on one line: the essential ones if there are any, since the others follow from them."""
    return "; ".join(map(str, [one for one in details if one.what in _SHOWN_FIRST] or details))


def compare(old: Baseline, new: Baseline, tolerance: float = 0.0) -> Differences:
    """The differences. Costs may differ by ``tolerance`` (0.01 for 1 %); all else is exact.

    Of nested rows that changed only the innermost is listed, of new and removed ones the outermost.
    """
    if old.to_json() == new.to_json():
        return Differences()
    before, after = old.report, new.report
    sides = (
        Difference("inputs", _text([t.shape for t in before.inputs]), _text([t.shape for t in after.inputs])),
        Difference("outputs", _text([t.shape for t in before.outputs]), _text([t.shape for t in after.outputs])),
        Difference("dtype", before.dtype, after.dtype),
    )
    whole = [one for one in sides if one.before != one.now]
    whole += _figures_that_differ(before.totals, after.totals, (*EXACT, *COSTS), tolerance)
    for name, one in old.step_figures.items():
        whole += _difference(name, one, new.step_figures[name], tolerance)
    return Differences(tuple(whole), tuple(_rows_that_differ(diff.compare(before, after).rows, tolerance)))


def _rows_that_differ(changes: Sequence[diff.RowChange], tolerance: float) -> Iterator[RowDifference]:
    found: list[tuple[int, RowDifference]] = []
    # The depth of the new or removed row that the loop is in.
    skipped: int | None = None
    preceding, following = list(_neighbours(changes)), list(_neighbours(reversed(changes)))[::-1]
    for change, earlier, later in zip(changes, preceding, following, strict=True):
        if skipped is not None and change.depth > skipped and change.kind in ("added", "removed"):
            continue
        skipped = change.depth if change.kind in ("added", "removed") else None
        row, details = change.row, tuple(_details(change, tolerance))
        if change.after is None:
            found.append((change.depth, _gone(change, earlier, later[0])))
        elif change.before is None or change.kind == "moved" or details:
            was = f" was {change.before.path}" if change.before and change.kind == "moved" else ""
            text = was + ": " * bool(details) if change.before else f" ({row.type}) is new"
            found.append((change.depth, RowDifference(row.path, text, details, row.line, row.column)))
    for index, (depth, one) in enumerate(found):
        if one.text == ": " and index + 1 < len(found) and found[index + 1][0] > depth:
            # Its sums follow from the rows inside.
            own = tuple(detail for detail in one.details if detail.what in ("type", "repeat", "calls"))
            if own:
                yield one._replace(details=own)
        else:
            yield one


_Neighbours = tuple[LayerRow | None, LayerRow | None]


def _neighbours(changes: Iterable[diff.RowChange]) -> Iterator[_Neighbours]:
    """For each row the last before it that is still there: beside it, and around it."""
    last: list[LayerRow | None] = []  # at each depth
    for change in changes:
        del last[change.depth :]
        last += [None] * (change.depth - len(last))
        yield last[-1], next((row for row in last[-2::-1] if row), None)
        last[-1] = change.after or last[-1]


def _gone(change: diff.RowChange, earlier: _Neighbours, later: LayerRow | None) -> RowDifference:
    """A removed row, with the place of the row that now follows it, else of its predecessor, else around it."""
    beside = later or earlier[0]
    text = f", it was {'before' if later else 'after'} {beside.path}" if beside else ""
    at = beside or earlier[1]
    place = (at.line, at.column) if at else (None, None)
    return RowDifference(change.row.path, f" ({change.row.type}) is gone{text}", (), *place)


def _details(change: diff.RowChange, tolerance: float) -> Iterator[Difference]:
    before, after = change.before, change.after
    if before is None or after is None:
        return
    if before.type != after.type:
        yield Difference("type", before.type, after.type)
    if before.output_shapes != after.output_shapes:
        yield Difference("output", _text(before.output_shapes), _text(after.output_shapes))
    for what in ("repeat", "calls"):
        if getattr(before, what) != getattr(after, what):
            yield Difference(what, f"{getattr(before, what):,}", f"{getattr(after, what):,}")
    yield from _figures_that_differ(before, after, (*EXACT, *_ROW_COSTS), tolerance)


def _figures_that_differ(
    before: LayerRow | Totals, after: LayerRow | Totals, names: Sequence[str], tolerance: float
) -> Iterator[Difference]:
    trainable_are_all = all(one.params == one.trainable_params for one in (before, after))
    for name in names:
        if not (name == "trainable_params" and trainable_are_all):
            old, new = (getattr(one, name) or 0 for one in (before, after))
            yield from _difference(name, old, new, tolerance * (name in COSTS))


def _difference(name: str, before: int | None, after: int | None, tolerance: float) -> Iterator[Difference]:
    old, new = before or 0, after or 0
    if abs(new - old) > tolerance * old:
        was, now = ("none" if one is None else f"{one:,}" for one in (before, after))
        yield Difference(name, was, now, 100 * (new - old) / old if old and after is not None else None)


def _text(shapes: Sequence[Shape]) -> str:
    return ", ".join(map(str, shapes)) or "nothing"
