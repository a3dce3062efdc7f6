"""What every renderer shares: the rows that a reader sees, their figures and the words for them.

A :class:`View` is a report at a depth, or a flat list of its most costly rows. Rows below the depth fold into the
nearest row shown, whose figures contain theirs. Nothing here knows about a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fwdscope import units
from fwdscope.report import LayerRow, Report, Totals, multiplicities, parents

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


# --- figures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """A number of a row. ``total`` is the network's where rows add up to it; None where they do not."""

    title: str
    of: Callable[[LayerRow], float | None]
    total: Callable[[Totals], int | None] | None = None
    # Whether operators without a rule make it a lower bound.
    counted: bool = True


def intensity(row: LayerRow) -> float | None:
    """FLOPs for each byte moved; None where nothing is moved or not all is counted."""
    if row.flops is None or row.bytes_read is None or row.bytes_written is None or row.uncounted:
        return None
    moved = row.bytes_read + row.bytes_written
    return row.flops / moved if moved else None


FIGURES: dict[str, Figure] = {
    "params": Figure("params", lambda row: row.params, lambda totals: totals.params, counted=False),
    "macs": Figure("MACs", lambda row: row.macs, lambda totals: totals.macs),
    "flops": Figure("FLOPs", lambda row: row.flops, lambda totals: totals.flops),
    "read": Figure("bytes read", lambda row: row.bytes_read, lambda totals: totals.bytes_read),
    "written": Figure("bytes written", lambda row: row.bytes_written, lambda totals: totals.bytes_written),
    "intensity": Figure("arithmetic intensity", intensity),
    "memory": Figure("memory", lambda row: row.output_bytes, counted=False),
    "trainable": Figure(
        "trainable", lambda row: row.trainable_params, lambda totals: totals.trainable_params, counted=False
    ),
    "buffers": Figure("buffers", lambda row: row.buffers, lambda totals: totals.buffers, counted=False),
    "calls": Figure("calls", lambda row: row.calls, counted=False),
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
    # In a flat list: the row has its path for a name, and the figures are those of all equal rows together.
    flat: bool = False

    def amount(self, figure: Figure) -> float | None:
        """What the row shows of a figure; None where that is not known."""
        value = figure.of(self.row)
        if value is None or (not value and self.at_least(figure)):
            return None
        return value * self.times if self.flat and figure.total is not None else value

    def at_least(self, figure: Figure) -> bool:
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
    measure = _measure(report, sort)
    if sort is not None or top is not None:
        return _flat(report, depth, sort or measure, top, measure)
    rows = report.layers
    deepest = max((row.depth for row in rows), default=1)
    shown_depth = _default_depth(rows, deepest) if depth is None else max(1, min(depth, deepest))
    every = [
        ShownRow(row, max(0, row.depth - 1), times, _share(report, row, times, measure))
        for row, times in zip(rows, multiplicities(rows), strict=True)
    ]
    return View(
        rows=tuple(shown for shown in every if shown.row.depth <= shown_depth),
        folded=tuple(shown for shown in every if shown.row.depth > shown_depth),
        depth=shown_depth,
        deepest=deepest,
        measure=measure,
    )


def view_for(report: Report, options: Options) -> View:
    """The rows that the options ask for."""
    return view(report, options.depth, options.sort, options.top)


def _measure(report: Report, sort: str | None) -> str:
    """What shares are of: the figure sorted by where rows add up to it, else MACs where there are some."""
    wanted = [sort, "macs", "params"] if sort else ["macs", "params"]
    return next((name for name in wanted if _total(report, name)), "params")


def _total(report: Report, name: str) -> int | None:
    total = FIGURES[name].total
    return total(report.totals) if total else None


def _share(report: Report, row: LayerRow, times: int, measure: str) -> float | None:
    total, value = _total(report, measure), FIGURES[measure].of(row)
    return value * times / total if total and value is not None else None


def _default_depth(rows: Sequence[LayerRow], deepest: int) -> int:
    fitting = (depth for depth in range(deepest, 1, -1) if sum(row.depth <= depth for row in rows) <= MOST_ROWS)
    return next(fitting, 1)


# --- rows in a flat list ---------------------------------------------------------------------------------------------


def _flat(report: Report, depth: int | None, sort: str, top: int | None, measure: str) -> View:
    """The rows at the ends of the tree, cut at ``depth``, by what all equal ones have together."""
    deepest = max((row.depth for row in report.layers), default=1)
    shown_depth = deepest if depth is None else max(1, min(depth, deepest))
    figure = FIGURES[sort]
    ends = [
        ShownRow(row, 0, times, _share(report, row, times, measure), flat=True)
        for row, times in _ends(report.layers, shown_depth)
    ]
    having = [shown for shown in ends if shown.amount(figure) or shown.at_least(figure)]
    # What is not known may be the most of all.
    having.sort(key=lambda shown: (shown.amount(figure) is not None, -(shown.amount(figure) or 0)))
    rows = having if top is None else having[: max(0, top)]
    chosen = {id(shown.row) for shown in rows}
    folded = tuple(
        ShownRow(row, max(0, row.depth - 1), times, None)
        for row, times in zip(report.layers, multiplicities(report.layers), strict=True)
        if id(row) not in chosen
    )
    without, below = len(ends) - len(having), len(having) - len(rows)
    return View(tuple(rows), folded, shown_depth, deepest, measure, sort, without, below)


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
                itself = replace(row, text=text, output_bytes=None, uncounted=unknown, **own)
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
