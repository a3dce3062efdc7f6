"""``expect``: compares a report with what the spec expects of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Literal

from fwdscope import units
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.evaluate import evaluate_plain
from fwdscope.language.expression import Expression, Name
from fwdscope.language.problems import Span
from fwdscope.report import STEP_FIGURES, Latency, LayerRow, Report, Shape, Shortfall, TrainingStep
from fwdscope.report.speedup import against_limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwdscope.language.check import Checked
    from fwdscope.language.tree import ExpectedFigure

    Evaluate = Callable[[Expression], object]

# Figures that are others in training.
_OF_FORWARD = frozenset({"flops", "bytes_read", "bytes_written", "peak_memory", "peak_activations", "kv_cache"})
# Figures that are lower bounds if an operator has no counting rule.
_COUNTED = frozenset({"macs", "flops", "bytes_read", "bytes_written", "train_flops"})


@dataclass(frozen=True)
class MeasuredLatency:
    """Seconds of forwards of the whole network on one device, and the rows of the report with theirs.

    ``missing`` says why there are none; ``failed`` why the network cannot run on the device.
    """

    times: tuple[float, ...] = ()
    rows: tuple[LayerRow, ...] = ()
    missing: str | None = None
    failed: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The result of one expectation.

    ``got`` is the value as text, ``by`` how far it is off, ``reason`` why it was skipped.
    """

    what: str
    expected: str
    span: Span
    state: Literal["met", "failed", "skipped"]
    layer: str | None = None
    got: str = ""
    by: str | None = None
    reason: str | None = None


def with_shortfalls(
    checked: Checked,
    report: Report,
    check_outputs: bool = True,
    caches: Mapping[int, int | None] | None = None,
    step: TrainingStep | None = None,
) -> Report:
    """The report with the expectations that it does not meet, except latencies, which are not measured on meta.

    ``check_outputs`` is False if an input has another shape than the spec's. If ``--set`` replaced a var, or ``--past``
    is given, figures are not compared, since they are those of the file itself, and a note says so, as with
    ``--training`` of those that training changes; layers that are gone have no shape. Figures of a training step are
    compared if it is the expected ``step``.
    """
    place, expected = checked.spec.source.place, checked.spec.expect.figures
    found = [one for one in verdicts(checked, report, check_outputs, None, caches, step) if one.state == "failed"]
    given = [variable.name for variable in checked.spec.variables if variable.given is not None]
    # What the figures that are not compared are of.
    apart: dict[Span, str] = {}
    for one in expected:
        if given and one.formula is None:
            apart[one.span] = f"the file's own {', '.join(given)}"
        elif report.past:
            apart[one.span] = "a forward without --past"
        elif report.training and one.name in _OF_FORWARD:
            apart[one.span] = "a forward without --training"
        elif report.training and step is None and one.name in STEP_FIGURES:
            apart[one.span] = "a step with the file's own settings"
    if given or report.past:
        # A layer may be gone because the var is smaller.
        found = [one for one in found if one.layer is None or row_at(report.layers, one.layer) is not None]
    found = [one for one in found if one.span not in apart]
    notes = [f"expected figures are not checked, since they are for {of}" for of in dict.fromkeys(apart.values())]
    report = replace(report, notes=(*report.notes, *notes))
    shortfalls = [Shortfall(one.what, one.expected, one.got, *place(one.span.start)) for one in found]
    return replace(report, shortfalls=tuple(shortfalls))


def with_rank_shortfalls(checked: Checked, report: Report) -> Report:
    """The report on the spec's own mesh with the expectations of a rank that it does not meet."""
    place, values = checked.spec.source.place, of_rank(report)
    found = []
    for one in checked.spec.expect.figures if all(one.given is None for one in checked.spec.variables) else ():
        if one.name in values:
            verdict = Verdict(one.name, one.text, one.span, "met")
            found.append(_check_value(verdict, one, values[one.name], report.uncounted))
    more = [
        Shortfall(one.what, one.expected, one.got, *place(one.span.start)) for one in found if one.state == "failed"
    ]
    return replace(report, shortfalls=(*report.shortfalls, *more))


def of_rank(report: Report) -> dict[str, int]:
    """The figures of a rank by the names of expectations: ``per_rank.memory``, ``per_rank.train_memory``."""
    names, figures = "per_rank.train_" if report.training else "per_rank.", report.mesh.figures if report.mesh else {}
    return {name.replace("rank_", names, 1): value for name, value in figures.items()}


