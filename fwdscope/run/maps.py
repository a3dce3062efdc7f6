"""A tensor as a picture: choosing a part of it, and averaging it down to a few hundred cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from fwdscope.report.pictures import Index, Panel, Picture, panel_words, parse_index

# Cells along the longer side of a picture; maps side by side share them.
MOST_CELLS = 512
MOST_PANELS = 64


# Colours of a map with a scale of its own end at this quantile, if its highest value is so many times as far away.
_QUANTILE = 0.98
_FAR = 3


def picture(
    tensor: Tensor,
    title: str = "",
    index: str = "",
    most: int = MOST_CELLS,
    names: Sequence[str] = (),
    own_scales: bool = False,
) -> Picture:
    """The picture of a tensor, or of the part that an index such as ``[0, :, 3]`` names.

    One dimension is drawn as bars, two as a map, three as a map for each of the first (channels, heads). Without an
    index, the first item of the batch is drawn. ``names`` are those of the dimensions, empty where there is none; with
    ``own_scales`` each map has its own scale. Complex numbers are drawn by magnitude. Raises ValueError for an index
    that does not fit.
    """
    chosen = parse_index(index)
    dims, part = _select(tensor.detach(), chosen)
    called = [name or f"dim {dim}" for dim, name in enumerate(names)] or [f"dim {dim}" for dim in range(tensor.dim())]
    if not part.numel():
        raise ValueError(f"there is nothing to draw: the shape is {_shape(part)}")
    notes = [f"{index.strip()} of {_shape(tensor)}"] if chosen else []
    while part.dim() > 3 or (part.dim() == 3 and not chosen and tensor.dim() == 3):
        # The batch without an index, or more dimensions than can be drawn.
        if part.shape[0] > 1:
            notes.append(f"the first of {part.shape[0]} along {called[dims[0]]}")
        dims, part = dims[1:], part[0]
    kept = [i for i, size in enumerate(part.shape) if size > 1] or list(range(part.dim()))[-1:]
    dims, part = [dims[i] for i in kept], part.reshape([part.shape[i] for i in kept])
    if part.dim() == 3 and part.shape[0] > MOST_PANELS:
        notes.append(f"the first {MOST_PANELS} of {part.shape[0]} along {called[dims[0]]}")
        part = part[:MOST_PANELS]
    # On the CPU: Apple's devices have no float64, and average only into cells of equal size.
    values = part.reshape((1,) * (3 - part.dim()) + tuple(part.shape)).cpu()
    label = "" if part.dim() < 3 else f"{called[dims[0]]} " if dims[0] < len(names) and names[dims[0]] else " "
    panels = tuple(_panels(values, most, label))
    if own_scales:
        panels = tuple(replace(panel, scale=_own_scale(panel)) for panel in panels)
        if any(panel_words(panel)[2] for panel in panels):
            notes.append(f"colours end where {100 * (1 - _QUANTILE):.0f} % of a map's cells are above")
    cells = [cell for panel in panels for cell in chain.from_iterable(panel.rows) if cell is not None]
    words = [f"{called[dim]} (size {size})" for dim, size in zip(dims, part.shape, strict=True)]
    height, width = values.shape[1:]
    rows, columns = len(panels[0].rows), len(panels[0].rows[0])
    if (rows, columns) != (height, width):
        each = f"{width / columns:.3g}" if height == 1 else f"{height / rows:.3g} × {width / columns:.3g}"
        notes.append(f"means of about {each} values")
    return Picture(
        kind="map" if part.dim() > 1 else "bars",
        title=title,
        panels=panels,
        low=min(cells, default=None),
        high=max(cells, default=None),
        down=words[-2] if part.dim() > 1 else "",
        across=words[-1] if words else "",
        notes=tuple(notes),
    )


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"


def _select(tensor: Tensor, index: Index) -> tuple[list[int], Tensor]:
    """The part of a tensor that an index selects, and which dimensions are left."""
    if len(index) > tensor.dim():
        raise ValueError(
            f"the index has {len(index)} entries, and the shape {_shape(tensor)} {tensor.dim()} dimensions"
        )
    for dim, entry in enumerate(index):
        size = tensor.shape[dim]
        if isinstance(entry, int) and not -size <= entry < size:
            raise ValueError(f"index {entry} is outside dimension {dim} of the shape {_shape(tensor)}")
    taken = {dim for dim, entry in enumerate(index) if isinstance(entry, int)}
    return [dim for dim in range(tensor.dim()) if dim not in taken], tensor[index]


def _own_scale(panel: Panel) -> tuple[float, float] | None:
    """The lowest value of a map, and the highest or, if few are near that, the quantile; None without values."""
    cells = sorted(cell for row in panel.rows for cell in row if cell is not None)
    if not cells:
        return None
    low, high, most = cells[0], cells[-1], cells[int(_QUANTILE * (len(cells) - 1))]
    return low, most if most > low and (high - low) / _FAR > most - low else high


def _panels(values: Tensor, most: int, label: str) -> Iterator[Panel]:
    """The maps of a tensor (count, height, width), each averaged down to its share of the cells."""
    count, height, width = values.shape
    share = max(8, most // math.ceil(math.sqrt(count)))
    size = (min(height, share), min(width, share if height > 1 else most))
    for number, one in enumerate(values):
        numbers = (one.to(torch.complex128).abs() if one.is_complex() else one.double())[None]
        finite = numbers.isfinite().double()
        total, part = (adaptive_avg_pool2d(x, size) for x in (numbers.nan_to_num(0.0, 0.0, 0.0), finite))
        # The mean of the finite values in each cell; NaN if there are none.
        cells = (total / part)[0].tolist()
        rows = tuple(tuple(cell if math.isfinite(cell) else None for cell in row) for row in cells)
        yield Panel(rows, f"{label}{number}".strip() if label else "")
