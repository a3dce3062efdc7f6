"""Pairing the steps of a run on a device with those of the trace on meta.

Shapes and costs are the trace's, since they are the same on every device. Where the data decided otherwise (more rounds
of a ``while``, other rows through the experts of a mixture), the steps of the run replace those of the trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fwdscope.trace import Node, Trace


@dataclass(frozen=True)
class Decided:
    """The trace to report, the step of the run for each of its steps, and the steps that the data decided."""

    trace: Trace
    ran: dict[Node, Node]
    decided: tuple[Node, ...]


def settle(meta: Trace, run: Trace) -> Decided:
    """The trace on meta if the run took the same steps; otherwise the run's, with costs from meta where both agree."""
    decided = [node for pair in _pairs([meta.root], [run.root]) for node in _differences(*pair)]
    if not decided:
        return Decided(meta, dict(zip(steps(meta.root), steps(run.root), strict=True)), ())
    _take_costs(meta.root, run.root)
    # The weights of an expert without rows are not unused.
    mixed = replace(run, source=meta.source, unused=meta.unused)
    return Decided(mixed, {node: node for node in steps(run.root)}, tuple(decided))


def steps(node: Node) -> Iterator[Node]:
    """A step and all inside it, in the order in which they begin."""
    yield node
    for inner in _inside(node):
        yield from steps(inner)


def _inside(node: Node) -> list[Node]:
    return [*node.children, *(child for turn in node.rounds or () for child in turn)]


def _same_step(one: Node, other: Node) -> bool:
    """Whether two steps are at the same place in the network, whatever their shapes."""
    return (one.kind, one.path, one.type, one.text) == (other.kind, other.path, other.type, other.text)


def _same_shapes(one: Node, other: Node) -> bool:
    shapes = [[(t.shape, t.dtype) for t in (*node.inputs, *node.outputs)] for node in (one, other)]
    return shapes[0] == shapes[1]


def _pairs(ones: Sequence[Node], others: Sequence[Node]) -> Iterator[tuple[Node, Node]]:
    """Pairs of steps of two runs, if they are the same steps; none otherwise."""
    if len(ones) == len(others) and all(map(_same_step, ones, others)):
        yield from zip(ones, others, strict=True)


def _differences(meta: Node, run: Node) -> Iterator[Node]:
    """The outermost steps of the run whose inner steps differ from the trace's."""
    if len(meta.children) != len(run.children) or len(meta.rounds or ()) != len(run.rounds or ()):
        yield run
        return
    ones, others = _inside(meta), _inside(run)
    same = len(ones) == len(others) and all(
        _same_step(one, other) and _same_shapes(one, other) for one, other in zip(ones, others, strict=True)
    )
    if not same:
        yield run
        return
    for one, other in zip(ones, others, strict=True):
        yield from _differences(one, other)


def _take_costs(meta: Node, run: Node) -> bool:
    """Copy the operators of the trace to the steps of a run that did the same work; whether this step did."""
    if not _same_step(meta, run):
        return False
    if run.rounds is not None:
        # The trace has one round of a `while`; each round of the run is compared with it.
        turns = [(meta.rounds or [[]])[min(i, len(meta.rounds or [[]]) - 1)] for i in range(len(run.rounds))]
        same = len(run.rounds) == len(meta.rounds or ())
        for before, now in zip(turns, run.rounds, strict=True):
            same &= _take_all(before, now)
    else:
        same = _take_all(meta.children, run.children)
    same &= _same_shapes(meta, run)
    # Only layers have operators of their own: a mixture's, which move its rows.
    if same:
        run.ops = meta.ops
    return same


def _take_all(before: Sequence[Node], now: Sequence[Node]) -> bool:
    if len(before) != len(now):
        return False
    same = True
    for one, other in zip(before, now, strict=True):
        same &= _take_costs(one, other)
    return same
