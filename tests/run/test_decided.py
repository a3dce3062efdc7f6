"""The steps of a run are paired with those of the trace by their paths and calls."""

from __future__ import annotations

from fwdscope.run.decided import settle
from fwdscope.trace import Node, Trace


def step(path: str, *inside: Node) -> Node:
    return Node("layer", path, "Linear", "Linear(4, 4)", children=list(inside))


def traced(*nodes: Node) -> Trace:
    return Trace(Node("block", "", "", "", children=list(nodes)), (), None, 0, (), {})


def test_equal_runs_pair_call_by_call() -> None:
    meta, run = (traced(step("a"), step("b"), step("a")) for _ in range(2))
    found = settle(meta, run)
    assert found.trace is meta
    assert found.decided == ()
    assert [found.ran[node] for node in meta.root.nodes()] == list(run.root.nodes())


def test_steps_in_another_order_are_what_the_data_decided_and_keep_their_own_costs() -> None:
    meta, run = traced(step("a"), step("b")), traced(step("b"), step("a"))
    costs: dict[str, list[object]] = {"a": [object()], "b": [object()]}
    for node in meta.root.children:
        node.ops = costs[node.path]  # type: ignore[assignment]
    found = settle(meta, run)
    assert found.decided == (run.root,)
    assert {node.path: node.ops for node in run.root.children} == costs


def test_a_step_left_out_does_not_shift_the_ones_behind_it() -> None:
    meta, run = traced(step("a"), step("b"), step("c")), traced(step("a"), step("c"))
    costs: list[object] = [object()]
    meta.root.children[2].ops = costs  # type: ignore[assignment]
    assert settle(meta, run).decided == (run.root,)
    assert run.root.children[1].ops is costs


def test_further_calls_cost_what_the_last_one_of_the_trace_does() -> None:
    meta, run = traced(step("a")), traced(step("a"), step("a"), step("a"))
    costs: list[object] = [object()]
    meta.root.children[0].ops = costs  # type: ignore[assignment]
    settle(meta, run)
    assert [node.ops is costs for node in run.root.children] == [True] * 3
