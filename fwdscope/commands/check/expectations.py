"""``expect``: compares a report with what the spec expects of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Literal

from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.evaluate import evaluate_plain
from fwdscope.language.expression import Expression, Name
from fwdscope.language.problems import Span
from fwdscope.report import LayerRow, Report, Shape, Shortfall

if TYPE_CHECKING:
    from fwdscope.language.check import Checked
    from fwdscope.language.tree import ExpectedFigure, ExpectedOutput
    from fwdscope.units import Figure

# Figures that are lower bounds if an operator without a rule ran.
_COUNTED = frozenset({"macs", "flops", "bytes_read", "bytes_written"})


@dataclass(frozen=True)
class MeasuredLatency:
    """Seconds of a forward on one device: of the whole, and of each row of the report.

    ``missing`` says why there are none; ``failed`` why the network cannot run on a device that is there.
    """

    whole: float | None = None
    rows: tuple[LayerRow, ...] = ()
    missing: str | None = None
    failed: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The result of one expectation.

    ``got`` is the value as text, ``by`` how far it is off; ``reason`` says why it was skipped.
    """

    what: str
    expected: str
    span: Span
    state: Literal["met", "failed", "skipped"]
    layer: str | None = None
    got: str = ""
    by: str | None = None
    reason: str | None = None


def with_shortfalls(checked: Checked, report: Report, hold_outputs: bool = True) -> Report:
    """The report with the expectations that it does not meet.

    ``hold_outputs`` is False where an input has another shape than the spec's.
    """
    return dataclasses.replace(report, shortfalls=tuple(shortfalls(checked, report, hold_outputs)))


def shortfalls(checked: Checked, report: Report, hold_outputs: bool = True) -> Iterator[Shortfall]:
    """Expectations that are not met, in the file's order. Latencies, which no report on meta has, are left out."""
    for verdict in verdicts(checked, report, hold_outputs):
        if verdict.state == "failed":
            line, column = checked.spec.source.place(verdict.span.start)
            yield Shortfall(verdict.what, verdict.expected, verdict.got, line, column)


def verdicts(
    checked: Checked,
    report: Report,
    hold_outputs: bool = True,
    latencies: Mapping[str | None, MeasuredLatency] | None = None,
) -> tuple[Verdict, ...]:
    """The result of every expectation, in the file's order; ``latencies`` were measured, by the device's name."""
    found = [*_outputs(checked, report)] if hold_outputs else []
    for one in checked.spec.expect.figures:
        if one.name == "latency":
            found.append(_latency(one, (latencies or {}).get(one.on, MeasuredLatency(missing="not measured"))))
        else:
            found.append(_figure(one, report))
    return tuple(sorted(found, key=lambda verdict: verdict.span))


# --- figures ---------------------------------------------------------------------------------------------------------


def _figure(one: ExpectedFigure, report: Report) -> Verdict:
    """The result of an expectation of a figure that the report counts."""
    what = _what(one.name, one.layer)
    row = _row(report.layers, one.layer) if one.layer is not None else None
    if one.layer is not None and row is None:
        return Verdict(what, one.text, one.span, "failed", one.layer, f"no layer {one.layer}")
    value: int | None = getattr(row or report.totals, one.name, None)
    if value is None:
        return Verdict(what, one.text, one.span, "failed", one.layer, "nothing: it is not counted here")
    uncounted = (row or report).uncounted if one.name in _COUNTED else ()
    if uncounted and not _certain(one.figure, value):
        got = f"at least {value:,}: no rule counts {', '.join(uncounted)}"
        return Verdict(what, one.text, one.span, "failed", one.layer, got)
    if one.figure.holds(value):
        return Verdict(what, one.text, one.span, "met", one.layer, f"{value:,}")
    return Verdict(what, one.text, one.span, "failed", one.layer, f"{value:,}", distance(one.figure, value))


def _certain(figure: Figure, value: int) -> bool:
    """Whether a figure is settled by a value that is known to be at least so large."""
    beyond = figure.high is not None and value > figure.high
    return beyond or (figure.high is None and figure.holds(value))


def _latency(one: ExpectedFigure, measured: MeasuredLatency) -> Verdict:
    what = _what(one.name, one.layer)
    if measured.failed is not None:
        return Verdict(what, one.text, one.span, "failed", one.layer, f"nothing: {measured.failed}")
    row = _row(measured.rows, one.layer) if one.layer is not None else None
    seconds = measured.whole if one.layer is None else row.latency if row is not None else None
    if seconds is None:
        reason = measured.missing or f"no latency of {one.layer or 'the whole'} was measured"
        return Verdict(what, one.text, one.span, "skipped", one.layer, reason=reason)
    got = _seconds(seconds)
    if one.figure.holds(seconds):
        return Verdict(what, one.text, one.span, "met", one.layer, got)
    return Verdict(what, one.text, one.span, "failed", one.layer, got, distance(one.figure, seconds))


