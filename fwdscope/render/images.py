"""A picture of a tensor as a file: SVG as the terminal draws it, and PNG by Pillow, an optional extra."""

from __future__ import annotations

import io
import math
from itertools import groupby
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from rich.color import Color
from rich.console import Console

from fwdscope import units
from fwdscope.printable import escaped, printable
from fwdscope.render.colours import NO_COLOUR, colour
from fwdscope.render.lines import cells
from fwdscope.render.maps import lines
from fwdscope.report.pictures import Panel, Picture, panel_words, scale_words, share_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

# Characters of a line of an SVG, its lines, and the pixels of a character.
SVG_WIDTH, SVG_HEIGHT, SVG_CELL = 120, 50, (8, 16)
# The part of a character that a block fills, in eighths from the top.
_BLOCKS = {"▀": (0, 4), "▔": (0, 1), **{sign: (7 - i, 8) for i, sign in enumerate("▁▂▃▄▅▆▇█")}}
# Pixels of a PNG: about the size of all panels, the largest side of a cell, a panel of bars, space between things.
PNG_SIZE = (960, 640)
MAX_CELL = 32
BARS_SIZE = (360, 240)
MARGIN = 16
LINE_HEIGHT = 20
SCALE_SIZE = (240, 12)
_WHITE, _INK, _BAR = (255, 255, 255), (64, 64, 64), (49, 104, 142)


def svg(picture: Picture) -> str:
    """The picture as an SVG file: what the terminal draws. The same picture gives the same file."""
    drawn = lines(picture, SVG_WIDTH, height=SVG_HEIGHT)
    console = Console(file=io.StringIO(), color_system="truecolor", force_terminal=True, legacy_windows=False)
    (across, down), shapes = SVG_CELL, []
    for row, line in enumerate(drawn):
        x, y = across, row * down + down // 2
        for text, style, _ in line.render(console):
            front, behind = _css(style.color if style else None) or "#404040", _css(style.bgcolor if style else None)
            for parts, run in groupby(text, _BLOCKS.get):
                piece = "".join(run)
                if parts is not None:
                    # Blocks are rectangles, which fit together in any font.
                    rest = (parts[1], 8) if parts[0] == 0 else (0, parts[0])
                    for fill, (top, end) in ((front, parts), (behind, rest)):
                        size = f'width="{len(piece) * across}" height="{(end - top) * down // 8}"'
                        shapes += [f'<rect x="{x}" y="{y + top * down // 8}" {size} fill="{fill}"/>'] * bool(fill)
                elif piece.strip():
                    plain = escape(escaped(piece))
                    bold = ' font-weight="bold"' if style and style.bold else ""
                    shapes.append(f'<text x="{x}" y="{y + down - 4}" fill="{front}"{bold}>{plain}</text>')
                x += cells(piece) * across
    title = printable(picture.title or "a tensor")
    width, height = (SVG_WIDTH + 2) * across, (len(drawn) + 1) * down
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="{down - 3}" xml:space="preserve">'
        f"<title>{escape(title)}</title>"
        f'<rect width="100%" height="100%" fill="white"/><g shape-rendering="crispEdges">{"".join(shapes)}</g></svg>\n'
    )


def _css(color: Color | None) -> str:
    return color.get_truecolor().hex if color is not None and not color.is_default else ""


