"""A picture of a tensor as a file: PNG by nothing but zlib, SVG by text. Both say the scale and hold no date.

PNG has glyphs for numbers alone, so titles and axes stand in its metadata; an SVG says them in its picture.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from dataclasses import dataclass, replace
from html import escape

from fwdscope import units
from fwdscope.render.colours import Colour, colour, share_of
from fwdscope.report.pictures import Panel, Picture

# Pixels. A picture is about so wide; a cell of a small map is never larger than that.
_WIDTH = 720
_BARS_HEIGHT = 240
_LARGEST_CELL = 32
_MARGIN = 16
_GAP = 12
_LINE = 20
_SCALE_HEIGHT = 12
_SCALE_WIDTH = 240

_WHITE: Colour = (255, 255, 255)
_INK: Colour = (64, 64, 64)
_BAR: Colour = (49, 104, 142)

# Digits and what stands between them, 3 × 5, a row a digit of the code; drawn twice as large.
_GLYPHS = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71122",
    "8": "75757", "9": "75717", ".": "00002", ",": "00024", "−": "00700", "e": "25743",
}  # fmt: skip
_DOT = 2


def png(picture: Picture) -> bytes:
    """The picture as a PNG file: maps and their scale, or bars. The same picture gives the same pixels."""
    layout = _Layout.of(replace(picture, title=""))
    canvas = _Canvas(layout.width, layout.scale + _SCALE_HEIGHT + _MARGIN)
    for place in layout.places:
        if picture.kind == "bars":
            boxes, zero = _bars(picture, place)
            for box in boxes:
                canvas.fill(box, _BAR)
            canvas.fill(zero, _INK)
        else:
            canvas.cells(place, picture)
        canvas.number(place.box.x, place.box.y - _DOT * 5 - 4, place.panel.label)
    if ends := _ends(picture):
        _png_scale(canvas, picture, layout.scale, ends)
    return _png(canvas.width, canvas.height, bytes(canvas.pixels), _words(picture))


def _png_scale(canvas: _Canvas, picture: Picture, y: int, ends: tuple[str, str]) -> None:
    right = canvas.number(_MARGIN, y + 1, ends[0]) + 3 * _DOT
    if picture.kind == "bars":
        canvas.number(_MARGIN, _MARGIN, ends[1])
        return
    for i in range(_SCALE_WIDTH):
        canvas.fill(_Box(right + i, y, 1, _SCALE_HEIGHT), colour(i / (_SCALE_WIDTH - 1)))
    canvas.number(right + _SCALE_WIDTH + 3 * _DOT, y + 1, ends[1])


def svg(picture: Picture) -> str:
    """The picture as an SVG file, with title, labels, axes and scale in words."""
    layout = _Layout.of(picture)
    size = f'width="{layout.width}" height="{layout.height}" viewBox="0 0 {layout.width} {layout.height}"'
    text = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" fill="#404040">',
        f"<title>{_plain(picture.title or 'a tensor')}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    if picture.title:
        text.append(f'<text x="{_MARGIN}" y="{_MARGIN + 12}" font-size="15">{_plain(picture.title)}</text>')
    for place in layout.places:
        text += _svg_bars(picture, place) if picture.kind == "bars" else [_svg_map(picture, place)]
        if place.panel.label:
            text.append(f'<text x="{place.box.x}" y="{place.box.y - 5}">{_plain(place.panel.label)}</text>')
    text += _svg_scale(picture, layout.scale)
    for i, words in enumerate(_said(picture)):
        y = layout.scale + _SCALE_HEIGHT + _LINE * (i + 1)
        text.append(f'<text x="{_MARGIN}" y="{y}" fill="#808080">{_plain(words)}</text>')
    return "\n".join([*text, "</svg>", ""])


def _ends(picture: Picture) -> tuple[str, str] | None:
    """The ends of the scale as text."""
    if picture.low is None or picture.high is None:
        return None
    # Bars begin at zero.
    low, high = (
        (min(0.0, picture.low), max(0.0, picture.high)) if picture.kind == "bars" else (picture.low, picture.high)
    )
    return units.value(low), units.value(high)


def _said(picture: Picture) -> list[str]:
    """What goes down and across, and what was chosen."""
    axes = [f"{picture.down} ↓" if picture.down else "", f"{picture.across} →" if picture.across else ""]
    return [line for line in ("   ".join(filter(None, axes)), " · ".join(picture.notes)) if line]


def _words(picture: Picture) -> dict[str, str]:
    """What a PNG says in its metadata, by PNG's own keywords."""
    ends = _ends(picture)
    scale = [f"from {ends[0]} to {ends[1]}"] if ends else ["no finite value"]
    return {"Title": picture.title, "Description": "\n".join(scale + _said(picture)), "Software": "fwdscope"}


