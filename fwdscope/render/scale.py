"""How the cost of a network grows, ``scale``: as text, Markdown, LaTeX and Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fwdscope import units
from fwdscope.commands.scale import BYTES, ScaledFigure, ScaledRow, Scaling, range_text
from fwdscope.polynomial import Maximum
from fwdscope.printable import printable
from fwdscope.render.bench import wrapped, write_blocks
from fwdscope.render.lines import Line, cells, next_steps, pad, wrap
from fwdscope.render.sweep import plot
from fwdscope.render.table import Cell, Column, lay_out, markdown_table
from fwdscope.report.sweep import Sweep, SweepAxis, SweepPoint

FORMATS = ("text", "json", "markdown", "latex", "python")
# The figures whose terms are shown one by one.
_BY_TERM, _BY_TERM_OF_STEP = ("params", "macs"), ("params", "train_flops", "saved_activations")
# The figures of rows.
_OF_ROWS = {"params": "params of one", "macs": "MACs of one"}
_OF_ROWS_OF_STEP = {"params": "params of one", "saved_bytes": "saved bytes", "train_flops": "FLOPs of a step"}
_MOST_TERMS = 6
_MOST_OPTIONS = 4
_MOST_VALUES = 12
_LEVELS = 2
# The figures that are drawn, at so many sizes.
PLOTTED, _POINTS = ("params", "macs", "peak_memory", "train_memory"), 14


def render(
    growth: Scaling,
    form: str,
    places: Sequence[Mapping[str, int]] = (),
    plots: Sequence[str] = (),
    depth: int | None = None,
    width: int = 100,
    color: bool = False,
    again: str = "",
) -> str:
    """The growth in one of :data:`FORMATS`; ``places`` are values to evaluate at, ``plots`` vars to draw along."""
    beyond = [growth.check_values(place) for place in places]
    if form == "json":
        return growth.dumps(places)
    if form == "python":
        return "\n\n".join(_python(growth)) + "\n"
    if form == "latex":
        return "\n".join(_latex(growth)) + "\n"
    if form == "markdown":
        return "\n".join(_markdown(growth, places)) + "\n"
    width = max(width, 60)
    blocks = (
        _head(growth),
        _formulas(growth, width),
        _at(growth, places, beyond, width),
        *(_plot(growth, name, figure, width) for name in plots for figure in PLOTTED if figure in growth.figures),
        *(_terms(growth, name, width) for name in by_term(growth)),
        (line for text in moves(growth) for line in wrapped(text, width, "cyan", hanging="  ")),
        _rows(growth, depth or _LEVELS, width),
        _none(growth, width),
        _checked(growth, width),
        next_steps(
            [f"fwdscope scale {again} --at {_larger(growth)}", f"fwdscope scale {again} --format python"], width
        ),
    )
    return write_blocks(blocks, color)


def by_term(growth: Scaling) -> tuple[str, ...]:
    """The figures whose terms are shown one by one."""
    return _BY_TERM_OF_STEP if growth.step else _BY_TERM


def _larger(growth: Scaling) -> str:
    """Values to evaluate at, as an example."""
    one = growth.ranges[-1] if growth.ranges else None
    return (
        f"{one.name}={one.values[1] if one.listed else one.base + one.step * -(-one.base // one.step)}" if one else ""
    )


def figure_text(name: str, value: float) -> str:
    """A value of a figure with its unit."""
    # Between the steps of a formula its value may be a fraction.
    number = value if isinstance(value, int) else float(value)
    return units.byte_size(number) if name in BYTES else units.count(number)


def text_at(growth: Scaling, one: ScaledFigure, place: Mapping[str, int]) -> str:
    """A figure at values of vars; empty where it has no formula."""
    value = one.at({**growth.base, **place})
    return "" if value is None else figure_text(one.name, value)


def _head(growth: Scaling) -> Iterator[Line]:
    texts = "  ·  ".join(["", growth.dtype, *facts(growth), f"in {', '.join(growth.base)}"])
    yield ((printable(growth.name), "bold"), (texts, ""))
    yield ((", ".join(f"{name} = {value:,}" for name, value in growth.base.items()), "dim"),)


def facts(growth: Scaling) -> list[str]:
    """What the training step is, if it is one."""
    return [f"a training step ({printable(growth.step[1])}, {printable(growth.step[0])})"] if growth.step else []


def _formulas(growth: Scaling, width: int) -> Iterator[Line]:
    """A line for each figure: its value, and its formula in as many lines as it takes."""
    titles = [one.title for one in growth.figures.values()]
    values = [figure_text(one.name, one.value) for one in growth.figures.values()]
    left, middle = max(map(cells, titles)), max(map(cells, values))
    room = width - left - middle - 7
    for title, value, one in zip(titles, values, growth.figures.values(), strict=True):
        texts = [*_formula_lines(growth, one, room)]
        for i, text in enumerate(texts):
            head = (pad(title, left), "bold"), ("  " + pad(value, middle, right=True), "")
            gap = (" " * (left + middle + 2), "")
            yield (
                *(head if i == 0 else (gap,)),
                ("  = " if i == 0 else "    ", "dim"),
                (text, "" if one.formula else "dim"),
            )


def limits(growth: Scaling, one: ScaledFigure) -> str:
    """Where the formula of a figure holds, if not wherever others do; a var that always stays is in a note."""
    fixed = ", ".join(f"{name} = {value:,}" for name, value in one.fixed.items() if name not in growth.fixed)
    bounds = ", ".join(bound.text for bound in one.bounds)
    return ", ".join([*([f"at {fixed}"] if fixed else []), *([f"for {bounds}"] if bounds else [])])


def no_formula(one: ScaledFigure) -> str:
    """In which vars a figure has no formula."""
    return f"no formula in {' and '.join(one.broken)}"


def _formula_lines(growth: Scaling, one: ScaledFigure, room: int) -> list[str]:
    if one.formula is None:
        return wrap(no_formula(one), room)
    options = [str(option) for option in one.formula.options] if isinstance(one.formula, Maximum) else []
    lines = [f"    {option}," for option in options[:_MOST_OPTIONS]] or [str(one.formula)]
    if options:
        more = len(options) - _MOST_OPTIONS
        lines[0] = f"max({options[0]},"
        lines[-1] = lines[-1][:-1] + (f", and {more} more: --format python)" if more > 0 else ")")
    found = [part for line in lines for part in wrap(line, room, hang="      ")]
    if where := limits(growth, one):
        # Beside the formula, or if there is no room, below.
        beside = f"{found[-1]}   {where}"
        found = [*found[:-1], beside] if cells(beside) <= room else [*found, *wrap(f"  {where}", room)]
    return found


def moves(growth: Scaling) -> Iterator[str]:
    """Where the peaks are, and where they move to as vars grow."""
    for name in ("peak_memory", "train_memory"):
        if name in growth.figures and (texts := list(growth.moves(name))):
            yield f"{growth.figures[name].title} is {', '.join(texts)}"


def _at(
    growth: Scaling, places: Sequence[Mapping[str, int]], beyond: Sequence[Sequence[str]], width: int
) -> Iterator[Line]:
    """The figures at given values and the spec's own."""
    if not places:
        return
    known = [one for one in growth.figures.values() if one.formula is not None]
    names = [", ".join(f"{n}={v:,}" for n, v in place.items()) for place in places]
    columns = [Column("at", ["the spec's vars", *names])]
    for one in known:
        values = [figure_text(one.name, one.value), *(text_at(growth, one, place) for place in places)]
        columns.append(Column(one.title, values, right=True, drop=1))
    yield from lay_out(columns, width - 2).lines()
    for text in dict.fromkeys(text for one in beyond for text in one):
        yield from wrapped(text, width, "yellow")


