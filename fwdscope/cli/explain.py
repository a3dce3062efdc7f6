"""``fwdscope explain``: the arithmetic of one layer."""

from __future__ import annotations

from typing import Annotated

import typer

from fwdscope.cli import completion
from fwdscope.cli.boundary import boundary, put, terminal_of
from fwdscope.cli.options import (
    AllowImport,
    Arguments,
    AsJson,
    Inputs,
    Limits,
    ModelDtype,
    NetworkText,
    Sets,
    target_of,
)
from fwdscope.cli.progress import show_progress
from fwdscope.errors import InputError

_LAYER = "The path of a layer, as in the report (layer1.0.conv2), or a line of the spec (:17)."


def explain(
    target: NetworkText,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help=_LAYER, autocompletion=completion.layers)],
    set_: Sets = None,
    arg: Arguments = None,
    input_: Inputs = None,
    dtype: ModelDtype = "float32",
    as_json: AsJson = False,
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Show how a layer's shape, parameters and costs are computed."""

    def command() -> None:
        from fwdscope.inspection import make_subject
        from fwdscope.render.explanation import draw

        with show_progress("loading torch") as report_progress:
            from fwdscope.commands.explain import explain as explain_layer

            inspected = target_of(target, set_, input_, dtype, allow_import, arg)
            trace = make_subject(inspected, on_progress=report_progress).trace_every_copy()
        try:
            found = explain_layer(trace, layer)
        except LookupError as error:
            raise InputError(str(error.args[0])) from None
        put(found.dumps() if as_json else draw(found, *terminal_of()), None)

    boundary(command, limit)
