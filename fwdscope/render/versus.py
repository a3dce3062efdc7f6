"""Two networks that were measured in turn: their times, and how they compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render import sweep as rendered
from fwdscope.render.bench import (
    BAD,
    GOOD,
    LAYERS,
    differing,
    facts_of,
    notes,
    style_of,
    verdict,
    wrapped,
    write_blocks,
)
from fwdscope.render.html.sweep import render as page_of_sweep
from fwdscope.render.lines import Line, hanging
from fwdscope.render.rows import UNKNOWN
from fwdscope.render.table import Cell, Column, lay_out
from fwdscope.report.speedup import Answer
from fwdscope.report.sweep import Sweep, SweepAxis, SweepPoint
from fwdscope.report.versus import LayerTurns, Versus

_LABEL = 8


def draw(versus: Versus, width: int = 100, color: bool = False, layers: int | None = LAYERS) -> str:
    """The comparison as text; ``layers`` is how many that differ most are shown, None all, 0 none."""
    return write_blocks(blocks(versus, max(width, 60), layers), color)


def blocks(versus: Versus, width: int, layers: int | None = LAYERS) -> Sequence[Iterable[Line]]:
    """The comparison as blocks of lines."""
    table = _sweep(versus)
    rows = list(rendered.timed_rows(table))
    return (
        _head(versus, width),
        rendered.table(table, rows, width),
        _answer(versus, width),
        _layers(versus, width, layers),
        notes(versus.notes, width),
    )


def _head(versus: Versus, width: int) -> Iterator[Line]:
    for name, label in zip("AB", versus.labels, strict=True):
        yield ((f"{name}  ", "dim"), (printable(label), "bold"))
    runs = [report.run for report in versus.reports]
    facts = [facts_of(run) for run in runs if run is not None]
    yield from wrapped("  ·  ".join(fact for fact in facts[0] if fact in facts[-1]), width, "dim")


def _answer(versus: Versus, width: int) -> Iterator[Line]:
    found = versus.speedup
    if found is None:
        return
    yield from hanging("ratio".ljust(_LABEL), f"B takes {verdict(found)}", width - 2, style_of(found))
    turn = units.plural(max(versus.forwards), "forward")
    text = f"{units.exact(len(versus.rounds))}, both in turn in random order; the fastest of {turn} counts"
    yield from hanging("rounds".ljust(_LABEL), text, width - 2, "dim")
    yield from differing(found.differs, width, " " * _LABEL)


_COLOURS = {"faster": GOOD, "slower": BAD, "cannot tell": "dim"}


def _layers(versus: Versus, width: int, most: int | None) -> Iterator[Line]:
    """The layers that differ most, first; those that may be alike are counted."""
    found = differing_layers(versus)
    shown, alike = found[:most], len(versus.layers) - len(found)
    if shown:
        medians = [one.medians for one, _ in shown]
        times = iter(units.shared_seconds([side for pair in medians for side in pair]))
        cells = [[text if path else UNKNOWN for path, text in zip(one.paths, times, strict=False)] for one, _ in shown]
        changes = units.shared_seconds([abs(b - a) for a, b in medians])
        columns = (
            Column("layer", [printable(name_of(one)) for one, _ in shown], cut="middle", min_width=20, max_width=44),
            Column("type", [printable(one.type) for one, _ in shown], cut="end", min_width=12, max_width=28, drop=1),
            *(Column(name, [row[side] for row in cells], right=True) for side, name in enumerate("AB")),
            Column("B takes", [
                Cell(f"{text} {'more' if b > a else 'less'}", style=_COLOURS[answer])
                for text, (a, b), (_, answer) in zip(changes, medians, shown, strict=True)
            ], right=True),
        )  # fmt: skip
        yield from lay_out(columns, width - 1).lines()
    if versus.layers and most != 0:
        rest = len(found) - len(shown)
        texts = [f"{rest} more differ: --layers 0 shows all"] * bool(rest)
        if versus.too_few_passes:
            texts.append("too few passes to compare layers: raise --budget")
        elif alike:
            others = f"{units.exact(alike)} others do not differ" if found else "no layer differs"
            texts.append(f"{others} beyond noise")
        yield from wrapped("  ·  ".join(texts), width, "dim")


def differing_layers(versus: Versus) -> list[tuple[LayerTurns, Answer]]:
    """The layers that are faster or slower in B, or that one of the two alone has, by how much that is."""
    every = [(one, one.answer(len(versus.layers))) for one in versus.layers]
    found = [(one, answer) for one, answer in every if answer != "cannot tell"]
    return sorted(found, key=lambda one: -abs(one[0].medians[1] - one[0].medians[0]))


def name_of(layer: LayerTurns) -> str:
    """Its path, or both."""
    return " → ".join(dict.fromkeys(path for path in layer.paths if path))


def _sweep(versus: Versus) -> Sweep:
    """The two as a table of two rows."""
    points = (SweepPoint((("network", name),), report) for name, report in zip("AB", versus.reports, strict=True))
    return Sweep((SweepAxis("network", ("A", "B")),), tuple(points))


def as_csv(versus: Versus) -> str:
    """A line for each of the two."""
    return rendered.as_csv(_sweep(versus))


def page_of(versus: Versus) -> str:
    """The page: both as a table, the answer first among its notes."""
    return page_of_sweep(_sweep(versus), (), printable(" vs ".join(versus.labels)), list(messages(versus)))


def messages(versus: Versus) -> Iterator[str]:
    """The answer, the networks, the layers that differ most, and the notes."""
    if (found := versus.speedup) is not None:
        yield f"B takes {verdict(found)}"
        yield from map(printable, found.differs)
    yield "  ·  ".join(f"{name}: {printable(label)}" for name, label in zip("AB", versus.labels, strict=True))
    for layer, answer in differing_layers(versus)[:LAYERS]:
        a, b = map(units.seconds, layer.medians)
        yield f"{printable(name_of(layer))} is {answer} in B: {a} in A, {b} in B"
    yield from map(printable, versus.notes)
