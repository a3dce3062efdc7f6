"""What every renderer shares: the rows to show, their figures, and how they are called.

A :class:`View` is a report down to a depth, or a flat list of its most costly rows. Rows below the depth are folded
into the nearest row shown, whose figures include theirs. Nothing here knows about a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.report import LayerRow, Report, depth_within, multiplicities, parents
from fwdscope.report.roofline import Roofline, roofline, steps, whole_time

# The table shows as many levels as fit on about one screen, unless --depth asks for more.
MOST_ROWS = 60

GUIDE = "│ "
DITTO = "″"
UNKNOWN = "—"
AGAIN = "↺"
BROKEN = "✗"
VARIES = "~"
AT_LEAST = "≥"


class Options(NamedTuple):
    """A reader's choices; ``None`` leaves the choice to the renderer.

    ``target`` is the target with its settings as typed (``resnet50 --set B=8``), for the commands that a report
    suggests; ``saved`` says that the report is saved already, so that saving it is not suggested.
    """

    depth: int | None = None
    columns: tuple[str, ...] | None = None
    width: int | None = None
    target: str | None = None
    saved: bool = False
    # List the rows that contain no other, the largest in this column first; and at most so many.
    sort: str | None = None
    top: int | None = None
    color: bool = False
    # The figure that a graph is coloured by.
    colour: str | None = None
    # Marks in front of rows, by the row's id(): what changed since an earlier report.
    marks: Mapping[int, str] = MappingProxyType({})
    # By row its figures as formulas in the spec's vars, for a page.
    formulas: Sequence[Mapping[str, str]] = ()


class RowFigure(NamedTuple):
    """A number of a row. ``total`` is the network's if rows add up to it, else None."""

    title: str
    of: Callable[[LayerRow], float | None]
    total: Callable[[Report], float | None] | None = None
    # Whether operators without a rule make it a lower bound.
    counted: bool = True
    # Whether 0 is a value like any other, and whether a list begins with the smallest.
    zero_counts: bool = False
    ascending: bool = False
    # Whether it is of the backward, which has operators of its own.
    of_backward: bool = False


def intensity(row: LayerRow) -> float | None:
    """FLOPs per byte moved; None if nothing is moved or not everything is counted."""
    if row.flops is None or row.bytes_read is None or row.bytes_written is None or row.uncounted:
        return None
    moved = row.bytes_read + row.bytes_written
    return row.flops / moved if moved else None


def _zero_share(row: LayerRow) -> float | None:
    return row.stats.zeros / row.stats.elements if row.stats and row.stats.elements else None


def _of_values(name: Literal["mean", "std", "min", "max"], ascending: bool = False) -> RowFigure:
    return RowFigure(name, lambda row: getattr(row.stats, name, None), None, False, True, ascending)


def _eager_time(report: Report) -> float | None:
    return report.estimates[0].eager_seconds if len(report.estimates) == 1 else None


def _eager_of_backward(report: Report) -> float | None:
    phases = report.estimates[0].phases if len(report.estimates) == 1 else ()
    return next((phase.eager_seconds for phase in phases if phase.name == "backward"), None)


