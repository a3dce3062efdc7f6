"""One row of a report as text: what it takes and makes, its arithmetic, its parameters, its values and times."""

from __future__ import annotations

from collections.abc import Iterator

from fwdscope import units
from fwdscope.language.names import nearest
from fwdscope.printable import printable
from fwdscope.render.columns import copies_range, shapes_cell, spark
from fwdscope.render.explanation import backward_facts, formulas, operators
from fwdscope.render.lines import MAX_PROSE, Line, hanging
from fwdscope.render.rows import FIGURES, again, described, named
from fwdscope.render.summary import broken_promise, spread
from fwdscope.report import LayerRow, Report, multiplicities, parents
from fwdscope.report.roofline import roofline


def find(report: Report, path: str) -> int:
    """The index of the row of this path. Raises LookupError, with the nearest path, if there is none."""
    index = next((index for index, row in enumerate(report.layers) if path and path in (row.path, row.text)), None)
    if index is None:
        meant = nearest(path, [row.path for row in report.layers if row.path])
        raise LookupError(f"there is no layer {path}" + (f"; did you mean {meant}?" if meant else ""))
    return index


def lines(report: Report, index: int, width: int = MAX_PROSE) -> Iterator[Line]:
    """All that the report knows of a row."""
    row, above = report.layers[index], parents(report.layers)[index]
    place = f"{report.source}:{row.line}" if report.source and row.line else ""
    yield ((named(row), "name"), ("  ·  ", "dim"), (described(row) + again(row), ""), (f"  {place}", "dim"))
    facts = [(label, text) for label, text in _facts(report, index) if text]
    if above is not None:
        facts.insert(0, ("in", named(report.layers[above])))
    room = max(len(label) for label, _ in facts) + 2
    for label, text in facts:
        yield from hanging(label.ljust(room), text, width, "")
    if row.formulas:
        yield from ((), (("FORMULAS", "heading"),))
        yield from formulas(row.formulas, width)
    for title, some in (("OPERATORS", row.operators), ("BACKWARD", row.backward_operators)):
        found = list(operators(title, some, set(row.formulas), width))
        yield from [(), *found] if found else ()


def _facts(report: Report, index: int) -> Iterator[tuple[str, str]]:
    row, times = report.layers[index], multiplicities(report.layers)[index]
    made = [named(report.layers[source]) for source in row.sources or ()]
    made += [printable(report.inputs[place].name) or f"input {place}" for place in row.network_inputs]
    taken = [named(other) for other in report.layers if index in (other.sources or ())]
    yield "settings", printable(row.settings)
    yield "copies", f"{times}, figures are of one" if times > 1 else ""
    yield "input", shapes_cell(row.input_shapes) if row.input_shapes else ""
    yield "output", f"{shapes_cell(row.output_shapes)}  {', '.join(dict.fromkeys(row.output_dtypes))}".strip()
    yield "from", ", ".join(made)
    yield "goes to", ", ".join(taken)
    yield "promise", broken_promise(row.promise) if row.promise and not row.promise.held else ""
    for one in row.parameters:
        yield printable(one.name), f"{units.shape_cell(one.shape)}  {one.dtype}"
    for name in ("params", "macs", "flops", "read", "written", "memory"):
        figure = FIGURES[name]
        value, whole = figure.of(row), figure.total(report) if figure.total else None
        text = (
            units.exact
            if name == "params"
            else units.byte_size
            if name in ("read", "written", "memory")
            else units.count
        )(int(value or 0))
        yield (
            figure.title,
            f"{text}  ({units.share(value * times / whole)} of all)" if value and whole else text if value else "",
        )
    yield from backward_facts(row.backward, row.macs or 0)
    yield "receptive field", "×".join(map(str, row.receptive_field or ()))
    yield "not counted", ", ".join(row.uncounted)
    yield "latency", _latency(report, row)
    if row.stats:
        yield "values", spread(row.stats)
        yield "std of copies", " … ".join(map(units.value, copies_range(row)))
        yield "zeros", units.share(row.stats.zeros / row.stats.elements) if row.stats.zeros else ""
        yield (
            "NaN, Inf",
            f"{units.exact(row.stats.nans)}, {units.exact(row.stats.infs)}" if row.stats.nans or row.stats.infs else "",
        )
        yield "histogram", spark(row.stats.histogram, 40) if row.stats.histogram else ""
    yield "note", printable(row.note or "")


def _latency(report: Report, row: LayerRow) -> str:
    if row.latency is None:
        return ""
    ends = " to ".join(map(units.seconds, row.latency_range))
    roof = roofline(row, report.run.peaks) if report.run and report.run.peaks else None
    near = (
        f", {100 * roof.share:.0f} % of its roofline, bound by {roof.bound}" if roof and roof.share is not None else ""
    )
    return units.seconds(row.latency) + (f"  ({ends})" if ends else "") + near
