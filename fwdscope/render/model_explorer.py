"""The network for Google's Model Explorer: its graph, with all figures of each node, and one figure as node data.

The forms are those of ``graph_builder.py`` and ``node_data_builder.py`` of its package ``ai-edge-model-explorer``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render.nodes import about, colour_by, heat, title
from fwdscope.render.rows import FIGURES, Options, named
from fwdscope.report import Report
from fwdscope.report.graph import Graph

_STOPS = (0, 0.05, 0.25, 1)


def render(report: Report, options: Options) -> str:
    """A collection of one graph; its layers are the rows with others inside."""
    del options
    graph = Graph(report)
    name = printable(report.name)
    spaces = dict(_namespaces(graph, None, ""))
    incoming: dict[int, list[dict[str, str]]] = {}
    for flow in graph.flows:
        edges = incoming.setdefault(flow.target, [])
        source = {"sourceNodeId": _id(graph, flow.source), "sourceNodeOutputId": "0"}
        edges.append({**source, "targetNodeInputId": str(len(edges))})
    nodes = [
        {
            "id": _id(graph, node),
            "label": title(graph, node),
            "namespace": space,
            "attrs": [{"key": key, "value": value} for key, value in _figures(graph, node).items()],
            "incomingEdges": incoming.get(node, []),
            "outputsMetadata": list(_outputs(graph, node)),
        }
        for node, space in spaces.items()
        if node not in graph.inside
    ]
    groups = {
        _inner(graph, node, space): _figures(graph, node) for node, space in spaces.items() if node in graph.inside
    }
    lines = ",\n".join(json.dumps(node, ensure_ascii=False) for node in nodes)
    label, attributes = (json.dumps(one, ensure_ascii=False) for one in (name, groups))
    graphs = f'{{"id": {label}, "groupNodeAttributes": {attributes}, "nodes": [\n{lines}\n]}}'
    return f'{{"label": {label}, "graphs": [{graphs}]}}\n'


def render_data(report: Report, options: Options) -> str:
    """The figure that is coloured by, of each node of the graph. Raises ValueError if there is none."""
    graph = Graph(report)
    colouring = colour_by(graph, graph.opened(None), options.colour)
    if colouring is None:
        raise ValueError(f"no layer has any {options.colour or 'figure'}: choose another with --colour")
    results = {_id(graph, node): {"value": amount.value} for node, amount in colouring.amounts.items()}
    gradient = [{"stop": stop, "bgColor": heat(stop), "textColor": "#18202c"} for stop in _STOPS]
    title = FIGURES[colouring.figure].title
    data = {printable(report.name): {"name": title, "results": results, "gradient": gradient}}
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def _id(graph: Graph, node: int) -> str:
    """A path, with the index of the row where it is not the only one."""
    if not graph.is_row(node):
        return f"{'input' if node < 0 else 'output'} {title(graph, node)}"
    path = printable(graph.report.layers[node].path)
    return path if path and graph.is_only(node) else f"{path}#{node}"


def _namespaces(graph: Graph, inside: int | None, space: str) -> Iterator[tuple[int, str]]:
    """Each node with the names of the rows around it."""
    for node in graph.inside[inside]:
        yield node, space
        if node in graph.inside:
            yield from _namespaces(graph, node, _inner(graph, node, space))


def _inner(graph: Graph, node: int, space: str) -> str:
    """The namespace within a row."""
    name = title(graph, node) if graph.is_only(node) else f"{title(graph, node)} #{node}"
    return f"{space}/{name.replace('/', '∕')}".removeprefix("/")


def _figures(graph: Graph, node: int) -> dict[str, str]:
    """All that is known of a node."""
    if not graph.is_row(node):
        return {"type": "input" if node < 0 else "output"}
    row = graph.report.layers[node]
    found = {"path": named(row), "type": about(graph, node) or row.type}
    for name, figure in FIGURES.items():
        value = figure.of(row)
        if value or (value is not None and figure.zero_counts):
            text = units.exact(value) if isinstance(value, int) else units.value(value)
            found[figure.title] = units.seconds(value) if name == "latency" else text
    return found


def _outputs(graph: Graph, node: int) -> Iterator[dict[str, Any]]:
    end = None if graph.is_row(node) else graph.end(node)
    dtypes = (end.dtype,) if end else graph.report.layers[node].output_dtypes
    for index, shape in enumerate(graph.shapes(node)):
        attrs = {"shape": "×".join(map(str, shape)) or "()", "dtype": dtypes[index] if index < len(dtypes) else ""}
        yield {"id": str(index), "attrs": [{"key": key, "value": value} for key, value in attrs.items() if value]}
