"""A report as text, in any of :data:`FORMATS`: one file a format, imported when it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fwdscope.render.columns import COLUMNS, DEFAULT_COLUMNS
    from fwdscope.render.rows import FIGURES, Options, view
    from fwdscope.report import Report

__all__ = ["COLUMNS", "DEFAULT_COLUMNS", "FIGURES", "FORMATS", "Options", "ReportFormat", "render", "view"]

# Imported when they are used: who reads a page of the vocabulary needs no report.
_HOMES = {"COLUMNS": "columns", "DEFAULT_COLUMNS": "columns", "FIGURES": "rows", "Options": "rows", "view": "rows"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


class ReportFormat(NamedTuple):
    """A format: the file here that writes it, what it is for, the options that affect it, and the function there."""

    file: str
    doc: str
    heeds: frozenset[str]
    function: str = "render"
    # Whether a file is of one report; and whether it is data for a program, which holds no remark on how it came about.
    is_single: bool = False
    is_data: bool = False


# Options that choose rows and their order.
_ROWS = frozenset({"depth", "sort", "top"})
_GRAPH = frozenset({"depth", "colour"})

FORMATS: dict[str, ReportFormat] = {
    "table": ReportFormat("terminal", "a tree-table for reading", _ROWS | {"columns", "width", "on"}),
    "tree": ReportFormat("tree", "indented plain text, for pasting", _ROWS | {"on"}),
    "json": ReportFormat("json", "the whole report as data, loads back", frozenset({"on"}), is_data=True),
    "csv": ReportFormat("csv", "one row a layer, all fields", _ROWS, is_data=True),
    "markdown": ReportFormat("markdown", "a table for pull requests and READMEs", _ROWS | {"columns", "on"}),
    "svg": ReportFormat("svg", "the table as a picture", _ROWS | {"columns", "on"}, is_single=True),
    "graph": ReportFormat("graph", "the network's graph as a picture, an SVG", _GRAPH, is_single=True, is_data=True),
    "dot": ReportFormat("dot", "the graph for Graphviz", _GRAPH, is_single=True, is_data=True),
    "mermaid": ReportFormat(
        "mermaid", "the graph as GitHub draws it in a comment", _GRAPH, is_single=True, is_data=True
    ),
    "model-explorer": ReportFormat(
        "model_explorer", "the graph for Google's Model Explorer", frozenset(), is_single=True, is_data=True
    ),
    "model-explorer-data": ReportFormat(
        "model_explorer", "a figure of its nodes", frozenset({"colour"}), "render_data", is_single=True, is_data=True
    ),
    "html": ReportFormat(
        "html", "a page to look at in a browser: graph, table, charts", frozenset({"on"}), is_single=True, is_data=True
    ),
}


def render(report: Report, format: str, options: Options | None = None) -> str:
    """The report in one of :data:`FORMATS`. Raises ValueError for an unknown format or column."""
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; there are: {', '.join(FORMATS)}")
    from fwdscope.render.rows import Options

    form = FORMATS[format]
    module = importlib.import_module(f"fwdscope.render.{form.file}")
    text: str = getattr(module, form.function)(report, options or Options())
    return text
