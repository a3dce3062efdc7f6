"""A tensor as something to look at: maps of colours or bars, as plain data that any renderer draws without torch."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fwdscope import units
from fwdscope.report.value import KeptValue, Value, lean

Index = tuple[int | slice, ...]

_PATH = re.compile(r"(?P<path>[^\[\]]*)(?P<index>\[.*\])?", re.DOTALL)
_ENTRY = re.compile(r"-?[0-9]{1,18}|:")


@dataclass(frozen=True)
class Panel:
    """One map: rows of equal length, from the top. A cell is None if none of its values is finite.

    ``label`` is the number of a head or a channel. ``scale`` are the ends of its own scale, where it has one: colours
    end there, and values may lie beyond.
    """

    rows: tuple[tuple[float | None, ...], ...]
    label: str = ""
    scale: tuple[float, float] | None = None


@dataclass(frozen=True)
class Picture:
    """A tensor to be drawn: maps side by side, or the bars of one row.

    With more values than cells, a cell is the mean of its values. ``low`` and ``high`` are the ends of the scale, the
    extremes over all panels; None if no cell is finite.
    """

    kind: Literal["map", "bars"]
    title: str
    panels: tuple[Panel, ...]
    low: float | None
    high: float | None
    # The dimensions, as ``query (size 128)`` or ``dim 2 (size 128)``; ``down`` is empty for bars.
    down: str
    across: str
    # Which part of the tensor is shown: ``the first of 8 along dim 0``.
    notes: tuple[str, ...] = ()


# The byte of a cell without a finite value; the others are the positions between the ends of the scale.
_NO_VALUE = 255
_MOST_CELLS = 65_536


@dataclass(frozen=True)
class Strip:
    """The output of one step of a run as a few small panels, of the first item of a batch.

    ``maps`` are channels; ``lines`` are channels along one axis; ``grid`` is a sequence, positions down and features
    across; ``bars`` is a vector. ``numbers`` are those of the ``of`` channels that are drawn, ``panels`` their cells,
    row by row, a byte each, in base64: 0 at ``low`` to 254 at ``high``, 255 where no value is finite.
    """

    name: str
    # The index in ``Report.layers``; None for an input of the network.
    row: int | None
    kind: Literal["maps", "lines", "grid", "bars"]
    shape: tuple[int, ...]
    height: int
    width: int
    panels: tuple[str, ...]
    numbers: tuple[int, ...] = ()
    of: int = 1
    low: Value | None = None
    high: Value | None = None
    # The share of all values of the tensor that are zero, from 0 to 1.
    zeros: float = 0.0
    # How the numbers of a small output came about.
    values: tuple[KeptValue, ...] = lean(())

    def cells(self) -> Iterator[bytes]:
        """The cells of each panel. Raises ValueError if one has another size, or more cells than are drawn."""
        for panel in self.panels:
            try:
                cells = base64.b64decode(panel, validate=True)
            except ValueError as error:
                raise ValueError(f"a panel of {self.name} is no base64: {error}") from None
            if not self.width or len(cells) != self.height * self.width:
                raise ValueError(f"a panel of {self.name} has {len(cells)} cells, not {self.height} × {self.width}")
            if len(cells) > _MOST_CELLS:
                raise ValueError(f"a panel of {self.name} has {len(cells)} cells; at most {_MOST_CELLS} are drawn")
            yield cells

    def shares(self) -> list[list[list[float | None]]]:
        """The panels as rows of positions on the scale, from 0 to 1. Raises ValueError as :meth:`cells` does."""
        found = []
        for cells in self.cells():
            values = [None if cell == _NO_VALUE else cell / (_NO_VALUE - 1) for cell in cells]
            found.append([values[i : i + self.width] for i in range(0, len(values), self.width)])
        return found


def share_of(value: float | None, low: float | None, high: float | None) -> float | None:
    """The position of a value between the ends of the scale, from 0 to 1; the middle if they are equal."""
    if value is None or low is None or high is None:
        return None
    # Halves, because the distance of the ends may overflow a float.
    return (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5


def encode_cells(values: Sequence[float | None], low: float | None, high: float | None) -> str:
    """The cells of a panel of a :class:`Strip` with this scale."""
    shares = (share_of(value, low, high) for value in values)
    cells = (_NO_VALUE if share is None else round(share * (_NO_VALUE - 1)) for share in shares)
    return base64.b64encode(bytes(cells)).decode()


def panel_words(panel: Panel) -> tuple[str, str, str]:
    """What stands over a map: its label, its own scale, and the highest value if that lies beyond."""
    if panel.scale is None:
        return panel.label, "", ""
    low, high = panel.scale
    top = max((cell for row in panel.rows for cell in row if cell is not None), default=high)
    return panel.label, f"{units.value(low)} … {units.value(high)}", f"max {units.value(top)}" * (top > high)


def scale_words(picture: Picture) -> tuple[str, str]:
    """The ends of the scale: the lowest and the highest value, or words if each of several maps has its own."""
    if any(panel.scale for panel in picture.panels[1:]):
        return "low", "high, each map by its own scale"
    low, high = picture.panels[0].scale or (picture.low or 0.0, picture.high or 0.0)
    beyond = panel_words(picture.panels[0])[2]
    return units.value(low), units.value(high) + f" ({beyond})" * bool(beyond)


def split_index(text: str) -> tuple[str, str]:
    """A path and the index after it, which may be empty: ``layer1[0, 3]`` is ``layer1`` and ``[0, 3]``.

    Raises ValueError if the brackets do not close.
    """
    match = _PATH.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text.strip()!r} is no path with an index: write it as layer1[0, 3]")
    return match["path"].strip(), match["index"] or ""


def parse_index(text: str) -> Index:
    """The index in a text such as ``[0, :, 3]``: whole numbers, and ``:`` for all of a dimension. Empty text is ().

    Raises ValueError with the part that cannot be read.
    """
    stripped = text.strip()
    if not stripped:
        return ()
    if not (stripped.startswith("[") and stripped.endswith("]")):
        raise ValueError(f"{stripped!r} is no index: write it in brackets, as [0, 3]")
    entries = [entry.strip() for entry in stripped[1:-1].split(",")]
    for entry in entries:
        if not _ENTRY.fullmatch(entry):
            found = repr(entry) if entry else "nothing"
            raise ValueError(f"index {stripped}: found {found} where a whole number or : was expected, as in [0, :, 3]")
    return tuple(slice(None) if entry == ":" else int(entry) for entry in entries)
