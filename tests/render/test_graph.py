"""The graph of a network: what it is made of, where it is drawn, and each format of it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from itertools import pairwise

import pytest
import sample_reports
from hypothesis import given, settings
from hypothesis import strategies as st

from fwdscope.render import Options, render
from fwdscope.render.graph import svg
from fwdscope.render.layout import Laid, lay_out
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
