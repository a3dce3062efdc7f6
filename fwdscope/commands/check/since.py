"""Where shapes part from what was promised: the last promise that held, and the first step behind it."""

from __future__ import annotations

from collections.abc import Sequence

from fwdscope.language.problems import Cause, Source, Span
from fwdscope.report import LayerRow, Report, parents


class Parting:
    """The first broken promise of a report, and what ran before it. Rows go by the order in which they end."""

    def __init__(self, report: Report, source: Source) -> None:
        self.rows, self.source = report.layers, source
        self.around = parents(self.rows)
        self.last = _last_inside(self.rows, self.around)
        broken = [i for i, row in enumerate(self.rows) if row.promise is not None and not row.promise.held]
        self.first = min(broken, key=self._ended, default=None)

    def causes(self, line: int | None = None, layer: str | None = None) -> tuple[Cause, ...]:
        """What leads to a shape that is wrong: at a line whose promise broke, in a layer's output, in the network's."""
        if self.first is not None and self.rows[self.first].line != line:
            row = self.rows[self.first]
            return (Cause(f"shapes part before: {_shown(row)}", self._span(row)),)
        end = self.first if line is not None else self._index(layer)
        held = [i for i, row in enumerate(self.rows) if row.promise is not None and row.promise.held]
        held = [i for i in held if end is None or self._ended(i) < self._ended(end)]
        if not held:
            return ()
        last = max(held, key=self._ended)
        causes = [Cause(f"as promised until {_shown(self.rows[last])}", self._span(self.rows[last]))]
        if (first := self._behind(last, end)) is not None:
            causes.append(Cause(f"first behind it: {_shown(first)}", self._span(first)))
        return tuple(causes)

    def _ended(self, index: int) -> tuple[int, int]:
        """Where in the order of ending a row stands."""
        return self.last[index], -self.rows[index].depth

    def _index(self, layer: str | None) -> int | None:
        return next((i for i, row in enumerate(self.rows) if row.path == layer), None) if layer else None

    def _behind(self, index: int, end: int | None) -> LayerRow | None:
        """The first childless row behind one, where it is not the very row that is asked about."""
        stop = len(self.rows) if end is None else self.last[end] + 1
        for i in range(self.last[index] + 1, stop):
            if self.last[i] == i and self.rows[i].kind != "parameter":
                return self.rows[i] if i != end else None
        return None

    def _span(self, row: LayerRow) -> Span | None:
        if row.line is None or row.column is None:
            return None
        at = self.source.offset(row.line, row.column)
        return Span(at, at + 1)


def _last_inside(rows: Sequence[LayerRow], around: Sequence[int | None]) -> list[int]:
    """For each row the index of the last row in it; its own where it contains none."""
    last = list(range(len(rows)))
    for i in reversed(range(len(rows))):
        outer = around[i]
        if outer is not None:
            last[outer] = max(last[outer], last[i])
    return last


def _shown(row: LayerRow) -> str:
    name = row.path or row.text
    made = f" = {row.text}" if row.text and row.text != name else ""
    return f"{name}{made}  {', '.join(map(str, row.output_shapes))}"