FIGURES: dict[str, RowFigure] = {
    "params": RowFigure("params", lambda row: row.params, lambda report: report.totals.params, counted=False),
    "macs": RowFigure("MACs", lambda row: row.macs, lambda report: report.totals.macs),
    "flops": RowFigure("FLOPs", lambda row: row.flops, lambda report: report.totals.flops),
    "read": RowFigure("bytes read", lambda row: row.bytes_read, lambda report: report.totals.bytes_read),
    "written": RowFigure("bytes written", lambda row: row.bytes_written, lambda report: report.totals.bytes_written),
    "intensity": RowFigure("arithmetic intensity", intensity),
    "kv_cache": RowFigure("KV cache", lambda row: row.kv_cache, lambda report: report.totals.kv_cache, counted=False),
    "memory": RowFigure("memory", lambda row: row.output_bytes, counted=False),
    "trainable": RowFigure(
        "trainable", lambda row: row.trainable_params, lambda report: report.totals.trainable_params, counted=False
    ),
    "buffers": RowFigure("buffers", lambda row: row.buffers, lambda report: report.totals.buffers, counted=False),
    "calls": RowFigure("calls", lambda row: row.calls, counted=False),
    "backward": RowFigure(
        "backward MACs",
        lambda row: row.backward.macs if row.backward else None,
        lambda report: report.training.phase("backward").macs if report.training else None,
        of_backward=True,
    ),
    "saved": RowFigure(
        "bytes saved for the backward",
        lambda row: row.backward.saved_bytes if row.backward else None,
        lambda report: report.training.saved_bytes if report.training else None,
        counted=False,
    ),
    "rank": RowFigure("MACs of a rank", lambda row: row.rank.macs + row.rank.backward_macs if row.rank else None),
    "traffic": RowFigure(
        "bytes sent by a rank", lambda row: row.rank.sent + row.rank.backward_sent if row.rank else None, counted=False
    ),
    "latency": RowFigure("time", lambda row: row.latency, whole_time, counted=False),
    "eager": RowFigure("eager time", lambda row: row.eager, _eager_time),
    "eager_backward": RowFigure(
        "eager time of the backward",
        lambda row: row.backward.eager if row.backward else None,
        _eager_of_backward,
        of_backward=True,
    ),
    "mean": _of_values("mean"),
    "std": _of_values("std"),
    "min": _of_values("min", ascending=True),
    "max": _of_values("max"),
    "zeros": RowFigure("zeros", _zero_share, counted=False),
    "nans": RowFigure("NaN", lambda row: getattr(row.stats, "nans", None), counted=False),
    "infs": RowFigure("Inf", lambda row: getattr(row.stats, "infs", None), counted=False),
}


class ShownRow(NamedTuple):
    """A row of the report with its place in the whole."""

    row: LayerRow
    level: int
    # How many equal rows it stands for: its own repeats times those around it.
    times: int
    # What those hold together of the network's total of the view's measure; None if there is no total.
    share: float | None
    # ``NaN`` or ``infinity`` if this row, or one folded into it, was the first to have one.
    broke: str = ""
    # The roofline of the device that ran it; None if its peaks are not known.
    roof: Roofline | None = None
    # In a flat list, a row is named by its path and its figures are those of all equal rows together.
    flat: bool = False
    # Seconds below which the clock does not know the time of its calls.
    noise: float = 0.0

    def amount(self, figure: RowFigure) -> float | None:
        """The value of a figure to show; None if it is not known."""
        value = figure.of(self.row)
        if value is None or (not value and self.at_least(figure)):
            return None
        return value * self.times if self.flat and figure.total is not None else value

    def has(self, figure: RowFigure) -> bool:
        """Whether there is anything to show of the figure."""
        amount = self.amount(figure)
        return bool(amount) or self.at_least(figure) or (figure.zero_counts and amount is not None)

    def at_least(self, figure: RowFigure) -> bool:
        """Whether the figure is a lower bound."""
        row = self.row
        return figure.counted and bool(row.backward and row.backward.uncounted if figure.of_backward else row.uncounted)


class View(NamedTuple):
    """The rows of a report down to a depth and those folded into them or, if ``sort`` is set, a flat list."""

    rows: tuple[ShownRow, ...]
    folded: tuple[ShownRow, ...]
    depth: int
    deepest: int
    # The figure that shares are of.
    measure: str = "params"
    sort: str | None = None
    # How many rows a flat list leaves out because they have none of the figure, and because of ``top``.
    without: int = 0
    below: int = 0


