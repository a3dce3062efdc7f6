"""The page of whatever was saved as JSON."""

from __future__ import annotations

from fwdscope.commands.check.outcome import CheckRun
from fwdscope.commands.diff import compare
from fwdscope.render import checks, html, versus
from fwdscope.render.changes import DiffOptions
from fwdscope.render.html.diff import render as page_of_diff
from fwdscope.render.html.sweep import render as page_of_sweep
from fwdscope.report import Report, parse_json
from fwdscope.report.sweep import Sweep
from fwdscope.report.versus import Versus


def page_of(text: str) -> tuple[str, str]:
    """A name for the page, and the page. Raises ReportError for JSON that is of nothing that has one."""
    data = parse_json(text)
    keys = data.keys() if isinstance(data, dict) else ()
    if "sweep" in keys:
        return "sweep", page_of_sweep(Sweep.from_json(data))
    if "rounds" in keys:
        found = Versus.from_json(data)
        return " vs ".join(found.labels), versus.page_of(found)
    if "specs" in keys:
        return "check", checks.render(CheckRun.from_json(data), "html")
    # What the page of a comparison lets one download.
    if set(keys) == {"before", "after"}:
        return "diff", page_of_diff(
            compare(Report.from_json(data["before"]), Report.from_json(data["after"])), DiffOptions()
        )
    report = Report.from_json(data)
    return report.name, html.draw(report)