# --- where things are ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Box:
    """A rectangle in pixels, from its upper left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class _Place:
    """A panel and the rectangle that it fills."""

    panel: Panel
    box: _Box


@dataclass(frozen=True)
class _Layout:
    """The whole, from the top: the title, the panels under their labels, the scale, words."""

    places: tuple[_Place, ...]
    width: int
    height: int
    scale: int

    @classmethod
    def of(cls, picture: Picture) -> _Layout:
        """Panels in about as many columns as rows."""
        across = math.ceil(math.sqrt(len(picture.panels)))
        width, height = _size(picture, across)
        # Above bars stands the end of their scale.
        label = _LINE if picture.kind == "bars" or any(panel.label for panel in picture.panels) else 0
        top = _MARGIN + label + (_LINE + _GAP if picture.title else 0)
        places = []
        for i, panel in enumerate(picture.panels):
            down, right = divmod(i, across)
            x, y = _MARGIN + right * (width + _GAP), top + down * (height + label + _GAP)
            places.append(_Place(panel, _Box(x, y, width, height)))
        scale = places[-1].box.y + height + _GAP
        words = _LINE * len(_said(picture))
        least = _SCALE_WIDTH + 160
        whole = 2 * _MARGIN + max(across * (width + _GAP) - _GAP, least)
        return cls(tuple(places), whole, scale + _SCALE_HEIGHT + words + _MARGIN, scale)


def _size(picture: Picture, across: int) -> tuple[int, int]:
    """Width and height of a panel in pixels: whole ones for each cell, as many as the width allows."""
    rows, columns = len(picture.panels[0].rows), len(picture.panels[0].rows[0])
    room = _WIDTH // across - _GAP
    cell = max(1, min(_LARGEST_CELL, room // columns))
    if picture.kind == "bars":
        return max(cell * columns, _WIDTH // 2), _BARS_HEIGHT
    # A few long rows become bands that can be told apart.
    down = max(cell, min(_LARGEST_CELL, columns * cell // (4 * rows)))
    return columns * cell, rows * down


def _bars(picture: Picture, place: _Place) -> tuple[list[_Box], _Box]:
    """The bars of a row of values, up and down from the line of zeros, and that line."""
    low, high = min(0.0, picture.low or 0.0), max(0.0, picture.high or 0.0)
    box, values = place.box, place.panel.rows[0]
    zero = box.y + round((1 - (share_of(0.0, low, high) or 0.0)) * box.height)
    boxes = []
    for i, value in enumerate(values):
        share = share_of(value, low, high)
        if share is None or high == low:
            continue
        left, right = (box.x + j * box.width // len(values) for j in (i, i + 1))
        end = box.y + round((1 - share) * box.height)
        gap = 1 if right - left > 2 else 0
        boxes.append(_Box(left, min(end, zero), right - left - gap, abs(zero - end)))
    return boxes, _Box(box.x, zero, box.width, 1)


# --- PNG -------------------------------------------------------------------------------------------------------------


class _Canvas:
    """Pixels, three bytes each, from the upper left."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.pixels = bytearray(bytes(_WHITE) * (width * height))

    def fill(self, box: _Box, paint: Colour) -> None:
        """Paint a rectangle; what of it lies outside is left out."""
        left, right = max(0, box.x), min(self.width, box.x + box.width)
        if right > left:
            row = bytes(paint) * (right - left)
            for y in range(max(0, box.y), min(self.height, box.y + box.height)):
                self._put(left, y, row)

    def cells(self, place: _Place, picture: Picture) -> None:
        """Paint a map, each cell as many pixels as the place has for it."""
        box, rows = place.box, place.panel.rows
        wide, high = box.width // len(rows[0]), box.height // len(rows)
        for i, cells in enumerate(rows):
            row = b"".join(bytes(colour(share_of(cell, picture.low, picture.high))) * wide for cell in cells)
            for y in range(box.y + i * high, box.y + (i + 1) * high):
                self._put(box.x, y, row)

    def number(self, x: int, y: int, text: str) -> int:
        """Write a number, and return where it ends; a character that numbers have not is left out."""
        for character in text:
            for i, digit in enumerate(_GLYPHS.get(character, "")):
                for j in range(3):
                    if int(digit) >> (2 - j) & 1:
                        self.fill(_Box(x + j * _DOT, y + i * _DOT, _DOT, _DOT), _INK)
            x += 4 * _DOT
        return x

    def _put(self, x: int, y: int, row: bytes) -> None:
        start = 3 * (y * self.width + x)
        self.pixels[start : start + len(row)] = row


