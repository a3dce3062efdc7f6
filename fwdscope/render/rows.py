"""What every renderer shares: the rows that a reader sees, their figures and the words for them.

A :class:`View` is a report at a depth, or a flat list of its most costly rows. Rows below the depth fold into the
nearest row shown, whose figures contain theirs. Nothing here knows about a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fwdscope import units
from fwdscope.findings import first_broken
from fwdscope.report import LayerRow, Peaks, Report, multiplicities, parents
from fwdscope.report.roofline import Roofline, roofline, whole_time

# The table shows as many levels as fit on about one screen; the reader asks for more with --depth.
MOST_ROWS = 60

GUIDE = "│ "
DITTO = "″"
UNKNOWN = "—"
AGAIN = "↺"
BROKEN = "✗"
VARIES = "~"
AT_LEAST = "≥"


@dataclass(frozen=True)
class Options:
    """What a reader may choose. ``None`` leaves the choice to the renderer.

    ``target`` is the target with its settings as they were typed (``resnet50 --set B=8``), for the commands that a
    report suggests; ``saved`` says that the report is kept somewhere already, so that saving it is not suggested.
    """

    depth: int | None = None
    columns: tuple[str, ...] | None = None
    width: int | None = None
    target: str | None = None
    saved: bool = False
    # A flat list of the rows that contain no other, those with the most of this column first; and how many of them.
    sort: str | None = None
    top: int | None = None
    color: bool = False


# --- figures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RowFigure:
    """A number of a row. ``total`` is the network's where rows add up to it; None where they do not."""

    title: str
    of: Callable[[LayerRow], float | None]
    total: Callable[[Report], float | None] | None = None
    # Whether operators without a rule make it a lower bound.
    counted: bool = True
    # Whether nothing of it is a value like any other, and which end a list begins with.
    zero_counts: bool = False
    ascending: bool = False


def intensity(row: LayerRow) -> float | None:
    """FLOPs for each byte moved; None where nothing is moved or not all is counted."""
    if row.flops is None or row.bytes_read is None or row.bytes_written is None or row.uncounted:
        return None
    moved = row.bytes_read + row.bytes_written
    return row.flops / moved if moved else None


def zero_share(row: LayerRow) -> float | None:
    """The part of a row's values that are zero; None where no run saw them."""
    return row.stats.zeros / row.stats.elements if row.stats and row.stats.elements else None


def _of_values(name: Literal["mean", "std", "min", "max"], title: str, ascending: bool = False) -> RowFigure:
    """A figure of the values that a run saw."""
    return RowFigure(
        title,
        lambda row: getattr(row.stats, name) if row.stats else None,
        counted=False,
        zero_counts=True,
        ascending=ascending,
    )


FIGURES: dict[str, RowFigure] = {
    "params": RowFigure("params", lambda row: row.params, lambda report: report.totals.params, counted=False),
    "macs": RowFigure("MACs", lambda row: row.macs, lambda report: report.totals.macs),
    "flops": RowFigure("FLOPs", lambda row: row.flops, lambda report: report.totals.flops),
    "read": RowFigure("bytes read", lambda row: row.bytes_read, lambda report: report.totals.bytes_read),
    "written": RowFigure("bytes written", lambda row: row.bytes_written, lambda report: report.totals.bytes_written),
    "intensity": RowFigure("arithmetic intensity", intensity),
    "memory": RowFigure("memory", lambda row: row.output_bytes, counted=False),
    "trainable": RowFigure(
        "trainable", lambda row: row.trainable_params, lambda report: report.totals.trainable_params, counted=False
    ),
    "buffers": RowFigure("buffers", lambda row: row.buffers, lambda report: report.totals.buffers, counted=False),
    "calls": RowFigure("calls", lambda row: row.calls, counted=False),
    "latency": RowFigure("time", lambda row: row.latency, whole_time, counted=False),
    "mean": _of_values("mean", "mean"),
    "std": _of_values("std", "std"),
    "min": _of_values("min", "min", ascending=True),
    "max": _of_values("max", "max"),
    "zeros": RowFigure("zeros", zero_share, counted=False),
    "nans": RowFigure("NaN", lambda row: row.stats.nans if row.stats else None, counted=False),
    "infs": RowFigure("Inf", lambda row: row.stats.infs if row.stats else None, counted=False),
}
# Fields of a row that add up over rows.
_ADDING = ("params", "trainable_params", "buffers", "macs", "flops", "bytes_read", "bytes_written")


