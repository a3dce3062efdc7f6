"""Finds where shapes first differ from the promises: the last kept promise, and the first row after it."""

from __future__ import annotations

from fwdscope.language.problems import Cause, Source, Span
from fwdscope.report import LayerRow, Report, parents


class FirstDifference:
    """The first broken promise of a report, and the rows before it; rows are ordered by when they end."""

    def __init__(self, report: Report, source: Source) -> None:
        self.rows, self.source = report.layers, source
        # For each row the index of the last row inside it; its own if it contains none.
        self.last = list(range(len(self.rows)))
        around = parents(self.rows)
        for i in reversed(range(len(self.rows))):
            outer = around[i]
            if outer is not None:
                self.last[outer] = max(self.last[outer], self.last[i])
        broken = [i for i, row in enumerate(self.rows) if row.promise is not None and not row.promise.held]
        self.first = min(broken, key=self._ended, default=None)

    def causes(self, line: int | None = None, layer: str | None = None) -> tuple[Cause, ...]:
        """Where a wrong shape comes from: that of a line with a broken promise, of a layer, or of the network."""
        if self.first is not None and self.rows[self.first].line != line:
            return (self._cause("shapes first differ in", self.rows[self.first]),)
        end = self.first
        if line is None:
            end = next((i for i, row in enumerate(self.rows) if row.path == layer), None) if layer else None
        kept = [i for i, row in enumerate(self.rows) if row.promise is not None and row.promise.held]
        kept = [i for i in kept if end is None or self._ended(i) < self._ended(end)]
        if not kept:
            return ()
        last = max(kept, key=self._ended)
        causes = [self._cause("as promised up to", self.rows[last])]
        # The first childless row after it, unless that is the row in question.
        stop = len(self.rows) if end is None else self.last[end] + 1
        after = (i for i in range(self.last[last] + 1, stop) if self.last[i] == i and self.rows[i].kind != "parameter")
        if (first := next(after, end)) is not None and first != end:
            causes.append(self._cause("first after it:", self.rows[first]))
        return tuple(causes)

    def _ended(self, index: int) -> tuple[int, int]:
        return self.last[index], -self.rows[index].depth

    def _cause(self, text: str, row: LayerRow) -> Cause:
        name = row.path or row.text
        made = f" = {row.text}" if row.text and row.text != name else ""
        at = None if row.line is None or row.column is None else self.source.offset(row.line, row.column)
        shapes = ", ".join(map(str, row.output_shapes))
        return Cause(f"{text} {name}{made}  {shapes}", None if at is None else Span(at, at + 1))
