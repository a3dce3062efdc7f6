"""``fwdscope inspect``: the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fwdscope.cli import options as opt
from fwdscope.cli.boundary import (
    FELL_SHORT,
    boundary,
    check_writable,
    choose_format,
    complain,
    put,
    put_bytes,
    terminal_of,
)
from fwdscope.cli.options import command_line, target_of
from fwdscope.cli.progress import show_progress
from fwdscope.cli.vary import inspect_at_sizes, refuse_with_vary
from fwdscope.errors import InputError, ShapeError
from fwdscope.render import COLUMNS, FORMATS, Options, render
from fwdscope.settings import RunSettings

if TYPE_CHECKING:
    from fwdscope.device.table import Accelerator
    from fwdscope.report import Report
    from fwdscope.report.pictures import Picture
    from fwdscope.targets import Target

_COLUMNS = f"Columns of the table, separated by commas: {', '.join(COLUMNS)}."
_SORT = "List layers without nesting, those with the largest value first: macs, params, memory, …"
_TOP = "List only the N layers that cost most."
_STRICT = "Exit with code 1 if any operator has no counting rule."
_ON = "Estimate time and memory on other hardware, without running: H100, or H100,T4, or all."
_PARTIAL = "Show the report up to the layer that fails, of a PyTorch model."
_SUGGEST = "Try every change that may mend a problem, however large the network is."
_VARY = "Shapes and costs at several sizes: B=1,8,32 or T=128:4096:x2 or T=128:1024:+128; also dtype. Repeatable."
_SHOW = "Draw one output instead of the report: conv1, conv1[0,3], or attn.weights for attention weights."


def inspect(
    target: opt.TargetText,
    depth: opt.Depth = None,
    columns: Annotated[str | None, typer.Option(metavar="NAMES", help=_COLUMNS)] = None,
    sort: Annotated[str | None, typer.Option(metavar="NAME", help=_SORT)] = None,
    top: Annotated[int | None, typer.Option(min=1, metavar="N", help=_TOP)] = None,
    strict: Annotated[bool, typer.Option("--strict", help=_STRICT)] = False,
    set_: opt.Sets = None,
    vary: Annotated[list[str] | None, typer.Option("--vary", metavar="NAME=VALUES", help=_VARY)] = None,
    input_: opt.Inputs = None,
    dtype: opt.ModelDtype = "float32",
    device: opt.Device = None,
    on: Annotated[str | None, typer.Option(metavar="NAMES", help=_ON)] = None,
    seed: opt.Seed = 0,
    weights: opt.WeightsFile = None,
    weights_partial: opt.WeightsPartial = False,
    train: opt.Train = False,
    no_stats: Annotated[bool, typer.Option("--no-stats", help="Leave out the statistics of activations.")] = False,
    no_latency: Annotated[bool, typer.Option("--no-latency", help="Leave out the times.")] = False,
    show: Annotated[str | None, typer.Option(metavar="PATH", help=_SHOW)] = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(FORMATS)}. Default: table.")
    ] = None,
    output: opt.ReportOutput = None,
    partial: Annotated[bool, typer.Option("--partial", help=_PARTIAL)] = False,
    suggest: Annotated[bool, typer.Option("--suggest", help=_SUGGEST)] = False,
    allow_import: opt.AllowImport = False,
    limit: opt.Limits = None,
) -> None:
    """Show every layer's shapes, parameters and costs."""

    def command() -> None:
        from fwdscope.report.roofline import estimate, fastest_first

        inspected = target_of(target, set_, input_, dtype, allow_import)
        view = {"depth": depth, "columns": columns, "sort": sort, "top": top, "on": on}
        if vary:
            refuse_with_vary(
                {**view, "on": None, "device": device, "show": show, "weights": weights, "partial": partial}
            )
            inspect_at_sizes(inspected, vary, train, _find_accelerators(on), strict, format_, output)
            return
        form = _check_view(show, format_, output, view)
        check_writable(output)
        if weights_partial and weights is None:
            raise InputError("--weights-partial is for a file of weights: add --weights FILE")
        accelerators = _find_accelerators(on)
        where = "auto" if device is None and on is not None else device
        settings = RunSettings(
            where, seed, weights, weights_partial, train=train, stats=not no_stats, latency=not no_latency, show=show
        )
        if partial and not inspected.is_module:
            raise InputError("--partial is for PyTorch models; every problem of a spec is reported at once")
        try:
            report, picture = _run(inspected, settings)
        except ShapeError as error:
            if partial and error.partial is not None:
                _write(error.partial, form, Options(depth, None, None, "", False, sort, top), output)
            raise
        if picture is not None:
            _write_picture(picture, output)
            return
        if accelerators:
            estimates = tuple(estimate(report, one.peaks(report.dtype)) for one in accelerators)
            report = replace(report, estimates=estimates)
        if "all" in [name.strip().lower() for name in (on or "").split(",")]:
            report = fastest_first(report)
        names = tuple(name.strip() for name in columns.split(",")) if columns else None
        saved = output is not None and form == "json"
        again = _command_line(inspected, device, on, settings)
        _write(report, form, Options(depth, names, None, again, saved, sort, top), output)
        if strict and report.uncounted:
            complain(f"no counting rule for {', '.join(report.uncounted)}")
            raise typer.Exit(FELL_SHORT)
        if not inspected.is_report and (
            report.shortfalls or any(row.promise and not row.promise.held for row in report.layers)
        ):
            raise typer.Exit(FELL_SHORT)

    boundary(command, [*(limit or ()), *([f"mends={10**9}"] * suggest)])


