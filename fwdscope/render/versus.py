"""Two networks that were measured in turn: their times, and how they compare."""

from __future__ import annotations

from collections.abc import Iterator

from fwdscope import units
from fwdscope.printable import printable
from fwdscope.render import sweep as rendered
from fwdscope.render.bench import differing, facts_of, notes, style_of, verdict, wrapped, write_blocks
from fwdscope.render.html.sweep import render as page_of_sweep
from fwdscope.render.lines import Line, hanging
from fwdscope.report.sweep import Sweep, SweepAxis, SweepPoint
from fwdscope.report.versus import Versus

_LABEL = 8


def draw(versus: Versus, width: int = 100, color: bool = False) -> str:
    """The comparison as text."""
    width = max(width, 60)
    table = _sweep(versus)
    rows = list(rendered.timed_rows(table))
    blocks = (
        _head(versus, width),
        rendered.table(table, rows, width),
        _answer(versus, width),
        notes(versus.notes, width),
    )
    return write_blocks(blocks, color)


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


def _sweep(versus: Versus) -> Sweep:
    """The two as a table of two rows."""
    points = (SweepPoint((("network", name),), report) for name, report in zip("AB", versus.reports, strict=True))
    return Sweep((SweepAxis("network", ("A", "B")),), tuple(points))


def as_csv(versus: Versus) -> str:
    """A line for each of the two."""
    return rendered.as_csv(_sweep(versus))


def page_of(versus: Versus) -> str:
    """The page: both as a table, the answer first among its notes."""
    found, title = versus.speedup, printable(" vs ".join(versus.labels))
    names = [f"{name}: {printable(label)}" for name, label in zip("AB", versus.labels, strict=True)]
    texts = [f"B takes {verdict(found)}", *map(printable, found.differs)] if found else []
    return page_of_sweep(_sweep(versus), (), title, [*texts, "  ·  ".join(names), *map(printable, versus.notes)])