def _png(width: int, height: int, pixels: bytes, words: dict[str, str]) -> bytes:
    """RGB pixels as a PNG file (ISO/IEC 15948), with words in its metadata."""
    lines = b"".join(b"\0" + pixels[3 * width * y : 3 * width * (y + 1)] for y in range(height))
    texts = [_chunk(b"iTXt", key.encode() + b"\0\0\0\0\0" + text.encode()) for key, text in words.items() if text]
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [_chunk(b"IHDR", header), *texts, _chunk(b"IDAT", zlib.compress(lines, 9)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# --- SVG -------------------------------------------------------------------------------------------------------------


def _svg_map(picture: Picture, place: _Place) -> str:
    """A map as an image within, one pixel a cell, so that a large one stays small."""
    rows, box = place.panel.rows, place.box
    pixels = b"".join(bytes(colour(share_of(cell, picture.low, picture.high))) for row in rows for cell in row)
    data = base64.b64encode(_png(len(rows[0]), len(rows), pixels, {})).decode()
    return (
        f'<image x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>'
    )


def _svg_bars(picture: Picture, place: _Place) -> list[str]:
    boxes, zero = _bars(picture, place)
    found = [_svg_box(box, _BAR) for box in boxes if box.height]
    ends, box = _ends(picture), place.box
    high = [f'<text x="{box.x}" y="{box.y - 5}">{ends[1]}</text>'] if ends else []
    return [*high, *found, _svg_box(zero, _INK)]


def _svg_box(box: _Box, paint: Colour) -> str:
    return f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" fill="{_hex(paint)}"/>'


def _svg_scale(picture: Picture, y: int) -> list[str]:
    ends = _ends(picture)
    if ends is None:
        return [f'<text x="{_MARGIN}" y="{y + 10}">no finite value</text>']
    if picture.kind == "bars":
        return [f'<text x="{_MARGIN}" y="{y + 10}">{ends[0]}</text>']
    stops = "".join(f'<stop offset="{i / 16:g}" stop-color="{_hex(colour(i / 16))}"/>' for i in range(17))
    left = _MARGIN + 72
    return [
        f'<defs><linearGradient id="scale">{stops}</linearGradient></defs>',
        f'<text x="{left - 6}" y="{y + 10}" text-anchor="end">{ends[0]}</text>',
        f'<rect x="{left}" y="{y}" width="{_SCALE_WIDTH}" height="{_SCALE_HEIGHT}" fill="url(#scale)"/>',
        f'<text x="{left + _SCALE_WIDTH + 6}" y="{y + 10}">{ends[1]}</text>',
    ]


def _hex(paint: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*paint)


def _plain(text: str) -> str:
    """A text inside XML, without the characters that XML cannot hold."""
    return escape("".join(c if c.isprintable() else " " for c in text))
