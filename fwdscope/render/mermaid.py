"""The graph of a network as a Mermaid flowchart, as GitHub draws it in a comment: folded until it is small enough."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator

from fwdscope.printable import printable
from fwdscope.render.lines import shorten
from fwdscope.render.nodes import MOST_LABEL, STEPS, Colouring, about, colour_by, edge_text, heat, key, step_of, title
from fwdscope.render.rows import Options
from fwdscope.report import Report, depth_within
from fwdscope.report.graph import Graph

# Mermaid refuses more than 500 edges and 50,000 characters.
MOST_EDGES, MOST_TEXT = 400, 45_000


def render(report: Report, options: Options) -> str:
    """The text, down to ``depth`` or as deep as Mermaid draws. Raises ValueError where that is too much for it."""
    graph = Graph(report)
    # A row takes at least 15 characters.
    deepest = depth_within([row.depth for row in report.layers], MOST_TEXT // 15)
    for depth in range(deepest, 0, -1) if options.depth is None else (options.depth,):
        opened = graph.opened(depth)
        edges = graph.edges(opened)
        if len(edges) <= MOST_EDGES:
            text = _text(graph, opened, colour_by(graph, opened, options.colour))
            if len(text) <= MOST_TEXT:
                return text
    less = "a smaller --depth, or " if depth > 1 else ""
    raise ValueError(
        f"the graph has {len(edges):,} edges at depth {depth}, and Mermaid draws about {MOST_EDGES}: "
        f"use {less}--format graph or dot"
    )


def _text(graph: Graph, opened: Collection[int], colouring: Colouring | None) -> str:
    lines = [
        f"---\ntitle: {json.dumps(printable(graph.report.name), ensure_ascii=False)}\n---",
        "flowchart TB",
        *_nodes(graph, opened, None, "  "),
        *_edges(graph, opened),
        *_classes(graph, colouring),
    ]
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    """Text within quotes: signs of Markdown, HTML and icons as numbers of characters, as Mermaid reads them."""
    text = re.sub(
        r"""["#$&*:;<>?@\[\\\]^`{|}~]|(?<![a-zA-Z0-9])_|_(?![a-zA-Z0-9])""",
        lambda sign: f"#{ord(sign[0])};",
        printable(text),
    )
    # At the beginning, they would make a list.
    return re.sub(r"^(\d*)([.)+-])(?= )", lambda begin: f"{begin[1]}#{ord(begin[2])};", text)


def _label(*lines: str) -> str:
    return f'"{"<br/>".join(_escaped(line) for line in lines if line)}"'


def _nodes(graph: Graph, opened: Collection[int], inside: int | None, indent: str) -> Iterator[str]:
    for node in graph.inside.get(inside, ()):
        name, more = title(graph, node), about(graph, node)
        if node in opened:
            yield f"{indent}subgraph {key(graph, node)} [{_label(f'{name}  {more}')}]"
            yield from _nodes(graph, opened, node, f"{indent}  ")
            yield f"{indent}end"
            continue
        row = graph.report.layers[node] if graph.is_row(node) else None
        left, right = ("([", "])") if row is None else ("[[", "]]") if row.repeat > 1 else ("[", "]")
        left, right = ("(", ")") if row and row.kind == "expression" else (left, right)
        yield f"{indent}{key(graph, node)}{left}{_label(name, shorten(more, MOST_LABEL))}{right}"


def _edges(graph: Graph, opened: Collection[int]) -> Iterator[str]:
    for (source, target), flows in graph.edges(opened).items():
        label = edge_text(graph, (flow.source for flow in flows))
        line = "-.->" if 0 <= target <= source or all(flow.guessed for flow in flows) else "-->"
        yield f"  {key(graph, source)} {line}{f'|{_label(label)}|' if label else ''} {key(graph, target)}"


def _classes(graph: Graph, colouring: Colouring | None) -> Iterator[str]:
    ends = [key(graph, node) for node in graph.inside[None] if not graph.is_row(node)]
    if ends:
        yield "  classDef end_ stroke:#3550d0,stroke-width:2px"
        yield f"  class {','.join(ends)} end_"
    steps: dict[int, list[str]] = {}
    for node, amount in (colouring.amounts if colouring else {}).items():
        steps.setdefault(step_of(amount.part), []).append(key(graph, node))
    for step, nodes in sorted(steps.items()):
        yield f"  classDef heat{step} fill:{heat((step / STEPS) ** 2)},stroke:#8d98a9,color:#18202c"
        yield f"  class {','.join(nodes)} heat{step}"
