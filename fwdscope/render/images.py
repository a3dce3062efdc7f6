"""A picture of a tensor as a file: SVG as the terminal draws it, by Rich, and PNG by Pillow, an optional extra."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from rich.console import Console

from fwdscope import units
from fwdscope.render.colours import NO_COLOUR, colour, share_of
from fwdscope.render.maps import print_picture
from fwdscope.report.pictures import Panel, Picture

if TYPE_CHECKING:
    from PIL.Image import Image

# Characters of a line of an SVG.
SVG_WIDTH = 80
# Pixels of a PNG: about the width of all panels, the largest side of a cell, a panel of bars, space between things.
PNG_WIDTH = 720
MAX_CELL = 32
BARS_SIZE = (360, 240)
MARGIN = 16
LINE_HEIGHT = 20
SCALE_SIZE = (240, 12)
_WHITE, _INK, _BAR = (255, 255, 255), (64, 64, 64), (49, 104, 142)


def svg(picture: Picture) -> str:
    """The picture as an SVG file. The same picture gives the same file."""
    console = Console(
        record=True,
        width=SVG_WIDTH,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    print_picture(picture, console)
    title = "".join(c if c.isprintable() else " " for c in picture.title or "a tensor")
    return console.export_svg(title=title, unique_id="fwdscope")


def png(picture: Picture) -> bytes:
    """The picture as a PNG file: its title, panels, scale and axes. Raises ModuleNotFoundError without Pillow."""
    from PIL import Image, ImageDraw, ImageFont

    across = math.ceil(math.sqrt(len(picture.panels)))
    down = math.ceil(len(picture.panels) / across)
    images = [_draw_panel(picture, panel, across) for panel in picture.panels]
    width, height = images[0].size
    texts = [f"{picture.down} ↓" * bool(picture.down) + f"   {picture.across} →" * bool(picture.across), *picture.notes]
    size = (
        2 * MARGIN + max(across * (width + MARGIN) - MARGIN, 2 * SCALE_SIZE[0]),
        2 * MARGIN + LINE_HEIGHT * (3 + len(texts)) + down * (height + LINE_HEIGHT),
    )
    whole = Image.new("RGB", size, _WHITE)
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(12)
    draw.text((MARGIN, MARGIN), _plain(picture.title), _INK, font)
    for number, (panel, image) in enumerate(zip(picture.panels, images, strict=True)):
        row, column = divmod(number, across)
        x, y = MARGIN + column * (width + MARGIN), MARGIN + LINE_HEIGHT * (row + 1) + row * height
        draw.text((x, y), panel.label, _INK, font)
        whole.paste(image, (x, y + LINE_HEIGHT))
    y = MARGIN + LINE_HEIGHT * (down + 1) + down * height + MARGIN // 2
    if picture.low is None or picture.high is None:
        draw.text((MARGIN, y), "no finite value", _INK, font)
    elif picture.kind == "bars":
        ends = units.value(min(0.0, picture.low)), units.value(max(0.0, picture.high))
        draw.text((MARGIN, y), _plain(f"from {ends[0]} to {ends[1]}"), _INK, font)
    else:
        low, high = _plain(units.value(picture.low)), _plain(units.value(picture.high))
        x = MARGIN + int(draw.textlength(low, font)) + 6
        draw.text((MARGIN, y), low, _INK, font)
        for i in range(SCALE_SIZE[0]):
            draw.line((x + i, y, x + i, y + SCALE_SIZE[1]), colour(i / (SCALE_SIZE[0] - 1)))
        draw.text((x + SCALE_SIZE[0] + 6, y), high, _INK, font)
    for i, text in enumerate(texts):
        draw.text((MARGIN, y + LINE_HEIGHT * (i + 1)), _plain(text), _INK, font)
    file = io.BytesIO()
    whole.save(file, "PNG")
    return file.getvalue()


def _draw_panel(picture: Picture, panel: Panel, across: int) -> Image:
    """One map with whole pixels for each cell, or the bars of one row."""
    from PIL import Image, ImageDraw

    if picture.kind == "map":
        rows, columns = len(panel.rows), len(panel.rows[0])
        cell = max(1, min(MAX_CELL, PNG_WIDTH // across // columns))
        # A few long rows become bands, so that they are visible.
        high = max(cell, min(MAX_CELL, columns * cell // (4 * rows)))
        image = Image.new("RGB", (columns, rows), NO_COLOUR)
        image.putdata([colour(share_of(value, picture.low, picture.high)) for row in panel.rows for value in row])
        return image.resize((columns * cell, rows * high), Image.Resampling.NEAREST)
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
    text = text.replace("↓", "down").replace("→", "across").replace("−", "-")
    return "".join(c if c.isprintable() else " " for c in text)
