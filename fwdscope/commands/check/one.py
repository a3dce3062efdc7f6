"""One file checked: read, built and traced on meta, its promises and expectations held."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fwdscope.commands.check.baselines import Baseline
from fwdscope.commands.check.expectations import MeasuredLatency, Verdict, verdicts
from fwdscope.commands.check.outcome import CheckMessage, CheckPoint, Outcome, state_of
from fwdscope.commands.check.since import Parting
from fwdscope.language import tree
from fwdscope.language.problems import Cause, Problem, Source, Span, SpecError
from fwdscope.report import LayerRow, Report

if TYPE_CHECKING:
    from fwdscope.language.check import Checked, Note
    from fwdscope.model import Network


@dataclass(frozen=True)
class CheckSettings:
    """How files are checked: the dtype of weights, and whether specs may import classes of the user's own."""

    dtype: str = "float32"
    allow_import: bool = False


@dataclass(frozen=True)
class CheckResult:
    """A file's outcome, and what a baseline keeps of its report; None where it could not be built."""

    outcome: Outcome
    kept: Baseline | None = None
    # Whether the same text gives the same outcome, so that it may be remembered.
    lasting: bool = True


def check_source(source: Source, settings: CheckSettings) -> CheckResult:
    """Check the text of a spec. What is wrong with it is in the outcome; nothing is raised for it."""
    from fwdscope.language.check import check_all
    from fwdscope.language.parser import parse_all

    before = time.perf_counter()
    name = Path(source.name).stem
    try:
        spec, problems = parse_all(source)
        if spec is None:
            raise SpecError(problems)
        name = spec.name
        checked, more = check_all(spec, settings.allow_import)
        if problems or more:
            raise SpecError([*problems, *more])
        return _checked(checked, settings, before)
    except SpecError as error:
        told = tuple(map(CheckMessage.of, error.problems))
        return CheckResult(Outcome(source.name, name, "invalid", problems=told, seconds=time.perf_counter() - before))
    except RecursionError:
        told = (CheckMessage("limit", "this is nested deeper than Python can follow"),)
        return CheckResult(Outcome(source.name, name, "invalid", problems=told))


def _checked(checked: Checked, settings: CheckSettings, before: float) -> CheckResult:
    read = time.perf_counter()
    import torch  # noqa: F401  # a cost of the run, not of this spec

    from fwdscope.commands.check.latency import expected_latencies
    from fwdscope.run.subject import SpecSubject

    spec = checked.spec
    before += time.perf_counter() - read
    subject = SpecSubject(checked, {}, settings.dtype)
    network, report = subject.network, subject.report()
    seconds = time.perf_counter() - before
    latencies = expected_latencies(checked, settings.dtype)
    parting = Parting(report, spec.source)
    points = [*_promises(network, report, parting), *_expectations(checked, report, parting, latencies)]
    outcome = Outcome(
        spec.source.name,
        spec.name,
        state_of(points),
        tuple(points),
        notes=tuple(_notes(checked, network, report)),
        params=report.totals.params,
        macs=report.totals.macs,
        at_least=bool(report.uncounted),
        seconds=seconds,
    )
    lasting = not latencies and not settings.allow_import
    return CheckResult(outcome, Baseline.of(report), lasting)


# --- promises and expectations ---------------------------------------------------------------------------------------


def _promises(network: Network, report: Report, parting: Parting) -> Iterator[CheckPoint]:
    """Every promise of the file. One on a line that did not run (a branch not taken) is held by nothing."""
    spec, broken = network.spec, network.blueprint.broken_promises
    ran = _lines_with_promises(report)
    for line in _lines(spec):
        if line.promise is None:
            continue
        span, what = line.promise.span, f"shape of {line.text}"
        number, first = spec.source.place(span.start)[0], spec.source.place(line.span.start)[0]
        if line.span in broken:
            problem = broken[line.span]
            row = next((ran[n] for n in range(first, number + 1) if n in ran), None)
            problem = replace(problem, causes=(*problem.causes, *parting.causes(row.line if row else first)))
            got = problem.message.rpartition(" got ")[2]
            yield CheckPoint(
                "promise", what, line.promise.text, "failed", number, got, problem=CheckMessage.of(problem)
            )
        elif any(n in ran for n in range(first, number + 1)):
            yield CheckPoint("promise", what, line.promise.text, "met", number)
        else:
            yield CheckPoint("promise", what, line.promise.text, "skipped", number, reason="its line does not run here")


def _lines(spec: tree.ModelSpec) -> list[tree.Statement]:
    """All lines that compute, in the file's order."""
    bodies = (spec.layers, *(block.body for block in spec.blocks))
    found = [line for body in bodies for line in tree.statements(body) if isinstance(line, tree.Statement)]
    return sorted(found, key=lambda line: line.span)


def _lines_with_promises(report: Report) -> dict[int, LayerRow]:
    """Rows that promised a shape by their lines; of several rows of a line, one whose promise broke."""
    rows = [row for row in report.layers if row.promise is not None and row.line is not None]
    rows.sort(key=lambda row: row.promise is not None and not row.promise.held)
    return {row.line: row for row in rows if row.line is not None}


def _expectations(
    checked: Checked, report: Report, parting: Parting, latencies: Mapping[str | None, MeasuredLatency]
) -> Iterator[CheckPoint]:
    source = checked.spec.source
    for one in verdicts(checked, report, latencies=latencies):
        line = source.place(one.span.start)[0]
        told = CheckMessage.of(_shortfall(source, one, parting)) if one.state == "failed" else None
        yield CheckPoint("expect", one.what, one.expected, one.state, line, one.got, one.by, one.reason, told)


def _shortfall(source: Source, one: Verdict, parting: Parting) -> Problem:
    by = f": {one.by}" if one.by else ""
    causes: tuple[Cause, ...] = ()
    if one.what.endswith("output"):
        causes = parting.causes(layer=one.layer)
    message = f"{one.what}: expected {' '.join(one.expected.split())}, got {one.got}{by}"
    return Problem(source, one.span, "expect", message, causes=causes)


# --- notes -----------------------------------------------------------------------------------------------------------


def _notes(checked: Checked, network: Network, report: Report) -> Iterator[CheckMessage]:
    from fwdscope.language.advice import advice

    source = checked.spec.source
    found = [*checked.notes, *advice(checked.spec), *_unnamed(network, report, source)]
    for note in sorted(found, key=lambda note: note.span):
        line, column = source.place(note.span.start)
        yield CheckMessage("note", note.text, line, column, text=f"{source.at(note.span.start)}: note: {note.text}")


def _unnamed(network: Network, report: Report, source: Source) -> Iterator[Note]:
    """Layers with weights at default paths, one note for each place of the file."""
    from fwdscope.language.advice import unnamed
    from fwdscope.model.paths import default_piece

    told: set[Span] = set()
    for row in report.layers:
        if row.kind in ("expression", "parameter", "loop") or not row.params or row.line is None or row.call > 1:
            continue
        piece = default_piece(network, row.path, within=1)
        at = source.offset(row.line, row.column or 1)
        if piece is not None and Span(at, at) not in told:
            told.add(Span(at, at))
            yield unnamed(row.path, piece, Span(at, at))
