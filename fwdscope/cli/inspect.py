"""``fwdscope inspect``: the report."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from fwdscope.cli.boundary import FELL_SHORT, InputError, boundary, complain, form_of, hold_output, put, terminal_of
from fwdscope.cli.estimates import estimated, hardware
from fwdscope.cli.options import (
    AllowImport,
    Device,
    Inputs,
    Limits,
    ModelDtype,
    Seed,
    Sets,
    Target,
    Train,
    WeightsFile,
    WeightsPartial,
)
from fwdscope.cli.progress import progress
from fwdscope.cli.show import check_file, write_picture
from fwdscope.cli.targets import run_of
from fwdscope.render import COLUMNS, FORMATS, Options, render
from fwdscope.report import Report
from fwdscope.settings import RunSettings

if TYPE_CHECKING:
    from fwdscope.report.pictures import Picture

_DEPTH = "Levels of nesting to show; what is hidden counts in the row above it."
_COLUMNS = f"Columns of the table, with commas: {', '.join(COLUMNS)}."
_SORT = "List single layers, the largest of a column first: macs, params, memory, …"
_TOP = "List the N single layers that cost most."
_STRICT = "Exit with 1 where an operator ran that no rule counts."
_ON = "Estimate the time and the fit on hardware that is not here: H100, or H100,T4, or all. Runs nothing."
_SHOW = "Draw one output: a path of the report, perhaps with an index: conv1[0,3]; attn.weights for attention."


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
    device: Device = None,
    on: Annotated[str | None, typer.Option(metavar="NAMES", help=_ON)] = None,
    seed: Seed = 0,
    weights: WeightsFile = None,
    weights_partial: WeightsPartial = False,
    train: Train = False,
    no_stats: Annotated[bool, typer.Option("--no-stats", help="Leave out the statistics of activations.")] = False,
    no_latency: Annotated[bool, typer.Option("--no-latency", help="Leave out the times.")] = False,
    show: Annotated[str | None, typer.Option(metavar="PATH", help=_SHOW)] = None,
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
        if show is not None:
            _refuse_beside_show(show, output, format_, depth=depth, columns=columns, sort=sort, top=top, on=on)
        form = "table" if show is not None else form_of(format_, output, FORMATS)
        hold_output(output)
        if weights_partial and weights is None:
            raise InputError("--weights-partial says what to do with a file of weights: give one by --weights FILE")
        _refuse_unheeded(form, depth=depth, columns=columns, sort=sort, top=top, on=on)
        elsewhere = hardware(on)
        where = device if device is not None or on is None else "meta"
        settings = RunSettings(
            where, seed, weights, weights_partial, train=train, stats=not no_stats, latency=not no_latency, show=show
        )
        report, shown = _run(target, set_ or [], input_ or [], dtype, allow_import, settings)
        if shown is not None:
            write_picture(shown, output)
            return
        report = estimated(report, elsewhere)
        extra = [f"--set {quote(item)}" for item in set_ or []]
        extra += [f"--input {quote(item)}" for item in input_ or []]
        extra += [f"--dtype {dtype}"] * (dtype != "float32") + ["--allow-import"] * allow_import
        extra += [f"--device {device}"] * (device is not None)
        extra += [f"--weights {quote(str(weights))}"] * (weights is not None)
        extra += [f"--seed {seed}"] * (seed != 0) + ["--train"] * train
        names = tuple(name.strip() for name in columns.split(",")) if columns else None
        saved = output is not None and form == "json"
        _write(report, form, Options(depth, names, None, " ".join([quote(target), *extra]), saved, sort, top), output)
        if strict and report.uncounted:
            complain(f"no rule counts {', '.join(report.uncounted)}")
            raise typer.Exit(FELL_SHORT)

    boundary(command, limit)


def _run(
    target: str, sets: list[str], inputs: list[str], dtype: str, allow_import: bool, settings: RunSettings
) -> tuple[Report, Picture | None]:
    """The report, and the picture that was asked for; on stderr what is being done, where that is a terminal."""
    if settings.device == "meta" and (settings.weights is not None or settings.show is not None):
        option = "--show" if settings.show is not None else "--weights"
        raise InputError(f"{option} needs a forward with numbers, and on meta there are none: --device cpu")
    with progress() as say:
        latency = settings.latency and settings.show is None
        settings = replace(settings, latency=latency, peaks=latency and settings.device is not None, on_progress=say)
        return run_of(target, sets, inputs, dtype, allow_import, settings)


def _refuse_unheeded(form: str, **given: object) -> None:
    """Options that mean nothing to a format are refused rather than left unsaid."""
    for name, value in given.items():
        if value is not None and name not in FORMATS[form].heeds:
            raise InputError(f"--{name} means nothing to the format {form}")


def _refuse_beside_show(show: str, output: Path | None, form: str | None, **given: object) -> None:
    """A picture is no report: what chooses a report's form is refused."""
    check_file(output)
    if not show.strip():
        raise InputError("--show needs the path of an output, as the report names it: --show layer1.0.conv2")
    for name, value in {"format": form, **given}.items():
        if value is not None:
            raise InputError(f"--show draws one output and no report: leave --{name} out")


def _write(report: Report, form: str, options: Options, output: Path | None) -> None:
    try:
        if form == "table" and output is None and sys.stdout.isatty():
            width, color = terminal_of()
            options = replace(options, width=width, color=color)
        put(render(report, form, options), output)
    except ValueError as error:
        # An unknown column: the renderer names those there are.
        raise InputError(str(error)) from None
