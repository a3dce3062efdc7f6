"""The columns of the table of layers.

Adding a :class:`LayerColumn` to :data:`COLUMNS` is all it takes to have it in every format that draws a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, Literal, NamedTuple

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render.rows import (
    AGAIN,
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
)
from fwdscope.render.table import Cell, Column
from fwdscope.report import Histogram, LayerRow, Shape

# Styles of cells.
EXPRESSION = "dim italic"
WRONG = "red"
ODD = "yellow"

# Cells are made of all rows at once, so that numbers that are compared share a unit.
Cells = Callable[[Sequence[ShownRow]], list[Cell]]


class LayerColumn(NamedTuple):
    """A column of the table of layers: its layout, and what makes its cells, at full length and shorter."""

    layout: Column
    cells: Cells
    short_cells: Cells | None = None

    def fill(self, rows: Sequence[ShownRow]) -> Column:
        """The column with the cells of some rows."""
        short = self.short_cells(rows) if self.short_cells else None
        return self.layout._replace(cells=self.cells(rows), short_cells=short)


def _each(cell: Callable[[ShownRow], Cell]) -> Cells:
    return lambda rows: [cell(shown) for shown in rows]


def _layer_cell(shown: ShownRow) -> Cell:
    row = shown.row
    style = WRONG if shown.broke else EXPRESSION if row.kind == "expression" else "" if shown.level else "bold"
    if shown.flat:
        return Cell(named(row), "", f" × {shown.times}" if shown.times > 1 else "", style, is_code=True)
    label = row.label or ("" if row.kind == "expression" else row.path.rpartition(".")[2])
    after = f" × {row.repeat}" if row.repeat > 1 else ""
    return Cell(printable(label), GUIDE * shown.level, after, style, is_code=True)


def _type_cell(shown: ShownRow) -> Cell:
    row, after = shown.row, again(shown.row)
    is_code = row.kind == "expression"
    style = EXPRESSION if is_code else "dim" if row.kind in ("parameter", "loop") else ""
    return Cell(described(row), "", after, style, None, f" {AGAIN}" if AGAIN in after else None, is_code)


def shapes_cell(shapes: Sequence[Shape]) -> str:
    """The shapes of a row's inputs or outputs: ``1 64 112 112``, ``5 3 20 · 2 3 20``, ``(1 12 1024 64) × 3``."""
    if not shapes:
        return UNKNOWN
    texts = [units.shape_cell(shape) for shape in shapes]
    if len(texts) > 1 and len(set(texts)) == 1:
        return f"({texts[0]}) × {len(texts)}"
    return " · ".join(texts[:3]) + (f" · +{len(texts) - 3}" if len(texts) > 3 else "")


def _output_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    broken = [is_broken(shown.row) for shown in rows]
    cells = _dittoed([shapes_cell(shown.row.output_shapes) for shown in rows], keep=broken)
    return [
        cell._replace(after=f" {VARIES}" if shown.row.varies else "", style=WRONG if wrong else cell.style)
        for cell, shown, wrong in zip(cells, rows, broken, strict=True)
    ]


def _dittoed(texts: Sequence[str], keep: Iterable[bool] = ()) -> list[Cell]:
    """Cells in which a text that equals the one above is replaced by a ditto mark, unless it is to be kept."""
    kept = {index for index, must in enumerate(keep) if must}
    texts = [
        DITTO if index and text == texts[index - 1] != UNKNOWN and index not in kept else text
        for index, text in enumerate(texts)
    ]
    return [Cell(text, style="dim" if text in (DITTO, UNKNOWN) else "") for text in texts]


def _dtype_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return _dittoed([" · ".join(dict.fromkeys(shown.row.output_dtypes)) or UNKNOWN for shown in rows])


def _receptive_cell(shown: ShownRow) -> Cell:
    return Cell("×".join(map(str, shown.row.receptive_field or ())))


def _amounts(rows: Sequence[ShownRow], figure: str) -> list[int]:
    return [int(shown.amount(FIGURES[figure]) or 0) for shown in rows]


def _exact_cells(figure: str) -> Cells:
    return lambda rows: [Cell(text) for text in units.count_column(_amounts(rows, figure))]


def _scaled_cells(name: str, form: Callable[[Sequence[int]], list[str]]) -> Cells:
    """Cells in one unit: empty for 0, ``—`` for unknown, ``≥`` for a lower bound."""
    figure = FIGURES[name]

    def cell(shown: ShownRow, text: str) -> Cell:
        if shown.amount(figure) is None:
            return Cell(UNKNOWN, style=WRONG if shown.at_least(figure) else "dim")
        return Cell(f"{AT_LEAST}{text}", style=WRONG) if shown.at_least(figure) else Cell(text)

    return lambda rows: [cell(*pair) for pair in zip(rows, form(_amounts(rows, name)), strict=True)]