def distance(figure: Figure, value: float) -> str:
    """How far a value lies outside a figure: ``1 too many``, ``2.1 ms (5.3 %) too much``."""
    if figure.high is not None and value >= figure.high:
        end, whole, word = figure.high, "too many", "too much"
    else:
        end, whole, word = figure.low or Fraction(0), "too few", "too little"
    gap = abs(Fraction(value) - end)
    # A strict bound keeps its own end out: what stands on it lies outside by one, or by nothing that can be told.
    counted = isinstance(value, int) and gap.denominator == 1
    gap += int(figure.strict and counted)
    part = f" ({share})" if end and (share := _percent(gap / end)) else ""
    if counted and figure.measure != "bytes":
        return f"{int(gap):,}{part} {whole}"
    if figure.measure == "seconds":
        return f"{_seconds(float(gap))}{part} {word}"
    unit = " bytes" if figure.measure == "bytes" else ""
    return f"{math.ceil(gap):,}{unit}{part} {word if unit else whole}"


def _percent(share: Fraction) -> str:
    percent = float(100 * share)
    return f"{percent:,.{0 if percent >= 99.95 else 1}f} %" if percent >= 0.05 else ""


def _seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def _row(rows: Sequence[LayerRow], path: str) -> LayerRow | None:
    """The row of a layer; a copy that stands for others answers for each."""
    exact = next((row for row in rows if row.path == path and row.kind != "expression"), None)
    return exact or next((row for row in rows if path in folded_paths(rows, row)), None)


def folded_paths(rows: Sequence[LayerRow], row: LayerRow) -> set[str]:
    """All paths that a row stands for, those of the equal copies around it among them."""
    paths = {row.path}
    for copies in rows:
        if copies.kind != "copies" or not (row.path == copies.path or row.path.startswith(copies.path + ".")):
            continue
        stem, _, first = copies.path.rpartition(".")
        if not first.isdigit():  # copies by default paths, which no expectation may name
            continue
        rests = {path[len(copies.path) :] for path in paths if path.startswith(copies.path)}
        paths |= {f"{stem}.{int(first) + i}{rest}".lstrip(".") for i in range(copies.repeat) for rest in rests}
    return paths


# --- outputs ---------------------------------------------------------------------------------------------------------


def _outputs(checked: Checked, report: Report) -> Iterator[Verdict]:
    evaluate = partial(evaluate_plain, names=checked.variables)
    for one in checked.spec.expect.outputs:
        got, missing = _output_shapes(one, report)
        shown = missing or (str(got[0]) if len(got) == 1 else str(got))
        held = missing is None and _matches(one.shape, got, evaluate)
        yield Verdict(_what("output", one.layer), one.text, one.span, "met" if held else "failed", one.layer, shown)


def _output_shapes(one: ExpectedOutput, report: Report) -> tuple[tuple[Shape, ...], str | None]:
    if one.layer is None:
        return tuple(output.shape for output in report.outputs), None
    row = _row(report.layers, one.layer)
    return (row.output_shapes, None) if row else ((), f"no layer {one.layer}")


def _matches(shape: Expression, got: tuple[Shape, ...], evaluate: object) -> bool:
    """Whether shapes are those expected: a tuple of shapes, nested or not, or the first one's alone."""
    wanted = list(_flat(shape))
    if isinstance(shape, ex.TupleOrList) and not any(isinstance(item, ex.TupleOrList) for item in shape.items):
        # `(_, _)` may be two sizes, or two results of any shape.
        if len(got) > 1 and len(shape.items) == len(got) and all(_any(item) for item in shape.items):
            return True
        return bool(got) and _one(shape, got[0], evaluate)
    return len(wanted) == len(got) and all(_one(s, g, evaluate) for s, g in zip(wanted, got, strict=True))


def _flat(shape: Expression) -> Iterator[Expression]:
    if isinstance(shape, ex.TupleOrList) and any(isinstance(item, ex.TupleOrList) for item in shape.items):
        for item in shape.items:
            yield from _flat(item)
    else:
        yield shape


def _any(node: Expression) -> bool:
    return isinstance(node, Name) and node.id == "_"


def _one(shape: Expression, got: Shape, evaluate: object) -> bool:
    assert callable(evaluate)
    if _any(shape):
        return True
    if not isinstance(shape, ex.TupleOrList) or len(shape.items) != len(got):
        return False
    try:
        return all(_any(item) or evaluate(item) == size for item, size in zip(shape.items, got, strict=True))
    except ArithmeticProblem:
        return False


def _what(name: str, layer: str | None) -> str:
    return name if layer is None else f"{layer} {name}"
