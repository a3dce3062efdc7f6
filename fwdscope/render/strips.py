"""The activations of a whole forward in one picture: a strip of small maps, lines or bars for each step.

In the terminal strips stand below one another; in an SVG or PNG side by side, from the input to the output, as people
draw a network by hand, in as many bands as it takes.
"""

from __future__ import annotations

import base64
import io
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from rich.text import Text

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render.colours import Rows, colour
from fwdscope.render.lines import shorten, wrap
from fwdscope.render.maps import bars, cells_of
from fwdscope.render.rows import described
from fwdscope.report import Report, Strip, multiplicities
from fwdscope.report.pictures import Panel, Picture

_SPARKS = "▁▂▃▄▅▆▇█"


class _Words(NamedTuple):
    """What is written beside a strip."""

    name: str
    type: str
    shape: str
    low: str
    high: str
    zeros: str


def _words(report: Report, strip: Strip) -> _Words:
    row = None if strip.row is None else report.layers[strip.row]
    times = 1 if row is None or row.kind == "copies" else multiplicities(report.layers)[strip.row or 0]
    name = printable(strip.name) + f" × {times}" * (times > 1)
    low, high = (
        ("—", "—") if strip.low is None or strip.high is None else (units.value(strip.low), units.value(strip.high))
    )
    zeros = f"{units.share(strip.zeros)} zeros" if strip.zeros else ""
    return _Words(name, described(row) if row else "input", "×".join(map(str, strip.shape)), low, high, zeros)


def caption(report: Report) -> str:
    """What is drawn of each step."""
    some = "channels and values evenly chosen" if any(_is_part(one) for one in report.strips) else ""
    batch = "the first item of the batch" if report.run and (report.run.batch or 1) > 1 else ""
    return "  ·  ".join(filter(None, (batch, some, "each strip by its own scale")))


def _is_part(strip: Strip) -> bool:
    """Whether some channels or values are left out."""
    shown = len(strip.numbers) if strip.kind in ("maps", "lines") else strip.height * strip.width
    return shown < (strip.of if strip.kind in ("maps", "lines") else math.prod(strip.shape[1:] or strip.shape))


# ---- in the terminal ------------------------------------------------------------------------------------------------