def _intensity_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    texts = units.decimal_column([intensity(s.row) for s in rows])
    return [Cell(UNKNOWN, style=WRONG) if s.row.uncounted else Cell(t) for s, t in zip(rows, texts, strict=True)]


def _unknown(shown: ShownRow) -> Cell:
    """The cell of a row without a measurement; a parameter or a buffer of the file never has one."""
    return Cell() if shown.row.kind == "parameter" else Cell(UNKNOWN, style="dim")


def _times_cells(figure: str, beside: str | None = None) -> Cells:
    """Cells in one unit, which is that of the column beside them if there is one."""

    def cells(rows: Sequence[ShownRow]) -> list[Cell]:
        amounts, others = ([s.amount(FIGURES[name]) for s in rows if name] for name in (figure, beside))
        texts = units.shared_seconds([amount or 0.0 for amount in (*amounts, *others)])[: len(rows)]
        if figure == "latency":
            texts = [
                f"< {units.seconds(s.noise)}" if amount is not None and amount < s.noise else text
                for s, amount, text in zip(rows, amounts, texts, strict=False)
            ]
        return [
            _unknown(shown) if amount is None else Cell(text if amount or figure == "latency" else "")
            for shown, amount, text in zip(rows, amounts, texts, strict=False)
        ]

    return cells


def _value_cells(field: Literal["mean", "std", "min", "max"]) -> Cells:
    def cells(rows: Sequence[ShownRow]) -> list[Cell]:
        stats = [shown.row.stats for shown in rows]
        # A mean is rounded relative to the spread of its row.
        scales = [(s and s.std) or 0.0 for s in stats] if field == "mean" else None
        texts = units.value_column([getattr(s, field) if s else None for s in stats], scales)
        return [Cell(text) if text else _unknown(shown) for shown, text in zip(rows, texts, strict=True)]

    return cells


def _spread_cells(fewer: int) -> Cells:
    """``−0.012 ± 1.003``, the signs under one another, with so many decimals fewer."""

    def cells(rows: Sequence[ShownRow]) -> list[Cell]:
        stats = [shown.row.stats for shown in rows]
        spreads = [s.std if s else None for s in stats]
        # Both have as many decimals, and a mean is rounded relative to the spread of its row.
        numbers = [*(s.mean if s else None for s in stats), *spreads]
        scales = [*(spread or 0.0 for spread in spreads), *[0.0] * len(rows)]
        texts = units.value_column(numbers, scales, fewer)
        means, stds = texts[: len(rows)], texts[len(rows) :]
        wide, narrow = (max(map(len, texts), default=0) for texts in (means, stds))
        return [
            Cell(f"{mean:>{wide}} ± {std:>{narrow}}") if mean and std else _unknown(shown)
            for shown, mean, std in zip(rows, means, stds, strict=True)
        ]

    return cells


def _copies_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    """The least and the largest std of the copies of each row: ``0.41 … 1.32``."""
    ends = [copies_range(shown.row) for shown in rows]
    texts = iter(units.value_column([end for pair in ends for end in pair]))
    return [Cell(" … ".join(next(texts) for _ in pair)) for pair in ends]


def copies_range(row: LayerRow) -> tuple[float, ...]:
    """The least and the largest std of the copies of a row; nothing for a row of one."""
    found = [std for std in row.copy_stds if std is not None]
    return (min(found), max(found)) if found else ()


def _zero_cell(shown: ShownRow) -> Cell:
    share = shown.amount(FIGURES["zeros"])
    if share is None:
        return _unknown(shown)
    return Cell(units.share(share), style=ODD if share > 0.99 else "") if share else Cell()


def _bad_cell(figure: str, shown: ShownRow) -> Cell:
    count = shown.amount(FIGURES[figure])
    # An infinity may be meant, as in a mask.
    style = WRONG if figure == "nans" else ODD
    return _unknown(shown) if count is None else Cell(units.exact(int(count)) if count else "", style=style)


def _nonfinite_cell(shown: ShownRow) -> Cell:
    """``all NaN``, ``4,096 NaN``, ``12 Inf``: the more frequent of the two."""
    stats = shown.row.stats
    if stats is None:
        return _unknown(shown)
    count, name = max((stats.nans, "NaN"), (stats.infs, "Inf"))
    style = WRONG if shown.broke or stats.nans else ODD
    return Cell(f"{'all' if count == stats.elements else units.exact(count)} {name}" if count else "", style=style)


_SPARK_WIDTH = 10
HEIGHTS = " ▁▂▃▄▅▆▇█"


