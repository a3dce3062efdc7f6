"""The graph of a network: what it is made of, where it is drawn, and each format of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import sample_reports
from hypothesis import given, settings
from hypothesis import strategies as st

from fwdscope.render import Options, render
from fwdscope.render.graph import svg
from fwdscope.render.layout import Laid, lay_out
from fwdscope.render.nodes import key
from fwdscope.render.rows import printable
from fwdscope.report import LayerRow, Report, TensorInfo, Totals
from fwdscope.report.graph import Flow, Graph, Link

HOSTILE = """<script>alert("1")</script> & 'x' \\" ]]> --> end\n\u202e日本"""


def row(path: str, depth: int = 1, sources: tuple[int, ...] | None = (), **more: object) -> LayerRow:
    given = {"type": "Linear", "kind": "layer", "output_shapes": ((2, 3),), "macs": 6, "params": 3, **more}
    return LayerRow(path=path, depth=depth, sources=sources, **given)  # type: ignore[arg-type]


def report(*rows: LayerRow, name: str = "net") -> Report:
    macs = sum(one.macs or 0 for one in rows if one.depth == 1)
    return Report(
        name,
        inputs=(TensorInfo("x", (2, 3), "float32"),),
        outputs=(TensorInfo("y", (2, 3), "float32"),),
        layers=rows,
        totals=Totals(params=3, trainable_params=3, buffers=0, param_bytes=12, buffer_bytes=0, macs=macs),
        environment=sample_reports.ENVIRONMENT,
    )


# x goes into a; block takes a's result, inside which c takes b's and a's; out takes the block's and a's.
NET = report(
    row("a", network_inputs=(0,)),
    row("block", kind="block", type="Block", repeat=4),
    row("block.b", 2, (0,)),
    row("block.c", 2, (2, 0)),
    row("out", 1, (3, 0), network_outputs=(0,)),
)
X, A, BLOCK, B, C, OUT, Y = -1, 0, 1, 2, 3, 4, 5


def test_edges_go_between_what_is_seen() -> None:
    graph = Graph(NET)
    assert graph.inside == {None: [X, A, BLOCK, OUT, Y], BLOCK: [B, C]}
    assert list(graph.edges(graph.opened(1))) == [(X, A), (A, BLOCK), (BLOCK, OUT), (A, OUT), (OUT, Y)]
    assert list(graph.edges(graph.opened(2))) == [(X, A), (A, B), (B, C), (A, C), (C, OUT), (A, OUT), (OUT, Y)]
    assert graph.links(graph.opened(2)) == {
        None: [Link(X, A, X), Link(A, BLOCK, A), Link(BLOCK, OUT, C), Link(A, OUT, A), Link(OUT, Y, OUT)],
        BLOCK: [Link(None, B, A), Link(B, C, B), Link(None, C, A), Link(C, None, C)],
    }


def test_a_row_of_which_the_sources_are_unknown_takes_from_the_row_before() -> None:
    graph = Graph(report(row("a"), row("w", kind="parameter"), row("b", sources=None)))
    assert graph.flows == [Flow(0, 2, True)]
    assert 'stroke-dasharray="4 3"' in svg(graph.report)


def test_the_round_of_a_loop_takes_what_the_one_before_made() -> None:
    graph = Graph(report(row("loop", kind="loop", calls=3), row("loop.a", 2, (2,)), row("loop.b", 2, (1,))))
    assert [link.back for link in graph.links(graph.opened(2))[0]] == [True, False]
    assert "× 3 rounds" in svg(graph.report)


def inner(laid: Laid) -> Iterator[Laid]:
    yield laid
    for box in laid.boxes.values():
        if box.inner:
            yield from inner(box.inner)


@st.composite
def networks(draw: st.DrawFn) -> Report:
    """A network of up to 14 rows, any of which takes what any before it made."""
    rows: list[LayerRow] = []
    for index in range(draw(st.integers(1, 14))):
        depth = draw(st.integers(1, rows[-1].depth + 1)) if rows else 1
        sources = tuple(draw(st.sets(st.integers(0, index - 1), max_size=3))) if index else ()
        rows.append(
            row("r" * draw(st.integers(1, 9)) + str(index), depth, sources, network_inputs=(0,) * (index % 5 == 0))
        )
    return report(*rows)


