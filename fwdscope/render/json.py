"""The report as JSON: all of it, whatever the options, since it is read back."""

from __future__ import annotations

from fwdscope.render.rows import Options
from fwdscope.report import Report


def render(report: Report, options: Options) -> str:
    """The report as :meth:`Report.loads` reads it."""
    return report.dumps()
