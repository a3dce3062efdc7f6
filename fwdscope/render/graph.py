"""The network as a picture: an SVG of its graph, with rows open down to a depth, in light and dark.

It asks nothing of a network and needs no script. Colours are plain, so that programs that draw SVG but no web pages
show it too; the dark ones are for browsers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from xml.sax.saxutils import escape

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render.layout import BELOW, HEAD, TEXT, TITLE, Box, Laid, Point, lay_out
from fwdscope.render.lines import cells
from fwdscope.render.nodes import STEPS, Colouring, about, colour_by, edge_text, heat, step_of, title
from fwdscope.render.rows import Options, is_broken
from fwdscope.report import Report
from fwdscope.report.graph import Graph

# Rows that are seen unless a depth is asked for.
MOST_ROWS = 40
# Rows that are drawn at most, each with ten edges.
MOST_DRAWN = 2_000
_MARGIN, _TOP, _CORNER = 24, 64, 9
# The bar that explains the colours.
_BAR = 96
_WIDTH_OF_ARROW, _LENGTH_OF_ARROW = 3.2, 7
_FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

# Of each class: a property and its colours in light and dark.
_COLOURS = {
    "page": ("fill", "#f7f8fa", "#10151c"),
    "box": ("fill", "#ffffff", "#151b23"),
    "odd": ("fill", "#f5f6f8", "#1d242d"),
    "end": ("fill", "#e7eafa", "#242c3d"),
    "edge": ("stroke", "#d5dae3", "#38424f"),
    "end-edge": ("stroke", "#3550d0", "#93a7ff"),
    "wrong": ("stroke", "#c4261d", "#ff7b72"),
    "wire": ("stroke", "#8d98a9", "#6b7889"),
    "skip": ("stroke", "#6a7ddb", "#7183cb"),
    "tip": ("fill", "#8d98a9", "#6b7889"),
    "text": ("fill", "#18202c", "#e5e9f0"),
    "quiet": ("fill", "#586374", "#98a4b5"),
}


def render(report: Report, options: Options) -> str:
    """The SVG."""
    return svg(report, options.depth, options.colour)


def svg(report: Report, depth: int | None = None, colour: str | None = None) -> str:
    """The network with the rows of ``depth`` levels, by default of as many as fit, as an SVG file or part of a page.

    ``colour`` is the figure that nodes are coloured by. Raises ValueError if there is no such figure, or too much to
    draw.
    """
    graph = Graph(report)
    depth = depth or graph.depth_of(MOST_ROWS)
    opened = graph.opened(depth)
    rows, flows = sum(row.depth <= depth for row in report.layers), len(graph.flows)
    if max(rows, flows / 10) > MOST_DRAWN:
        raise ValueError(
            f"the graph has {rows:,} rows at depth {depth} and {flows:,} edges in all; at most {MOST_DRAWN:,} and "
            f"{10 * MOST_DRAWN:,} are drawn: use a smaller --depth, or --format dot"
        )
    colouring = colour_by(graph, opened, colour)
    laid = lay_out(graph, opened)
    head = printable(report.name)
    facts = _facts(report)
    width = max(laid.w, 8.2 * cells(head), TEXT * cells(facts), 260) + 2 * _MARGIN
    height = laid.h + _TOP + _MARGIN + (30 if colouring else 0)
    inside = [
        f'<rect class="fwd-page" width="{_short(width)}" height="{_short(height)}" rx="12"/>',
        _text(_MARGIN, 30, head, "text", size=14, weight=650),
        _text(_MARGIN, 47, facts, "quiet"),
        *_part(graph, laid, ((width - laid.w) / 2, _TOP), colouring),
        *(_scale(colouring, (_MARGIN, height - 22)) if colouring else ()),
    ]
    label = escape(f"The network {head}", {'"': "&quot;"})
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_short(width)} {_short(height)}" '
        f'width="{_short(width)}" height="{_short(height)}" style="max-width:100%;height:auto" role="img" '
        f'aria-label="{label}" font-family="{_FONT}" font-size="11">'
        f"<style>{_style()}</style>{''.join(inside)}</svg>\n"
    )


def _facts(report: Report) -> str:
    totals, least = report.totals, "≥ " * bool(report.uncounted)
    macs = f"{least}{units.count(totals.macs)} MACs" if totals.macs is not None else ""
    return "  ·  ".join(filter(None, (f"{units.count(totals.params)} parameters", macs)))


def _style() -> str:
    def of(dark: bool) -> str:
        heats = ((f"h{step}", "fill", heat((step / STEPS) ** 2, dark)) for step in range(STEPS + 1))
        named = ((name, what, colours[dark]) for name, (what, *colours) in _COLOURS.items())
        return "".join(f".fwd-{name}{{{what}:{colour}}}" for name, what, colour in (*named, *heats))

    lines = ".fwd-wire,.fwd-skip{fill:none;stroke-width:1.3}"
    return f"{of(False)}{lines}@media (prefers-color-scheme:dark){{{of(True)}}}"


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(
    x: float, y: float, text: str, kind: str, size: float = 11, weight: int = 400, anchor: str = "", style: str = ""
) -> str:
    more = f' font-size="{size}"' * (size != 11) + f' font-weight="{weight}"' * (weight != 400)
    more += f' text-anchor="{anchor}"' * bool(anchor) + f' font-style="{style}"' * bool(style)
    return f'<text class="fwd-{kind}" x="{_short(x)}" y="{_short(y)}"{more}>{escape(text)}</text>' if text else ""


def _scale(colouring: Colouring, at: Point) -> Iterator[str]:
    """What the colours of nodes mean."""
    x, y = at
    yield _text(x, y + 9, colouring.title, "quiet")
    x += TEXT * cells(f"{colouring.title}  ")
    for step in range(STEPS):
        kind, place = f"h{step + 1}", _short(x + step * _BAR / STEPS)
        yield f'<rect class="fwd-{kind}" x="{place}" y="{_short(y)}" width="{_BAR / STEPS:.0f}" height="10"/>'
    yield _text(x + _BAR + 6, y + 9, colouring.most, "quiet")


def _part(graph: Graph, laid: Laid, at: Point, colouring: Colouring | None, depth: int = 0) -> Iterator[str]:
    """What is right inside an open row: its edges, then its nodes, with all that is in them."""
    x, y = at
    tips = []
    yield f'<g transform="translate({_short(x)} {_short(y)})">'
    for wire in laid.wires:
        guessed = wire.link.target in graph.guessed
        dashes = ' stroke-dasharray="4 3"' if wire.kind == "back" or guessed else ""
        yield f'<path class="fwd-{"skip" if wire.kind == "skip" else "wire"}"{dashes} d="{_line(wire.points)}"/>'
        if wire.link.target is not None:
            tx, ty = wire.points[-1]
            tips.append(f"M{_short(tx)} {_short(ty)}l{-_WIDTH_OF_ARROW} {-_LENGTH_OF_ARROW}h{2 * _WIDTH_OF_ARROW}z")
    if tips:
        yield f'<path class="fwd-tip" d="{"".join(tips)}"/>'
    for box in laid.boxes.values():
        if box.port:
            yield f'<circle class="fwd-tip" cx="{_short(box.x)}" cy="{_short(box.y)}" r="2.2"/>'
        else:
            yield from _node(graph, box, colouring, depth)
        # A label that another of the same node covers is left out: it is written where its edge comes from, too.
        end = -math.inf
        results = sorted(dict.fromkeys(link.result for link in box.after), key=box.leaves)
        for result in () if box.port else results:
            label, place = edge_text(graph, [result]), box.x + box.leaves(result) + 6
            if label and place > end:
                yield _text(place, box.bottom + BELOW / 2 + 2.5, label, "quiet", 9.5)
                end = place + TEXT * cells(label)
    yield "</g>"


def _node(graph: Graph, box: Box, colouring: Colouring | None, depth: int) -> Iterator[str]:
    is_row = graph.is_row(box.node)
    row = graph.report.layers[box.node] if is_row else None
    is_expression = row is not None and row.kind == "expression"
    amount = colouring.amounts.get(box.node) if colouring else None
    step = step_of(amount.part) if amount else 0
    fill = ("odd", "box")[depth % 2] if box.inner else f"h{step}" if is_row else "end"
    edge = "wrong" if row and is_broken(row) else "edge" if is_row else "end-edge"
    radius = 14 if box.inner else 15 if not is_row or is_expression else _CORNER
    dashes = ' stroke-dasharray="3 2"' if is_expression else ""
    yield f'<g transform="translate({_short(box.x)} {_short(box.y)})">'
    full = " ".join(filter(None, (row.path if row else "", title(graph, box.node), about(graph, box.node))))
    yield f"<title>{escape(printable(full))}</title>"
    # Equal copies lie behind the first.
    for by in (8, 4, 0) if row and row.repeat > 1 else (0,):
        kind = fill if not by else "page"
        yield (
            f'<rect class="fwd-{kind} fwd-{edge}" x="{by}" y="{by}" width="{_short(box.w)}" height="{_short(box.h)}" '
            f'rx="{radius}"{dashes}/>'
        )
    yield _text(11, 19, box.title, "text", 12, 650)
    if box.inner:
        yield _text(11 + TITLE * cells(box.title) + 8, 19, box.about, "quiet")
        yield from _part(graph, box.inner, (box.left, HEAD), colouring, depth + 1)
    else:
        yield _text(11, 35, box.about, "text" if step > STEPS / 2 else "quiet", style="italic" * is_expression)
        if amount:
            yield _text(
                box.w - 9, 19, amount.text.replace(" ", ""), "text" if step > STEPS / 2 else "quiet", anchor="end"
            )
    yield "</g>"


def _line(points: list[Point]) -> str:
    """A line with round corners."""
    kept = [points[0], *(here for before, here in pairwise(points) if math.dist(before, here) > 0.5)]
    path = f"M{_at(kept[0])}"
    for before, here, after in zip(kept, kept[1:], kept[2:], strict=False):
        path += f"L{_at(_toward(here, before))}Q{_at(here)} {_at(_toward(here, after))}"
    return f"{path}L{_at(kept[-1])}"


def _toward(here: Point, end: Point) -> Point:
    part = min(_CORNER / math.dist(here, end), 0.5)
    return here[0] + (end[0] - here[0]) * part, here[1] + (end[1] - here[1]) * part


def _at(point: Iterable[float]) -> str:
    return " ".join(map(_short, point))
