"""Finds where shapes first differ from the promises: the last promise that was met, and the first row after it."""

from __future__ import annotations

from fwdscope.language.problems import Cause, Source, Span
from fwdscope.report import LayerRow, Report, parents


class FirstDifference:
    """The first broken promise of a report, and what ran before it; rows are ordered by when they end."""

    def __init__(self, report: Report, source: Source) -> None:
        self.rows, self.source = report.layers, source
        # For each row the index of the last row in it; its own if it contains none.
        self.last = list(range(len(self.rows)))
        around = parents(self.rows)
        for i in reversed(range(len(self.rows))):
            outer = around[i]
            if outer is not None:
                self.last[outer] = max(self.last[outer], self.last[i])
        broken = [i for i, row in enumerate(self.rows) if row.promise is not None and not row.promise.held]
        self.first = min(broken, key=self._ended, default=None)

    def causes(self, line: int | None = None, layer: str | None = None) -> tuple[Cause, ...]:
        """Where a wrong shape comes from: that of a broken promise's line, of a layer's output, or of the network's."""
        if self.first is not None and self.rows[self.first].line != line:
            return (self._cause("shapes first differ in", self.rows[self.first]),)
        end = self.first
        if line is None:
            end = next((i for i, row in enumerate(self.rows) if row.path == layer), None) if layer else None
        met = [i for i, row in enumerate(self.rows) if row.promise is not None and row.promise.held]
        met = [i for i in met if end is None or self._ended(i) < self._ended(end)]
        if not met:
            return ()
        last = max(met, key=self._ended)
        causes = [self._cause("as promised up to", self.rows[last])]
        # The first row after it that has no rows of its own, unless that is the very row in question.
        stop = len(self.rows) if end is None else self.last[end] + 1
        after = (i for i in range(self.last[last] + 1, stop) if self.last[i] == i and self.rows[i].kind != "parameter")
        if (first := next(after, end)) is not None and first != end:
            causes.append(self._cause("first after it:", self.rows[first]))
        return tuple(causes)

    def _ended(self, index: int) -> tuple[int, int]:
        """A key that sorts rows by when they end."""
        return self.last[index], -self.rows[index].depth

    def _cause(self, text: str, row: LayerRow) -> Cause:
        name = row.path or row.text
        made = f" = {row.text}" if row.text and row.text != name else ""
        at = None if row.line is None or row.column is None else self.source.offset(row.line, row.column)
        shapes = ", ".join(map(str, row.output_shapes))
        return Cause(f"{text} {name}{made}  {shapes}", None if at is None else Span(at, at + 1))