def png(picture: Picture) -> bytes:
    """The picture as a PNG: its title, axes, panels, scale and notes. Raises ModuleNotFoundError without Pillow."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(12)
    # A single map has its scale below.
    words = [panel_words(panel) if len(picture.panels) > 1 else (panel.label, "") for panel in picture.panels]
    texts = [[*filter(None, (label, ", ".join(filter(None, scale))))] for label, *scale in words]
    titles = max(1, *map(len, texts))
    across = _across(picture)
    down = math.ceil(len(picture.panels) / across)
    images = [_draw_panel(picture, panel, across, down) for panel in picture.panels]
    width, height = images[0].size
    place = max([width, *(math.ceil(font.getlength(_plain(text))) for above in texts for text in above)])
    left = MARGIN + (LINE_HEIGHT if picture.down else 0)
    top = MARGIN + LINE_HEIGHT * (1 + bool(picture.across))
    bottom = top + down * (height + LINE_HEIGHT * titles + MARGIN // 2)
    below = [*([_scale_words(picture)] if picture.kind == "bars" or picture.low is None else []), *picture.notes]
    size = (
        max([left + across * (place + MARGIN), left + 2 * SCALE_SIZE[0],
             *(left + MARGIN + math.ceil(font.getlength(_plain(text))) for text in (picture.title, *below))]),
        bottom + LINE_HEIGHT * (len(below) + (picture.kind == "map" and picture.low is not None)) + MARGIN,
    )  # fmt: skip
    whole = Image.new("RGB", size, _WHITE)
    draw = ImageDraw.Draw(whole)
    draw.text((MARGIN, MARGIN), _plain(picture.title), _INK, font)
    if picture.across:
        draw.text((left, MARGIN + LINE_HEIGHT), _plain(picture.across), _INK, font)
        _arrow(draw, left + math.ceil(font.getlength(_plain(picture.across))) + 6, MARGIN + LINE_HEIGHT + 8)
    if picture.down:
        label = Image.new("RGB", (math.ceil(font.getlength(_plain(picture.down))) + 24, LINE_HEIGHT), _WHITE)
        ImageDraw.Draw(label).text((0, 0), _plain(picture.down), _INK, font)
        _arrow(ImageDraw.Draw(label), label.width - 18, 8)
        whole.paste(label.rotate(270, expand=True), (MARGIN - 4, top + LINE_HEIGHT * titles))
    for number, (image, above) in enumerate(zip(images, texts, strict=True)):
        row, column = divmod(number, across)
        x, y = left + column * (place + MARGIN), top + row * (height + LINE_HEIGHT * titles + MARGIN // 2)
        for i, text in enumerate(above):
            draw.text((x, y + i * LINE_HEIGHT), _plain(text), _INK, font)
        whole.paste(image, (x, y + LINE_HEIGHT * titles))
    y = bottom
    if picture.kind == "map" and picture.low is not None:
        low, high = map(_plain, scale_words(picture))
        x = left + int(font.getlength(low)) + 6
        draw.text((left, y), low, _INK, font)
        for i in range(SCALE_SIZE[0]):
            draw.line((x + i, y, x + i, y + SCALE_SIZE[1]), colour(i / (SCALE_SIZE[0] - 1)))
        draw.text((x + SCALE_SIZE[0] + 6, y), high, _INK, font)
        y += LINE_HEIGHT
    for i, text in enumerate(below):
        draw.text((left, y + LINE_HEIGHT * i), _plain(text), _INK, font)
    file = io.BytesIO()
    whole.save(file, "PNG")
    return file.getvalue()


def _scale_words(picture: Picture) -> str:
    if picture.low is None or picture.high is None:
        return "no finite value"
    return f"from {units.value(min(0.0, picture.low))} to {units.value(max(0.0, picture.high))}"


def _arrow(draw: ImageDraw, x: int, y: int) -> None:
    """An arrow to the right, which Pillow's font lacks."""
    draw.line((x, y, x + 14, y), _INK)
    draw.line((x + 10, y - 3, x + 14, y, x + 10, y + 3), _INK)


def _cell(picture: Picture, across: int, down: int) -> int:
    """The pixels of a side of a cell, as many as whole panels leave room for."""
    rows, columns = len(picture.panels[0].rows), len(picture.panels[0].rows[0])
    return max(1, min(MAX_CELL, PNG_SIZE[0] // across // columns, PNG_SIZE[1] // down // rows))


def _across(picture: Picture) -> int:
    """How many panels stand side by side: those with the largest cells, no gaps, and the shape of a screen."""
    count, (rows, columns) = len(picture.panels), (len(picture.panels[0].rows), len(picture.panels[0].rows[0]))

    def quality(across: int) -> tuple[int, int, float]:
        down = math.ceil(count / across)
        return (
            _cell(picture, across, down),
            count - across * down,
            -abs(math.log(across * columns / (down * rows) / 1.5)),
        )

    return max(range(1, count + 1), key=quality)


def _draw_panel(picture: Picture, panel: Panel, across: int, down: int) -> Image:
    """One map with whole pixels for each cell, or the bars of one row."""
    from PIL import Image, ImageDraw

    if picture.kind == "map":
        rows, columns = len(panel.rows), len(panel.rows[0])
        cell = _cell(picture, across, down)
        # Long maps become bands, so that they are visible.
        high = max(cell, min(MAX_CELL, columns * cell // (4 * rows)))
        wide = max(cell, min(MAX_CELL, rows * cell // (4 * columns)))
        low, top = panel.scale or (picture.low, picture.high)
        image = Image.new("RGB", (columns, rows), NO_COLOUR)
        image.putdata([colour(share_of(value, low, top)) for row in panel.rows for value in row])
        return image.resize((columns * wide, rows * high), Image.Resampling.NEAREST)
    values, (width, height) = panel.rows[0], BARS_SIZE
    width = max(width, len(values))
    low, high_value = min(0.0, picture.low or 0.0), max(0.0, picture.high or 0.0)
    zero = round((1 - (share_of(0.0, low, high_value) or 0.0)) * height)
    image = Image.new("RGB", (width, height), _WHITE)
    draw = ImageDraw.Draw(image)
    for i, value in enumerate(values):
        share = share_of(value, low, high_value)
        if share is not None and value:
            end = round((1 - share) * height)
            left, right = i * width // len(values), (i + 1) * width // len(values) - 1
            draw.rectangle((left, min(end, zero), max(left, right - (right - left > 2)), max(end, zero)), _BAR)
    draw.line((0, min(zero, height - 1), width, min(zero, height - 1)), _INK)
    return image


def _plain(text: str) -> str:
    """The text without control characters, and without signs that Pillow's font lacks."""
    text = text.replace("↓", "down").replace("→", "across").replace("−", "-").replace("×", "x")
    return printable(text)