def view(report: Report, depth: int | None = None, sort: str | None = None, top: int | None = None) -> View:
    """The rows down to ``depth``; by default, down to the deepest level that still fits on a screen.

    ``sort`` and ``top`` make a flat list instead. Raises ValueError if ``sort`` is no figure.
    """
    if sort is not None and sort not in FIGURES:
        raise ValueError(f"cannot sort by {sort!r}; there are: {', '.join(FIGURES)}")
    rows, flat = report.layers, sort is not None or top is not None
    deepest = max((row.depth for row in rows), default=1)
    default = deepest if flat else depth_within([row.depth for row in rows], MOST_ROWS)
    shown_depth = default if depth is None else max(1, min(depth, deepest))
    # Shares are of the figure sorted by if rows add up to it, else of the time if it was measured, or of the eager time
    # of a training step if that is known, of MACs, of params.
    measures = [name for name in (sort, "latency", "eager" if report.training else "", "macs", "params") if name]
    sums = [(name, total(report)) for name in measures if (total := FIGURES[name].total) is not None]
    measure, whole = next(((name, value) for name, value in sums if value), ("params", None))
    peaks = report.run.peaks if report.run else None
    broken, broke = _first_broken(report, shown_depth)
    noise = (report.run.clock_noise if report.run else None) or 0.0

    def shown(row: LayerRow, level: int, times: int) -> ShownRow:
        value = FIGURES[measure].of(row)
        share = value * times / whole if whole and value is not None else None
        roof = roofline(row, peaks) if peaks is not None else None
        within = noise * row.calls * (times if flat else 1)
        return ShownRow(row, level, times, share, broke if row is broken else "", roof, flat, within)

    every = list(zip(rows, multiplicities(rows), strict=True))
    if not flat:
        tree = [shown(row, max(0, row.depth - 1), times) for row, times in every]
        kept = tuple(one for one in tree if one.row.depth <= shown_depth)
        return View(kept, tuple(one for one in tree if one.row.depth > shown_depth), shown_depth, deepest, measure)
    order = sort or measure
    figure, ends = FIGURES[order], [shown(row, 0, times) for row, times in steps(rows, shown_depth)]
    having = [one for one in ends if one.has(figure)]
    sign = 1 if figure.ascending else -1
    # An unknown amount may be the largest.
    having.sort(key=lambda one: (one.amount(figure) is not None, sign * (one.amount(figure) or 0)))
    listed = having if top is None else having[: max(0, top)]
    chosen = {id(one.row) for one in listed}
    folded = (ShownRow(row, max(0, row.depth - 1), times, None) for row, times in every if id(row) not in chosen)
    without, below = len(ends) - len(having), len(having) - len(listed)
    return View(tuple(listed), tuple(folded), shown_depth, deepest, measure, order, without, below)


def view_for(report: Report, options: Options) -> View:
    """The rows that the options ask for."""
    return view(report, options.depth, options.sort, options.top)


def _first_broken(report: Report, depth: int) -> tuple[LayerRow | None, str]:
    """The first row with NaN or infinity, or the one around it that is shown, and which of the two it has."""
    first = report.run.first_nonfinite if report.run else None
    if first is None:
        return None, ""
    from fwdscope.findings import first_broken

    index, around = first_broken(report), parents(report.layers)
    while index is not None and report.layers[index].depth > depth:
        index = around[index]
    return None if index is None else report.layers[index], "NaN" if first.nans else "infinity"


def described(row: LayerRow) -> str:
    """The row's type with the settings that matter: ``Conv2d 7×7 /2``; an expression as it stands in the file."""
    return printable(row.text or row.type)


def named(row: LayerRow) -> str:
    """The row as a sentence names it: its path, else its text."""
    return printable(row.path) or described(row)


def again(row: LayerRow) -> str:
    """The mark of weights used before: `` ↺ call 2``, `` ↺ 25 calls``, `` ↺ wte.weight``; else empty.

    A loop shows its rounds; the expressions in it, which have no weights, do not repeat them.
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
    """Whether the row's shape is not the promised one."""
    return row.promise is not None and not row.promise.held
