"""What every renderer shares: the rows a reader sees, and the columns that can be made of them.

A :class:`View` is a report at a depth. Rows below it fold into the nearest row shown, whose figures contain theirs. A
:class:`Column` turns the rows of a view into :class:`Cell` texts; adding one to :data:`COLUMNS` is all it takes to have
it everywhere. Nothing here knows about a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fwdscope import units
from fwdscope.report import LayerRow, Report, Shape, Totals, multiplicities, parents

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
    "intensity": Figure("FLOPs per byte", intensity),
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


# --- cells -----------------------------------------------------------------------------------------------------------

Tone = Literal["plain", "expression", "dim", "broken"]


@dataclass(frozen=True)
class Cell:
    """A cell's text in three pieces: where room is short the middle one gives way, ``before`` and ``after`` stay.

    ``amount`` is what a bar beside the text draws, from 0 to 1; ``tone`` what a renderer with colours tells by them.
    """

    text: str = ""
    before: str = ""
    after: str = ""
    tone: Tone = "plain"
    amount: float | None = None

    def __str__(self) -> str:
        return f"{self.before}{self.text}{self.after}"


@dataclass(frozen=True)
class Column:
    """A column of the table: its cells from all rows at once, so that numbers which are compared share a form.

    ``cut`` says where a text too long loses letters; without it the column is never cut. ``least`` is the narrowest
    it may get before columns are left out, those with the highest ``expendable`` first; 0 is never left out.
    """

    name: str
    title: str
    meaning: str
    cells: Callable[[Sequence[ShownRow]], list[Cell]]
    align: Literal["left", "right"] = "left"
    cut: Literal["end", "middle"] | None = None
    least: int = 0
    expendable: int = 0
    # The same in less room, where a table is narrow: a shorter title, and cells that say less.
    short: str = ""
    brief: Callable[[Sequence[ShownRow]], list[Cell]] | None = None


def _layer_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [_layer_cell(shown) for shown in rows]


def _layer_cell(shown: ShownRow) -> Cell:
    row = shown.row
    tone: Tone = "expression" if row.kind == "expression" else "plain"
    if shown.flat:
        return Cell(named(row), "", f" × {shown.times}" if shown.times > 1 else "", tone)
    label = row.label or ("" if row.kind == "expression" else row.path.rpartition(".")[2])
    return Cell(printable(label), GUIDE * shown.level, f" × {row.repeat}" if row.repeat > 1 else "", tone)


def _type_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [Cell(described(s.row), after=again(s.row), tone=_type_tone(s.row)) for s in rows]


def _type_tone(row: LayerRow) -> Tone:
    if row.kind == "expression":
        return "expression"
    return "dim" if row.kind in ("parameter", "loop") else "plain"


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


def shapes_cell(shapes: Sequence[Shape]) -> str:
    """The shapes of a row's inputs or results: ``1 64 112 112``, ``5 3 20 · 2 3 20``, ``(1 12 1024 64) × 3``."""
    if not shapes:
        return UNKNOWN
    texts = [units.shape_cell(shape) for shape in shapes]
    if len(texts) > 1 and len(set(texts)) == 1:
        return f"({texts[0]}) × {len(texts)}"
    return " · ".join(texts[:3]) + (f" · +{len(texts) - 3}" if len(texts) > 3 else "")


def _output_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    texts = [shapes_cell(s.row.output_shapes) for s in rows]
    return [
        Cell(text, after=f" {VARIES}" if s.row.varies else "", tone="broken" if is_broken(s.row) else _shape_tone(text))
        for text, s in zip(_dittoed(texts, keep=[is_broken(s.row) for s in rows]), rows, strict=True)
    ]


def _input_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [Cell(text, tone=_shape_tone(text)) for text in _dittoed([shapes_cell(s.row.input_shapes) for s in rows])]


def _dtype_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    texts = [" · ".join(dict.fromkeys(s.row.output_dtypes)) or UNKNOWN for s in rows]
    return [Cell(text, tone=_shape_tone(text)) for text in _dittoed(texts)]


def _dittoed(texts: Sequence[str], keep: Iterable[bool] = ()) -> list[str]:
    """What equals the row above is not said again, except where it has to be seen."""
    kept = {index for index, must in enumerate(keep) if must}
    return [
        DITTO if index and text == texts[index - 1] != UNKNOWN and index not in kept else text
        for index, text in enumerate(texts)
    ]


def _shape_tone(text: str) -> Tone:
    return "dim" if text in (DITTO, UNKNOWN) else "plain"


def is_broken(row: LayerRow) -> bool:
    """Whether the row has a promised shape that did not come."""
    return row.promise is not None and not row.promise.held


def _exact_cells(figure: str) -> Callable[[Sequence[ShownRow]], list[Cell]]:
    return lambda rows: [Cell(text) for text in units.count_column([_whole(s, figure) for s in rows])]


_Format = Callable[[Sequence[int]], list[str]]


