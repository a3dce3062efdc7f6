"""The columns that can be made of the rows of a report.

Adding a :class:`LayerColumn` to :data:`COLUMNS` is all it takes to have it in every format that draws a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple

from fwdscope import units
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
    printable,
)
from fwdscope.render.table import Cell, Column
from fwdscope.report import Histogram, LayerRow, Shape

# Styles of cells.
EXPRESSION = "dim italic"
WRONG = "red"
ODD = "yellow"

Cells = Callable[[Sequence[ShownRow]], list[Cell]]


class LayerColumn(NamedTuple):
    """A column of the table of layers. ``cells`` takes all rows at once, so that numbers compared share a unit.

    The other fields are those of :class:`Column`, whose cells they make.
    """

    name: str
    title: str
    meaning: str
    cells: Cells
    right: bool = False
    cut: Literal["", "end", "middle"] = ""
    min_width: int = 0
    max_width: int | None = None
    squeezed_width: int | None = None
    drop: int = 0
    short_title: str = ""
    short_cells: Cells | None = None
    optional: int = 0

    def fill(self, rows: Sequence[ShownRow]) -> Column:
        """The column with the cells of some rows."""
        short = self.short_cells(rows) if self.short_cells else None
        return Column(
            self.title,
            self.cells(rows),
            self.name,
            self.right,
            self.cut,
            self.min_width,
            self.max_width,
            self.drop,
            self.short_title,
            short,
            self.optional,
            self.squeezed_width,
        )


def _layer_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [_layer_cell(shown) for shown in rows]


def _layer_cell(shown: ShownRow) -> Cell:
    row = shown.row
    style = WRONG if shown.broke else EXPRESSION if row.kind == "expression" else "" if shown.level else "bold"
    if shown.flat:
        return Cell(named(row), "", f" × {shown.times}" if shown.times > 1 else "", style, is_code=True)
    label = row.label or ("" if row.kind == "expression" else row.path.rpartition(".")[2])
    after = f" × {row.repeat}" if row.repeat > 1 else ""
    return Cell(printable(label), GUIDE * shown.level, after, style, is_code=True)


def _type_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [_type_cell(shown.row) for shown in rows]


def _type_cell(row: LayerRow) -> Cell:
    is_code = row.kind == "expression"
    style = EXPRESSION if is_code else "dim" if row.kind in ("parameter", "loop") else ""
    after = again(row)
    return Cell(described(row), "", after, style, None, f" {AGAIN}" if AGAIN in after else None, is_code)


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
        Cell(text, after=f" {VARIES}" if s.row.varies else "", style=WRONG if is_broken(s.row) else _shape_style(text))
        for text, s in zip(_dittoed(texts, keep=[is_broken(s.row) for s in rows]), rows, strict=True)
    ]


def _input_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [Cell(text, style=_shape_style(text)) for text in _dittoed([shapes_cell(s.row.input_shapes) for s in rows])]


def _dtype_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    texts = [" · ".join(dict.fromkeys(s.row.output_dtypes)) or UNKNOWN for s in rows]
    return [Cell(text, style=_shape_style(text)) for text in _dittoed(texts)]


def _dittoed(texts: Sequence[str], keep: Iterable[bool] = ()) -> list[str]:
    """What equals the row above is not said again, except where it has to be seen."""
    kept = {index for index, must in enumerate(keep) if must}
    return [
        DITTO if index and text == texts[index - 1] != UNKNOWN and index not in kept else text
        for index, text in enumerate(texts)
    ]


def _shape_style(text: str) -> str:
    return "dim" if text in (DITTO, UNKNOWN) else ""


def _exact_cells(figure: str) -> Cells:
    return lambda rows: [Cell(text) for text in units.count_column([_whole(s, figure) for s in rows])]


_Format = Callable[[Sequence[int]], list[str]]


def _scaled_cells(figure: str, form: _Format) -> Cells:
    """Cells in one unit. Nothing is empty, what is not known ``—``, and what is known in part ``≥``."""

    def cells(rows: Sequence[ShownRow]) -> list[Cell]:
        texts = form([_whole(shown, figure) for shown in rows])
        return [_counted_cell(shown, figure, text) for shown, text in zip(rows, texts, strict=True)]

    return cells


def _whole(shown: ShownRow, figure: str) -> int:
    return int(shown.amount(FIGURES[figure]) or 0)


def _counted_cell(shown: ShownRow, figure: str, text: str) -> Cell:
    style = WRONG if shown.at_least(FIGURES[figure]) else "dim"
    if shown.amount(FIGURES[figure]) is None:
        return Cell(UNKNOWN, style=style)
    return Cell(f"{AT_LEAST}{text}", style=style) if style == WRONG else Cell(text)


def _scaled(name: str, title: str, meaning: str, drop: int) -> LayerColumn:
    """The column of a figure that is read by its size rather than to the last digit."""
    shared = units.shared_bytes if name in ("read", "written", "memory") else units.shared_counts
    wide, short = _scaled_cells(name, shared), _scaled_cells(name, lambda values: shared(values, 4))
    return LayerColumn(name, title, meaning, wide, right=True, drop=drop, short_cells=short)


def _intensity_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    texts = units.decimal_column([intensity(s.row) for s in rows])
    return [Cell(UNKNOWN, style=WRONG) if s.row.uncounted else Cell(t) for s, t in zip(rows, texts, strict=True)]


def _receptive_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [Cell(_sizes(s.row.receptive_field)) for s in rows]


def _sizes(sizes: Shape | None) -> str:
    return "×".join(map(str, sizes or ()))


def _uncounted_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [Cell(printable(", ".join(s.row.uncounted)), style=WRONG) for s in rows]


def _share_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [Cell(units.share(s.share), share=s.share) if s.share else Cell() for s in rows]


# --- what a run saw --------------------------------------------------------------------------------------------------


def _latency_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    amounts = [shown.amount(FIGURES["latency"]) for shown in rows]
    texts = units.shared_seconds([amount or 0.0 for amount in amounts])
    return [
        Cell(text) if amount is not None else _unknown(shown)
        for shown, amount, text in zip(rows, amounts, texts, strict=True)
    ]


def _unknown(shown: ShownRow) -> Cell:
    """What a run did not see; a parameter or a buffer of the file has nothing to be seen."""
    return Cell() if shown.row.kind == "parameter" else Cell(UNKNOWN, style="dim")


_Field = Literal["mean", "std", "min", "max"]


def _value_cells(field: _Field) -> Cells:
    def cells(rows: Sequence[ShownRow]) -> list[Cell]:
        return [Cell(text) if text else _unknown(s) for s, text in zip(rows, _values(rows, field), strict=True)]

    return cells


def _values(rows: Sequence[ShownRow], field: _Field) -> list[str]:
    stats = [shown.row.stats for shown in rows]
    # A mean is seen beside the spread of its row.
    scales = [(s and s.std) or 0.0 for s in stats] if field == "mean" else None
    return units.value_column([getattr(s, field) if s else None for s in stats], scales)


def _spread_cells(fewer: int) -> Cells:
    """``−0.012 ± 1.003``, the signs under one another, with so many decimals fewer."""

    def cells(rows: Sequence[ShownRow]) -> list[Cell]:
        stats = [shown.row.stats for shown in rows]
        spreads = [s.std if s else None for s in stats]
        # As many decimals for both, and a mean is seen beside its spread.
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


def _zero_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    parts = [shown.amount(FIGURES["zeros"]) for shown in rows]
    return [
        _unknown(shown)
        if part is None
        else Cell(units.share(part), style=ODD if part > _DEAD else "")
        if part
        else Cell()
        for shown, part in zip(rows, parts, strict=True)
    ]


# Where nearly all is zero, hardly anything goes on.
_DEAD = 0.99


def _bad_cells(figure: str) -> Cells:
    # An infinity may be meant, as in a mask.
    style = WRONG if figure == "nans" else ODD

    def cells(rows: Sequence[ShownRow]) -> list[Cell]:
        counts = [shown.amount(FIGURES[figure]) for shown in rows]
        return [
            _unknown(shown) if count is None else Cell(units.exact(int(count)) if count else "", style=style)
            for shown, count in zip(rows, counts, strict=True)
        ]

    return cells


def _nonfinite_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [_nonfinite_cell(shown) for shown in rows]


def _nonfinite_cell(shown: ShownRow) -> Cell:
    """``all NaN``, ``4,096 NaN``, ``12 Inf``; the rarer of two kinds is left to columns of its own."""
    stats = shown.row.stats
    if stats is None:
        return _unknown(shown)
    count, name = max((stats.nans, "NaN"), (stats.infs, "Inf"))
    # An infinity may be meant, as in a mask.
    style = WRONG if shown.broke or stats.nans else ODD
    return Cell(f"{'all' if count == stats.elements else units.exact(count)} {name}" if count else "", style=style)


_SPARK = 10
_HEIGHTS = " ▁▂▃▄▅▆▇█"


def spark(histogram: Histogram, width: int) -> str:
    """The histogram as a line of bars, each as high as its part of the highest; nothing is empty, little is not."""
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
    return "".join(_HEIGHTS[-(-count * 8 // highest)] for count in sums)


def _histogram_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [
        Cell(spark(shown.row.stats.histogram, _SPARK), style="cyan")
        if shown.row.stats and shown.row.stats.histogram
        else _unknown(shown)
        for shown in rows
    ]


def _bound_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [Cell(shown.roof.bound if shown.roof else "", style="dim") for shown in rows]


def _roofline_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [Cell() if s.roof is None or s.roof.share is None else Cell(f"{100 * s.roof.share:.0f} %") for s in rows]


def _call_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [Cell(units.exact(s.row.calls)) for s in rows]


def _line_cells(rows: Sequence[ShownRow]) -> list[Cell]:
    return [Cell(UNKNOWN if s.row.line is None else str(s.row.line), style="dim") for s in rows]


COLUMNS: dict[str, LayerColumn] = {
    column.name: column
    for column in (
        LayerColumn(
            "layer",
            "layer",
            "the name, indented by what contains it",
            _layer_cells,
            cut="middle",
            min_width=12,
            max_width=48,
            squeezed_width=20,
        ),
        LayerColumn(
            "type",
            "type",
            "the layer type and its telling settings",
            _type_cells,
            cut="end",
            min_width=10,
            max_width=64,
            squeezed_width=16,
        ),
        LayerColumn("input", "input", "shapes of the inputs", _input_cells, cut="end", min_width=12, drop=4),
        LayerColumn("output", "output", "shapes of the results", _output_cells, cut="end", min_width=12, drop=1),
        LayerColumn("dtype", "dtype", "data types of the results", _dtype_cells, drop=7),
        LayerColumn(
            "params",
            "params",
            "parameters",
            _exact_cells("params"),
            right=True,
            drop=2,
            short_cells=_scaled_cells("params", lambda values: units.shared_counts(values, 4)),
        ),
        _scaled("macs", "MACs", "multiply-accumulates", 4),
        LayerColumn(
            "share", "share", "part of the time, of all MACs, or of all parameters", _share_cells, right=True, drop=3
        ),
        _scaled("flops", "FLOPs", "two a MAC, one for every other arithmetic result", 5),
        _scaled("read", "read", "bytes of operands", 6),
        _scaled("written", "written", "bytes of results", 6),
        LayerColumn("intensity", "FLOPs/byte", "arithmetic intensity", _intensity_cells, right=True, drop=7),
        _scaled("memory", "memory", "bytes that the results of a call take", 6),
        LayerColumn(
            "receptive", "receptive field", "input places that one output sees", _receptive_cells, right=True, drop=8
        ),
        LayerColumn(
            "uncounted", "uncounted", "operators without a rule", _uncounted_cells, cut="end", min_width=12, drop=8
        ),
        LayerColumn("trainable", "trainable", "trainable parameters", _exact_cells("trainable"), right=True, drop=9),
        LayerColumn("buffers", "buffers", "elements of buffers", _exact_cells("buffers"), right=True, drop=10),
        LayerColumn("calls", "calls", "how often it is called", _call_cells, right=True, drop=11),
        LayerColumn(
            "latency",
            "latency",
            "time on the device, the median of a few passes",
            _latency_cells,
            right=True,
            drop=2,
        ),
        LayerColumn(
            "stats",
            "mean ± std",
            "of the values that a run saw",
            _spread_cells(0),
            right=True,
            drop=13,
            short_cells=_spread_cells(1),
        ),
        LayerColumn("mean", "mean", "of the values", _value_cells("mean"), right=True, drop=13),
        LayerColumn("std", "std", "standard deviation of the values", _value_cells("std"), right=True, drop=13),
        LayerColumn("min", "min", "the least value", _value_cells("min"), right=True, drop=13),
        LayerColumn("max", "max", "the largest value", _value_cells("max"), right=True, drop=13),
        LayerColumn("zeros", "zeros", "part of the values that are 0", _zero_cells, right=True, drop=14),
        LayerColumn("nonfinite", "NaN, Inf", "whichever are more", _nonfinite_cells, right=True, drop=1),
        LayerColumn("nans", "NaN", "how many values are NaN", _bad_cells("nans"), right=True, drop=13),
        LayerColumn("infs", "Inf", "how many values are infinite", _bad_cells("infs"), right=True, drop=13),
        LayerColumn("histogram", "histogram", "how often values of each size are", _histogram_cells, drop=15),
        LayerColumn("bound", "bound by", "compute or memory, whichever takes longer", _bound_cells, drop=14),
        LayerColumn(
            "roof",
            "% of roofline",
            "the least time the device needs over the time taken",
            _roofline_cells,
            right=True,
            drop=14,
            short_title="roofline",
        ),
        LayerColumn("line", "line", "where it stands in the file", _line_cells, right=True, drop=12),
    )
}
DEFAULT_COLUMNS = ("layer", "type", "output", "params", "macs", "share")
# With a run, in the order they stand; and those of them that need room to spare, the most telling first.
_COLUMNS_OF_RUN = (
    *("layer", "type", "output", "params", "macs", "latency", "share"),
    *("roof", "nonfinite", "stats", "zeros", "histogram"),
)
_DROPPED_FIRST = 99
_OPTIONAL = ("macs", "stats", "params", "histogram", "roof", "zeros")


def chosen_columns(options: Options, seen: View) -> tuple[Column, ...]:
    """The columns asked for, else the default ones that say something and the one sorted by, with their cells.

    Raises ValueError for an unknown name.
    """
    names = options.columns or _default_columns(seen)
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise ValueError(f"unknown column {unknown[0]!r}; there are: {', '.join(COLUMNS)}")
    of = FIGURES[seen.measure].title
    known = COLUMNS | {"share": COLUMNS["share"]._replace(title=f"share of {of}", short_title=f"of {of}")}
    silent = _silent(seen)
    # Where room is short, what says nothing goes first.
    chosen = [
        known[name]._replace(drop=_DROPPED_FIRST) if name in silent else known[name] for name in dict.fromkeys(names)
    ]
    if not options.columns and _ran(seen):
        chosen = [column._replace(optional=_optional_rank(column.name, seen)) for column in chosen]
    # What a list is sorted by is the last to be left out of it.
    chosen = [column._replace(drop=1, optional=0) if column.name == seen.sort else column for column in chosen]
    return tuple(column.fill(seen.rows) for column in chosen)


def _optional_rank(name: str, seen: View) -> int:
    # The column that shares are of stands beside them.
    return _OPTIONAL.index(name) + 1 if name in _OPTIONAL and name != seen.measure else 0


def _every_row(seen: View) -> list[LayerRow]:
    return [shown.row for shown in (*seen.rows, *seen.folded)]


def _ran(seen: View) -> bool:
    return any(row.stats is not None or row.latency is not None for row in _every_row(seen))


def _default_columns(seen: View) -> tuple[str, ...]:
    silent = _silent(seen)
    names = [name for name in (_COLUMNS_OF_RUN if _ran(seen) else DEFAULT_COLUMNS) if name not in silent]
    if seen.sort and seen.sort not in names:
        names.insert(names.index("share") if "share" in names else len(names), seen.sort)
    return tuple(names)


def _silent(seen: View) -> set[str]:
    """The default columns that would be empty."""
    rows, stats = _every_row(seen), [row.stats for row in _every_row(seen) if row.stats]
    says = {
        "share": any(shown.share is not None for shown in seen.rows),
        "macs": any(row.macs or row.uncounted for row in rows),
        "latency": any(row.latency is not None for row in rows),
        "roof": any(shown.roof is not None and shown.roof.share is not None for shown in seen.rows),
        "nonfinite": any(shown.broke or ((s := shown.row.stats) is not None and s.nans) for shown in seen.rows),
        "stats": bool(stats),
        "zeros": any(s.zeros for s in stats),
        "histogram": any(s.histogram for s in stats),
    }
    return {name for name, something in says.items() if not something}
