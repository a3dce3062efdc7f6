"""What every form of a check says in the same words: states, sums, what was held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fwdscope import units
from fwdscope.commands.check.outcome import STATES, Outcome, Run, State, Told

WORDS: dict[State, str] = {
    "ok": "ok",
    "skipped": "skipped",
    "short": "fell short",
    "wrong": "wrong",
    "defect": "defect",
}


def verdict(outcome: Outcome) -> str:
    """What became of a spec, with how much of it: ``fell short in 2 of 9``."""
    if outcome.state == "short":
        held = [point for point in outcome.points if point.state != "skipped"]
        return f"fell short in {len(outcome.short)} of {len(held)}"
    if outcome.state == "wrong":
        return units.plural(len(outcome.problems), "problem")
    if outcome.state == "ok" and outcome.skipped:
        return f"ok, {len(outcome.skipped)} not held"
    if outcome.state == "ok" and not outcome.points:
        return "ok, expects nothing"
    return WORDS[outcome.state]


def tally(run: Run) -> str:
    """The last line: ``43 specs: 41 ok, 2 fell short  ·  311 held, 2 not, 1 skipped  ·  3.2 s``."""
    states = Counter(outcome.state for outcome in run.outcomes)
    specs = len(run.outcomes) - states["skipped"]
    said = [f"{states[state]} {WORDS[state]}" for state in STATES if states[state] and state != "skipped"]
    points = Counter(point.state for outcome in run.outcomes for point in outcome.points)
    held = [f"{points['held']:,} held"]
    held += [f"{points['short']:,} not"] if points["short"] else []
    held += [f"{points['skipped']:,} skipped"] if points["skipped"] else []
    held += [f"{units.plural(states['skipped'], 'other file')} skipped"] if states["skipped"] else []
    cached = sum(outcome.cached for outcome in run.outcomes)
    remembered = f" ({cached} unchanged)" if cached else ""
    return f"{units.plural(specs, 'spec')}: {', '.join(said)}  ·  {', '.join(held)}  ·  {run.seconds:.1f} s{remembered}"


def problems(outcome: Outcome) -> tuple[Told, ...]:
    """Everything that makes a spec fail, in the order of the file."""
    told = [*outcome.problems, *(point.told for point in outcome.points if point.told is not None)]
    return tuple(sorted(told, key=lambda one: (one.line or 0, one.column or 0)))


def unheld(outcome: Outcome) -> Sequence[str]:
    """What could not be held, and why."""
    return [
        f"{place(outcome, point.line)}: skipped: {point.what} {' '.join(point.expected.split())}: {point.reason}"
        for point in outcome.skipped
    ]


def place(outcome: Outcome, line: int | None, column: int | None = None) -> str:
    """``file:line:column``, as far as it is known."""
    return ":".join([outcome.file, *(str(part) for part in (line, column) if part is not None)])


def costs(outcome: Outcome) -> tuple[str, str]:
    """Parameters and MACs as text, ``—`` where they are not known."""
    params = "—" if outcome.params is None else units.count(outcome.params)
    macs = "—" if outcome.macs is None else f"{'≥ ' * outcome.at_least}{units.count(outcome.macs)}"
    return params, macs
