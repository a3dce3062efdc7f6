"""What the data decided: the run on a device held against the trace on meta.

Shapes and costs are the trace's, which are the same on every device. Where the run went another way (more rounds of a
``while``, other rows through the experts of a mixture), the run is right, and its steps stand in place of the trace's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fwdscope.trace import Node, Trace


@dataclass(frozen=True)
class Decided:
    """The trace to report, which step of the run each of its steps was, and those that the data decided."""

    trace: Trace
    ran: dict[Node, Node]
    decided: tuple[Node, ...]


def settled(meta: Trace, run: Trace) -> Decided:
    """The trace on meta where the run went the same way; else the run's, with the costs of meta where both agree."""
    decided = [node for pair in _pairs([meta.root], [run.root]) for node in _differences(*pair)]
    if not decided:
        return Decided(meta, dict(zip(steps(meta.root), steps(run.root), strict=True)), ())
    _take_costs(meta.root, run.root)
    # An expert that no row went to is no unused weight.
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
    """Whether two steps are of one place of the network, whatever their shapes."""
    return (one.kind, one.path, one.type, one.text) == (other.kind, other.path, other.type, other.text)


def _same_shapes(one: Node, other: Node) -> bool:
    shapes = [[(t.shape, t.dtype) for t in (*node.inputs, *node.outputs)] for node in (one, other)]
    return shapes[0] == shapes[1]


def _pairs(ones: Sequence[Node], others: Sequence[Node]) -> Iterator[tuple[Node, Node]]:
    """Steps of two runs in the order of both, as long as they are the same."""
    if len(ones) == len(others) and all(map(_same_step, ones, others)):
        yield from zip(ones, others, strict=True)


def _differences(meta: Node, run: Node) -> Iterator[Node]:
    """The outermost steps of the run below which it went another way than the trace."""
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
    """Give the steps of a run the operators of the trace where they did the same work; whether this one did."""
    if not _same_step(meta, run):
        return False
    if run.rounds is not None:
        # The trace went one round of a `while`; every round of the run is that one again.
        turns = [(meta.rounds or [[]])[min(i, len(meta.rounds or [[]]) - 1)] for i in range(len(run.rounds))]
        same = len(run.rounds) == len(meta.rounds or ())
        for before, now in zip(turns, run.rounds, strict=True):
            same &= _take_all(before, now)
    else:
        same = _take_all(meta.children, run.children)
    same &= _same_shapes(meta, run)
    # A layer's own operators, those of a mixture that move its rows, go with what is inside it. Blocks have none.
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
