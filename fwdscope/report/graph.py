"""The network of a report as a graph: rows inside one another, and the results that flow between them.

A node is a number: a row's index in the report; of an input of the network −1 less its index; of an output the number
of rows more than its index. A row with others inside is open, or it is closed and stands for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from fwdscope.report.report import Report, Shape, TensorInfo, depth_within, parents


class Flow(NamedTuple):
    """A result of ``source`` that goes into ``target``; both are leaves.

    It is guessed where a report does not know what a row takes: then the row before stands for it.
    """

    source: int
    target: int
    guessed: bool


class Link(NamedTuple):
    """A line within an open row: of the result of ``result``, between two nodes there, or from or to outside (None)."""

    source: int | None
    target: int | None
    result: int

    @property
    def back(self) -> bool:
        """Whether it goes back to an earlier row, as from one round of a loop to the next."""
        return self.source is not None and self.target is not None and self.source >= self.target


class Graph:
    """``inside``: the children of each row, and of the network under None. ``flows``: the edges."""

    def __init__(self, report: Report) -> None:
        self.report = report
        rows = report.layers
        self._paths = Counter(row.path for row in rows)
        self.around: tuple[int | None, ...] = parents(rows)
        self.inside: dict[int | None, list[int]] = {}
        for index, row in enumerate(self.around):
            self.inside.setdefault(row, []).append(index)
        self.flows = list(dict.fromkeys(self._flows()))
        self.guessed = {flow.target for flow in self.flows if flow.guessed}
        linked = {node for flow in self.flows for node in flow[:2]}
        inputs = [-1 - index for index in range(len(report.inputs))]
        outputs = [len(rows) + index for index in range(len(report.outputs))]
        before, after = ([node for node in nodes if node in linked] for nodes in (inputs, outputs))
        self.inside[None] = [*before, *self.inside.get(None, []), *after]

    def _flows(self) -> list[Flow]:
        rows, found, before = self.report.layers, [], None
        for index, row in enumerate(rows):
            if index in self.inside:
                continue
            if row.sources is None and before is not None and row.kind != "parameter":
                found.append(Flow(before, index, True))
            if row.kind != "parameter":
                before = index
            found += [Flow(-1 - one, index, False) for one in row.network_inputs if 0 <= one < len(self.report.inputs)]
            known = (one for one in row.sources or () if 0 <= one < len(rows) and one not in self.inside)
            found += [Flow(one, index, False) for one in known]
            outputs = (one for one in row.network_outputs if 0 <= one < len(self.report.outputs))
            found += [Flow(index, len(rows) + one, False) for one in outputs]
        return found

    def is_row(self, node: int) -> bool:
        """Whether it is a row, rather than an input or an output of the network."""
        return 0 <= node < len(self.report.layers)

    def is_only(self, row: int) -> bool:
        """Whether no other row has its path."""
        return self._paths[self.report.layers[row].path] == 1

    def end(self, node: int) -> TensorInfo:
        """The input or the output of the network."""
        return self.report.inputs[-1 - node] if node < 0 else self.report.outputs[node - len(self.report.layers)]

    def shapes(self, node: int) -> tuple[Shape, ...]:
        """The shapes of a node's results."""
        return self.report.layers[node].output_shapes if self.is_row(node) else (self.end(node).shape,)

    def lineage(self, node: int) -> list[int]:
        """The rows around a node, the outermost first, and the node."""
        found = [node]
        while self.is_row(found[-1]) and (row := self.around[found[-1]]) is not None:
            found.append(row)
        return found[::-1]

    def opened(self, depth: int | None) -> frozenset[int]:
        """The rows to open so that ``depth`` levels are visible; all if it is None."""
        rows = self.report.layers
        return frozenset(row for row in self.inside if row is not None and (depth is None or rows[row].depth < depth))

    def depth_of(self, most: int) -> int:
        """The deepest level down to which at most so many rows are seen, at least 1."""
        return depth_within([row.depth for row in self.report.layers], most)

    def edges(self, opened: Collection[int]) -> dict[tuple[int, int], list[Flow]]:
        """The edges between visible nodes, without those that are open."""
        found: dict[tuple[int, int], list[Flow]] = {}
        seen: dict[int, int] = {}
        for row, around in enumerate(self.around):
            seen[row] = row if around is None or seen[around] in opened else seen[around]
        for flow in self.flows:
            source, target = seen.get(flow.source, flow.source), seen.get(flow.target, flow.target)
            if source != target or flow.source == flow.target == source:
                found.setdefault((source, target), []).append(flow)
        return found

    def links(self, opened: Collection[int]) -> dict[int | None, list[Link]]:
        """The lines within each open row and, under None, between the outermost."""
        found: dict[int | None, dict[Link, None]] = {}
        for flow in self.flows:
            one, other = self.lineage(flow.source), self.lineage(flow.target)
            common, result = 0, flow.source
            while common < min(len(one), len(other)) - 1 and one[common] == other[common]:
                common += 1
            if not all(row in opened for row in one[:common]):
                continue
            inner = one[common - 1] if common else None
            found.setdefault(inner, {})[Link(one[common], other[common], result)] = None
            for line, is_entered in ((other, True), (one, False)):
                for row, node in zip(line[common:], line[common + 1 :], strict=False):
                    if row not in opened:
                        break
                    link = Link(None, node, result) if is_entered else Link(node, None, result)
                    found.setdefault(row, {})[link] = None
        return {row: list(links) for row, links in found.items()}