def lines(report: Report, width: int, coloured: bool = True) -> list[Text]:
    """The strips below one another, none wider than ``width``."""
    height = 5 if width < 100 else 6 if width < 130 else 7
    left = min(32, max(22, width // 4))
    about = [Text(line, "dim") for line in wrap(caption(report), width)]
    found = [Text.assemble((printable(report.name), "bold"), ("  ·  activations", "dim")), *about, Text()]
    for strip in report.strips:
        words = _words(report, strip)
        texts = [(words.name, "bold"), (words.type, ""), (words.shape, "dim")]
        texts += [(f"{words.low} … {words.high}", "dim"), (words.zeros, "dim")]
        drawn = _drawn(strip, width - left - 2, height, coloured)
        for number in range(max(len(drawn), sum(bool(text) for text, _ in texts))):
            text, style = texts[number] if number < len(texts) else ("", "")
            line = Text().append(shorten(text, left), style)
            line.pad_right(left + 2 - line.cell_len)
            found.append(line + drawn[number] if number < len(drawn) else line)
        found.append(Text())
    return found[:-1]


def _drawn(strip: Strip, width: int, height: int, coloured: bool) -> list[Text]:
    """The panels of a strip side by side, in so many lines."""
    panels = strip.shares()
    if strip.kind == "bars":
        low, high = strip.low or 0.0, strip.high or 0.0
        rows = tuple(tuple(None if one is None else low + one * (high - low) for one in row) for row in panels[0])
        picture = Picture("bars", "", (Panel(rows),), strip.low, strip.high, "", "")
        return bars(picture, min(width, 12 + 3 * strip.width), coloured, height)
    if strip.kind == "lines":
        columns = min(width, 2 * strip.width)
        return [Text(_spark(panel[0], columns), "cyan" if coloured else "") for panel in panels]
    if strip.kind == "grid":
        # Positions go across, as text does.
        turned = [list(column) for column in zip(*panels[0], strict=True)]
        times = max(1, min(6, width // len(turned[0])))
        return cells_of(turned, 2 * height, min(width, times * len(turned[0])), (0.0, 1.0), coloured)
    columns = max(1, min(width, round(2 * height * strip.width / strip.height)))
    most = max(1, (width + 2) // (columns + 2))
    each = [cells_of(panel, 2 * height, columns, (0.0, 1.0), coloured) for panel in panels[:most]]
    return [Text("  ").join(parts) for parts in zip(*each, strict=True)]


def _spark(values: Sequence[float | None], columns: int) -> str:
    places = [values[i * len(values) // columns] for i in range(columns)]
    return "".join("?" if one is None else _SPARKS[min(7, int(8 * one))] for one in places)


# ---- as a figure ----------------------------------------------------------------------------------------------------

# Pixels: the widest figure, the side of a map, the space between columns and between maps, a line, the tallest strip.
WIDTH, _SIDE, _BETWEEN, _GAP, _LINE, _TALLEST = 1280, 76, 30, 8, 48, 412
_MARGIN, _HEAD, _ABOVE, _BELOW = 36, 62, 52, 50
_INK, _QUIET, _WIRE = (24, 32, 44), (88, 99, 116), (141, 152, 169)
_PAPER = (247, 248, 250)
# A PNG has so many pixels for one of the figure's.
_SCALE = 2


class _Shape(NamedTuple):
    """A piece of a figure: a rectangle filled, a text, an image of cells, or a line."""

    x: float
    y: float
    w: float = 0
    h: float = 0
    fill: tuple[int, int, int] = _INK
    text: str = ""
    size: int = 11
    anchor: str = "start"
    is_bold: bool = False
    cells: Rows = ()
    points: Sequence[tuple[float, float]] = ()


class _Drawing(NamedTuple):
    """The shapes of a figure, the first behind the others."""

    width: int
    height: int
    shapes: list[_Shape]


def _figure(report: Report) -> _Drawing:
    pitch = _SIDE + _BETWEEN
    most = (WIDTH - 2 * _MARGIN + _BETWEEN) // pitch
    bands = max(1, math.ceil(len(report.strips) / most))
    # As many in each band as in the others.
    across = min(most, math.ceil(len(report.strips) / bands) or 1)
    width = max(640, 2 * _MARGIN + across * pitch - _BETWEEN)
    tall = math.ceil(max([_SIDE, *map(_height, report.strips)]))
    band = _ABOVE + tall + _BELOW
    height = _HEAD + bands * band + _MARGIN // 2
    shapes = [
        _Shape(0, 0, width, height, (255, 255, 255)),
        _Shape(_MARGIN, 34, text=printable(report.name), size=16, is_bold=True),
        _Shape(_MARGIN, 52, text=caption(report), fill=_QUIET),
    ]
    left = (width - across * pitch + _BETWEEN) / 2
    for number, strip in enumerate(report.strips):
        x, top = left + number % across * pitch, _HEAD + number // across * band + _ABOVE
        shapes += _column(report, strip, x, top, tall)
        if number:
            middle, start = top + tall / 2, x - _BETWEEN + 9
            arrow = [
                (start - 6, middle),
                (start + 6, middle),
                (start + 2, middle - 3),
                (start + 6, middle),
                (start + 2, middle + 3),
            ]
            shapes.append(_Shape(0, 0, fill=_WIRE, points=arrow))
    return _Drawing(width, height, shapes)


def _map_size(strip: Strip) -> tuple[float, float]:
    """The width and height of a map, with its own proportions unless little would be left of a side."""
    ratio = strip.height / strip.width
    return (_SIDE, max(12, _SIDE * ratio)) if ratio <= 1 else (max(12, _SIDE / ratio), _SIDE)


def _height(strip: Strip) -> float:
    count = len(strip.panels)
    if strip.kind == "maps":
        return count * (_map_size(strip)[1] + _GAP) - _GAP
    if strip.kind == "lines":
        return count * (_LINE + _GAP) - _GAP
    return min(_TALLEST, 16 * strip.height) if strip.kind == "grid" else min(_TALLEST, 20 * strip.width)


def _column(report: Report, strip: Strip, x: float, top: float, tall: float) -> Iterator[_Shape]:
    words, room, centre = _words(report, strip), _SIDE + _BETWEEN - 6, x + _SIDE / 2
    for above, text, size, is_bold in (
        (-36, words.name, 11, True),
        (-22, words.type, 10, False),
        (-9, words.shape, 10, False),
    ):
        fill = _INK if is_bold else _QUIET
        short = shorten(text, int(room / (0.61 * size)), "middle" if is_bold else "end")
        yield _Shape(centre, top + above, text=short, size=size, anchor="middle", is_bold=is_bold, fill=fill)
    drawn = {"maps": _maps, "grid": _grid, "lines": _lines, "bars": _bars}[strip.kind]
    yield from drawn(strip, x, top + (tall - _height(strip)) / 2)
    y = top + tall + 12
    yield _Shape(x, y, _SIDE, 6, cells=[[i / 41 for i in range(42)]])
    yield _Shape(x - 8, y + 18, text=words.low, size=9, fill=_QUIET)
    yield _Shape(x + _SIDE + 8, y + 18, text=words.high, size=9, anchor="end", fill=_QUIET)
    yield _Shape(centre, y + 31, text=words.zeros, size=9, anchor="middle", fill=_QUIET)


def _maps(strip: Strip, x: float, y: float) -> Iterator[_Shape]:
    w, h = _map_size(strip)
    place = x + (_SIDE - w) / 2
    for number, panel in zip(strip.numbers, strip.shares(), strict=True):
        yield _Shape(place, y, w, h, cells=panel)
        if strip.of > 1:
            yield _Shape(place - 3, y + 8, text=str(number), size=8, anchor="end", fill=_QUIET)
        y += h + _GAP


def _grid(strip: Strip, x: float, y: float) -> Iterator[_Shape]:
    yield _Shape(x, y, _SIDE, _height(strip), cells=strip.shares()[0])


def _lines(strip: Strip, x: float, y: float) -> Iterator[_Shape]:
    step = _SIDE / max(1, strip.width - 1)
    for number, panel in zip(strip.numbers, strip.shares(), strict=True):
        yield _Shape(x, y, _SIDE, _LINE, _PAPER)
        points = [(x + i * step, y + 3 + (_LINE - 6) * (1 - one)) for i, one in enumerate(panel[0]) if one is not None]
        if len(points) > 1:
            yield _Shape(0, 0, points=points, fill=colour(0.25))
        yield _Shape(x - 3, y + 8, text=str(number), size=8, anchor="end", fill=_QUIET)
        y += _LINE + _GAP


def _bars(strip: Strip, x: float, y: float) -> Iterator[_Shape]:
    values, low, high = strip.shares()[0][0], strip.low or 0.0, strip.high or 0.0
    least, most = min(low, 0.0), max(high, 0.0)
    scale, each = _SIDE / (most - least or 1), _height(strip) / len(values)
    zero = x - scale * least
    yield _Shape(zero, y, 0.8, each * len(values), _WIRE)
    for index, share in enumerate(values):
        if share is not None:
            end = zero + scale * (low + share * (high - low))
            yield _Shape(min(zero, end), y + 1, abs(end - zero), max(1, each - 2), colour(share))
        if len(values) <= 12:
            yield _Shape(x - 5, y + each / 2 + 3, text=str(index), size=8, anchor="end", fill=_QUIET)
        y += each


def svg(report: Report) -> str:
    """The strips as an SVG. The same report gives the same file."""
    figure = _figure(report)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{figure.width}" height="{figure.height}" '
        f'viewBox="0 0 {figure.width} {figure.height}" style="max-width:100%;height:auto" '
        f"font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\">"
        f"<title>{escape(printable(report.name))}: activations</title>{''.join(map(_element, figure.shapes))}</svg>\n"
    )


def _element(shape: _Shape) -> str:
    x, y, w, h = (f"{value:.1f}".removesuffix(".0") for value in shape[:4])
    fill = "#" + bytes(shape.fill).hex()
    if shape.points:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        return f'<polyline points="{points}" fill="none" stroke="{fill}" stroke-width="1.2" stroke-linejoin="round"/>'
    if shape.cells:
        data = base64.b64encode(_pixels(shape.cells)).decode()
        size = f'width="{w}" height="{h}" preserveAspectRatio="none" style="image-rendering:pixelated"'
        return f'<image x="{x}" y="{y}" {size} href="data:image/png;base64,{data}"/>'
    if shape.w:
        return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="{fill}"/>'
    more = ' font-weight="650"' * shape.is_bold + f' text-anchor="{shape.anchor}"' * (shape.anchor != "start")
    text = f'<text x="{x}" y="{y}" font-size="{shape.size}" fill="{fill}"{more}>{escape(shape.text)}</text>'
    return text if shape.text else ""


def _pixels(rows: Rows) -> bytes:
    """Cells as a PNG with a pixel each."""
    lines = b"".join(b"\0" + b"".join(bytes(colour(cell)) for cell in row) for row in rows)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png(report: Report) -> bytes:
    """The strips as a PNG, of twice as many pixels as the SVG. Raises ModuleNotFoundError without Pillow."""
    from PIL import Image, ImageDraw, ImageFont

    figure = _figure(report)
    whole = Image.new("RGB", (figure.width * _SCALE, figure.height * _SCALE), (255, 255, 255))
    draw = ImageDraw.Draw(whole)
    for shape in figure.shapes:
        x, y, w, h = (float(value * _SCALE) for value in shape[:4])
        if shape.points:
            draw.line([(a * _SCALE, b * _SCALE) for a, b in shape.points], shape.fill, 3, joint="curve")
        elif shape.cells:
            image = Image.open(io.BytesIO(_pixels(shape.cells)))
            whole.paste(image.resize((round(w), round(h)), Image.Resampling.NEAREST), (round(x), round(y)))
        elif w:
            draw.rectangle(
                (round(x), round(y), max(round(x), round(x + w) - 1), max(round(y), round(y + h) - 1)), shape.fill
            )
        elif shape.text:
            font = ImageFont.load_default(shape.size * _SCALE)
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
            text = shape.text.replace("−", "-").replace("×", "x").replace("…", "...").replace("–", "-")
            draw.text((x, y), text, shape.fill, font, anchor, stroke_width=int(shape.is_bold), stroke_fill=shape.fill)
    file = io.BytesIO()
    whole.save(file, "PNG")
    return file.getvalue()