@settings(max_examples=60, deadline=None)
@given(networks(), st.integers(1, 4))
def test_nodes_do_not_overlap_and_lines_go_down_past_them(network: Report, depth: int) -> None:
    graph = Graph(network)
    for laid in inner(lay_out(graph, graph.opened(depth))):
        boxes = list(laid.boxes.values())
        for number, one in enumerate(boxes):
            assert -0.01 <= one.x <= one.x + one.w <= laid.w + 0.01
            for other in boxes[:number]:
                apart_across = one.x + one.w <= other.x + 0.01 or other.x + other.w <= one.x + 0.01
                assert apart_across or one.bottom <= other.y or other.bottom <= one.y
        for wire in laid.wires:
            source = laid.boxes[("in", wire.link.result) if wire.link.source is None else wire.link.source]
            target = laid.boxes[("out", wire.link.result) if wire.link.target is None else wire.link.target]
            assert wire.points[0] == pytest.approx((source.x + source.leaves(wire.link.result), source.bottom))
            assert wire.points[-1] == pytest.approx((target.x + target.enters(wire.link.result), target.y))
            for (x, y), (x1, y1) in pairwise(wire.points):
                assert abs(x - x1) < 0.01 or y == y1
                crossed = (box for box in boxes if abs(x - x1) < 0.01 and box.x + 0.01 < x < box.x + box.w - 0.01)
                assert all(max(y, y1) <= box.y + 0.01 or box.bottom - 0.01 <= min(y, y1) for box in crossed)


def test_the_picture_has_the_nodes_of_its_depth_with_shares_and_a_stack_behind() -> None:
    def texts(text: str) -> list[str]:
        return [
            "".join(one.itertext()) for one in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")
        ]

    folded, opened = texts(svg(NET, 1)), texts(svg(NET, 2))
    assert ("block × 4" in folded, "b" in folded) == (True, False)
    assert ("block × 4" in opened, "b" in opened, "c" in opened) == (True, True, True)
    # Of 18 MACs at depth 1: a, the block and out have 6 each; the four copies hold 24.
    assert folded.count("33.3%") == 2
    assert texts(svg(NET, 1, "params"))[-2] == "share of params"
    with pytest.raises(ValueError, match="cannot colour by 'x'; there are: macs, flops"):
        svg(NET, 1, "x")


def test_a_picture_is_drawn_of_any_report() -> None:
    for one in (report(), report(row("a", sources=None)), report(row(HOSTILE, text=HOSTILE), name=HOSTILE)):
        root = ElementTree.fromstring(render(one, "graph", Options()))
        assert not list(root.iter("{http://www.w3.org/2000/svg}script"))


EVIL = report(
    row("end", text="1. one", network_inputs=(0,)),
    row(HOSTILE, text=HOSTILE, sources=(0,)),
    row("a/b", kind="block", type="- x", repeat=2),
    row("a/b.c", 2, (1, 3), text="`md` **b** __c__ fa:fa-car #35; &lt; \\N"),
    row("", sources=(0, 3), kind="expression", text="x + y", network_outputs=(0,)),
    name=HOSTILE,
)

# A statement of Graphviz's language (https://graphviz.org/doc/info/lang.html), of those that are written.
_STRING = r'"(?:[^"\\]|\\.)*"'
_ATTRIBUTES = rf"(?:\w+=(?:\w+|[\d.]+|{_STRING})(?:[,;] )?)*"
_STATEMENT = re.compile(
    rf"(?:graph|node|edge|(?P<node>\w+)|(?P<source>\w+) -> (?P<target>\w+)) \[{_ATTRIBUTES}\]"
    rf"|(?P<open>(?:digraph {_STRING}|subgraph cluster_\w+) \{{)|(?P<close>\}})|{_ATTRIBUTES}"
)


def test_graphviz_reads_the_graph_whatever_the_names() -> None:
    text = render(EVIL, "dot")
    found = [_STATEMENT.fullmatch(line.strip()) for line in text.splitlines()]
    assert all(found), text
    assert [bool(one and one["open"]) for one in found].count(True) == [
        bool(one and one["close"]) for one in found
    ].count(True)
    graph = Graph(EVIL)
    edges = [(one["source"], one["target"]) for one in found if one and one["source"]]
    assert edges == [(key(graph, a), key(graph, b)) for a, b in graph.edges(graph.opened(None))]
    # One of the copies takes what it made: a line back.
    assert 'r3 -> r3 [label="2×3", constraint=false, style=dashed]' in text
    assert r'label="c\n`md` **b** __c__ fa:fa-car #35; &amp;lt; \\N' in text
    if program := shutil.which("dot"):
        subprocess.run([program, "-Tcanon"], input=text.encode(), check=True, capture_output=True)
    assert "cluster" not in render(EVIL, "dot", Options(depth=1))


# Lines of a flowchart (https://mermaid.js.org/syntax/flowchart.html); within quotes, what could be markup is a number.
_QUOTED = r'"(?:[^"#<>`*\[\]{}|\\;&]|#\d+;|<br/>)*"'
_LINE = re.compile(
    rf"(?P<node>\w+)(?:\(\[{_QUOTED}\]\)|\[\[{_QUOTED}\]\]|\[{_QUOTED}\]|\({_QUOTED}\))"
    rf"|(?P<source>\w+) (?:-->|-\.->)(?:\|{_QUOTED}\|)? (?P<target>\w+)"
    rf"|(?P<open>subgraph \w+ \[{_QUOTED}\])|(?P<close>end)|classDef \w+ [\w:#,-]+|class [\w,]+ \w+"
)


