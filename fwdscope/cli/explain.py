"""``fwdscope explain``: the arithmetic of one layer, or of one number of its output."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fwdscope.cli import completion
from fwdscope.cli.boundary import boundary, check_writable, choose_format, put, terminal_of
from fwdscope.cli.defaults import defaulted
from fwdscope.cli.options import (
    AllowImport,
    Arguments,
    AsJson,
    CacheFormat,
    Checkpoint,
    Device,
    Inputs,
    Limits,
    Loss,
    ModelDtype,
    NetworkText,
    Optimizer,
    Output,
    Past,
    Seed,
    Sets,
    StepAutocast,
    Training,
    TrainOnly,
    WeightsFile,
    WeightsFormat,
    WeightsPartial,
    command_line,
    target_of,
    training_of,
)
from fwdscope.cli.progress import show_progress
from fwdscope.errors import InputError

if TYPE_CHECKING:
    from fwdscope.report.value import ValueExplanation

_LAYER = "The path of a layer, as in the report (layer1.0.conv2), or a line of the spec (:17)."
_VALUE = "Explain one number of the output, by its indices: 0,3,5,5. The network runs once, on the CPU by default."
_FORMULAS = "Show figures as formulas in the spec's vars. Default: where that takes about a second."
_OF = "Which output of the layer --value is in: 1 is the second."


def explain(
    ctx: typer.Context,
    target: NetworkText,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help=_LAYER, autocompletion=completion.layers)],
    value: Annotated[str | None, typer.Option("--value", metavar="INDICES", help=_VALUE)] = None,
    of: Annotated[int, typer.Option("--of", metavar="N", min=0, help=_OF)] = 0,
    set_: Sets = None,
    arg: Arguments = None,
    input_: Inputs = None,
    dtype: ModelDtype = "float32",
    past: Past = None,
    weights_dtype: WeightsFormat = None,
    kv_dtype: CacheFormat = None,
    training: Training = False,
    loss: Loss = None,
    optimizer: Optimizer = None,
    train_only: TrainOnly = None,
    checkpoint: Checkpoint = None,
    autocast: StepAutocast = None,
    device: Device = None,
    seed: Seed = 0,
    weights: WeightsFile = None,
    weights_partial: WeightsPartial = False,
    formulas: Annotated[bool | None, typer.Option("--formulas/--no-formulas", help=_FORMULAS)] = None,
    output: Output = None,
    as_json: AsJson = False,
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Show how a layer's shape, parameters and costs are computed, or with --value one number of its output."""

    def command() -> None:
        from fwdscope.inspection import make_subject, refuse_stored
        from fwdscope.settings import DeviceSettings
        from fwdscope.storage import Stored

        inspected = target_of(target, set_, input_, dtype, allow_import, arg, past)
        is_picture = output is not None and output.suffix.lower() == ".svg"
        form = "json" if as_json else "svg" if is_picture else choose_format(None, output, ("text", "json"))
        check_writable(output)
        unasked, stored = defaulted(ctx), Stored(weights_dtype, kv_dtype)
        refuse_stored(stored, past or 0, is_counted=value is None and not training)
        if value is None:
            options = {"--device": device, "--seed": seed or None, "--weights": weights, "--of": of or None}
            needless = [name for name, one in options.items() if one is not None and name[2:] not in unasked]
            for name in (*needless, *([f"-o {output}"] * is_picture)):
                raise InputError(f"{name} is for a number of the output: add --value, as in --value 0,3,5,5")
        elif past:
            raise InputError("--past has no numbers of earlier positions: leave --value out")
        elif device == "meta" and "device" not in unasked:
            raise InputError("--device meta has no numbers, only shapes: leave it out to run on the CPU")
        given = {"loss": loss, "optimizer": optimizer, "train_only": train_only, "checkpoint": checkpoint,
                 "autocast": autocast}  # fmt: skip
        step = training_of(training, given, {"value": value, "past": past})
        with show_progress("loading torch") as report_progress:
            subject = make_subject(inspected, step or False, on_progress=report_progress)
            try:
                if value is not None:
                    from fwdscope.run.explain import explain_value, parse_index

                    place = None if "device" in unasked and device == "meta" else device
                    settings = DeviceSettings(place, seed, weights, weights_partial, report_progress)
                    found = inspected.run_user_code(
                        lambda: explain_value(subject, layer, parse_index(value), settings, of)
                    )
                else:
                    from fwdscope.commands.explain.arithmetic import as_stored
                    from fwdscope.commands.explain.arithmetic import explain as explain_layer
                    from fwdscope.commands.scale import QUICK, with_formulas

                    trace = subject.trace_every_copy()
                    explanation = explain_layer(trace, layer)
                    explanation = as_stored(explanation, trace, layer, stored) if any(stored) else explanation
                    if formulas is not False:
                        most = None if formulas else QUICK
                        explanation = with_formulas(inspected, explanation, most, report_progress)
            except LookupError as error:
                raise InputError(str(error.args[0])) from None
        if value is not None:
            facts = {"--dtype": None if dtype == "float32" else dtype, "--device": device, "--seed": seed or None}
            words = command_line(inspected, {**facts, "--weights": weights, "--weights-partial": weights_partial})
            name = shlex.quote(inspected.text)
            _write(found, form, output, f"{name} {{layer}}{words.removeprefix(name)}")
            return
        if form == "json":
            put(explanation.dumps(), output)
            return
        from fwdscope.commands.scale import chosen_vars
        from fwdscope.render.explanation import draw

        width, color = terminal_of()
        is_slow = formulas is None and bool(chosen_vars(inspected, ())) and not explanation.formulas
        hint = "add --formulas for the figures in the spec's vars" * is_slow
        put(draw(explanation, width, color and output is None, hint), output)

    boundary(command, limit)


def _write(found: ValueExplanation, form: str, output: Path | None, command: str) -> None:
    if form == "json":
        put(found.dumps(), output)
        return
    from fwdscope.render import value as drawn

    width, color = terminal_of()
    if form == "svg":
        from fwdscope.render.svg import picture

        title = f"fwdscope explain {command.replace('{layer}', found.element.tensor)} --value "
        put(picture(drawn.lines(found, width), width, title + ",".join(map(str, found.element.index))), output)
    elif output is None and color:
        from rich.console import Console

        console = Console(width=width)
        coloured = console.color_system in ("256", "truecolor") and not console.no_color
        for line in drawn.lines(found, width, coloured, command):
            console.print(line, no_wrap=True, overflow="ignore", crop=False, highlight=False)
    else:
        put(drawn.draw(found, width, command), output)
