"""Pairing the steps of a run on a device with those of the trace on meta, by their paths and calls.

Shapes and costs are the trace's, since they are the same on every device. Where the data decided otherwise (more rounds
of a ``while``, other rows through the experts of a mixture), the steps of the run replace those of the trace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from fwdscope.trace import Node, OwnWork, Trace


class Decided(NamedTuple):
    """The trace to report, the step of the run for each of its steps, and the steps that the data decided."""

    trace: Trace
    ran: Mapping[Node, Node]
    decided: tuple[Node, ...]


def settle(meta: Trace, run: Trace) -> Decided:
    """The trace on meta if the run took the same steps; otherwise the run's, with costs from meta where both agree."""
    twins = pair_steps(meta.root, run.root)
    decided = tuple(_differences(run.root, twins))
    if not decided:
        return Decided(meta, {twin: node for node, twin in twins.items()}, ())
    _take_costs(run.root, twins)
    # The weights of an expert without rows are not unused.
    mixed = replace(run, source=meta.source, unused=meta.unused)
    return Decided(mixed, {node: node for node in run.root.nodes()}, decided)


def pair_steps(meta: Node, run: Node) -> dict[Node, Node]:
    """For each step of the run the step of the trace at the same path, of the same call.

    The trace has one round of a ``while``, so that the last call there is that of all further ones of the run.
    """
    calls: dict[Hashable, list[Node]] = {}
    for node in meta.nodes():
        calls.setdefault(_place(node), []).append(node)
    pairs: dict[Node, Node] = {}
    seen: Counter[Hashable] = Counter()
    for node in run.nodes():
        place = _place(node)
        if place in calls:
            pairs[node] = calls[place][min(seen[place], len(calls[place]) - 1)]
        seen[place] += 1
    return pairs


def _place(node: Node) -> Hashable:
    """What a step has in common with the same step of another run; of a module's own work, its place in the module."""
    return node.step if isinstance(node, OwnWork) else (node.kind, node.path, node.type, node.text)


def _calls(node: Node) -> list[Node]:
    """The steps directly inside without what a module computes itself, which need not be the same on every device."""
    return [one for one in node.inside() if not isinstance(one, OwnWork)]


def _differences(node: Node, twins: Mapping[Node, Node]) -> Iterator[Node]:
    """The outermost steps of the run inside which other steps ran than in the trace, or steps of other shapes."""
    inside = _calls(node)
    if not _same_inside(node, twins) or not all(_same_shapes(one, twins[one]) for one in inside):
        yield node
        return
    for one in inside:
        yield from _differences(one, twins)


def _take_costs(node: Node, twins: Mapping[Node, Node]) -> bool:
    """Copy the operators of the trace to the steps of a run that did the same work; whether this step did."""
    same = [_take_costs(one, twins) for one in _calls(node)]
    if not all(same) or not _same_inside(node, twins) or not _same_shapes(node, twins[node]):
        return False
    for one in node.children:
        if isinstance(one, OwnWork) and one in twins:
            twin = twins[one]
            one.ops, one.path, one.type, one.text = twin.ops, twin.path, twin.type, twin.text
    node.ops = twins[node].ops
    return True


def _same_inside(node: Node, twins: Mapping[Node, Node]) -> bool:
    """Whether a step of the run has the same steps directly inside as the trace's, in the same rounds."""
    twin = twins.get(node)
    if twin is None or len(node.rounds or ()) != len(twin.rounds or ()):
        return False
    return [twins.get(one) for one in _calls(node)] == _calls(twin)


def _same_shapes(node: Node, twin: Node) -> bool:
    shapes = [[(t.shape, t.dtype) for t in (*one.inputs, *one.outputs)] for one in (node, twin)]
    return shapes[0] == shapes[1]
