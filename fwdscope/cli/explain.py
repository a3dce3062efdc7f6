"""``fwdscope explain``: the arithmetic of one layer."""

from __future__ import annotations

from typing import Annotated

import typer

from fwdscope.cli.boundary import InputError, boundary, put, terminal_of
from fwdscope.cli.options import AllowImport, Inputs, Limits, ModelDtype, Sets, Target
from fwdscope.cli.targets import trace_of

_LAYER = "A path as in the report (layer1.0.conv2), or a line of the spec (:17)."


def explain(
    target: Target,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help=_LAYER)],
    set_: Sets = None,
    input_: Inputs = None,
    dtype: ModelDtype = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="As data.")] = False,
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Show the arithmetic of one layer: its shape, parameters and costs as formulas with the numbers put in."""

    def command() -> None:
        from fwdscope.commands.explain import explain as explained
        from fwdscope.render import explanation

        trace = trace_of(target, set_ or [], input_ or [], dtype, allow_import)
        try:
            found = explained(trace, layer)
        except LookupError as error:
            raise InputError(str(error.args[0])) from None
        put(explanation.as_json(found) if as_json else explanation.draw(found, *terminal_of()), None)

    boundary(command, limit)
