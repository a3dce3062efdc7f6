"""Where numbers went bad: the first step that made a NaN or an infinity out of numbers that were none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from fwdscope.language.problems import Source
from fwdscope.report import ActivationStats, NonFinite
from fwdscope.run.observation import Statistics
from fwdscope.trace import Node


def first_nonfinite(
    root: Node, statistics: Statistics, source: Source | None, recorded: Mapping[Node, Node]
) -> NonFinite | None:
    """The first step, in the order in which they ended, so that what is inside comes before what is around it.

    ``recorded`` are the steps of the trace that knows their operators, by those of the run. An infinity that a step was
    told to write, as a mask is written into scores, is no fault of its; a NaN always is.
    """
    for node in _in_order(root):
        inputs, outputs = statistics.inputs(node), statistics.outputs(node)
        nans, infs = _count(outputs)
        nans_before, infs_before = _count(inputs)
        made_nans = nans and not nans_before
        made_infs = infs and not nans_before and not infs_before and not _told(recorded[node])
        if made_nans or made_infs:
            line = source.place(node.span.start)[0] if source and node.span else None
            return NonFinite(node.path, node.text or node.type, line, nans, infs, inputs)
    return None


def _in_order(node: Node) -> Iterator[Node]:
    for inner in (*node.children, *(child for turn in node.rounds or () for child in turn)):
        yield from _in_order(inner)
        if inner.kind != "loop":
            yield inner


def _count(stats: tuple[ActivationStats, ...]) -> tuple[int, int]:
    return sum(one.nans for one in stats), sum(one.infs for one in stats)


def _told(node: Node) -> bool:
    """Whether an operator here or inside was given an infinity to write."""
    return any(_holds_infinity((record.op.arguments, record.op.keywords)) for record in node.records())


def _holds_infinity(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(map(_holds_infinity, value))
    return isinstance(value, float) and math.isinf(value)
