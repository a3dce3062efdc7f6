"""Draw how one number of an output came about: step by step, windows as coloured grids, sums as tables, equations."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from rich.style import Style
from rich.text import Text

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render.colours import colour
from fwdscope.render.lines import cells, next_steps, pack, shorten, wrap
from fwdscope.report.pictures import share_of
from fwdscope.report.value import (
    Cell,
    Element,
    Equation,
    Grid,
    GridRow,
    ValueExplanation,
    ValueStep,
    ValueTable,
)

_INDENT = 3
_GAP = 3
# Of a wider or higher grid so many columns and rows at the start are shown, and the last.
_MOST_ROWS = 11
_PADDING = "pad"
# Behind a dark colour white is read better, behind a light one black; the luminance is Rec. 601's.
_LIGHT = 140
# A column of addresses is not cut shorter than this.
_LEAST = 16
# As many commands to go on with.
_MOST_NEXT = 2


def lines(one: ValueExplanation, width: int, coloured: bool = True, command: str = "") -> list[Text]:
    """The lines of an explanation, none wider than ``width`` but names; ``command`` is the target with its options."""
    width = max(width, 60)
    found = list(_head(one, width))
    for number_of, step in enumerate(one.steps, 1):
        found += [Text(), *_step(step, number_of if len(one.steps) > 1 else 0, width, coloured)]
    if one.activation:
        found += [Text(), Text("THEN  the activation of the next row", "bold")]
        for step in one.activation:
            found += [Text(), *_step(step, 0, width, coloured)]
    steps = list(_next(one, command)) if command else []
    if steps:
        found += [Text(), *(Text.assemble(*line) for line in next_steps(steps, width))]
    return found


def draw(one: ValueExplanation, width: int, command: str = "") -> str:
    """The explanation as plain text."""
    return "".join(f"{line.plain.rstrip()}\n" for line in lines(one, width, False, command))


def _next(one: ValueExplanation, command: str) -> Iterator[str]:
    """Commands to go on with: the largest number of each layer that went in, those of the last step first."""
    tensors: dict[str, Element] = {}
    for element in one.operands():
        if element.kind == "layer" and abs(element.value) > abs(tensors.setdefault(element.tensor, element).value):
            tensors[element.tensor] = element
    for element in list(tensors.values())[:_MOST_NEXT]:
        index = ",".join(map(str, element.index)) or '""'
        output = f" --of {element.output}" if element.output else ""
        yield f"fwdscope explain {command.replace('{layer}', element.tensor)} --value {index}{output}"


def _head(one: ValueExplanation, width: int) -> Iterator[Text]:
    title = Text.assemble(
        (printable(one.element.text), "bold cyan"), " = ", (units.number(one.element.value), "bold green")
    )
    place = f"{one.source}:{one.line}:{one.column}" if one.line is not None else ""
    if place and title.cell_len + len(place) + 2 <= width:
        title.append(" " * (width - title.cell_len - len(place)))
        title.append(place, "dim")
    yield title
    own = "weights initialised" if one.source is not None else "the module's own weights"
    weights = f"weights from {one.weights}" if one.weights else own
    facts = [one.text, f"{units.shape(one.shape)} {one.dtype}", one.device, f"seed {one.seed}", weights]
    for line in pack([printable(fact) for fact in facts if fact], width):
        yield Text.assemble(*((text, style or "dim") for text, style in line))
    for note in one.notes:
        yield from (Text(line, "yellow") for line in wrap(printable(note), width))


def _step(step: ValueStep, number_of: int, width: int, coloured: bool) -> Iterator[Text]:
    inner = width - _INDENT
    head = Text.assemble((f"{number_of:<{_INDENT}}" if number_of else "", "dim"), (step.operator, "bold"))
    sentence = printable(step.sentence)
    fits = head.cell_len + 2 + cells(sentence) <= width
    if head:
        yield head.append(f"  {sentence}" if fits else "", "dim")
    found: list[Text] = [Text(line, "dim") for line in wrap(sentence, inner)] if not (fits and head) else []
    grids = [grid for part in step.parts if isinstance(part, GridRow) for grid in part.grids]
    scales = {grid.tensor: _scale([g for g in grids if g.tensor == grid.tensor]) for grid in grids}
    room = max((len(part.name) for part in step.parts[:-1] if isinstance(part, Equation)), default=0)
    for before, part in zip((None, *step.parts), step.parts, strict=False):
        is_last = part is step.parts[-1]
        if len(step.parts) > 1 and (is_last or not isinstance(part, Equation) or not isinstance(before, Equation)):
            found.append(Text())
        if isinstance(part, GridRow):
            found += _grids(part, inner, coloured, scales)
        elif isinstance(part, ValueTable):
            found += _table(part, inner)
        else:
            found += _equation(part, printable(step.element.text) if is_last else part.name.ljust(room), inner, is_last)
    for line in found:
        yield Text(" " * _INDENT).append_text(line) if line else line


# --- equations -------------------------------------------------------------------------------------------------------


def _equation(one: Equation, label: str, width: int, is_last: bool) -> Iterator[Text]:
    texts = [printable(one.symbols), one.numbers, units.number(one.value)]
    texts = [text for i, text in enumerate(texts) if i == 0 or text != texts[i - 1]]
    style, note = "bold cyan" if is_last else "cyan", f"   {one.note}" if one.note else ""
    if cells(f"{label} = {' = '.join(texts)}{note}") <= width:
        line = Text.assemble((label, style), *(f" = {text}" for text in texts[:-1]), " = ", (texts[-1], "bold green"))
        yield line.append(note, "dim")
    else:
        # A step of the equation a line, below one another.
        lead = Text(label, style)
        if cells(label) > width // 3:
            yield lead
            lead = Text(" " * _GAP)
        for i, text in enumerate(texts):
            room = max(20, width - lead.cell_len - 3)
            broken = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
            for j, piece in enumerate(broken):
                sign = " = " if j == 0 else "   "
                yield Text.assemble(lead, sign, (piece, "bold green" if i == len(texts) - 1 and i else ""))
                lead = Text(" " * lead.cell_len)
        if note:
            yield lead.append(note, "dim")
    where = [f"{printable(one.text)} = {units.number(one.value)}" for one in one.operands if one.text != texts[0]]
    for packed in pack(where, width - _GAP, "dim"):
        yield Text(" " * _GAP).append_text(Text.assemble(*((text, "dim") for text, _ in packed)))


# --- tables ----------------------------------------------------------------------------------------------------------


def _table(table: ValueTable, width: int) -> Iterator[Text]:
    if table.title:
        yield from (Text(line, "dim") for line in wrap(printable(table.title), width))
    columns = [
        _column(title, [row.cells[i] for row in table.rows if i < len(row.cells)])
        for i, title in enumerate(table.columns)
    ]
    columns = [one for one in columns if any(one[1])]
    # If there is not enough room, titles are cut first, then the widest column of addresses.
    rooms = [max(map(cells, (title, *texts))) for title, texts, _ in columns]
    room = width - 2 * len(rooms)
    if sum(rooms) > room:
        rooms = [
            max(map(cells, texts)) if is_text else room
            for room, (_, texts, is_text) in zip(rooms, columns, strict=True)
        ]
        widest = rooms.index(max(rooms))
        rooms[widest] = max(_LEAST, rooms[widest] + min(0, room - sum(rooms)))
    for i in range(-1, len(table.rows)):
        kind = table.rows[i].kind if i >= 0 else "rest"
        style = {"rest": "dim", "marked": "bold green"}.get(kind, "")
        line = Text("▸ " if kind == "marked" else "  ", style)
        for (title, texts, is_text), fits in zip(columns, rooms, strict=True):
            text = shorten(title if i < 0 else texts[i], fits, "middle")
            line.append(f"{text:<{fits}}  " if is_text else f"{text:>{fits}}  ")
        yield line


def _column(title: str, column: Sequence[Cell]) -> tuple[str, list[str], bool]:
    """The title and the texts of a column. Elements are their indices and values, or the whole address if the tensor
    is not that of the title.
    """
    values = [cell.value if isinstance(cell, Element) else cell if isinstance(cell, float) else None for cell in column]
    scale = max((abs(value) for value in values if value is not None and abs(value) < float("inf")), default=0.0)
    texts = units.value_column(values, [scale] * len(values), fewer=-1)
    room = max(map(len, texts), default=0)
    addresses = [
        (cell.indices if cell.name == title else cell.text) if isinstance(cell, Element) else "" for cell in column
    ]
    has_addresses = any(isinstance(cell, Element) for cell in column)
    widest = max(map(len, addresses), default=0)
    joined = []
    for cell, text, address in zip(column, texts, addresses, strict=True):
        if isinstance(cell, str):
            joined.append(cell)
        elif has_addresses and isinstance(cell, Element):
            joined.append(f"{address.ljust(widest)}  {text.rjust(room)}" if widest else text.rjust(room))
        else:
            joined.append(text)
    return printable(title), joined, has_addresses or any(isinstance(cell, str) for cell in column)


# --- grids -----------------------------------------------------------------------------------------------------------


def _scale(grids: Sequence[Grid]) -> tuple[float, float]:
    known = [value for grid in grids for row in grid.rows for value in row if value is not None]
    return min(known, default=0.0), max(known, default=0.0)


def _grids(row: GridRow, width: int, coloured: bool, scales: Mapping[str, tuple[float, float]]) -> Iterator[Text]:
    """Grids side by side, ``x · weight = product``, and what they give; without the products if there is no room."""
    results = "   ".join(f"{one.name} = {units.number(one.value)}" for one in row.results if one.name)
    if row.rest:
        yield Text(f"… {row.rest:,} more   {results}", "dim")
        return
    has_head = any(index is not None for grid in row.grids for index in grid.across)
    found: list[list[Text]] = []
    for count, fewer in ((3, 0), (3, 1), (2, 0), (2, 1), (2, 1)):
        room = (width - _GAP) // 2 if found and count == 2 and fewer and len(row.grids) > 1 else width
        found = [_grid(grid, room, fewer, coloured, scales[grid.tensor], has_head) for grid in row.grids[:count]]
        if sum(block[0].cell_len + _GAP for block in found) - _GAP <= width:
            break
    middle = max(map(len, found)) // 2
    for i in range(max(map(len, found))):
        line = Text()
        for sign, block in zip(("", "·", "="), found, strict=False):
            line.append((sign if i == middle else "").center(_GAP) if sign else "", "bold").append_text(block[i])
        yield line
    if results:
        yield Text(results)


def _grid(grid: Grid, width: int, fewer: int, coloured: bool, scale: tuple[float, float], has_head: bool) -> list[Text]:
    """A grid with its title and the indices of its rows and columns, all lines of one width."""
    values = [value for row in grid.rows for value in row]
    # All grids of a tensor have as many decimals.
    largest = max((abs(value) for value in scale if abs(value) < float("inf")), default=0.0)
    written = units.value_column([*values, *scale], [largest] * (len(values) + 2), fewer)
    texts = iter(written)
    rows = [
        [(value, text if value is not None else _PADDING) for value, text in zip(row, texts, strict=False)]
        for row in grid.rows
    ]
    side = ["" if index is None else str(index) for index in grid.down]
    head = ["" if index is None else str(index) for index in grid.across]
    margin = max(map(len, side)) + any(side)
    room = max(map(len, (*written, *head))) + 2
    across, down = _kept(len(head), max(2, (width - margin) // room)), _kept(len(rows), _MOST_ROWS)
    found = [Text.assemble((printable(grid.title), "cyan"))]
    if has_head:
        found.append(Text.assemble((" " * margin, "dim")))
        for j in across:
            found[-1].append(f"{'…' if j is None else head[j]:>{room - 1}} ", "dim")
    for i in down:
        line = Text.assemble((f"{'…' if i is None else side[i]:>{max(0, margin - 1)}}"[:margin].ljust(margin), "dim"))
        for j in across:
            if i is None or j is None:
                line.append(f"{'…':>{room - 1}} ", "dim")
                continue
            value, text = rows[i][j]
            is_marked = grid.marked == (i, j)
            shown = f"[{text}]".rjust(room) if is_marked else f"{text:>{room - 1}} "
            line.append(shown, _style(value, scale, coloured, is_marked))
        found.append(line)
    widest = max(line.cell_len for line in found)
    for line in found:
        line.pad_right(widest - line.cell_len)
    return found


def _kept(count: int, most: int) -> list[int | None]:
    """Which of so many rows or columns are shown; None stands for those between."""
    return list(range(count)) if count <= most else [*range(most - 2), None, count - 1]


def _style(value: float | None, scale: tuple[float, float], coloured: bool, is_marked: bool) -> Style:
    if value is None:
        return Style(dim=True)
    if not coloured:
        return Style(bold=is_marked)
    red, green, blue = colour(share_of(value if abs(value) < float("inf") else None, *scale))
    front = "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > _LIGHT else "#ffffff"
    return Style(color=front, bgcolor=f"#{red:02x}{green:02x}{blue:02x}", bold=is_marked, underline=is_marked)
