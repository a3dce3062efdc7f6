"""A report as text: one function a format, all of them in :data:`FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fwdscope.render import csv, json, markdown, terminal, tree
from fwdscope.render.columns import COLUMNS, DEFAULT_COLUMNS
from fwdscope.render.rows import FIGURES, Options, view
from fwdscope.report import Report

__all__ = ["COLUMNS", "DEFAULT_COLUMNS", "FIGURES", "FORMATS", "Options", "ReportFormat", "render", "view"]


@dataclass(frozen=True)
class ReportFormat:
    """A form of the report: a line about it, the function that writes it, and the options that mean something to it."""

    name: str
    doc: str
    render: Callable[[Report, Options], str]
    heeds: frozenset[str]


# Which rows are shown, and in what order.
_SHAPE = frozenset({"depth", "sort", "top"})

FORMATS: dict[str, ReportFormat] = {
    form.name: form
    for form in (
        ReportFormat("table", "a tree-table for reading", terminal.render, _SHAPE | {"columns", "width", "on"}),
        ReportFormat("tree", "indented plain text, for pasting", tree.render, _SHAPE | {"on"}),
        ReportFormat("json", "the whole report as data, loads back", json.render, frozenset({"on"})),
        ReportFormat("csv", "one row a layer, all fields", csv.render, _SHAPE),
        ReportFormat("markdown", "a table for pull requests and READMEs", markdown.render, _SHAPE | {"columns", "on"}),
    )
}


def render(report: Report, format: str, options: Options | None = None) -> str:
    """The report in one of :data:`FORMATS`. Raises ValueError for an unknown format or column."""
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; there are: {', '.join(FORMATS)}")
    return FORMATS[format].render(report, options or Options())
