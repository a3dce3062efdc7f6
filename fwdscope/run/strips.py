"""``--show all``: small pictures of the outputs of a whole forward, taken while it runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from fwdscope.report import Report, Strip, multiplicities, parents
from fwdscope.report.pictures import encode_cells
from fwdscope.run.prepare import RowNodes
from fwdscope.run.show import names_near
from fwdscope.trace import Node

# By default, the deepest level outside copies with at most so many strips; of a stack, so many of its copies.
MOST_STRIPS, MOST_COPIES = 40, 12
# Channels that are drawn, the side of a map in cells, features and positions of a sequence, points of a line, bars.
CHANNELS, SIDE, FEATURES, POSITIONS, POINTS, BARS = 5, 32, 32, 48, 64, 32
# Calls of one path that a strip is made of: its rows tell them apart.
MOST_CALLS = 16

T = TypeVar("T")


@dataclass(frozen=True)
class WantedStrips:
    """The rows that strips are made of with their steps, and by path the names of the dimensions of the outputs."""

    rows: tuple[tuple[int, tuple[Node, ...]], ...]
    names: Mapping[str, tuple[str, ...]]
    batch: int | None

    def taker(self, taken: dict[Node, Strip]) -> Callable[[Node, Tensor], None]:
        """A function that takes the strips of outputs as they are made."""
        calls: Counter[str] = Counter()

        def take(node: Node, output: Tensor) -> None:
            if node.path in self.names and calls[node.path] < MOST_CALLS:
                calls[node.path] += 1
                if (strip := strip_of(output, self.names[node.path], self.batch)) is not None:
                    taken[node] = strip

        return take


def wanted_strips(report: Report, rows: RowNodes, depth: int | None, batch: int | None) -> WantedStrips:
    """What ends at a level of the network: a block there, or a layer above it. Of equal copies, some evenly chosen."""
    containers = set(parents([row for row, _ in rows]))

    def ending(level: int) -> list[int]:
        return [
            index
            for index, (row, _) in enumerate(rows)
            if row.kind != "parameter" and (row.depth == level or (row.depth < level and index not in containers))
        ]

    times = multiplicities([row for row, _ in rows])

    def fits(level: int) -> bool:
        ends = ending(level)
        inside_copies = any(times[index] > rows[index][0].repeat for index in ends)
        return not inside_copies and sum(min(rows[index][0].repeat, MOST_COPIES) for index in ends) <= MOST_STRIPS

    deepest = max((row.depth for row, _ in rows), default=1)
    if depth is None:
        depth = next((level for level in range(deepest, 1, -1) if fits(level)), 1)
    chosen = []
    for index in ending(min(depth, deepest)):
        row, nodes = rows[index]
        copies = list({node.path: node for node in reversed(nodes)}.values())[::-1]
        chosen.append((index, tuple(evenly(copies, MOST_COPIES if row.repeat > 1 else 1))))
    names = {node.path: names_near(rows[index][0], report) for index, nodes in chosen for node in nodes}
    return WantedStrips(tuple(chosen), names, batch)


def evenly(values: Sequence[T], most: int) -> list[T]:
    """At most so many of some values, evenly spaced, with the first and the last."""
    if len(values) <= most or most < 2:
        return list(values[:most])
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


class Drawn(NamedTuple):
    """The values that a strip draws: panels of rows, and how many values the item has that they are of."""

    kind: Literal["maps", "lines", "grid", "bars"]
    panels: Tensor
    numbers: Sequence[int]
    of: int
    total: int


def drawn_of(whole: Tensor, names: Sequence[str], batch: int | None) -> Drawn:
    """The values of a tensor that a strip draws, of the first item of a batch."""
    part = whole[0] if whole.dim() > 3 or (whole.dim() > 1 and whole.shape[0] in (1, batch)) else whole
    count = part.numel()
    has_channels = "channel" in names[-part.dim() :][:1]
    while part.dim() > 3:
        # The middle of a volume, and of what else there is.
        part = part[:, part.shape[1] // 2]
    if part.dim() == 3 and part.shape[1:].numel() == 1:
        part = part.flatten()
    sizes = part.shape
    if part.dim() == 3 or (part.dim() == 2 and has_channels):
        numbers = evenly(range(sizes[0]), CHANNELS)
        if part.dim() == 3:
            return Drawn("maps", part[numbers], numbers, sizes[0], count)
        return Drawn("lines", part[numbers][:, evenly(range(sizes[1]), POINTS)][:, None], numbers, sizes[0], count)
    if part.dim() == 2:
        part = part[evenly(range(sizes[0]), POSITIONS)][:, evenly(range(sizes[1]), FEATURES)]
        return Drawn("grid", part[None], [0], 1, count)
    part = part.reshape(-1)
    return Drawn("bars", part[evenly(range(len(part)), BARS)][None, None], [0], 1, count)


def drawn_cells(
    shape: Sequence[int], names: Sequence[str], batch: int | None
) -> tuple[list[tuple[int, ...] | None], int]:
    """The index of the number in each cell of a strip, None in one of several; and how many numbers its item has."""
    places = torch.arange(math.prod(shape)).reshape(tuple(shape))
    drawn = drawn_of(places, names, batch)
    if drawn.kind == "maps" and max(drawn.panels.shape[1:]) > SIDE:
        return [None] * drawn.panels.numel(), drawn.total
    found = torch.stack(torch.unravel_index(drawn.panels.flatten(), places.shape), -1) if shape else places[None, None]
    return [tuple(map(int, index)) if shape else () for index in found.tolist()], drawn.total


def strip_of(tensor: Tensor, names: Sequence[str] = (), batch: int | None = None) -> Strip | None:
    """The strip of a tensor, still without a name; None of one without values."""
    whole = tensor.detach()
    if not whole.numel() or whole.layout != torch.strided or whole.is_quantized:
        return None
    zeros = float((whole == 0).double().mean()) if whole.device.type != "mps" else float((whole == 0).float().mean())
    kind, part, numbers, of, _ = drawn_of(whole, names, batch)
    values = part.cpu()
    values = values.to(torch.complex128).abs() if values.is_complex() else values.double()
    if kind == "maps":
        size = min(SIDE, values.shape[1]), min(SIDE, values.shape[2])
        # Means of the finite values; NaN where there are none.
        total, finite = (
            adaptive_avg_pool2d(x[None], size)[0] for x in (values.nan_to_num(0, 0, 0), values.isfinite().double())
        )
        values = total / finite
    known = values[values.isfinite()]
    low, high = (float(known.min()), float(known.max())) if known.numel() else (None, None)
    cells = [[value if value - value == 0 else None for value in panel.flatten().tolist()] for panel in values]
    panels = tuple(encode_cells(panel, low, high) for panel in cells)
    height, width = values.shape[1:]
    return Strip("", None, kind, tuple(whole.shape), height, width, panels, tuple(numbers), of, low, high, zeros)


def strips_of(
    wanted: WantedStrips,
    inputs: Mapping[str, Tensor],
    taken: Mapping[Node, Strip],
    ran: Mapping[Node, Node],
    rows: RowNodes,
) -> tuple[tuple[Strip, Node | None], ...]:
    """The strips of the inputs and of the steps that ran, with these, in order; ``rows`` are those of the report."""
    found: list[tuple[Strip, Node | None]] = [
        (replace(strip, name=name), None) for name, one in inputs.items() if (strip := strip_of(one, (), wanted.batch))
    ]
    places = {ran.get(node, node): index for index, (_, nodes) in enumerate(rows) for node in nodes}
    by_path = {step.path: step for step in reversed(list(taken))}
    for _, nodes in wanted.rows:
        for node in nodes:
            # Where the data decided what ran, steps are found again by their paths.
            step = ran.get(node, by_path.get(node.path))
            if step not in taken or step not in places:
                continue
            # A line that gives a result on makes nothing.
            if node.path or taken[step].panels != found[-1][0].panels:
                row = rows[places[step]][0]
                found.append((replace(taken[step], name=node.path or row.text or row.type, row=places[step]), node))
    return tuple(found)