def _plot(growth: Scaling, name: str, figure: str, width: int) -> Iterator[Line]:
    """A figure against a var, other vars as they are."""
    one = growth.figures[figure]
    known = values_along(growth, one, name, _POINTS)
    yield from _draw_points(one, name, known, width)


def _draw_points(one: ScaledFigure, var: str, known: Sequence[tuple[int, float]], width: int) -> Iterator[Line]:
    points = [(SweepPoint(((var, str(size)),), None), value) for size, value in known if value > 0]
    axis = SweepAxis(var, tuple(str(size) for size, _ in known))
    texts = units.byte_size if one.name in BYTES else units.count
    yield from plot(Sweep((axis,), ()), points, one.title, lambda values: [*map(texts, values)], width)


def values_along(growth: Scaling, one: ScaledFigure, var: str, number: int) -> list[tuple[int, float]]:
    """A figure at values of a var: by its formula, or where it has none at those that were evaluated."""
    along = next(r for r in growth.ranges if r.name == var)
    if one.formula is None or var in one.fixed:
        return list(next((off.values for off in one.off if off.var == var), ()))
    if var not in one.formula.variables:
        return []
    choices = along.choices()
    places = {round((len(choices) - 1) ** (i / (number - 1))) for i in range(number)}
    sizes = {choices[at] for at in places if at < len(choices)} | {along.low, growth.base[var]}
    values = [(size, one.at({**growth.base, var: size})) for size in sorted(sizes)]
    return [(size, value) for size, value in values if value is not None]