def verdicts(
    checked: Checked,
    report: Report,
    check_outputs: bool = True,
    latencies: Mapping[str | None, MeasuredLatency] | None = None,
    caches: Mapping[int, int | None] | None = None,
    step: TrainingStep | None = None,
    ranks: Mapping[str, int] | None = None,
) -> tuple[Verdict, ...]:
    """The result of every expectation, in the file's order; ``latencies`` are the measured ones, by device.

    ``caches`` are the bytes that numbers of earlier positions keep. Figures of a training step and of ``ranks`` of
    a mesh are left out without them.
    """
    found = [*_outputs(checked, report)] if check_outputs else []
    for one in checked.spec.expect.figures:
        verdict = Verdict(what_of(one.name, one.layer), one.text, one.span, "met", one.layer)
        if one.name == "latency":
            measured = (latencies or {}).get(one.on, MeasuredLatency(missing="not measured"))
            found.append(_check_latency(verdict, one, measured))
        elif one.name.startswith("per_rank."):
            if ranks is not None and one.name in ranks:
                found.append(_check_value(verdict, one, ranks[one.name], report.uncounted))
        elif one.name not in STEP_FIGURES:
            value = (caches or {}).get(one.past) if one.name == "kv_cache" else None
            found.append(_check_figure(verdict, one, report, value))
        elif step is not None:
            found.append(_check_value(verdict, one, step.figures[one.name], step.uncounted))
    return tuple(sorted(found, key=lambda verdict: verdict.span))


def value_of(
    one: ExpectedFigure, report: Report, caches: Mapping[int, int | None], step: TrainingStep | None
) -> int | None:
    """What a network has of an expected figure; None if it has none."""
    if one.name in STEP_FIGURES:
        return None if step is None else step.figures[one.name]
    row = row_at(report.layers, one.layer) if one.layer is not None else None
    if one.name == "kv_cache" or (one.layer is not None and row is None):
        return caches.get(one.past) if one.name == "kv_cache" else None
    value = getattr(row or report.totals, one.name, None)
    return value if isinstance(value, int) else None


def _check_figure(verdict: Verdict, one: ExpectedFigure, report: Report, value: int | None) -> Verdict:
    row = row_at(report.layers, one.layer) if one.layer is not None else None
    if one.layer is not None and row is None:
        return replace(verdict, state="failed", got=f"no layer {one.layer}")
    if one.name != "kv_cache":
        value = getattr(row or report.totals, one.name, None)
    if value is None:
        return replace(verdict, state="failed", got="nothing: it is not counted here")
    return _check_value(verdict, one, value, (row or report).uncounted)


def _check_value(verdict: Verdict, one: ExpectedFigure, value: int, uncounted: Sequence[str]) -> Verdict:
    if uncounted and one.name in _COUNTED:
        # The true value may be larger: only a value beyond the upper bound, or one without an upper bound, is certain.
        beyond = one.figure.high is not None and value > one.figure.high
        if not beyond and (one.figure.high is not None or not one.figure.holds(value)):
            return replace(verdict, state="failed", got=f"at least {value:,}: no rule counts {', '.join(uncounted)}")
    verdict = replace(verdict, got=f"{value:,}")
    return verdict if one.figure.holds(value) else replace(verdict, state="failed", by=distance(one.figure, value))


def _check_latency(verdict: Verdict, one: ExpectedFigure, measured: MeasuredLatency) -> Verdict:
    if measured.failed is not None:
        return replace(verdict, state="failed", got=f"nothing: {measured.failed}")
    row = row_at(measured.rows, one.layer) if one.layer is not None else None
    times = measured.times
    if one.layer is not None:
        times = (row.latency, *row.latency_range) if row is not None and row.latency is not None else ()
    if not times:
        reason = measured.missing or f"no latency of {one.layer or 'the whole'} was measured"
        return replace(verdict, state="skipped", reason=reason)
    seconds, figure = Latency.of(times).p10, one.figure
    verdict = replace(verdict, got=units.seconds(seconds))
    if figure.holds(seconds):
        return verdict
    is_over = figure.high is not None and seconds >= figure.high
    found = against_limit(times, float((figure.high if is_over else figure.low) or 0))
    if found.answer == "cannot tell":
        near = f"{units.seconds(seconds)} is {distance(figure, seconds)}, which one process cannot tell from noise"
        return replace(verdict, state="skipped", reason=near)
    return replace(verdict, state="failed", by=distance(figure, seconds))


