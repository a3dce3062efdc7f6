"""Find the first step whose output has NaN or infinity while its inputs have none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from fwdscope.language.problems import Source
from fwdscope.report import ActivationStats, NonFinite
from fwdscope.run.observation import Statistics
from fwdscope.trace import Node


def find_first_nonfinite(
    root: Node, statistics: Statistics, source: Source | None, recorded: Mapping[Node, Node]
) -> NonFinite | None:
    """The first such step in the order in which steps end, so inner steps come before those around them.

    ``recorded`` maps steps of the run to those of the trace, which has the operators. An infinity that is an argument
    of an operator, as in masking attention scores, does not count; NaN always does.
    """
    for node in _in_order(root):
        inputs, outputs = statistics.inputs(node), statistics.outputs(node)
        nans, infs = _count(outputs)
        nans_before, infs_before = _count(inputs)
        made_nans = nans and not nans_before
        made_infs = infs and not nans_before and not infs_before and not _writes_infinity(recorded[node])
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


def _writes_infinity(node: Node) -> bool:
    """Whether an operator here or inside has an infinity as an argument."""
    return any(_contains_infinity((record.op.arguments, record.op.keywords)) for record in node.records())


def _contains_infinity(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(map(_contains_infinity, value))
    return isinstance(value, float) and math.isinf(value)
