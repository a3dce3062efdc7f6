"""A check for reading: a line for each spec as it is checked, then all problems with their places, then the totals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fwdscope.commands.check.outcome import CheckRun, Outcome
from fwdscope.printable import printable
from fwdscope.render.checks import words
from fwdscope.render.lines import Line, cells, pad, write
from fwdscope.render.problems import styled

_STYLES = {"ok": "green", "skipped": "dim", "failed": "red", "invalid": "red", "crashed": "magenta"}
_VERDICT_WIDTH = 22  # "failed 12 of 34"


def render(run: CheckRun, colour: bool = False) -> str:
    """The whole run as text."""
    width = name_width([outcome.file for outcome in run.outcomes])
    lines = [line(outcome, width) for outcome in run.outcomes]
    return write([*lines, *closing(run)], colour)


def name_width(names: Sequence[str]) -> int:
    """Columns for the names of files."""
    return min(60, max((cells(printable(name)) for name in names), default=0))


def line(outcome: Outcome, width: int) -> Line:
    """A spec's line: file, verdict, parameters and MACs, and how long it took."""
    name = pad(printable(outcome.file), width)
    verdict = (pad(words.verdict(outcome), _VERDICT_WIDTH), _STYLES[outcome.state])
    if outcome.state == "skipped":
        return ((f"{name}  ", ""), verdict, (outcome.reason or "", ""))
    params, macs = words.costs(outcome)
    # A spec that cannot be built has no costs.
    costs = f"{params:>8} params  {macs:>8} MACs" if outcome.params is not None else " " * 30
    took = "unchanged" if outcome.cached else f"{outcome.seconds:.2f} s"
    return ((f"{name}  ", ""), verdict, (f"  {costs}  {took:>9}", ""))


def closing(run: CheckRun) -> Iterator[Line]:
    """The lines after those of the specs: problems, skipped points, notes, the totals."""
    for outcome in run.outcomes:
        for problem in words.problems(outcome):
            text = problem.text or f"{words.place(outcome, problem.line, problem.column)}: error: {problem.message}"
            yield ()
            yield from map(styled, text.split("\n"))
        if outcome.state == "crashed":
            yield from ((), ((f"{outcome.file}: {outcome.reason}", ""),))
    quiet = [text for outcome in run.outcomes for text in words.skipped_points(outcome)]
    quiet += [note.text for outcome in run.outcomes for note in outcome.notes]
    quiet += [f"note: {remark}" for remark in run.remarks]
    if quiet:
        yield ()
        yield from (((printable(text), "dim"),) for text in quiet)
    yield from ((), ((words.tally(run), ""),))
