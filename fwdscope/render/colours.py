"""The colours of numbers, and the resizing of maps, for the terminal and image files."""

from __future__ import annotations

import math
from collections.abc import Sequence

Colour = tuple[int, int, int]
Rows = Sequence[Sequence[float | None]]

# Viridis, every sixteenth of its 256 colours; by Nathaniel Smith and Stéfan van der Walt for matplotlib
# (lib/matplotlib/_cm_listed.py, CC0). Equal steps look equal, also in print and to the colour-blind.
_VIRIDIS = bytes.fromhex(
    "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219"
    "fde725"
)
_LAST = len(_VIRIDIS) // 3 - 1
# Grey, which the scale does not have, for a cell without a finite value.
NO_COLOUR: Colour = (128, 128, 128)


def colour(share: float | None) -> Colour:
    """The colour at a share of the scale, from 0 to 1; grey for None."""
    if share is None:
        return NO_COLOUR
    place = min(max(share, 0.0), 1.0) * _LAST
    first = min(int(place), _LAST - 1)
    low, high = (_VIRIDIS[3 * i : 3 * i + 3] for i in (first, first + 1))
    red, green, blue = (round(a + (b - a) * (place - first)) for a, b in zip(low, high, strict=True))
    return red, green, blue


def resampled(rows: Rows, height: int, width: int) -> list[list[float | None]]:
    """The rows in another size: cells are repeated to enlarge them and averaged to shrink them."""
    down, across = _spans(len(rows), height), _spans(len(rows[0]), width)
    narrow = [[_mean(row[a:b]) for a, b in across] for row in rows]
    return [[_mean([row[i] for row in narrow[a:b]]) for i in range(width)] for a, b in down]


def _spans(cells: int, places: int) -> list[tuple[int, int]]:
    return [(i * cells // places, -(-(i + 1) * cells // places)) for i in range(places)]


def _mean(values: Sequence[float | None]) -> float | None:
    if len(values) == 1:
        return values[0]
    known = [value for value in values if value is not None]
    return math.fsum(value / len(known) for value in known) if known else None


def grid(count: int, across: int) -> list[range]:
    """Numbers of panels, row by row, at most ``across`` of them side by side."""
    return [range(start, min(start + across, count)) for start in range(0, count, across)]
