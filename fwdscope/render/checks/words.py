"""The phrases that all formats of a check share: verdicts, totals, skipped points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fwdscope import units
from fwdscope.commands.check.outcome import STATES, CheckMessage, CheckRun, Outcome


def verdict(outcome: Outcome) -> str:
    """The result for a spec in a few words: ``failed 2 of 9``."""
    if outcome.state == "failed":
        checked = [point for point in outcome.points if point.state != "skipped"]
        return f"failed {len(outcome.failed)} of {len(checked)}"
    if outcome.state == "invalid":
        return units.plural(len(outcome.problems), "problem")
    if outcome.state == "ok" and outcome.skipped:
        return f"ok, {len(outcome.skipped)} skipped"
    if outcome.state == "ok" and not outcome.points:
        return "ok, expects nothing"
    return outcome.state


def tally(run: CheckRun) -> str:
    """The last line: ``43 specs: 41 ok, 2 failed  ·  311 met, 2 not met, 1 skipped  ·  3.2 s``."""
    states = Counter(outcome.state for outcome in run.outcomes)
    specs = len(run.outcomes) - states["skipped"]
    results = [f"{states[state]} {state}" for state in STATES if states[state] and state != "skipped"]
    points = Counter(point.state for outcome in run.outcomes for point in outcome.points)
    counts = [f"{points['met']:,} met"]
    counts += [f"{points['failed']:,} not met"] if points["failed"] else []
    counts += [f"{points['skipped']:,} skipped"] if points["skipped"] else []
    counts += [f"{units.plural(states['skipped'], 'other file')} skipped"] if states["skipped"] else []
    cached = sum(outcome.cached for outcome in run.outcomes)
    remembered = f" ({cached} unchanged)" if cached else ""
    sums = f"{', '.join(results)}  ·  {', '.join(counts)}  ·  {run.seconds:.1f} s{remembered}"
    return f"{units.plural(specs, 'spec')}: {sums}"


def problems(outcome: Outcome) -> tuple[CheckMessage, ...]:
    """All problems of a spec, in the order of the file."""
    found = [*outcome.problems, *(point.problem for point in outcome.points if point.problem is not None)]
    return tuple(sorted(found, key=lambda one: (one.line or 0, one.column or 0)))


def skipped_points(outcome: Outcome) -> Sequence[str]:
    """The points that were skipped, and why."""
    return [
        f"{place(outcome, point.line)}: skipped: {point.what} {' '.join(point.expected.split())}: {point.reason}"
        for point in outcome.skipped
    ]


def place(outcome: Outcome, line: int | None, column: int | None = None) -> str:
    """``file:line:column``, without what is None."""
    return ":".join([outcome.file, *(str(part) for part in (line, column) if part is not None)])


def costs(outcome: Outcome) -> tuple[str, str]:
    """Parameters and MACs as text, ``—`` if unknown."""
    params = "—" if outcome.params is None else units.count(outcome.params)
    macs = "—" if outcome.macs is None else f"{'≥ ' * outcome.at_least}{units.count(outcome.macs)}"
    return params, macs
