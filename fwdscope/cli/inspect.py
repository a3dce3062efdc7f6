"""``fwdscope inspect``: the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from fwdscope.cli.boundary import FELL_SHORT, boundary, check_writable, choose_format, complain, put, terminal_of
from fwdscope.cli.estimates import add_estimates, find_hardware
from fwdscope.cli.options import (
    AllowImport,
    Depth,
    Device,
    Inputs,
    Limits,
    ModelDtype,
    ReportOutput,
    Seed,
    Sets,
    TargetText,
    Train,
    WeightsFile,
    WeightsPartial,
    target_of,
)
from fwdscope.cli.progress import show_progress
from fwdscope.errors import InputError
from fwdscope.settings import RunSettings

if TYPE_CHECKING:
    from fwdscope.render import Options
    from fwdscope.report import Report
    from fwdscope.report.pictures import Picture
    from fwdscope.targets import Target

_SORT = "List single layers, the largest in a column first: macs, params, memory, …"
_TOP = "List the N single layers that cost most."
_STRICT = "Exit with code 1 if any operator has no counting rule."
_ON = "Estimate time and fit on hardware that is not here: H100, or H100,T4, or all. Runs nothing."
_SHOW = "Draw one output: a path of the report, perhaps with an index: conv1[0,3]; attn.weights for attention."


def _help_of_columns() -> str:
    from fwdscope.render import COLUMNS

    return f"Columns of the table, separated by commas: {', '.join(COLUMNS)}."


def _help_of_format() -> str:
    from fwdscope.render import FORMATS

    return f"{', '.join(FORMATS)}. Default: table."


def inspect(
    target: TargetText,
    depth: Depth = None,
    columns: Annotated[str | None, typer.Option(metavar="NAMES", help=_help_of_columns())] = None,
    sort: Annotated[str | None, typer.Option(metavar="NAME", help=_SORT)] = None,
    top: Annotated[int | None, typer.Option(min=1, metavar="N", help=_TOP)] = None,
    strict: Annotated[bool, typer.Option("--strict", help=_STRICT)] = False,
    set_: Sets = None,
    input_: Inputs = None,
    dtype: ModelDtype = "float32",
    device: Device = None,
    on: Annotated[str | None, typer.Option(metavar="NAMES", help=_ON)] = None,
    seed: Seed = 0,
    weights: WeightsFile = None,
    weights_partial: WeightsPartial = False,
    train: Train = False,
    no_stats: Annotated[bool, typer.Option("--no-stats", help="Leave out the statistics of activations.")] = False,
    no_latency: Annotated[bool, typer.Option("--no-latency", help="Leave out the times.")] = False,
    show: Annotated[str | None, typer.Option(metavar="PATH", help=_SHOW)] = None,
    format_: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=_help_of_format())] = None,
    output: ReportOutput = None,
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Show every layer's shapes, parameters and costs."""

    def command() -> None:
        from fwdscope.render import Options

        view = {"depth": depth, "columns": columns, "sort": sort, "top": top, "on": on}
        form = _check_view(show, format_, output, view)
        check_writable(output)
        if weights_partial and weights is None:
            raise InputError("--weights-partial is for a file of weights: add --weights FILE")
        hardware = find_hardware(on)
        where = device if device is not None or on is None else "meta"
        settings = RunSettings(
            where, seed, weights, weights_partial, train=train, stats=not no_stats, latency=not no_latency, show=show
        )
        inspected = target_of(target, set_, input_, dtype, allow_import)
        report, picture = _run(inspected, settings)
        if picture is not None:
            from fwdscope.cli.show import write_picture

            write_picture(picture, output)
            return
        report = add_estimates(report, hardware)
        names = tuple(name.strip() for name in columns.split(",")) if columns else None
        saved = output is not None and form == "json"
        again = _command_line(inspected, device, on, settings)
        _write(report, form, Options(depth, names, None, again, saved, sort, top), output)
        if strict and report.uncounted:
            complain(f"no counting rule for {', '.join(report.uncounted)}")
            raise typer.Exit(FELL_SHORT)

    boundary(command, limit)


def _check_view(show: str | None, format: str | None, output: Path | None, view: Mapping[str, object]) -> str:
    """The format to write. Raises InputError for options that have no meaning for it, or for a picture."""
    from fwdscope.render import FORMATS

    given = [name for name, value in view.items() if value is not None]
    if show is not None:
        from fwdscope.cli.show import check_picture_file

        check_picture_file(output)
        if not show.strip():
            raise InputError("--show needs the path of an output, as the report names it: --show layer1.0.conv2")
        for name in ["format"] * (format is not None) + given:
            raise InputError(f"--show draws one output and no report: leave --{name} out")
        return "table"
    form = choose_format(format, output, FORMATS)
    for name in given:
        if name not in FORMATS[form].heeds:
            raise InputError(f"--{name} has no effect on the format {form}: leave it out")
    return form


def _run(target: Target, settings: RunSettings) -> tuple[Report, Picture | None]:
    """The report, and the picture that --show asks for; progress goes to stderr if that is a terminal."""
    from fwdscope.inspection import inspect_target

    if settings.device == "meta" and (settings.weights is not None or settings.show is not None):
        option = "--show" if settings.show is not None else "--weights"
        raise InputError(f"{option} needs a forward with numbers, and on meta there are none: --device cpu")
    latency = settings.latency and settings.show is None
    with show_progress() as report_progress:
        settings = replace(
            settings,
            latency=latency,
            peaks=latency and settings.device is not None,
            on_progress=report_progress,
        )
        return inspect_target(target, settings)


def _command_line(target: Target, device: str | None, on: str | None, settings: RunSettings) -> str:
    """The target and the options that decide what a report says, as a shell takes them."""
    words = [quote(target.text), *(f"--set {quote(f'{name}={value}')}" for name, value in target.variables.items())]
    words += [f"--input {quote(item)}" for item in target.inputs]
    words += [f"--dtype {target.dtype}"] * (target.dtype != "float32") + ["--allow-import"] * target.allow_import
    words += [f"--device {device}"] if device is not None else []
    words += [f"--on {quote(on)}"] if on is not None else []
    words += [f"--weights {quote(str(settings.weights))}"] if settings.weights is not None else []
    words += ["--weights-partial"] * settings.partial + [f"--seed {settings.seed}"] * (settings.seed != 0)
    words += ["--train"] * settings.train + ["--no-stats"] * (not settings.stats)
    words += ["--no-latency"] * (not settings.latency)
    return " ".join(words)


def _write(report: Report, form: str, options: Options, output: Path | None) -> None:
    from fwdscope.render import render

    if form == "table" and output is None and sys.stdout.isatty():
        width, color = terminal_of()
        options = options._replace(width=width, color=color)
    try:
        put(render(report, form, options), output)
    except ValueError as error:
        # An unknown column: the message lists those there are.
        raise InputError(str(error)) from None
