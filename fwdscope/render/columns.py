"""The columns that can be made of the rows a reader sees.

A :class:`Column` turns rows into :class:`Cell` texts; adding one to :data:`COLUMNS` is all it takes to have it in every
format that draws a table. Nothing here knows about a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fwdscope import units
from fwdscope.render.rows import (
    AT_LEAST,
    DITTO,
    FIGURES,
    GUIDE,
    UNKNOWN,
    VARIES,
    Options,
    ShownRow,
    View,
    again,
    described,
    intensity,
    is_broken,
    named,
    printable,
)
from fwdscope.report import LayerRow, Shape

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
    return [Cell(_sizes(s.row.receptive_field)) for s in rows]


def _sizes(sizes: Shape | None) -> str:
    return "×".join(map(str, sizes or ()))


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
    chosen = [share if name == "share" else COLUMNS[name] for name in dict.fromkeys(names)]
    # What a list is sorted by is the last to be left out of it.
    return tuple(replace(column, expendable=1) if column.name == seen.sort else column for column in chosen)


def _default_columns(seen: View) -> tuple[str, ...]:
    rows = [shown.row for shown in (*seen.rows, *seen.folded)]
    silent = {"share"} if all(shown.share is None for shown in seen.rows) else set()
    if not any(row.macs or row.uncounted for row in rows):
        silent.add("macs")
    names = [name for name in DEFAULT_COLUMNS if name not in silent]
    if seen.sort and seen.sort not in names:
        names.insert(names.index("share") if "share" in names else len(names), seen.sort)
    return tuple(names)