def distance(figure: units.Figure, value: float) -> str:
    """How far a value lies outside a figure: ``1 too many``, ``2.1 ms (5.3 %) too much``."""
    if figure.high is not None and value >= figure.high:
        end, whole, word = figure.high, "too many", "too much"
    else:
        end, whole, word = figure.low or Fraction(0), "too few", "too little"
    gap = abs(Fraction(value) - end)
    # A strict bound excludes its own end: a count that equals it is off by one, a measured value by nothing.
    counted = isinstance(value, int) and gap.denominator == 1
    gap += int(figure.strict and counted)
    percent = float(100 * gap / end) if end else 0.0
    part = f" ({percent:,.{0 if percent >= 99.95 else 1}f} %)" if percent >= 0.05 else ""
    if counted and figure.measure != "bytes":
        return f"{int(gap):,}{part} {whole}"
    if figure.measure == "seconds":
        return f"{units.seconds(float(gap))}{part} {word}"
    unit = " bytes" if figure.measure == "bytes" else ""
    return f"{math.ceil(gap):,}{unit}{part} {word if unit else whole}"


def row_at(rows: Sequence[LayerRow], path: str) -> LayerRow | None:
    """The row of a layer; for a copy in a stack, the row that stands for all copies."""
    exact = next((row for row in rows if row.path == path and row.kind != "expression"), None)
    return exact or next((row for row in rows if path in folded_paths(rows, row)), None)


def folded_paths(rows: Sequence[LayerRow], row: LayerRow) -> set[str]:
    """All paths that a row stands for: its own, and those in the other copies of the stacks around it."""
    paths = {row.path}
    above: list[LayerRow] = []
    depth, rounds = row.depth, 0
    for one in reversed(rows[: next(i for i, other in enumerate(rows) if other is row)]):
        if one.depth < depth:
            above.insert(0, one)
            depth = one.depth
    for one in above:
        if one.type != "round" or one.path[-1:].isdigit():
            continue
        # A loop without a name: the round's number stands behind the name of the layer, conv.0.
        place, rounds = len(one.path.split(".")) * bool(one.path) + 1 + rounds, rounds + 1
        for pieces in [path.split(".") for path in paths] if one.kind == "copies" else ():
            if len(pieces) > place and pieces[place].isdigit():
                numbers = range(int(pieces[place]), int(pieces[place]) + one.repeat)
                paths |= {".".join((*pieces[:place], str(number), *pieces[place + 1 :])) for number in numbers}
    for copies in rows:
        if copies.kind != "copies" or not (row.path == copies.path or row.path.startswith(copies.path + ".")):
            continue
        stem, _, first = copies.path.rpartition(".")
        if not first.isdigit():  # a default path, which no expectation may name
            continue
        rests = {path[len(copies.path) :] for path in paths if path.startswith(copies.path)}
        paths |= {f"{stem}.{int(first) + i}{rest}".lstrip(".") for i in range(copies.repeat) for rest in rests}
    return paths


def _outputs(checked: Checked, report: Report) -> Iterator[Verdict]:
    evaluate = partial(evaluate_plain, names=checked.variables)
    for one in checked.spec.expect.outputs:
        row = row_at(report.layers, one.layer) if one.layer is not None else None
        got = row.output_shapes if row else tuple(output.shape for output in report.outputs)
        shown = str(got[0] if len(got) == 1 else got)
        met = _matches(one.shape, got, evaluate)
        if one.layer is not None and row is None:
            met, shown = False, f"no layer {one.layer}"
        yield Verdict(what_of("output", one.layer), one.text, one.span, "met" if met else "failed", one.layer, shown)


def _matches(shape: Expression, got: tuple[Shape, ...], evaluate: Evaluate) -> bool:
    """Whether the shapes are the expected ones: a tuple of shapes, nested or not, or the shape of the first alone."""
    wanted = list(_flat(shape))
    if isinstance(shape, ex.TupleOrList) and not any(isinstance(item, ex.TupleOrList) for item in shape.items):
        # `(_, _)` may mean two sizes, or two results of any shape.
        if len(got) > 1 and len(shape.items) == len(got) and all(_any(item) for item in shape.items):
            return True
        return bool(got) and _matches_one(shape, got[0], evaluate)
    return len(wanted) == len(got) and all(_matches_one(s, g, evaluate) for s, g in zip(wanted, got, strict=True))


def _flat(shape: Expression) -> Iterator[Expression]:
    if isinstance(shape, ex.TupleOrList) and any(isinstance(item, ex.TupleOrList) for item in shape.items):
        for item in shape.items:
            yield from _flat(item)
    else:
        yield shape


def _any(node: Expression) -> bool:
    return isinstance(node, Name) and node.id == "_"


def _matches_one(shape: Expression, got: Shape, evaluate: Evaluate) -> bool:
    if _any(shape):
        return True
    if not isinstance(shape, ex.TupleOrList) or len(shape.items) != len(got):
        return False
    try:
        return all(_any(item) or evaluate(item) == size for item, size in zip(shape.items, got, strict=True))
    except ArithmeticProblem:
        return False


def what_of(name: str, layer: str | None) -> str:
    """The words for a figure of a layer, or of the whole."""
    return name if layer is None else f"{layer} {name}"
