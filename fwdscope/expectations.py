"""``expect``: what a report must show, and where it falls short."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fwdscope.report import LayerRow, Report, Shape, Shortfall
from fwdscope.spec import expression as ex
from fwdscope.spec.arithmetic import ArithmeticProblem
from fwdscope.spec.evaluate import Plain
from fwdscope.spec.expression import Expression, Name
from fwdscope.spec.problems import Source, Span

if TYPE_CHECKING:
    from fwdscope.spec.check import Checked
    from fwdscope.spec.tree import ExpectedFigure, ExpectedOutput


def with_shortfalls(checked: Checked, report: Report, hold_outputs: bool = True) -> Report:
    """The report with what it falls short of.

    ``hold_outputs`` is False where an input has another shape than the spec's.
    """
    return dataclasses.replace(report, shortfalls=tuple(shortfalls(checked, report, hold_outputs)))


def shortfalls(checked: Checked, report: Report, hold_outputs: bool = True) -> Iterator[Shortfall]:
    """Expectations that do not hold, in the file's order. Figures that the report does not count are left out."""
    found = [*_outputs(checked, report)] if hold_outputs else []
    found += _figures(checked, report)
    for _, shortfall in sorted(found, key=lambda pair: pair[0]):
        yield shortfall


def _figures(checked: Checked, report: Report) -> Iterator[tuple[Span, Shortfall]]:
    for one in checked.spec.expect.figures:
        value, missing = _figure(one, report)
        if missing is not None:
            yield one.span, _shortfall(checked.spec.source, one.span, _what(one), one.text, missing)
        elif value is not None and not one.figure.holds(value):
            yield one.span, _shortfall(checked.spec.source, one.span, _what(one), one.text, f"{value:,}")


def _figure(one: ExpectedFigure, report: Report) -> tuple[int | None, str | None]:
    """The value of a figure, None where the report does not count it; or why there is none."""
    if one.layer is None:
        return getattr(report.totals, one.name, None), None
    row = _row(report, one.layer)
    if row is None:
        return None, f"no layer {one.layer}"
    return getattr(row, one.name, None), None


def _row(report: Report, path: str) -> LayerRow | None:
    """The row of a layer; a copy that stands for others answers for each."""
    exact = next((row for row in report.layers if row.path == path and row.kind != "expression"), None)
    return exact or next((row for row in report.layers if path in folded_paths(report, row)), None)


def folded_paths(report: Report, row: LayerRow) -> set[str]:
    """All paths that a row stands for, those of the equal copies around it among them."""
    paths = {row.path}
    for copies in report.layers:
        if copies.kind != "copies" or not (row.path == copies.path or row.path.startswith(copies.path + ".")):
            continue
        stem, _, first = copies.path.rpartition(".")
        if not first.isdigit():  # copies by default paths, which no expectation may name
            continue
        rests = {path[len(copies.path) :] for path in paths if path.startswith(copies.path)}
        paths |= {f"{stem}.{int(first) + i}{rest}".lstrip(".") for i in range(copies.repeat) for rest in rests}
    return paths


def _outputs(checked: Checked, report: Report) -> Iterator[tuple[Span, Shortfall]]:
    evaluate = Plain(checked.variables).evaluate
    for one in checked.spec.expect.outputs:
        got, missing = _output_shapes(one, report)
        if missing is None and _matches(one.shape, got, evaluate):
            continue
        shown = missing or (str(got[0]) if len(got) == 1 else str(got))
        what = "output" if one.layer is None else f"{one.layer} output"
        yield one.span, _shortfall(checked.spec.source, one.span, what, one.text, shown)


def _output_shapes(one: ExpectedOutput, report: Report) -> tuple[tuple[Shape, ...], str | None]:
    if one.layer is None:
        return tuple(output.shape for output in report.outputs), None
    row = _row(report, one.layer)
    return (row.output_shapes, None) if row else ((), f"no layer {one.layer}")


def _matches(shape: Expression, got: tuple[Shape, ...], evaluate: object) -> bool:
    """Whether shapes are those expected: a tuple of shapes, nested or not, or the first one's alone."""
    wanted = list(_flat(shape))
    if isinstance(shape, ex.Sequence) and not any(isinstance(item, ex.Sequence) for item in shape.items):
        # `(_, _)` may be two sizes, or two results of any shape.
        if len(got) > 1 and len(shape.items) == len(got) and all(_any(item) for item in shape.items):
            return True
        return bool(got) and _one(shape, got[0], evaluate)
    return len(wanted) == len(got) and all(_one(s, g, evaluate) for s, g in zip(wanted, got, strict=True))


def _flat(shape: Expression) -> Iterator[Expression]:
    if isinstance(shape, ex.Sequence) and any(isinstance(item, ex.Sequence) for item in shape.items):
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
    if not isinstance(shape, ex.Sequence) or len(shape.items) != len(got):
        return False
    try:
        return all(_any(item) or evaluate(item) == size for item, size in zip(shape.items, got, strict=True))
    except ArithmeticProblem:
        return False


def _what(one: ExpectedFigure) -> str:
    return one.name if one.layer is None else f"{one.layer} {one.name}"


def _shortfall(source: Source, span: Span, what: str, expected: str, got: str) -> Shortfall:
    line, column = source.place(span.start)
    return Shortfall(what, expected, got, line, column)
