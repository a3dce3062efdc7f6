"""``fwdscope diff``: what changed between two networks."""

from __future__ import annotations

from typing import Annotated

import typer

from fwdscope.cli.boundary import FELL_SHORT, boundary, check_writable, choose_format, complain, put, terminal_of
from fwdscope.cli.options import AllowImport, Depth, Limits, ModelDtype, Output, Sets, target_of
from fwdscope.errors import InputError

_TARGET = "A spec, a saved report (.json), either at a git revision (FILE@REV), or package.module:name."
_FAIL_ON = 'Exit with code 1 if this is so: "macs > +5%", "params > +1M", "peak_memory > 250 MiB". Repeatable.'
_FORMAT = "text, markdown (for a pull request), json. Default: text."


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help=_TARGET)],
    after: Annotated[str, typer.Argument(metavar="B", help="The same, to compare with A.")],
    depth: Depth = None,
    fail_on: Annotated[list[str] | None, typer.Option("--fail-on", metavar="CONDITION", help=_FAIL_ON)] = None,
    set_: Sets = None,
    dtype: ModelDtype = "float32",
    format_: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=_FORMAT)] = None,
    output: Output = None,
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Show what changed between two networks.

    Layers are matched by name and structure, and shown if they were added, removed, renamed, moved or changed.
    """

    def command() -> None:
        from fwdscope.commands.diff import Condition, compare
        from fwdscope.inspection import inspect_target
        from fwdscope.render.diff import FORMATS, DiffOptions, movement, render

        form = choose_format(format_, output, FORMATS)
        check_writable(output)
        try:
            conditions = [Condition.parse(text) for text in fail_on or []]
        except ValueError as error:
            raise InputError(f"--fail-on: {error}") from None
        targets = [target_of(text, set_, None, dtype, allow_import) for text in (before, after)]
        compared = compare(*(inspect_target(target)[0] for target in targets))
        width, color = terminal_of() if output is None else (140, False)
        put(render(compared, form, DiffOptions(depth, (before, after)), width, color), output)
        try:
            met = [condition for condition in conditions if condition.met(compared)]
        except ValueError as error:
            raise InputError(f"--fail-on: {error}") from None
        for condition in met:
            complain(f"{condition.text}: {movement(compared.total(condition.name))}")
        if met:
            raise typer.Exit(FELL_SHORT)

    boundary(command, limit)