# --- rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShownRow:
    """A row of the report with what its place in the whole tells."""

    row: LayerRow
    level: int
    # How many equal rows it stands for: its own repeats times those around it.
    times: int
    # The part of the network's whole that those hold together, by the view's measure; None where there is no whole.
    share: float | None
    # What broke here first in a run, or in a row folded into this one: ``NaN`` or ``infinity``; else empty.
    broke: str = ""
    # What bounds the row on the device that ran it, and how near it came; None where the peaks are not known.
    roof: Roofline | None = None
    # In a flat list: the row has its path for a name, and the figures are those of all equal rows together.
    flat: bool = False

    def amount(self, figure: RowFigure) -> float | None:
        """What the row shows of a figure; None where that is not known."""
        value = figure.of(self.row)
        if value is None or (not value and self.at_least(figure)):
            return None
        return value * self.times if self.flat and figure.total is not None else value

    def has(self, figure: RowFigure) -> bool:
        """Whether there is something of the figure to tell."""
        amount = self.amount(figure)
        return bool(amount) or self.at_least(figure) or (figure.zero_counts and amount is not None)

    def at_least(self, figure: RowFigure) -> bool:
        """Whether the figure is only what is known of it."""
        return figure.counted and bool(self.row.uncounted)


@dataclass(frozen=True)
class View:
    """The rows of a report down to a depth, and those folded into them; or, ``sort``ed, a flat list of them."""

    rows: tuple[ShownRow, ...]
    folded: tuple[ShownRow, ...]
    depth: int
    deepest: int
    # The figure that shares are of.
    measure: str = "params"
    sort: str | None = None
    # How many rows of a flat list have none of the figure, and how many were not asked for.
    without: int = 0
    below: int = 0


def view(report: Report, depth: int | None = None, sort: str | None = None, top: int | None = None) -> View:
    """The rows down to ``depth``; without one, down to the deepest level that still makes a table of a screen.

    ``sort`` and ``top`` make a flat list instead. Raises ValueError where ``sort`` is no figure.
    """
    if sort is not None and sort not in FIGURES:
        raise ValueError(f"cannot sort by {sort!r}; there are: {', '.join(FIGURES)}")
    rows = report.layers
    deepest = max((row.depth for row in rows), default=1)
    flat = sort is not None or top is not None
    by_itself = deepest if flat else _default_depth(rows, deepest)
    shown_depth = by_itself if depth is None else max(1, min(depth, deepest))
    whole = _Totals.of(report, sort, shown_depth)
    if flat:
        return _flat(report, shown_depth, deepest, sort or whole.measure, top, whole)
    every = [
        whole.shown(row, max(0, row.depth - 1), times) for row, times in zip(rows, multiplicities(rows), strict=True)
    ]
    return View(
        rows=tuple(shown for shown in every if shown.row.depth <= shown_depth),
        folded=tuple(shown for shown in every if shown.row.depth > shown_depth),
        depth=shown_depth,
        deepest=deepest,
        measure=whole.measure,
    )


def view_for(report: Report, options: Options) -> View:
    """The rows that the options ask for."""
    return view(report, options.depth, options.sort, options.top)


@dataclass(frozen=True)
class _Totals:
    """What a row is seen beside: the network's whole of a figure, and what the device can do."""

    measure: str
    total: float | None
    peaks: Peaks | None
    # The row where values first broke, or the nearest around it that is not too deep to be shown.
    broke: LayerRow | None
    bad: str

    @classmethod
    def of(cls, report: Report, sort: str | None, depth: int) -> _Totals:
        """Shares are of the figure sorted by where rows add up to it, else of the time where it was taken, or MACs."""
        wanted = [*filter(None, [sort]), "latency", "macs", "params"]
        totals = ((name, total(report)) for name in wanted if (total := FIGURES[name].total) is not None)
        measure, whole = next(((name, value) for name, value in totals if value), ("params", None))
        return cls(measure, whole, report.run.peaks if report.run else None, _broken_row(report, depth), _bad(report))

    def shown(self, row: LayerRow, level: int, times: int, flat: bool = False) -> ShownRow:
        """The row as it stands in the table."""
        value = FIGURES[self.measure].of(row)
        share = value * times / self.total if self.total and value is not None else None
        roof = roofline(row, self.peaks) if self.peaks is not None else None
        return ShownRow(row, level, times, share, self.bad if row is self.broke else "", roof, flat)


