"""A picture of a tensor in the terminal: a heat map of half blocks, two rows of cells a line, or bars.

Without colours, shades replace them, one cell a character.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, zip_longest
from typing import NamedTuple

from rich.console import Console
from rich.style import Style
from rich.text import Text

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render.colours import Rows, colour, grid, resampled
from fwdscope.render.lines import wrap
from fwdscope.report.pictures import Panel, Picture, panel_words, scale_words, share_of

# Lines of a whole picture by default, of a single map, of each of several maps at least, and of bars.
HEIGHT = 40
_MAX_LINES = 32
_MIN_LINES_OF_SEVERAL = 6
_LINES_OF_BARS = 10
_ROUNDING = 1e-9
# Columns of each of several maps at least, and how often a cell is repeated at most.
_MIN_WIDTH_OF_SEVERAL = 12
_MAX_ENLARGEMENT = 8
# The cells of a map are squares unless one side has more than so many times the cells of the other.
_MAX_ASPECT = 4
_GAP = 2
_SCALE_WIDTH = 24

_SHADES = " ░▒▓█"
_NO_SHADE = "?"
_UP = " ▁▂▃▄▅▆▇█"
# The upper part of a character comes in fewer sizes.
_DOWN = " ▔▔▀▀▀▀██"


def print_picture(picture: Picture, console: Console, height: int = HEIGHT) -> None:
    """Draw a picture on a console, as wide as it is; with shades where the console has fewer than 256 colours."""
    print_drawing(lambda width, coloured: lines(picture, width, coloured, height), console)


def print_drawing(draw: Callable[[int, bool], list[Text]], console: Console) -> None:
    """Print what is drawn for the width of a console, and in colours or, where it has fewer than 256, in shades."""
    coloured = console.color_system in ("256", "truecolor") and not console.no_color
    for line in draw(console.width, coloured):
        console.print(line, no_wrap=True, overflow="ignore", crop=False, highlight=False)


def lines(picture: Picture, width: int, coloured: bool = True, height: int = HEIGHT) -> list[Text]:
    """The lines of a picture: at most ``height``, if that is at least 14, and none wider than ``width`` but text."""
    words = [f"{picture.down} ↓" if picture.down else "", f"{picture.across} →" if picture.across else ""]
    above = [Text(printable(picture.title), "bold")] if picture.title else []
    above += [Text("  ".join(filter(None, words)), "dim")] if any(words) else []
    # The scale and the notes stand below, the last of which says what does not fit.
    below = 2 + len(wrap("  ·  ".join(picture.notes), width))
    room = max(_MIN_LINES_OF_SEVERAL + 2, height - len(above) - below)
    if picture.kind == "bars":
        drawn, fitted = bars(picture, width, coloured), ""
    else:
        drawn, fitted = _maps(picture, width, room, coloured)
    if len(picture.panels[0].rows[0]) > max((line.cell_len for line in drawn), default=width):
        fitted = "  ·  ".join(filter(None, (fitted, "averaged to fit")))
    notes = "  ·  ".join([*picture.notes, *([fitted] if fitted else [])])
    return [*above, *drawn, *_scale(picture, coloured), *(Text(line, "dim") for line in wrap(notes, width))]


def _scale(picture: Picture, coloured: bool) -> list[Text]:
    """The colours from the lowest value to the highest; bars have their scale at the left."""
    if picture.low is None or picture.high is None:
        return [Text("no finite value", "red")]
    unknown = any(cell is None for panel in picture.panels for row in panel.rows for cell in row)
    if picture.kind == "bars":
        return []
    low, high = scale_words(picture)
    line = Text(f"{low} ")
    if coloured:
        for i in range(_SCALE_WIDTH):
            line.append("█", Style(color=_hex(i / (_SCALE_WIDTH - 1))))
    else:
        line.append(f"│{''.join(shade * 2 for shade in _SHADES)}│")
    line.append(f" {high}")
    if unknown:
        line.append("  █" if coloured else f"  {_NO_SHADE}", Style(color=_hex(None)) if coloured else "")
        line.append(" not finite")
    return [line]


def _hex(share: float | None) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour(share))


class _Layout(NamedTuple):
    """How many panels are drawn, how many side by side, the rows and columns of each, and the width of its place."""

    shown: int
    across: int
    rows: int
    columns: int
    place: int
    titles: int


def _maps(picture: Picture, width: int, room: int, coloured: bool) -> tuple[list[Text], str]:
    """As many panels as fit, as large as they can be side by side, and words on how many do not."""
    panels = picture.panels
    if len(panels) == 1:
        size = _size(panels[0], width, 2 * min(_MAX_LINES, room))
        return _panel(picture, panels[0], _Layout(1, 1, *size, size[1], 0), coloured), ""
    most = max(1, (width + _GAP) // (_MIN_WIDTH_OF_SEVERAL + _GAP))
    layouts = [_layout(picture, width, room, across) for across in range(1, min(most, len(panels)) + 1)]
    best = max(layouts, key=lambda one: (one.shown, one.rows * one.columns, one.across))
    found: list[Text] = []
    for numbers in grid(best.shown, best.across):
        drawn = [_panel(picture, panels[i], best, coloured) for i in numbers]
        found += [Text(" " * _GAP).join(parts) for parts in zip(*drawn, strict=True)]
    return found, f"{best.shown} of {len(panels)} maps drawn, as many as fit" if best.shown < len(panels) else ""


def _layout(picture: Picture, width: int, room: int, across: int) -> _Layout:
    panels, place = picture.panels, (width + _GAP) // across - _GAP
    titles = max(len(_titles(panel, place)) for panel in panels)
    least = min(_MIN_LINES_OF_SEVERAL, room - titles)
    each = max(least, room // -(-len(panels) // across) - titles)
    shown = min(len(panels), across * (room // (each + titles)))
    rows, columns = _size(panels[0], place, 2 * min(_MAX_LINES, each))
    longest = max(len(line) for panel in panels for line in _titles(panel, place))
    return _Layout(shown, across, rows, columns, min(place, max(columns, longest, _MIN_WIDTH_OF_SEVERAL)), titles)


def _titles(panel: Panel, room: int) -> list[str]:
    """The label of a map and its own scale, on one line if they fit."""
    label, scale, beyond = panel_words(panel)
    scale = f"{scale} ({beyond})" if beyond and len(scale) + len(beyond) + 3 <= room else scale
    one_line = f"{label}  {scale}".strip()
    return [line[:room] for line in ([one_line] if len(one_line) <= room else [label, scale])]


def _size(panel: Panel, room: int, most_rows: int) -> tuple[int, int]:
    """The size of a map in cells, two to a line: enlarged by a whole number, or averaged to fit.

    Cells stay squares unless the map is so long that little would be left of its other side.
    """
    rows, columns = len(panel.rows), len(panel.rows[0])
    if max(rows, columns) > _MAX_ASPECT * min(rows, columns):
        return _fitted(rows, most_rows), _fitted(columns, room)
    times = min(room / columns, most_rows / rows, _MAX_ENLARGEMENT)
    if times >= 1:
        return rows * int(times), columns * int(times)
    return max(1, round(rows * times)), max(1, round(columns * times))


def _fitted(cells: int, places: int) -> int:
    return min(places, cells * max(1, min(_MAX_ASPECT, places // cells)))


def _panel(picture: Picture, panel: Panel, layout: _Layout, coloured: bool) -> list[Text]:
    # A character is twice as high as wide, so a cell of a map in shades takes two rows.
    low, high = panel.scale or (picture.low, picture.high)
    drawn = cells_of(panel.rows, layout.rows, layout.columns, (low, high), coloured)
    if not layout.titles:
        return drawn
    titles = [Text(printable(line), "dim") for line in _titles(panel, layout.place)]
    texts = [*titles, *[Text()] * (layout.titles - len(titles)), *drawn]
    for line in texts:
        line.pad_right(layout.place - line.cell_len)
    return texts


def cells_of(
    rows: Rows, height: int, columns: int, scale: tuple[float | None, float | None], coloured: bool
) -> list[Text]:
    """A map in lines: two rows of cells each, or in shades one, as a character is twice as high as wide."""
    cells = resampled(rows, height if coloured else -(-height // 2), columns)
    shares = [[share_of(cell, *scale) for cell in row] for row in cells]
    if coloured:
        return list(_blocks(shares))
    most = len(_SHADES) - 1
    shades = ([_NO_SHADE if s is None else _SHADES[min(int(s * (most + 1)), most)] for s in row] for row in shares)
    return [Text("".join(row)) for row in shades]


def _blocks(shares: Sequence[Sequence[float | None]]) -> Iterator[Text]:
    """Two rows of cells a line: the upper one in the colour of the half block, the lower one behind it."""
    for upper, lower in zip_longest(shares[::2], shares[1::2]):
        line = Text()
        behind = [_hex(share) for share in lower] if lower is not None else [None] * len(upper)
        pairs = zip([_hex(share) for share in upper], behind, strict=True)
        for (front, back), run in groupby(pairs):
            line.append("▀" * len(list(run)), Style(color=front, bgcolor=back))
        yield line


def bars(picture: Picture, width: int, coloured: bool, height: int = _LINES_OF_BARS) -> list[Text]:
    """Columns above a line of zeros, and below it where values are negative; the ends of the scale at their left."""
    if picture.low is None or picture.high is None:
        return []
    low, high = min(0.0, picture.low), max(0.0, picture.high)
    top, bottom = units.value(high), units.value(low)
    margin = max(len(top), len(bottom), 1) + 1
    cells = picture.panels[0].rows[0]
    room = max(1, width - margin - 1)
    values = cells if len(cells) <= room else resampled([cells], 1, room)[0]
    each = max(1, min(6, room // len(values)))
    unit, ups, downs = _bar_lines(low, high, height)
    found = []
    for line in range(-ups, downs):
        label = top if line == -ups and ups else bottom if line == downs - 1 else "0" if line == 0 else ""
        text = Text(f"{label:>{margin - 1}} ")
        text.append("┼" if line == 0 or (not downs and line == -1) else "│", "dim")
        text.append("".join(_bar(value, line, unit, each) for value in values), "cyan" if coloured else "")
        found.append(text)
    return found


def _bar_lines(low: float, high: float, height: int) -> tuple[float, int, int]:
    """The value of one line, and the number of lines above and below zero."""
    if low == high:
        return 1.0, 1, 0
    # Tenths first, because the distance between two numbers may overflow a float.
    share = high / height / (high / height - low / height)
    ups = min(max(int(high > 0), round(height * share)), height - int(low < 0))
    downs = height - ups
    unit = max(high / ups if ups else 0.0, -low / downs if downs else 0.0)
    return unit, math.ceil(high / unit - _ROUNDING), math.ceil(-low / unit - _ROUNDING)


def _bar(value: float | None, line: int, unit: float, each: int) -> str:
    """One bar on one line; ``line`` 0 is the first below zero, −1 the first above."""
    if value is None:
        sign = _NO_SHADE if line in (-1, 0) else " "
    else:
        filled = value / unit - (-line - 1) if line < 0 else -value / unit - line
        eighths = min(8, max(0, round(filled * 8)))
        sign = (_UP if line < 0 else _DOWN)[eighths]
    return sign * (each - 1) + " " if each > 2 else sign * each
