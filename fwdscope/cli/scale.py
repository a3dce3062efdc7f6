"""``fwdscope scale``: cost as a formula in a network's vars."""

from __future__ import annotations

from typing import Annotated

import typer

from fwdscope.cli.boundary import boundary, check_writable, choose_format, put, terminal_of
from fwdscope.cli.options import (
    Accumulate,
    AllowImport,
    Arguments,
    Checkpoint,
    Depth,
    Inputs,
    Limits,
    Loss,
    MasterWeights,
    ModelDtype,
    NetworkText,
    Optimizer,
    Past,
    ReportOutput,
    Sets,
    StepAutocast,
    Training,
    TrainOnly,
    command_line,
    files_of,
    split_pair,
    target_of,
    training_of,
)
from fwdscope.cli.progress import show_progress
from fwdscope.errors import InputError

_IN = "The vars of the formulas: B,T,d,depth. Repeatable. Default: the first of the spec's whole numbers."
_AT = "Values of vars to evaluate at: d=8192,depth=80. Others stay as they are. Repeatable."
_PLOT = "Draw MACs, parameters and peak memory against a var. Repeatable."
_FORMAT = (
    "text, json, markdown, latex, python, html. Default: text, or the format of the file's ending; .svg is a picture."
)


def scale(
    target: NetworkText,
    in_: Annotated[list[str] | None, typer.Option("--in", metavar="VARS", help=_IN)] = None,
    at: Annotated[list[str] | None, typer.Option("--at", metavar="VAR=VALUE,…", help=_AT)] = None,
    plot: Annotated[list[str] | None, typer.Option("--plot", metavar="VAR", help=_PLOT)] = None,
    depth: Depth = None,
    set_: Sets = None,
    arg: Arguments = None,
    input_: Inputs = None,
    dtype: ModelDtype = "float32",
    past: Past = None,
    training: Training = False,
    loss: Loss = None,
    optimizer: Optimizer = None,
    train_only: TrainOnly = None,
    checkpoint: Checkpoint = None,
    accumulate: Accumulate = None,
    autocast: StepAutocast = None,
    master_weights: MasterWeights = False,
    format_: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=_FORMAT)] = None,
    output: ReportOutput = None,
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Show how costs grow: exact formulas in a network's vars, and what dominates them.

    Formulas are found by building the network at other values, and checked at values that they were not found from.
    """

    def command() -> None:
        from fwdscope.commands.scale import check_varied, chosen_vars, grow
        from fwdscope.render.scale import FORMATS, render

        is_picture = output is not None and output.suffix.lower() == ".svg" and format_ is None
        form = "text" if is_picture else choose_format(format_, output, (*FORMATS, "html"), (".svg",))
        grown = target_of(target, set_, input_, dtype, allow_import, arg, past)
        check_writable(output, files_of(grown))
        grown.refuse_report(", which has no vars: give the spec")
        given = {"loss": loss, "optimizer": optimizer, "train_only": train_only, "checkpoint": checkpoint,
                 "accumulate": accumulate, "autocast": autocast, "master_weights": master_weights}  # fmt: skip
        step = training_of(training, given, {"past": past})
        names = [name.strip() for text in in_ or () for name in text.split(",") if name.strip()]
        places = [_parse_values(text) for text in at or ()]
        check_varied([*(plot or ()), *(name for place in places for name in place)], chosen_vars(grown, names))
        with show_progress("loading torch") as report_progress:
            found = grow(grown, names, on_progress=report_progress, training=step)
        width, color = terminal_of() if output is None else (100, is_picture)
        options = {"--in": ",".join(found.base), "--dtype": None if dtype == "float32" else dtype}
        again = command_line(grown, {**options, **(step.options() if step else {})})
        if form == "html":
            from fwdscope.render.html.scale import render as page

            put(page(found, places, plot or ()), output)
            return
        text = render(found, form, places, plot or (), depth, width, color, again)
        if is_picture:
            from rich.text import Text

            from fwdscope.render.svg import picture

            text = picture([Text.from_ansi(text.strip("\n"))], width, f"fwdscope scale {again}")
        put(text, output)

    boundary(command, limit)


def _parse_values(text: str) -> dict[str, int]:
    """``d=8192,depth=80`` as values."""
    values = {}
    for item in text.split(","):
        name, value = split_pair(item, "--at", "d=8192,depth=80")
        if not value.isdigit() or not int(value):
            raise InputError(f"--at {name}={value}: write a whole number above 0, as in {name}=8192")
        if name in values:
            raise InputError(f"--at {text}: {name} is given twice; for several sizes write --at once for each")
        values[name] = int(value)
    return values
