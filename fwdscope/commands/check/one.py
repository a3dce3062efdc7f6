"""Checks one spec: reads it, traces it on meta, and compares it with its promises and expectations."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fwdscope.commands.check.baselines import Baseline
from fwdscope.commands.check.expectations import Verdict, of_rank, verdicts
from fwdscope.commands.check.outcome import CheckMessage, CheckPoint, Outcome, state_of
from fwdscope.commands.check.since import FirstDifference
from fwdscope.errors import InputError
from fwdscope.language import tree
from fwdscope.language.problems import Problem, Source, Span, SpecError
from fwdscope.report import Report

if TYPE_CHECKING:
    from fwdscope.language.check import Checked
    from fwdscope.model import Network
    from fwdscope.run.subject import Subject


@dataclass(frozen=True)
class CheckSettings:
    """How specs are checked: the dtype of weights, whether specs may import the user's own classes, and whether
    expected formulas are checked at other vars too.
    """

    dtype: str = "float32"
    allow_import: bool = False
    grow: bool = False


@dataclass(frozen=True)
class CheckResult:
    """A spec's outcome, and the part of its report for a baseline; None if it could not be built."""

    outcome: Outcome
    kept: Baseline | None = None
    # Whether the same text always gives the same outcome.
    can_be_cached: bool = True


def check_source(source: Source, settings: CheckSettings) -> CheckResult:
    """Check the text of a spec. Its problems are part of the outcome and raise nothing."""
    from fwdscope.language.check import check_all
    from fwdscope.language.parser import parse_all

    before = time.perf_counter()
    name, spec = Path(source.name).stem, None
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
        found = tuple(map(CheckMessage.of, error.problems))
    except InputError as error:  # of a model in code
        # A model's own error stands at a line of its code, which comes behind that of the spec.
        said = str(error).removeprefix("error: ").replace(": error: ", ": ", 1)
        message, *detail = said.splitlines()
        line, column = source.place(spec.model.span.start) if spec is not None and spec.model is not None else (1, 1)
        is_target = spec is not None and spec.model is not None and spec.model.target == source.name
        text = f"{source.name}{'' if is_target else f':{line}:{column}'}: error: {said}"
        found = (CheckMessage("model", message, line, column, tuple(detail), text),)
    except RecursionError:
        found = (CheckMessage("limit", "this is nested deeper than Python can follow"),)
    outcome = Outcome(source.name, name, "invalid", problems=found, seconds=time.perf_counter() - before)
    # The code of a model may change while its spec does not.
    return CheckResult(outcome, can_be_cached=spec is None or spec.model is None)


def _checked(checked: Checked, settings: CheckSettings, before: float) -> CheckResult:
    read = time.perf_counter()
    import torch  # noqa: F401  # imported first, since the spec's time does not include it

    from fwdscope.commands.check.latency import expected_latencies
    from fwdscope.run.model_spec import subject_of

    spec = checked.spec
    before += time.perf_counter() - read
    stays_on_meta = spec.model is None
    subject = subject_of(checked, {}, settings.dtype, only_on_meta=stays_on_meta)
    network, report = getattr(subject, "network", None), subject.report()
    difference = FirstDifference(report, spec.source)
    promised = list(_promises(network, report, difference)) if network is not None else []
    if checked.asks_mode:
        promised = _in_either_mode(promised, _in_training(checked, settings))
    seconds = time.perf_counter() - before
    caches, step = subject.other_passes(checked)
    latencies = expected_latencies(checked, settings.dtype)
    found = verdicts(checked, report, True, latencies, caches, step, _of_rank(subject, report, checked))
    points = [*promised, *_expectations(checked, found, difference)]
    if settings.grow:
        from fwdscope.commands.check.growth import growth_points

        points += sorted(growth_points(checked, settings.dtype), key=lambda point: point.line or 0)
    outcome = Outcome(
        spec.source.name,
        spec.name,
        state_of(points),
        tuple(points),
        notes=tuple(_notes(checked, network, report)) if network is not None else (),
        params=report.totals.params,
        macs=report.totals.macs,
        at_least=bool(report.uncounted),
        seconds=seconds,
    )
    return CheckResult(outcome, Baseline.of(report, step), not latencies and not settings.allow_import)


