"""The graph of a network in the language of Graphviz, all of it unless a depth is asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from fwdscope.printable import printable
from fwdscope.render.lines import shorten
from fwdscope.render.nodes import MOST_LABEL, Colouring, about, colour_by, edge_text, heat, key, title
from fwdscope.render.rows import Options
from fwdscope.report import Report
from fwdscope.report.graph import Graph

_STYLE = """  graph [fontname="Helvetica", fontsize=11, style="rounded", color="#c3cad5", labeljust=l, labelloc=t]
  node [shape=box, style="rounded,filled", fillcolor="#ffffff", color="#8d98a9", fontname="Helvetica", fontsize=11]
  edge [color="#6b7889", fontname="Helvetica", fontsize=9, fontcolor="#586374", arrowsize=0.6]"""


def render(report: Report, options: Options) -> str:
    """The text for ``dot -Tsvg``."""
    graph = Graph(report)
    opened = graph.opened(options.depth)
    lines = [*_nodes(graph, opened, colour_by(graph, opened, options.colour), None, "  "), *_edges(graph, opened)]
    return "\n".join([f"digraph {_quoted(report.name)} {{", _STYLE, *lines, "}\n"])


def _quoted(*lines: str) -> str:
    """A string of lines; an escape is a backslash with a letter, and an entity of HTML begins with &."""
    texts = (printable(line).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for line in lines)
    return '"' + "\\n".join(filter(None, texts)) + '"'


def _nodes(
    graph: Graph, opened: Collection[int], colouring: Colouring | None, inside: int | None, indent: str
) -> Iterator[str]:
    for node in graph.inside.get(inside, ()):
        row = graph.report.layers[node] if graph.is_row(node) else None
        copies = "peripheries=2, " if row and row.repeat > 1 else ""
        if node in opened:
            yield f"{indent}subgraph cluster_{key(graph, node)} {{"
            label = _quoted(f"{title(graph, node)}  {about(graph, node)}")
            yield f"{indent}  {copies.replace(', ', '; ')}label={label}"
            yield from _nodes(graph, opened, colouring, node, f"{indent}  ")
            yield f"{indent}}}"
            continue
        amount = colouring.amounts.get(node) if colouring else None
        look = 'style="rounded,filled,dashed", ' * (row is not None and row.kind == "expression")
        look = look if row else 'shape=oval, style=filled, fillcolor="#e7eafa", '
        look += copies + (f'fillcolor="{heat(amount.part)}", ' if amount else "")
        label = _quoted(title(graph, node), shorten(about(graph, node), MOST_LABEL), amount.text if amount else "")
        tooltip = f", tooltip={_quoted(row.path)}" if row and row.path else ""
        yield f"{indent}{key(graph, node)} [{look}label={label}{tooltip}]"


def _edges(graph: Graph, opened: Collection[int]) -> Iterator[str]:
    for (source, target), flows in graph.edges(opened).items():
        label = _quoted(edge_text(graph, (flow.source for flow in flows)))
        back = ", constraint=false, style=dashed" if 0 <= target <= source else ""
        guessed = ", style=dashed" if all(flow.guessed for flow in flows) and not back else ""
        yield f"  {key(graph, source)} -> {key(graph, target)} [label={label}{back}{guessed}]"