def _scaled_cells(figure: str, form: _Format) -> Callable[[Sequence[ShownRow]], list[Cell]]:
    """Cells in one unit. Nothing is empty, what is not known ``—``, and what is known in part ``≥``."""

    def cells(rows: Sequence[ShownRow]) -> list[Cell]:
        texts = form([_whole(shown, figure) for shown in rows])
        return [_counted_cell(shown, figure, text) for shown, text in zip(rows, texts, strict=True)]

    return cells


def _whole(shown: ShownRow, figure: str) -> int:
    return int(shown.amount(FIGURES[figure]) or 0)


def _counted_cell(shown: ShownRow, figure: str, text: str) -> Cell:
    tone: Tone = "broken" if shown.at_least(FIGURES[figure]) else "dim"
    if shown.amount(FIGURES[figure]) is None:
        return Cell(UNKNOWN, tone=tone)
    return Cell(f"{AT_LEAST}{text}", tone=tone) if tone == "broken" else Cell(text)


def _scaled(name: str, title: str, meaning: str, expendable: int) -> Column:
    """The column of a figure that is read by its size rather than to the last digit."""
    shared = units.shared_bytes if name in ("read", "written", "memory") else units.shared_counts
    wide, brief = _scaled_cells(name, shared), _scaled_cells(name, lambda values: shared(values, 4))
    return Column(name, title, meaning, wide, "right", expendable=expendable, brief=brief)


def _intensity_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    texts = units.decimal_column([intensity(s.row) for s in rows])
    return [Cell(UNKNOWN, tone="broken") if s.row.uncounted else Cell(t) for s, t in zip(rows, texts, strict=True)]


def _receptive_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [Cell(_sizes(getattr(s.row, "receptive_field", None))) for s in rows]


def _sizes(field: object) -> str:
    return "×".join(map(str, field)) if isinstance(field, tuple) else printable(str(field or ""))


def _uncounted_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [Cell(printable(", ".join(s.row.uncounted)), tone="broken") for s in rows]


def _share_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [Cell(units.share(s.share), amount=s.share) if s.share else Cell() for s in rows]


def _call_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [Cell(units.exact(s.row.calls)) for s in rows]


def _line_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [Cell(UNKNOWN if s.row.line is None else str(s.row.line), tone="dim") for s in rows]


COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        Column("layer", "layer", "the name, indented by what contains it", _layer_cells, cut="middle", least=12),
        Column("type", "type", "the layer type and its telling settings", _type_cells, cut="end", least=10),
        Column("input", "input", "shapes of the inputs", _input_cells, cut="end", least=12, expendable=4),
        Column("output", "output", "shapes of the results", _output_cells, cut="end", least=12, expendable=1),
        Column("dtype", "dtype", "data types of the results", _dtype_cells, expendable=7),
        Column(
            "params",
            "params",
            "parameters",
            _exact_cells("params"),
            "right",
            expendable=2,
            brief=_scaled_cells("params", lambda values: units.shared_counts(values, 4)),
        ),
        _scaled("macs", "MACs", "multiply-accumulates", 4),
        Column("share", "share", "part of all MACs, or of all parameters", _share_cells, "right", expendable=3),
        _scaled("flops", "FLOPs", "two a MAC, one for every other arithmetic result", 5),
        _scaled("read", "read", "bytes of operands", 6),
        _scaled("written", "written", "bytes of results", 6),
        Column("intensity", "FLOPs/byte", "arithmetic intensity", _intensity_cells, "right", expendable=7),
        _scaled("memory", "memory", "bytes that the results of a call take", 6),
        Column("receptive", "receptive field", "inputs that one output sees", _receptive_cells, "right", expendable=8),
        Column(
            "uncounted", "uncounted", "operators without a rule", _uncounted_cells, cut="end", least=12, expendable=8
        ),
        Column("trainable", "trainable", "trainable parameters", _exact_cells("trainable"), "right", expendable=9),
        Column("buffers", "buffers", "elements of buffers", _exact_cells("buffers"), "right", expendable=10),
        Column("calls", "calls", "how often it is called", _call_cells, "right", expendable=11),
        Column("line", "line", "where it stands in the file", _line_cells, "right", expendable=12),
    )
}
DEFAULT_COLUMNS = ("layer", "type", "output", "params", "macs", "share")


def chosen_columns(options: Options, seen: View) -> tuple[Column, ...]:
    """The columns asked for, else the default ones that say something and the one sorted by.

    Raises ValueError for an unknown name.
    """
    names = options.columns or _default_columns(seen)
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise ValueError(f"unknown column {unknown[0]!r}; there are: {', '.join(COLUMNS)}")
    of = FIGURES[seen.measure].title
    share = replace(COLUMNS["share"], title=f"share of {of}", short=f"of {of}")
    return tuple(share if name == "share" else COLUMNS[name] for name in dict.fromkeys(names))


def _default_columns(seen: View) -> tuple[str, ...]:
    rows = [shown.row for shown in (*seen.rows, *seen.folded)]
    silent = {"share"} if all(shown.share is None for shown in seen.rows) else set()
    if not any(row.macs or row.uncounted for row in rows):
        silent.add("macs")
    names = [name for name in DEFAULT_COLUMNS if name not in silent]
    if seen.sort and seen.sort not in names:
        names.insert(names.index("share") if "share" in names else len(names), seen.sort)
    return tuple(names)
