"""``fwdscope inspect``: the report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fwdscope.cli.boundary import FELL_SHORT, InputError, boundary, complain, put
from fwdscope.cli.options import AllowImport, Inputs, Limits, ModelDtype, Sets, Target
from fwdscope.cli.targets import report_of
from fwdscope.render import COLUMNS, FORMATS, Options, render
from fwdscope.report import Report
from fwdscope.spec.names import nearest

_DEPTH = "Levels of nesting to show; what is hidden counts in the row above it."
_COLUMNS = f"Columns of the table, with commas: {', '.join(COLUMNS)}."
_SORT = "List single layers, the largest of a column first: macs, params, memory, …"
_TOP = "List the N single layers that cost most."
_STRICT = "Exit with 1 where an operator ran that no rule counts."


def inspect(
    target: Target,
    depth: Annotated[int | None, typer.Option(min=1, metavar="N", help=_DEPTH)] = None,
    columns: Annotated[str | None, typer.Option(metavar="NAMES", help=_COLUMNS)] = None,
    sort: Annotated[str | None, typer.Option(metavar="NAME", help=_SORT)] = None,
    top: Annotated[int | None, typer.Option(min=1, metavar="N", help=_TOP)] = None,
    strict: Annotated[bool, typer.Option("--strict", help=_STRICT)] = False,
    set_: Sets = None,
    input_: Inputs = None,
    dtype: ModelDtype = "float32",
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(FORMATS)}; table if not given.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file; its ending says the format.")
    ] = None,
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Show every layer's shapes, parameters and costs."""

    def command() -> None:
        form = _format(format_, output)
        _refuse_unheeded(form, depth=depth, columns=columns, sort=sort, top=top)
        report = report_of(target, set_ or [], input_ or [], dtype, allow_import)
        extra = [f"--set {item}" for item in set_ or []] + [f"--input {item}" for item in input_ or []]
        extra += [f"--dtype {dtype}"] * (dtype != "float32") + ["--allow-import"] * allow_import
        names = tuple(name.strip() for name in columns.split(",")) if columns else None
        saved = output is not None and form == "json"
        _write(report, form, Options(depth, names, None, " ".join([target, *extra]), saved, sort, top), output)
        if strict and report.uncounted:
            complain(f"no rule counts {', '.join(report.uncounted)}")
            raise typer.Exit(FELL_SHORT)

    boundary(command, limit)


_ENDINGS = {".json": "json", ".csv": "csv", ".md": "markdown", ".txt": "table"}


def _format(given: str | None, output: Path | None) -> str:
    form = given or (_ENDINGS.get(output.suffix, "table") if output else "table")
    if form not in FORMATS:
        meant = nearest(form, FORMATS)
        raise InputError(
            f"unknown format {form}; " + (f"did you mean {meant}?" if meant else f"there are: {', '.join(FORMATS)}")
        )
    return form


def _refuse_unheeded(form: str, **given: object) -> None:
    """Options that mean nothing to a format are refused rather than left unsaid."""
    for name, value in given.items():
        if value is not None and name not in FORMATS[form].heeds:
            raise InputError(f"--{name} means nothing to the format {form}")


def _write(report: Report, form: str, options: Options, output: Path | None) -> None:
    try:
        if form == "table" and output is None and sys.stdout.isatty():
            from rich.console import Console

            from fwdscope.render.terminal import print_report

            print_report(report, Console(), options)
        else:
            put(render(report, form, options), output)
    except ValueError as error:
        # An unknown column: the renderer names those there are.
        raise InputError(str(error)) from None
