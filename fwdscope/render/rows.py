"""What every renderer shares: the rows a reader sees, and the columns that can be made of them.

A :class:`View` is a report at a depth. Rows below it fold into the nearest row shown, whose figures contain theirs. A
:class:`Column` turns the rows of a view into :class:`Cell` texts; adding one to :data:`COLUMNS` is all it takes to have
it everywhere. Nothing here knows about a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fwdscope import units
from fwdscope.report import LayerRow, Report, Shape, multiplicities

# The table shows as many levels as fit on about one screen; the reader asks for more with --depth.
MOST_ROWS = 60

GUIDE = "│ "
DITTO = "″"
UNKNOWN = "—"
AGAIN = "↺"
BROKEN = "✗"
VARIES = "~"


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


# --- rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShownRow:
    """A row of the report with what its place in the whole tells."""

    row: LayerRow
    level: int
    # How many equal rows it stands for: its own repeats times those around it.
    times: int
    # The part of all parameters that those hold together; None where the network has none.
    share: float | None


@dataclass(frozen=True)
class View:
    """The rows of a report down to a depth, and those folded into them."""

    rows: tuple[ShownRow, ...]
    folded: tuple[ShownRow, ...]
    depth: int
    deepest: int


def view(report: Report, depth: int | None = None) -> View:
    """The rows down to ``depth``; without one, down to the deepest level that still makes a table of a screen."""
    rows = report.layers
    deepest = max((row.depth for row in rows), default=1)
    shown_depth = _default_depth(rows, deepest) if depth is None else max(1, min(depth, deepest))
    total = report.totals.params
    every = [
        ShownRow(row, max(0, row.depth - 1), times, row.params * times / total if total else None)
        for row, times in zip(rows, multiplicities(rows), strict=True)
    ]
    return View(
        rows=tuple(shown for shown in every if shown.row.depth <= shown_depth),
        folded=tuple(shown for shown in every if shown.row.depth > shown_depth),
        depth=shown_depth,
        deepest=deepest,
    )


def _default_depth(rows: Sequence[LayerRow], deepest: int) -> int:
    fitting = (depth for depth in range(deepest, 1, -1) if sum(row.depth <= depth for row in rows) <= MOST_ROWS)
    return next(fitting, 1)


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


def _layer_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [_layer_cell(shown) for shown in rows]


def _layer_cell(shown: ShownRow) -> Cell:
    row = shown.row
    label = row.label or ("" if row.kind == "expression" else row.path.rpartition(".")[2])
    tone: Tone = "expression" if row.kind == "expression" else "plain"
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


def _counts(value: Callable[[LayerRow], int]) -> Callable[[Sequence[ShownRow]], list[Cell]]:
    return lambda rows: [Cell(text) for text in units.count_column([value(s.row) for s in rows])]


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
        Column("params", "params", "parameters", _counts(lambda row: row.params), "right", expendable=2),
        Column(
            "trainable", "trainable", "trainable ones", _counts(lambda row: row.trainable_params), "right", expendable=5
        ),
        Column("buffers", "buffers", "elements of buffers", _counts(lambda row: row.buffers), "right", expendable=6),
        Column("share", "share", "part of all parameters", _share_cells, "right", expendable=3),
        Column("calls", "calls", "how often it is called", _call_cells, "right", expendable=8),
        Column("line", "line", "where it stands in the file", _line_cells, "right", expendable=9),
    )
}
DEFAULT_COLUMNS = ("layer", "type", "output", "params", "share")


def chosen_columns(options: Options, seen: View) -> tuple[Column, ...]:
    """The columns asked for, else the default ones that say something. Raises ValueError for an unknown name."""
    no_share = all(shown.share is None for shown in seen.rows)
    names = options.columns or tuple(name for name in DEFAULT_COLUMNS if name != "share" or not no_share)
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise ValueError(f"unknown column {unknown[0]!r}; there are: {', '.join(COLUMNS)}")
    return tuple(COLUMNS[name] for name in dict.fromkeys(names))