def test_mermaid_reads_the_graph_whatever_the_names() -> None:
    head, title_line, dashes, chart, *lines = render(EVIL, "mermaid").splitlines()
    assert (head, json.loads(title_line.removeprefix("title: ")), dashes, chart) == (
        "---",
        printable(HOSTILE),
        "---",
        "flowchart TB",
    )
    found = [_LINE.fullmatch(line.strip()) for line in lines]
    assert all(found), lines
    graph = Graph(EVIL)
    edges = [(one["source"], one["target"]) for one in found if one and one["source"]]
    assert edges == [(key(graph, a), key(graph, b)) for a, b in graph.edges(graph.opened(None))]
    assert [one.lastgroup for one in found if one and one.lastgroup in ("open", "close")] == ["open", "close"]
    labels = re.findall(_QUOTED, "\n".join(lines))
    plain = [re.sub(r"#(\d+);", lambda sign: chr(int(sign[1])), label[1:-1]) for label in labels]
    assert {"end<br/>1. one", printable(HOSTILE), "c<br/>`md` **b** __c__ fa:fa-car #35; &lt; \\N"} <= set(plain)
    assert '["end<br/>1#46; one"]' in "".join(lines)


def test_mermaid_folds_deeper_parts_until_it_has_400_edges() -> None:
    def blocks(count: int, inside: int) -> Report:
        rows = []
        for block in range(count):
            rows.append(row(f"b{block}", kind="block"))
            before = [(len(rows) + i - 1 - (not i),) for i in range(inside)]
            rows += [row(f"b{block}.{i}", 2, before[i] if block or i else ()) for i in range(inside)]
        return report(*rows)

    # A chain of 40 blocks of 10 layers has 399 edges, 39 of them between blocks; of 11 layers, 439.
    assert render(blocks(40, 10), "mermaid").count("-->") == 399
    assert render(blocks(40, 11), "mermaid").count("-->") == 39
    with pytest.raises(ValueError, match="has 401 edges at depth 1, and Mermaid draws about 400: use --format graph"):
        render(blocks(402, 1), "mermaid", Options(depth=1))


# graph_builder.py and node_data_builder.py of ai-edge-model-explorer 0.1.34.
_PAIRS = [{"key": str, "value": str}]
_GRAPHS = {
    "label": str,
    "graphs": [
        {
            "id": str,
            "groupNodeAttributes": {str: {str: str}},
            "nodes": [
                {
                    **dict.fromkeys(("id", "label", "namespace"), str),
                    "attrs": _PAIRS,
                    "incomingEdges": [dict.fromkeys(("sourceNodeId", "sourceNodeOutputId", "targetNodeInputId"), str)],
                    "outputsMetadata": [{"id": str, "attrs": _PAIRS}],
                }
            ],
        }
    ],
}
_DATA = {
    str: {
        "name": str,
        "results": {str: {"value": (int, float)}},
        "gradient": [{"stop": (int, float), "bgColor": str, "textColor": str}],
    }
}


def has_form(value: object, form: Any) -> bool:
    if isinstance(form, list):
        return isinstance(value, list) and all(has_form(one, form[0]) for one in value)
    if not isinstance(form, dict):
        return isinstance(value, form)
    if not isinstance(value, dict):
        return False
    if str in form:
        return all(has_form(one, form[str]) for one in value.values())
    return value.keys() == form.keys() and all(has_form(value[name], form[name]) for name in form)


def test_model_explorer_gets_its_graph_and_its_node_data() -> None:
    data = json.loads(render(EVIL, "model-explorer"))
    assert has_form(data, _GRAPHS)
    nodes = {node["id"]: node for node in data["graphs"][0]["nodes"]}
    assert len(nodes) == 6
    assert {edge["sourceNodeId"] for node in nodes.values() for edge in node["incomingEdges"]} <= set(nodes)
    assert nodes["a/b.c"]["namespace"] == "a∕b × 2"
    assert nodes["a/b.c"]["outputsMetadata"] == [{"id": "0", "attrs": [{"key": "shape", "value": "2×3"}]}]
    assert set(data["graphs"][0]["groupNodeAttributes"]) == {"a∕b × 2"}
    values = json.loads(render(EVIL, "model-explorer-data", Options(colour="params")))
    assert has_form(values, _DATA)
    results = values[data["graphs"][0]["id"]]["results"]
    # Three parameters a row; of the block's layer there are two copies.
    assert (results["a/b.c"], results["end"]) == ({"value": 6}, {"value": 3})
    assert set(results) <= set(nodes)
    with pytest.raises(ValueError, match="no layer has any latency: choose another with --colour"):
        render(EVIL, "model-explorer-data", Options(colour="latency"))
