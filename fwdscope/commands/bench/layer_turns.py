"""The layers of two networks that were timed in turn: those of one beside those of the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fwdscope.report import LayerRow
from fwdscope.report.matching import Item, Pair, matched
from fwdscope.report.versus import LayerTurns
from fwdscope.run.prepare import RowNodes
from fwdscope.timing.layers import LayerTimes, row_times


def compare_layers(
    rows: tuple[Sequence[LayerRow], Sequence[LayerRow]],
    nodes: tuple[RowNodes, RowNodes],
    times: tuple[LayerTimes, LayerTimes],
) -> tuple[LayerTurns, ...]:
    """The layers of both, of nested ones the outermost, in the order of the second; some have no counterpart."""
    seconds = [
        {id(row): each for row, each in zip(own, row_times(pairs, passes)[0], strict=True) if each is not None}
        for own, pairs, passes in zip(rows, nodes, times, strict=True)
    ]

    def turns(pair: Pair) -> Iterator[LayerTurns]:
        sides = pair.before, pair.after
        if pair.children and not all(side is None or side.row.kind == "layer" for side in sides):
            for child in pair.children:
                yield from turns(child)
            return
        found = [known.get(id(side.row)) if side else None for known, side in zip(seconds, sides, strict=True)]
        if any(found):
            many = [side.times if side else 0 for side in sides]
            first, second = ([each * n for each in one or none] for one, n in zip(found, many, strict=True))
            calls = max(n * side.row.calls for n, side in zip(many, sides, strict=True) if side)
            type_ = " → ".join(dict.fromkeys(side.row.type for side in sides if side))
            noise = calls * max(one.noise for one in times)
            yield LayerTurns(_paths(sides, many), type_, tuple(zip(first, second, strict=True)), noise)

    none = (0.0,) * len(times[0].passes)
    return tuple(one for pair in matched(*rows) for one in turns(pair))


def _paths(sides: tuple[Item | None, Item | None], many: Sequence[int]) -> tuple[str | None, str | None]:
    first, second = (
        None if side is None else side.row.path + (f" × {n}" if n > 1 else "")
        for side, n in zip(sides, many, strict=True)
    )
    return first, second