def _bad(report: Report) -> str:
    first = report.run.first_nonfinite if report.run else None
    return "" if first is None else "NaN" if first.nans else "infinity"


def _broken_row(report: Report, depth: int) -> LayerRow | None:
    index, around = first_broken(report), parents(report.layers)
    while index is not None and report.layers[index].depth > depth:
        index = around[index]
    return None if index is None else report.layers[index]


def _default_depth(rows: Sequence[LayerRow], deepest: int) -> int:
    fitting = (depth for depth in range(deepest, 1, -1) if sum(row.depth <= depth for row in rows) <= MOST_ROWS)
    return next(fitting, 1)


# --- rows in a flat list ---------------------------------------------------------------------------------------------


def _flat(report: Report, depth: int, deepest: int, sort: str, top: int | None, whole: _Totals) -> View:
    """The rows at the ends of the tree, cut at ``depth``, by what all equal ones have together."""
    figure = FIGURES[sort]
    ends = [whole.shown(row, 0, times, flat=True) for row, times in _ends(report.layers, depth)]
    having = [shown for shown in ends if shown.has(figure)]
    sign = 1 if figure.ascending else -1
    # What is not known may be the most of all.
    having.sort(key=lambda shown: (shown.amount(figure) is not None, sign * (shown.amount(figure) or 0)))
    rows = having if top is None else having[: max(0, top)]
    chosen = {id(shown.row) for shown in rows}
    folded = tuple(
        ShownRow(row, max(0, row.depth - 1), times, None)
        for row, times in zip(report.layers, multiplicities(report.layers), strict=True)
        if id(row) not in chosen
    )
    without, below = len(ends) - len(having), len(having) - len(rows)
    return View(tuple(rows), folded, depth, deepest, whole.measure, sort, without, below)


def _ends(rows: Sequence[LayerRow], depth: int) -> list[tuple[LayerRow, int]]:
    """Rows that contain no other down to ``depth``, and what containers do by themselves, so that nothing is lost."""
    times, inside = multiplicities(rows), [dict.fromkeys(_ADDING, 0) for _ in rows]
    containers: dict[int, set[str]] = {}
    for row, around in zip(rows, parents(rows), strict=True):
        if around is not None and row.depth <= depth:
            containers.setdefault(around, set()).update(row.uncounted)
            for name in _ADDING:
                inside[around][name] += (getattr(row, name) or 0) * row.repeat
    found = []
    for index, row in enumerate(rows):
        if index in containers:
            own = {name: getattr(row, name) - part for name, part in inside[index].items() if getattr(row, name)}
            unknown = tuple(name for name in row.uncounted if name not in containers[index])
            if unknown or any(value > 0 for value in own.values()):
                text = f"{row.text or row.type}, itself"
                # Its values and its time are those of what it contains.
                bare = replace(row, text=text, uncounted=unknown, output_bytes=None, stats=None, latency=None)
                itself = replace(bare, **own)
                found.append((itself, times[index]))
        elif row.depth <= depth:
            found.append((row, times[index]))
    return found


# --- words -----------------------------------------------------------------------------------------------------------


def printable(text: str) -> str:
    """A text of the spec on one line, with control characters (a terminal would obey them) made visible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))


def described(row: LayerRow) -> str:
    """The row's type with the settings that matter: ``Conv2d 7×7 /2``; an expression as it stands in the file."""
    return printable(row.text or row.type)


def named(row: LayerRow) -> str:
    """The row as a sentence refers to it: its path, else its text."""
    return printable(row.path) or described(row)


def again(row: LayerRow) -> str:
    """The sign of weights met before: `` ↺ call 2``, `` ↺ 25 calls``, `` ↺ wte.weight``; else nothing.

    A loop says its rounds; the expressions in it, which have no weights, need not say them again.
    """
    if row.kind == "loop":
        return f"  {units.plural(row.calls, 'round')}" if row.calls > 1 else ""
    signs = [printable(", ".join(row.reads))] if row.reads else []
    if row.call > 1:
        last = row.call + row.calls - 1
        signs.append(f"call {row.call}" if row.calls == 1 else f"calls {row.call}–{last}")
    elif row.calls > 1 and row.kind != "expression":
        signs.append(units.plural(row.calls, "call"))
    return "".join(f" {AGAIN} {sign}" for sign in signs)


def is_broken(row: LayerRow) -> bool:
    """Whether the row has a promised shape that did not come."""
    return row.promise is not None and not row.promise.held
