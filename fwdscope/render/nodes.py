"""What is written in the nodes of a network's graph, and how much of a figure each has, whatever draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render.lines import shorten
from fwdscope.render.rows import FIGURES, again, described, view
from fwdscope.report import multiplicities
from fwdscope.report.graph import Graph

# Figures that a node can be coloured by, and a value of each as text.
COLOURS: dict[str, Callable[[float], str]] = {
    **dict.fromkeys(("macs", "flops", "params", "trainable", "buffers"), units.count),
    **dict.fromkeys(("read", "written", "memory"), units.byte_size),
    "latency": units.seconds,
    "intensity": units.value,
    "zeros": units.share,
    **dict.fromkeys(("nans", "infs"), units.count),
}


# Characters of a line of a label in a text that another program draws.
MOST_LABEL = 60
# Steps of the colour of a node, from none to the largest part; the colours of both in light and in dark.
STEPS = 12
_PLAIN, _HEAT = ("ffffff", "151b23"), ("ff8f3a", "c9601c")


def step_of(part: float) -> int:
    """The step of a node with a part of the largest amount: larger steps for what is small."""
    return math.ceil(STEPS * math.sqrt(part))


def heat(part: float, dark: bool = False) -> str:
    """The colour of a node with a part of the largest amount."""
    pairs = zip(bytes.fromhex(_PLAIN[dark]), bytes.fromhex(_HEAT[dark]), strict=True)
    much = 0.06 + 0.74 * math.sqrt(part) if part else 0
    return "#" + bytes(round(a + (b - a) * much) for a, b in pairs).hex()


class Amount(NamedTuple):
    """How much of a figure a node has: its value, that as text, and its part of the largest of those seen."""

    value: float
    text: str
    part: float


class Colouring(NamedTuple):
    """A figure, what it is called, the amounts of the nodes seen, and the largest of them as text."""

    figure: str
    title: str
    amounts: dict[int, Amount]
    most: str


def key(graph: Graph, node: int) -> str:
    """A name for a node that needs no quotes."""
    return f"r{node}" if graph.is_row(node) else f"i{-1 - node}" if node < 0 else f"o{node - len(graph.report.layers)}"


def title(graph: Graph, node: int, most: int = 60) -> str:
    """The name of a node; of a stack with the number of its copies, of a loop with that of its rounds."""
    if not graph.is_row(node):
        return shorten(printable(graph.end(node).name) or ("input" if node < 0 else "output"), most)
    row = graph.report.layers[node]
    name = row.label or ("" if row.kind == "expression" else row.path.rpartition(".")[2]) or row.type
    times = f" × {row.repeat}" if row.repeat > 1 else ""
    rounds = f" × {units.plural(row.calls, 'round')}" if row.kind == "loop" and row.calls > 1 else ""
    return shorten(printable(name), most) + (times or rounds)


def about(graph: Graph, node: int) -> str:
    """The type of a row with its settings and the weights that it shares; the shape of an input or an output."""
    if not graph.is_row(node):
        end = graph.end(node)
        return " ".join(filter(None, (shapes(graph, node), "" if end.dtype == graph.report.dtype else end.dtype)))
    row = graph.report.layers[node]
    text = described(row) + ("" if row.kind == "loop" else again(row))
    return "" if text == title(graph, node) else text


def shapes(graph: Graph, node: int) -> str:
    """The shapes of a node's results: ``1×64×56×56``."""
    many = graph.shapes(node)
    return f"{len(many)} tensors" if len(many) > 2 else ", ".join("×".join(map(str, one)) or "()" for one in many)


def edge_text(graph: Graph, results: Iterable[int]) -> str:
    """The shapes on an edge that stands for several results."""
    return ", ".join(dict.fromkeys(filter(None, (shapes(graph, one) for one in results))))


def seen(graph: Graph, opened: Collection[int], inside: int | None = None) -> Iterable[int]:
    """The nodes that are seen, an open row before those in it."""
    for node in graph.inside.get(inside, ()):
        yield node
        if node in opened:
            yield from seen(graph, opened, node)


def colour_by(graph: Graph, opened: Collection[int], name: str | None) -> Colouring | None:
    """The nodes coloured by a figure, by default by what the table's shares are of; None if no row has any of it.

    Raises ValueError if there is no such figure.
    """
    if name is not None and name not in COLOURS:
        raise ValueError(f"cannot colour by {name!r}; there are: {', '.join(COLOURS)}")
    report = graph.report
    name = name or view(report).measure
    figure, times = FIGURES[name], multiplicities(report.layers)
    whole = figure.total(report) if figure.total else None
    closed = [node for node in seen(graph, opened) if graph.is_row(node) and node not in opened]
    values = {node: figure.of(report.layers[node]) or 0.0 for node in closed}
    values = {node: value * (times[node] if whole else 1) for node, value in values.items() if value}
    most = max(values.values(), default=0.0)
    if not most:
        return None

    def text(value: float) -> str:
        return units.share(value / whole) if whole else COLOURS[name](value)

    amounts = {node: Amount(value, text(value), value / most) for node, value in values.items()}
    return Colouring(name, f"share of {figure.title}" if whole else figure.title, amounts, text(most))
