"""A check for reading: a line for each spec as it is checked, then all problems with their places, then the totals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fwdscope.commands.check.outcome import CheckRun, Outcome
from fwdscope.language.problems import width as cells
from fwdscope.render.checks import words
from fwdscope.render.problems import coloured
from fwdscope.render.rows import printable

_COLOURS = {"ok": "\033[32m", "skipped": "\033[2m", "failed": "\033[31m", "invalid": "\033[31m", "crashed": "\033[35m"}
_DIM, _END = "\033[2m", "\033[0m"
_VERDICT_WIDTH = 22  # "failed 12 of 34"
_MAX_NAME_WIDTH = 60


def render(run: CheckRun, colour: bool = False) -> str:
    """The whole run as text."""
    width = name_width([outcome.file for outcome in run.outcomes])
    lines = [line(outcome, width, colour) for outcome in run.outcomes]
    return "\n".join([*lines, *closing(run, colour)]) + "\n"


def name_width(names: Sequence[str]) -> int:
    """Columns for the names of files."""
    return min(_MAX_NAME_WIDTH, max((cells(printable(name)) for name in names), default=0))


def line(outcome: Outcome, width: int, colour: bool = False) -> str:
    """A spec's line: file, verdict, parameters and MACs, and how long it took."""
    verdict = words.verdict(outcome).ljust(_VERDICT_WIDTH)
    if colour:
        verdict = f"{_COLOURS[outcome.state]}{verdict}{_END}"
    name = printable(outcome.file)
    name += " " * (width - cells(name))
    if outcome.state == "skipped":
        return f"{name}  {verdict}{outcome.reason}"
    params, macs = words.costs(outcome)
    # A spec that cannot be built has no costs.
    costs = f"{params:>8} params  {macs:>8} MACs" if outcome.params is not None else " " * 30
    took = "unchanged" if outcome.cached else f"{outcome.seconds:.2f} s"
    return f"{name}  {verdict}  {costs}  {took:>9}".rstrip()


def closing(run: CheckRun, colour: bool = False) -> Iterator[str]:
    """The lines after those of the specs: problems, skipped points, notes, the totals."""
    for outcome in run.outcomes:
        for problem in words.problems(outcome):
            text = problem.text or f"{words.place(outcome, problem.line, problem.column)}: error: {problem.message}"
            yield ""
            yield from map(coloured, text.split("\n")) if colour else text.split("\n")
        if outcome.state == "crashed":
            yield from ("", f"{outcome.file}: {outcome.reason}")
    quiet = [text for outcome in run.outcomes for text in words.skipped_points(outcome)]
    quiet += [note.text for outcome in run.outcomes for note in outcome.notes]
    quiet += [f"note: {remark}" for remark in run.remarks]
    if quiet:
        yield ""
        yield from (f"{_DIM}{text}{_END}" if colour else text for text in map(printable, quiet))
    yield from ("", words.tally(run))