def spark(histogram: Histogram, width: int) -> str:
    """The histogram as a line of bars relative to the highest; only an empty bin is blank."""
    bins = len(histogram.counts)
    if not bins:
        return ""
    width = min(width, bins)
    # Sums up to each edge; an edge within a bin takes its part of it, so that what is symmetric stays so.
    upto = [0, *accumulate(histogram.counts)]
    edges = [divmod(i * bins, width) for i in range(width + 1)]
    heights = [upto[whole] * width + (rest and rest * histogram.counts[whole]) for whole, rest in edges]
    sums = [high - low for low, high in pairwise(heights)]
    highest = max(sums) or 1
    return "".join(HEIGHTS[-(-count * 8 // highest)] for count in sums)


def _histogram_cell(shown: ShownRow) -> Cell:
    histogram = shown.row.stats.histogram if shown.row.stats else None
    return Cell(spark(histogram, _SPARK_WIDTH), style="cyan") if histogram else _unknown(shown)


def _roofline_cell(shown: ShownRow) -> Cell:
    share = shown.roof.share if shown.roof else None
    return Cell() if share is None else Cell(f"{100 * share:.0f} %")


def _column(
    name: str, cells: Cells, drop: int = 0, short_cells: Cells | None = None, title: str = "", **layout: Any
) -> LayerColumn:
    return LayerColumn(Column(title or name, (), name, drop=drop, **layout), cells, short_cells)


_number = partial(_column, right=True)
_text = partial(_column, cut="end", min_width=12)


def _scaled(name: str, drop: int, title: str = "") -> LayerColumn:
    """The column of a figure that is read by its size rather than to the last digit."""
    in_bytes = name in ("read", "written", "memory", "kv_cache", "saved", "traffic")
    shared = units.shared_bytes if in_bytes else units.shared_counts
    return _number(name, _scaled_cells(name, shared), drop, _scaled_cells(name, partial(shared, digits=4)), title)


COLUMNS: dict[str, LayerColumn] = {
    column.layout.name: column
    for column in (
        _column("layer", _each(_layer_cell), cut="middle", min_width=12, max_width=48, squeezed_width=20),
        _column("type", _each(_type_cell), cut="end", min_width=10, max_width=64, squeezed_width=16),
        _text("input", lambda rows: _dittoed([shapes_cell(s.row.input_shapes) for s in rows]), 4),
        _text("output", _output_cells, 1),
        _column("dtype", _dtype_cells, 7),
        _number("params", _exact_cells("params"), 2, _scaled_cells("params", partial(units.shared_counts, digits=4))),
        _scaled("macs", 4, "MACs"),
        _number("share", _each(lambda s: Cell(units.share(s.share), share=s.share) if s.share else Cell()), 3),
        # Of a training step.
        _scaled("backward", 4, "backward MACs"),
        _scaled("saved", 3),
        # Of a rank of a mesh, forward and backward.
        _scaled("rank", 4, "per rank"),
        _scaled("traffic", 3, "sent"),
        _scaled("flops", 5, "FLOPs"),
        _scaled("read", 6),
        _scaled("written", 6),
        _number("intensity", _intensity_cells, 7, title="FLOPs/byte"),
        # Bytes of the results of one call.
        _scaled("memory", 6),
        # Bytes kept between steps of generation.
        _scaled("kv_cache", 4, "cache"),
        _number("receptive", _each(_receptive_cell), 8, title="receptive field"),
        # Operators without a counting rule.
        _text("uncounted", _each(lambda s: Cell(printable(", ".join(s.row.uncounted)), style=WRONG)), 8),
        _number("trainable", _exact_cells("trainable"), 9),
        _number("buffers", _exact_cells("buffers"), 10),
        _number("calls", _each(lambda s: Cell(units.exact(s.row.calls))), 11),
        _number("latency", _times_cells("latency"), 2),
        # Of the one device of --on: of the forward with a training step's backward, and of this alone.
        _number("eager", _times_cells("eager"), 2, title="eager"),
        _number("eager_backward", _times_cells("eager_backward", "eager"), 3, title="of it backward"),
        _number("stats", _spread_cells(0), 13, _spread_cells(1), title="mean ± std"),
        _number("copies", _copies_cells, 13, title="std of copies"),
        *(_number(name, _value_cells(name), 13) for name in ("mean", "std", "min", "max")),
        _number("zeros", _each(_zero_cell), 14),
        _number("nonfinite", _each(_nonfinite_cell), 1, title="NaN, Inf"),
        _number("nans", _each(partial(_bad_cell, "nans")), 13, title="NaN"),
        _number("infs", _each(partial(_bad_cell, "infs")), 13, title="Inf"),
        _column("histogram", _each(_histogram_cell), 15),
        # Compute or memory, whichever takes longer at the device's peaks; and that time over the time measured.
        _column("bound", _each(lambda s: Cell(s.roof.bound if s.roof else "", style="dim")), 14, title="bound by"),
        _number("roof", _each(_roofline_cell), 14, title="% of roofline", short_title="roofline"),
        _number("line", _each(lambda s: Cell(UNKNOWN if s.row.line is None else str(s.row.line), style="dim")), 12),
    )
}
# Of a file of weights, which has no forward, and what some of them are called there.
_COLUMNS_OF_WEIGHTS = ("layer", "type", "output", "params", "share", "memory")
_STORED = ("parameter", "block", "copies")
_TITLES_OF_WEIGHTS = {"type": "stored as", "output": "shape", "memory": "bytes"}
DEFAULT_COLUMNS = ("layer", "type", "output", "params", "kv_cache", "macs", "rank", "traffic", "share")
_COLUMNS_OF_STEP = ("layer", "type", "output", "params", "macs", "backward", "rank", "traffic", "saved", "share")
_COLUMNS_OF_TIMED_STEP = ("layer", "type", "output", "params", "saved", "eager", "eager_backward", "share")
# With a run, in the order they stand; and those of them that need room to spare, the most telling first.
_COLUMNS_OF_RUN = (
    *("layer", "type", "output", "params", "macs", "latency", "share"),
    *("roof", "nonfinite", "stats", "copies", "zeros", "histogram"),
)
_OPTIONAL = ("macs", "stats", "params", "histogram", "roof", "copies", "zeros")
_DROPPED_FIRST = 99


def chosen_columns(options: Options, seen: View) -> tuple[Column, ...]:
    """The columns asked for, else the default ones that are not empty and the one sorted by, with their cells.

    Raises ValueError for an unknown name.
    """
    every = (*seen.rows, *seen.folded)
    ran = any(shown.row.stats is not None or shown.row.latency is not None for shown in every)
    is_stored = bool(every) and all(s.row.macs is None and s.row.kind in _STORED for s in every)
    of_step = _COLUMNS_OF_STEP if seen.measure != "eager" else _COLUMNS_OF_TIMED_STEP
    of_forward = of_step if any(shown.row.backward for shown in every) else DEFAULT_COLUMNS
    empty = _empty_columns(seen.rows, every)
    names = list(options.columns or [])
    if not names:
        usual = _COLUMNS_OF_RUN if ran else _COLUMNS_OF_WEIGHTS if is_stored else of_forward
        names = [name for name in usual if name not in empty]
        if seen.sort and seen.sort not in names:
            names.insert(names.index("share") if "share" in names else len(names), seen.sort)
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise ValueError(f"unknown column {unknown[0]!r}; there are: {', '.join(COLUMNS)}")
    columns = []
    for name in dict.fromkeys(names):
        column = COLUMNS[name].fill(seen.rows)
        if is_stored and name in _TITLES_OF_WEIGHTS:
            column = column._replace(title=_TITLES_OF_WEIGHTS[name])
        if is_stored and name == "output":  # modules have no shape
            blank = [Cell() if cell == Cell(UNKNOWN, style="dim") else cell for cell in column.cells]
            column = column._replace(cells=blank)
        if name == "share":
            of = FIGURES[seen.measure].title
            column = column._replace(title=f"share of {of}", short_title=f"of {of}")
        # Where room is short, the column that the list is sorted by stays, and empty ones go first.
        if name == seen.sort or name in empty:
            column = column._replace(drop=1 if name == seen.sort else _DROPPED_FIRST)
        # The column that shares refer to is always shown.
        if ran and not options.columns and name in _OPTIONAL and name not in (seen.measure, seen.sort):
            column = column._replace(optional=_OPTIONAL.index(name) + 1)
        columns.append(column)
    return tuple(columns)


def _empty_columns(rows: Sequence[ShownRow], every: Sequence[ShownRow]) -> set[str]:
    # Of most columns every row counts, shown or folded.
    stats = [shown.row.stats for shown in every if shown.row.stats]
    filled = {
        "share": any(shown.share is not None for shown in rows),
        "macs": any(shown.row.macs or shown.row.uncounted for shown in every),
        "rank": any(shown.row.rank for shown in every),
        "traffic": any(shown.row.rank and shown.row.rank.sent + shown.row.rank.backward_sent for shown in every),
        "kv_cache": any(shown.row.kv_cache for shown in every),
        "latency": any(shown.row.latency is not None for shown in every),
        **dict.fromkeys(("eager", "eager_backward"), any(shown.row.eager is not None for shown in every)),
        "roof": any(shown.roof is not None and shown.roof.share is not None for shown in rows),
        "nonfinite": any(shown.broke or ((s := shown.row.stats) is not None and s.nans) for shown in rows),
        "stats": bool(stats),
        "copies": any(shown.row.copy_stds for shown in rows),
        "zeros": any(s.zeros for s in stats),
        "histogram": any(s.histogram for s in stats),
    }
    return {name for name, is_filled in filled.items() if not is_filled}
