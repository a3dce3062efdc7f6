"""The report as one page that opens from disk in a browser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fwdscope.findings import findings
from fwdscope.printable import printable
from fwdscope.render import mesh, summary, training
from fwdscope.render.bench import against
from fwdscope.render.colours import colour
from fwdscope.render.html.page import page
from fwdscope.render.rows import FIGURES, Options, View, is_broken, named, view
from fwdscope.report import Peaks, Report, median_interval
from fwdscope.report.roofline import roofline
from fwdscope.report.speedup import Speedup


def render(report: Report, options: Options) -> str:
    """The page."""
    return draw(report, formulas=options.formulas)


def draw(report: Report, compared: Speedup | None = None, formulas: Sequence[Mapping[str, str]] = ()) -> str:
    """The page; ``compared`` says how the time compares with that of an earlier benchmark.

    ``formulas`` are those of rows in the spec's vars.
    """
    words = _words(report) | {"formulas": list(formulas)}
    apart = summary.apart(report.run) if report.run else {}
    texts = [f"{label}: {'; '.join(found)}" for label, found in apart.items()]
    if compared is not None:
        texts += [f"against: {against(compared)}", *(f"against: differs: {text}" for text in compared.differs)]
    words["messages"] = [{"level": "note", "text": printable(text)} for text in texts] + words["messages"]
    return page("report", report.name, report.dumps(), words)


def _words(report: Report) -> dict[str, Any]:
    """What the page says that the report does not hold: its sentences, totals that shares are of, and rooflines."""
    seen = view(report, depth=max((row.depth for row in report.layers), default=1))
    sums = [*summary.totals(report), summary.active(report)], [*summary.costs(report)], [*summary.times(report)]
    memory = [summary.memory(report), summary.measured_memory(report), *summary.kept(report)]
    step = training.costs(report), training.memory(report)
    peaks = _peaks(report)
    return {
        "title": summary.title_parts(report),
        "source": printable(report.source or ""),
        "about": summary.description(report),
        "flow": summary.flow(report),
        "values": summary.values(report),
        "ran": summary.ran_on(report),
        "sums": [text for group in (*sums, memory, *step) if (text := "  ·  ".join(filter(None, group)))],
        "messages": list(_messages(report, seen)),
        "estimates": mesh.texts(report),
        "legend": [*summary.legend(seen), summary.convention(report)],
        "measure": seen.measure,
        "rate": next((text for text in summary.times(report)[1:] if text.endswith("s/s")), ""),
        "interval": median_interval(report.run.latency.times) if report.run and report.run.latency else None,
        "wholes": {name: figure.total(report) for name, figure in FIGURES.items() if figure.total is not None},
        "strips": _caption(report) if report.strips else "",
        "palette": b"".join(bytes(colour(i / 254)) for i in range(255)).hex() if report.strips else "",
        "peaks": None if peaks is None else peaks.name,
        "roofs": [
            None if peaks is None or (roof := roofline(row, peaks)) is None else [roof.bound, roof.share, roof.least]
            for row in report.layers
        ],
    }


def _caption(report: Report) -> str:
    from fwdscope.render.strips import caption  # which loads Rich

    some = "click a number of a small output to see how it is computed"
    return "  ·  ".join([caption(report), *[some] * any(strip.values for strip in report.strips)])


def _peaks(report: Report) -> Peaks | None:
    """The peaks of the device that ran it, else of the first that it was estimated for."""
    if report.run is not None:
        return report.run.peaks
    return report.estimates[0].peaks if report.estimates else None


def _messages(report: Report, seen: View) -> Iterator[dict[str, Any]]:
    """Problems, findings and notes, each with the number of its row."""
    lines: dict[str, int] = {}
    paths: dict[str, int] = {}
    for index, row in enumerate(report.layers):
        lines.setdefault(f"line {row.line}", index)
        paths.setdefault(row.path, index)
        paths.setdefault(row.label, index)

    def message(level: str, text: str, row: int | None = None, advice: str | None = None) -> dict[str, Any]:
        return {"level": level, "text": text, "row": row, "advice": printable(advice or "")}

    broken = next((index for index, shown in enumerate(seen.rows) if shown.broke), None)
    yield from (message("problem", text, broken) for text in [summary.broken(report)] if text)
    uncounted = [index for index, row in enumerate(report.layers) if row.uncounted]
    yield from (message("problem", text, max(uncounted, default=None)) for text in [summary.uncounted(report)] if text)
    yield from (message("problem", text) for text in [training.uncounted(report)] if text)
    for shortfall, text in zip(report.shortfalls, summary.shortfalls(report), strict=True):
        yield message("problem", text, paths.get(shortfall.what.partition(" ")[0]))
    for index, row in enumerate(report.layers):
        if row.promise and is_broken(row):
            yield message("problem", f"{summary.broken_promise(row.promise)}: {named(row)}", index)
    for finding in findings(report):
        path = finding.path or ""  # of a layer, or of a tensor of one
        where = paths.get(path, paths.get(path.rpartition(".")[0])) if path else None
        yield message(finding.level, printable(finding.text), where, finding.advice)
    for text in summary.notes(report, ()):
        yield message("note", text, lines.get(text.partition(":")[0]))
    for index, row in enumerate(report.layers):
        if row.note:
            yield message("note", f"{named(row)}: {printable(row.note)}", index)
