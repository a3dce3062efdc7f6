"""Where the nodes and edges of a network go in a picture; ``html/page.js`` does the same in the browser.

Each open row is a small graph of its own: what it contains, a port for each result that enters it and one for each
that leaves. Its nodes are stacked in chains: a chain is a column in which each node stands below one that it takes its
input from. The longest chain comes first; the others, and then the lanes of edges that skip nodes, take the nearest
place beside what is there already. Lengths are pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from fwdscope.render.lines import cells, shorten
from fwdscope.render.nodes import about, title
from fwdscope.report.graph import Graph, Link

BELOW, BESIDE, LANE, INSIDE, HEAD = 38, 22, 13, 16, 36
# The pixels of a character of a bold title, and of other text; characters of either before it is cut.
TITLE, TEXT = 7.3, 6.7
MOST_TITLE, MOST_ABOUT, MOST_ABOUT_OPEN = 26, 34, 24

Point = tuple[float, float]
Key = int | tuple[str, int]


@dataclass(eq=False)
class Box:
    """A node with its size and its place in the row around it: closed, open with what is inside, or a port."""

    node: int
    w: float
    h: float
    title: str = ""
    about: str = ""
    port: Literal["", "in", "out"] = ""
    inner: Laid | None = None
    # How far what is inside is from the left.
    left: float = 0
    x: float = 0
    y: float = 0
    # From its top to the end of all that takes from it.
    down: float = 0
    is_placed: bool = False
    before: list[Link] = field(default_factory=list)
    after: list[Link] = field(default_factory=list)

    def enters(self, result: int) -> float:
        """Where the edge of a result comes in, from the left."""
        return self._port(("in", result))

    def leaves(self, result: int) -> float:
        """Where the edge of a result goes out, from the left."""
        return self._port(("out", result))

    def _port(self, key: Key) -> float:
        port = self.inner.boxes.get(key) if self.inner else None
        return self.w / 2 if port is None else self.left + port.x

    @property
    def bottom(self) -> float:
        """Where it ends."""
        return self.y + self.h


class Wire(NamedTuple):
    """An edge as the corners of its line."""

    link: Link
    kind: Literal["", "skip", "back"]
    points: list[Point]


@dataclass
class Laid:
    """What is right inside an open row, laid out."""

    boxes: dict[Key, Box]
    wires: list[Wire]
    w: float
    h: float


class _Space(NamedTuple):
    """A rectangle that is taken; of a lane, which has no width, others keep less distance."""

    x0: float
    x1: float
    y0: float
    y1: float
    is_lane: bool = False


class _InChain(NamedTuple):
    """A box of a chain, and the result that goes straight into it from the one above."""

    box: Box
    result: int | None


def lay_out(graph: Graph, opened: frozenset[int]) -> Laid:
    """The network with these rows open."""
    return _lay_out(graph, None, opened, graph.links(opened))


def _lay_out(graph: Graph, row: int | None, opened: frozenset[int], links: Mapping[int | None, list[Link]]) -> Laid:
    own = links.get(row, [])
    boxes: dict[Key, Box] = {}
    for link in own:
        if link.source is None:
            boxes["in", link.result] = Box(link.result, 0, 0, port="in")
    for node in graph.inside[row]:
        boxes[node] = _box(graph, node, opened, links)
    for link in own:
        if link.target is None:
            boxes["out", link.result] = Box(link.result, 0, 0, port="out")
    for link in own:
        if not link.back:
            _source(boxes, link).after.append(link)
            _target(boxes, link).before.append(link)
    _set_heights(boxes)
    spaces: list[_Space] = []
    straight: set[Link] = set()
    for chain in _chains(boxes, straight):
        _place(chain, boxes, spaces)
    wires = _wires(boxes, own, straight, spaces)
    left = min((x for one in spaces for x in one[:2]), default=0)
    right = max((x for one in spaces for x in one[:2]), default=0)
    for box in boxes.values():
        box.x -= left
    moved = [wire._replace(points=[(x - left, y) for x, y in wire.points]) for wire in wires]
    return Laid(boxes, moved, right - left, max((box.bottom for box in boxes.values()), default=0))


def _source(boxes: Mapping[Key, Box], link: Link) -> Box:
    return boxes[("in", link.result) if link.source is None else link.source]


def _target(boxes: Mapping[Key, Box], link: Link) -> Box:
    return boxes[("out", link.result) if link.target is None else link.target]


def _box(graph: Graph, node: int, opened: frozenset[int], links: Mapping[int | None, list[Link]]) -> Box:
    called, more = title(graph, node, MOST_TITLE), about(graph, node)
    has_inside, short = node in graph.inside, shorten(more, MOST_ABOUT)
    if node in opened:
        inner, short = _lay_out(graph, node, opened, links), shorten(more, MOST_ABOUT_OPEN)
        w = max(inner.w + 2 * INSIDE, 60 + TITLE * cells(called) + TEXT * cells(short))
        return Box(node, w, inner.h + HEAD + INSIDE, called, short, inner=inner, left=(w - inner.w) / 2)
    # A row has room for its figure at the right.
    room = (9 if graph.is_row(node) else 0) + 3 * has_inside
    w = max(96, 22 + TITLE * (cells(called) + room), 22 + TEXT * cells(short))
    return Box(node, w, 44 if short else 30, called, short)


def _set_heights(boxes: Mapping[Key, Box]) -> None:
    """Each node stands below all that it takes from; what takes from nothing, right above what takes from it."""
    order = list(boxes.values())
    first = BELOW if any(box.port == "in" for box in order) else 0
    for box in order:
        box.y = max([_source(boxes, link).bottom + BELOW for link in box.before], default=0)
        box.y = max(box.y, 0 if box.port == "in" else first)
    for box in reversed(order):
        if not box.before and not box.port and box.after:
            box.y = max(box.y, min(_target(boxes, link).y for link in box.after) - BELOW - box.h)
        box.down = box.h + max([_target(boxes, link).down + BELOW for link in box.after], default=0)
    lowest = max((box.bottom for box in order if box.port != "out"), default=0)
    for box in order:
        if box.port == "out":
            box.y = lowest + BELOW


def _chains(boxes: Mapping[Key, Box], straight: set[Link]) -> Iterable[list[_InChain]]:
    """Columns of boxes, the longest first; the links within them are straight."""
    chained: set[Box] = set()
    for first in sorted(boxes.values(), key=lambda box: (-box.down, box.y)):
        if first in chained:
            continue
        chain = [_InChain(first, None)]
        chained.add(first)
        while True:
            here = chain[-1].box
            free = [(link, below) for link in here.after if (below := _target(boxes, link)) not in chained]
            near = [(link, below) for link, below in free if below.y <= here.bottom + BELOW + 1]
            if not free:
                break
            link, below = max(near or free, key=lambda one: one[1].down)
            straight.add(link)
            chained.add(below)
            chain.append(_InChain(below, link.result))
        yield chain


def _place(chain: list[_InChain], boxes: Mapping[Key, Box], spaces: list[_Space]) -> None:
    """Put a chain as near as possible to what it is linked with, where it overlaps nothing."""
    taken, axis = [], 0.0
    above: Box | None = None
    for step, after in zip(chain, [*chain[1:], None], strict=True):
        box = step.box
        leaves = box.w / 2 if after is None or after.result is None else box.leaves(after.result)
        if above is None or step.result is None:
            box.x = axis - leaves
        else:
            box.x = axis - box.enters(step.result)
            taken.append(_Space(axis, axis, above.bottom, box.y, True))
        taken.append(_Space(box.x, box.x + box.w, box.y, box.bottom, bool(box.port)))
        axis, above = box.x + leaves, box
    own = dict.fromkeys(step.box for step in chain)
    wanted = []
    for box in own:
        for link in (*box.before, *box.after):
            other = _source(boxes, link) if link in box.before else _target(boxes, link)
            if other not in own and other.is_placed:
                here, there = (Box.enters, Box.leaves) if link in box.before else (Box.leaves, Box.enters)
                wanted.append(other.x + there(other, link.result) - box.x - here(box, link.result))
    by = _free(taken, spaces, sum(wanted) / len(wanted) if wanted else 0.0)
    for box in own:
        box.x += by
        box.is_placed = True
    spaces += [one._replace(x0=one.x0 + by, x1=one.x1 + by) for one in taken]


def _free(own: list[_Space], spaces: Iterable[_Space], wanted: float) -> float:
    """How far spaces have to move to the side, near to ``wanted``, to be free of all that are taken."""
    taken = []
    for other in spaces:
        for one in own:
            if one.y0 < other.y1 + 6 and other.y0 < one.y1 + 6:
                between = LANE if one.is_lane and other.is_lane else BESIDE
                taken.append((other.x0 - one.x1 - between, other.x1 - one.x0 + between))
    right = left = wanted
    for low, high in sorted(taken):
        if low < right - 0.01 and right < high:
            right = high
    for low, high in sorted(taken, key=lambda one: -one[1]):
        if high > left + 0.01 and left > low:
            left = low
    return right if right - wanted <= wanted - left else left


class _Far(NamedTuple):
    """Edges of a result that skip nodes, which share a lane."""

    start: Point
    ends: list[tuple[Link, Point]]

    @property
    def end(self) -> float:
        return max(y for _, (_, y) in self.ends)


def _wires(boxes: Mapping[Key, Box], links: list[Link], straight: set[Link], spaces: list[_Space]) -> list[Wire]:
    """The edges; those that skip nodes in lanes beside what is placed, the shortest nearest."""
    wires: list[Wire] = []
    lanes: list[_Far] = []
    for box in boxes.values():
        for result in dict.fromkeys(link.result for link in box.after):
            x, y = start = (box.x + box.leaves(result), box.bottom)
            far: list[tuple[Link, Point]] = []
            for link in (one for one in box.after if one.result == result):
                target = _target(boxes, link)
                tx, ty = end = (target.x + target.enters(result), target.y)
                if link in straight or (ty - y <= BELOW + 1 and abs(x - tx) < 1):
                    wires.append(Wire(link, "", [start, end]))
                elif ty - y <= BELOW + 1:
                    wires.append(Wire(link, "", [start, (x, ty - 12), (tx, ty - 12), end]))
                else:
                    far.append((link, end))
            if far:
                lanes.append(_Far(start, far))
    for lane in sorted(lanes, key=lambda one: one.end - one.start[1]):
        x, y = lane.start
        own = _Space(x, x, y + 10, lane.end - 10, True)
        by = _free([own], [one for one in spaces if one.y1 > y + 1 and one.y0 < lane.end - 1], 0)
        spaces.append(own._replace(x0=x + by, x1=x + by))
        for link, (tx, ty) in lane.ends:
            points = [(x, y), (x, y + 12), (x + by, y + 12), (x + by, ty - 12), (tx, ty - 12), (tx, ty)]
            wires.append(Wire(link, "skip", points))
    right = max((one.x1 for one in spaces), default=0)
    backs = [link for link in links if link.back and link.source != link.target]
    for index, link in enumerate(backs):
        source, target, lane_x = _source(boxes, link), _target(boxes, link), right + BESIDE + index * LANE
        spaces.append(_Space(lane_x, lane_x, 0, 0, True))
        ax, ay, bx = source.x + source.leaves(link.result), source.bottom, target.x + target.enters(link.result)
        points = [
            (ax, ay),
            (ax, ay + 12),
            (lane_x, ay + 12),
            (lane_x, target.y - 12),
            (bx, target.y - 12),
            (bx, target.y),
        ]
        wires.append(Wire(link, "back", points))
    return wires