def _terms(growth: Scaling, name: str, width: int) -> Iterator[Line]:
    """The terms of a figure with their shares, and which others overtake the first."""
    terms = growth.terms(name)
    if len(terms) < 2:
        return
    shown = terms[:_MOST_TERMS]
    shares = [
        Cell(units.share(term.share).replace("-", "−"), share=max(0.0, min(1.0, term.share))) for term in shown
    ]  # fmt: skip
    columns = [
        Column(f"{growth.figures[name].title} by term", [str(term.formula) for term in shown], cut="end", min_width=16),
        Column("share", shares, right=True),
        Column("of", [term.words for term in shown], cut="end", min_width=12),
    ]
    yield from lay_out(columns, width - 2).lines()
    if len(terms) > len(shown):
        yield ((f"and {len(terms) - len(shown)} more", "dim"),)
    for text in growth.growth_in_words(name):
        yield from wrapped(text, width, "dim")
    for text in growth.crossings(name):
        yield from wrapped(text, width, "cyan")


def columns_of_rows(growth: Scaling) -> dict[str, str]:
    """The figures of rows that are shown, with their titles."""
    return _OF_ROWS_OF_STEP if growth.step else _OF_ROWS


def costs_anything(row: ScaledRow) -> bool:
    """Whether a row has parameters or multiplies."""
    return any(row.formulas[name] is None or row.formulas[name] != 0 for name in _OF_ROWS)


def formula_of_row(row: ScaledRow, name: str) -> str:
    """A figure of one copy of a row; empty where it is 0."""
    formula = row.formulas[name]
    limits = ", ".join(f"for {text}" for text in row.narrow.get(name, ()))
    return "none" if formula is None else "" if formula == 0 else f"{formula}  {limits}".rstrip()


def _rows(growth: Scaling, levels: int, width: int) -> Iterator[Line]:
    """The formulas of the rows that have parameters or multiply, down to a level of nesting."""
    rows = [row for row in growth.rows if row.depth <= levels and costs_anything(row)]
    if not rows:
        return
    labels = ["  " * (row.depth - 1) + (printable(row.path) or row.type) for row in rows]
    copies = ["" if row.repeat == 1 else f"× {row.repeat}" if row.repeat is not None else "× ?" for row in rows]
    texts = {title: [formula_of_row(row, name) for row in rows] for name, title in columns_of_rows(growth).items()}
    columns = [
        Column("layer", labels, cut="middle", min_width=12),
        *([Column("copies", copies)] if any(copies) else []),
        *(Column(title, cells, cut="end", min_width=20) for title, cells in texts.items() if any(cells)),
    ]
    yield from lay_out(columns, width - 2).lines()