def _of_rank(subject: Subject, report: Report, checked: Checked) -> dict[str, int]:
    """The figures of a rank of the spec's mesh that are expected, of a forward and of a training step."""
    named = {one.name for one in checked.spec.expect.figures if one.name.startswith("per_rank.")}
    mesh, plan, found = checked.spec.mesh, checked.spec.shard, dict[str, int]()
    if not named or mesh is None:
        return found
    from fwdscope.mesh.inspection import with_mesh
    from fwdscope.settings import TrainingSettings

    trained = {name for name in named if name.startswith("per_rank.train_")}
    for begin, is_asked in (("train_", bool(trained)), ("", trained != named)):
        if is_asked:
            step = TrainingSettings.of({one.name: one.value for one in checked.spec.expect.training})
            of = subject.again(step) if begin else subject
            found |= of_rank(with_mesh(of, of.report() if begin else report, mesh, plan or "auto"))
    return found


def _in_training(checked: Checked, settings: CheckSettings) -> list[CheckPoint]:
    """The promises of a spec in training mode. Raises SpecError where shapes do not fit in it."""
    from fwdscope.run.subject import SpecSubject

    try:
        subject = SpecSubject(checked, {}, settings.dtype, training=True, only_on_meta=True)
    except SpecError as error:
        raise SpecError([replace(one, message=f"in training mode, {one.message}") for one in error.problems]) from None
    report = subject.report()
    return list(_promises(subject.network, report, FirstDifference(report, checked.spec.source)))


def _in_either_mode(evaluated: list[CheckPoint], trained: list[CheckPoint]) -> list[CheckPoint]:
    """Each promise as the mode has it in which its line runs; one that only training breaks is said to be so."""
    points = []
    for one, other in zip(evaluated, trained, strict=True):
        if other.state == "failed" and one.state != "failed":
            other = replace(other, got=f"{other.got} in training mode")
        points.append(other if one.state not in ("met", "failed") or "training mode" in str(other.got) else one)
    return points


def _promises(network: Network, report: Report, difference: FirstDifference) -> Iterator[CheckPoint]:
    """Check every promise of the file, in its order; one on a line that does not run here is skipped."""
    spec, broken = network.spec, network.blueprint.broken_promises
    lines_run = {row.line for row in report.layers if row.promise is not None}
    bodies = (spec.layers, *(block.body for block in spec.blocks))
    lines = [line for body in bodies for line in tree.statements(body) if isinstance(line, tree.Statement)]
    for line in sorted(lines, key=lambda line: line.span):
        if line.promise is None:
            continue
        number, first = spec.source.place(line.promise.span.start)[0], spec.source.place(line.span.start)[0]
        ran = next((n for n in range(first, number + 1) if n in lines_run), None)
        point = CheckPoint("promise", f"shape of {line.text}", line.promise.text, "met", number)
        if line.span in broken:
            problem = broken[line.span]
            causes = difference.causes(first if ran is None else ran)
            message = CheckMessage.of(replace(problem, causes=(*problem.causes, *causes)))
            point = replace(point, state="failed", got=problem.message.rpartition(" got ")[2], problem=message)
        elif ran is None:
            point = replace(point, state="skipped", reason="its line does not run here")
        yield point


def _expectations(checked: Checked, found: Iterable[Verdict], difference: FirstDifference) -> Iterator[CheckPoint]:
    source = checked.spec.source
    for one in found:
        line = source.place(one.span.start)[0]
        message = None
        if one.state == "failed":
            causes = difference.causes(layer=one.layer) if one.what.endswith("output") else ()
            by = f": {one.by}" if one.by else ""
            text = f"{one.what}: expected {' '.join(one.expected.split())}, got {one.got}{by}"
            message = CheckMessage.of(Problem(source, one.span, "expect", text, causes=causes))
        yield CheckPoint("expect", one.what, one.expected, one.state, line, one.got, one.by, one.reason, message)


def _notes(checked: Checked, network: Network, report: Report) -> Iterator[CheckMessage]:
    from fwdscope.language.advice import advice, unnamed
    from fwdscope.model.paths import default_piece

    source = checked.spec.source
    found = [*checked.notes, *advice(checked.spec)]
    # One note for all lines with layers that have weights and a default path.
    nameless: dict[Span, str] = {}
    for row in report.layers:
        if row.kind in ("expression", "parameter", "loop") or not row.params or row.line is None or row.call > 1:
            continue
        piece = default_piece(network, row.path, within=1)
        at = source.offset(row.line, row.column or 1)
        if piece is not None:
            nameless.setdefault(Span(at, at), piece if piece == row.path else f"{piece} in {row.path}")
    if nameless:
        found.append(unnamed(nameless, source))
    for note in sorted(found, key=lambda note: note.span):
        line, column = source.place(note.span.start)
        yield CheckMessage("note", note.text, line, column, text=f"{source.at(note.span.start)}: note: {note.text}")