def _check_view(show: str | None, format: str | None, output: Path | None, view: Mapping[str, object]) -> str:
    """The format to write. Raises InputError for options that have no effect on it, or on a picture."""
    given = [name for name, value in view.items() if value is not None]
    if show is not None:
        if output is not None and output.suffix not in (".png", ".svg", ".txt", ""):
            raise InputError(f"{output}: a picture is written as .png, .svg or .txt")
        if output is not None and output.suffix == ".png" and find_spec("PIL") is None:
            raise InputError(f"{output}: a PNG needs Pillow: pip install 'fwdscope[png]', or write .svg")
        if not show.strip():
            raise InputError("--show needs the path of an output, as the report names it: --show layer1.0.conv2")
        for name in ["format"] * (format is not None) + given:
            raise InputError(f"--show draws one output instead of a report: leave --{name} out")
        return "table"
    form = choose_format(format, output, FORMATS)
    for name in given:
        if name not in FORMATS[form].heeds:
            raise InputError(f"--{name} has no effect on the format {form}: leave it out")
    return form


def _run(target: Target, settings: RunSettings) -> tuple[Report, Picture | None]:
    """The report, and the picture that --show asks for; progress goes to stderr if that is a terminal."""
    from fwdscope.inspection import inspect_target

    if settings.device in ("auto", "meta") and (settings.weights is not None or settings.show is not None):
        option = "--show" if settings.show is not None else "--weights"
        raise InputError(f"{option} needs a forward on real numbers, which meta has none of: --device cpu")
    latency = settings.latency and settings.show is None
    peaks = latency and settings.device is not None
    with show_progress() as report_progress:
        return inspect_target(target, replace(settings, latency=latency, peaks=peaks, on_progress=report_progress))


def _find_accelerators(names: str | None) -> tuple[Accelerator, ...]:
    """The devices of ``--on H100,T4`` or ``--on all``. Raises InputError for an unknown name."""
    if names is None:
        return ()
    from fwdscope.device.table import UnknownAcceleratorError, accelerators_of

    try:
        return accelerators_of([name.strip() for name in names.split(",")])
    except UnknownAcceleratorError as error:
        raise InputError(f"--on {names}: {error}") from None


def _command_line(target: Target, device: str | None, on: str | None, settings: RunSettings) -> str:
    """The target and the options that decide the figures of the report."""
    options = {
        "--dtype": target.dtype if target.dtype != "float32" else None,
        "--device": device,
        "--on": on,
        "--weights": settings.weights,
        "--weights-partial": settings.partial,
        "--seed": settings.seed or None,
        "--train": settings.train,
        "--no-stats": not settings.stats,
        "--no-latency": not settings.latency,
    }
    return command_line(target, options)


def _write(report: Report, form: str, options: Options, output: Path | None) -> None:
    if form == "table" and output is None and sys.stdout.isatty():
        width, color = terminal_of()
        options = options._replace(width=width, color=color)
    try:
        put(render(report, form, options), output)
    except ValueError as error:
        # An unknown column; the message lists the known ones.
        raise InputError(str(error)) from None


def _write_picture(picture: Picture, output: Path | None) -> None:
    """Draw a picture in the terminal, or in a file by its ending. Raises InputError if it cannot be written."""
    if output is not None and output.suffix == ".png":
        from fwdscope.render.images import png

        put_bytes(png(picture), output)
    elif output is not None and output.suffix == ".svg":
        from fwdscope.render.images import svg

        put(svg(picture), output)
    elif output is None and sys.stdout.isatty():
        from rich.console import Console

        from fwdscope.render.maps import print_picture

        print_picture(picture, Console())
    else:
        from fwdscope.render.maps import lines

        width, _ = terminal_of()
        put("\n".join(line.plain.rstrip() for line in lines(picture, width, coloured=False)), output)