def _none(growth: Scaling, width: int) -> Iterator[Line]:
    """Figures that have no formula in a var: their values at those of the var, and how far off a polynomial is."""
    figures = [one for one in growth.figures.values() if one.off]
    for var, text in zip(dict.fromkeys(off.var for one in figures for off in one.off), growth.off_texts(), strict=True):
        shown = [(one, off) for one in figures for off in one.off if off.var == var]
        values = [value for value, _ in shown[0][1].values]
        values = values[:: -(-len(values) // _MOST_VALUES)]
        one, worst = max(shown, key=lambda pair: pair[1].share)
        yield from wrapped(text, width, "yellow")
        columns = [Column(var, [f"{value:,}" for value in values], right=True)]
        for figure, off in shown:
            texts = dict(off.values)
            cells = [figure_text(figure.name, texts[value]) if value in texts else "" for value in values]
            columns.append(Column(figure.title, cells, right=True, drop=1))
        yield from lay_out(columns, width - 2).lines()
        if len(worst.values) > 3:
            yield ()
            yield from _draw_points(one, var, worst.values, width)


def checked_text(growth: Scaling) -> str:
    """How the formulas were checked."""
    many = units.plural(growth.held_out, "further combination")
    return f"exact at {many} of them, found from {growth.evaluations:,} evaluations"


def stays(growth: Scaling, name: str) -> str:
    """That a var has one value alone."""
    return f"{name} stays {growth.base[name]:,}: of the other values that were tried too few can be built"


def _checked(growth: Scaling, width: int) -> Iterator[Line]:
    """For which values the formulas were checked."""
    for one in growth.checked:
        lead = "checked for" if one is growth.checked[0] else "           "
        yield from wrapped(f"{lead} {range_text(one)}", width, "dim", hanging="              ")
    yield from wrapped(checked_text(growth), width, "dim")
    for name in growth.fixed:
        yield from wrapped(stays(growth, name), width, "dim")
    for text in growth.notes:
        yield from wrapped(f"note: {text}", width, "yellow")


def _markdown(growth: Scaling, places: Sequence[Mapping[str, int]]) -> Iterator[str]:
    yield f"### {growth.name} in {', '.join(growth.base)}"
    yield ""
    known = list(growth.figures.values())
    columns = [
        Column("", [one.title for one in known]),
        Column(
            ", ".join(f"{n} = {v:,}" for n, v in growth.base.items()),
            [figure_text(one.name, one.value) for one in known],
            right=True,
        ),
    ]
    for place in places:
        values = [text_at(growth, one, place) for one in known]
        columns.append(Column(", ".join(f"{n} = {v:,}" for n, v in place.items()), values, right=True))
    texts = [
        no_formula(one) if one.formula is None else f"{one.formula}  {limits(growth, one)}".rstrip() for one in known
    ]
    columns.append(Column("formula", texts, is_code=True))
    yield from markdown_table(columns)
    crossings = [text for name in by_term(growth) for text in growth.crossings(name)]
    beyond = [text for place in places for text in growth.check_values(place)]
    yield from ("", *(f"- {text}" for text in dict.fromkeys([*beyond, *crossings, *_remarks(growth)])))
    yield ""
    yield f"Checked for {_ranges(growth)}; {checked_text(growth)}."


def _remarks(growth: Scaling) -> list[str]:
    """What has no formula, what stays, and what the network's report notes."""
    return [*growth.off_texts(), *(stays(growth, name) for name in growth.fixed), *growth.notes]


def _ranges(growth: Scaling) -> str:
    return "; ".join(map(range_text, growth.checked))


def _latex(growth: Scaling) -> Iterator[str]:
    yield from (f"% {text}" for text in (f"checked for {_ranges(growth)}", *_remarks(growth)))
    yield r"\begin{aligned}"
    lines = []
    for one in growth.figures.values():
        if one.formula is not None:
            where = limits(growth, one).replace("_", r"\_")
            condition = rf" && \text{{{where}}}" if where else ""
            lines.append(rf"\text{{{one.title}}} &= {one.formula.text('latex')}{condition}")
    yield " \\\\\n".join(lines)
    yield r"\end{aligned}"


def _python(growth: Scaling) -> Iterator[str]:
    remarks = "".join(f"\n{text[:1].upper()}{text[1:]}." for text in _remarks(growth))
    yield (
        f'"""How {growth.name} grows: its figures in {", ".join(growth.base)}, in {growth.dtype}.\n\n'
        f'Checked for {_ranges(growth)}.{remarks}\n"""'
    )
    known = [one for one in growth.figures.values() if one.formula is not None]
    if any(isinstance(one.formula, Maximum) for one in known):
        yield (
            '\ndef largest(first, *others):\n    """The largest; of arrays element by element."""\n'
            "    for one in others:\n        first = first * (first >= one) + one * (first < one)\n    return first"
        )
    for one in known:
        # Only one value of these has this formula.
        given = ", ".join(f"{n}={v}" for n, v in growth.base.items() if n not in one.fixed)
        options = one.formula.options if isinstance(one.formula, Maximum) else (one.formula,)
        # Each divides without a rest, their parts may not.
        texts = [option.text("python").replace(" / ", " // ") for option in options if option is not None]
        whole = texts[0] if len(texts) == 1 else f"largest({', '.join(texts)})"
        what = f"bytes {one.title}" if one.name in ("bytes_read", "bytes_written") else one.title
        what += " in bytes" * (one.name in BYTES and what == one.title) + f", {limits(growth, one)}" * bool(
            one.all_bounds
        )
        text = f'\ndef {one.name}({given}):\n    """{what[0].upper()}{what[1:].rstrip(", ")}."""\n    return {whole}'
        # A setting of a configuration inside another has dots in its name.
        for name in (name for name in growth.base if "." in name):
            text = text.replace(name, name.replace(".", "_"))
        yield text
