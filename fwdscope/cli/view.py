"""``fwdscope view``: a report, sweep, check or comparison in the browser."""

from __future__ import annotations

import re
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from fwdscope.cli import completion
from fwdscope.cli import options as opt
from fwdscope.cli.boundary import boundary, check_writable, choose_format, put_bytes, say, tell
from fwdscope.cli.defaults import defaulted
from fwdscope.cli.look import look_at
from fwdscope.cli.options import target_of
from fwdscope.errors import InputError
from fwdscope.interrupt import INTERRUPTED
from fwdscope.settings import RunSettings

_TARGET = "What inspect, bench, check or diff saved as JSON, or any target of inspect."
_OUTPUT = "Write the page to this file. Default: one in the folder of temporary files."


def view(
    ctx: typer.Context,
    target: Annotated[str, typer.Argument(metavar="TARGET", help=_TARGET, autocompletion=completion.targets)],
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the page's path, and open no browser.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help=_OUTPUT)] = None,
    set_: opt.Sets = None,
    arg: opt.Arguments = None,
    input_: opt.Inputs = None,
    dtype: opt.ModelDtype = "float32",
    device: opt.Device = None,
    allow_import: opt.AllowImport = False,
    limit: opt.Limits = None,
) -> None:
    """Open a report, sweep, check or comparison in the browser."""

    def command() -> None:
        from fwdscope.render import html

        given = target_of(target, set_, input_, dtype, allow_import, arg)
        if output is not None:
            choose_format(None, output, ("html",))
        check_writable(output, opt.files_of(given))
        interrupted = False
        if given.is_report and not given.is_checkpoint:
            if device is not None and "device" not in defaulted(ctx):
                raise InputError(f"{target} is a saved file; --device is for what can be run")
            from fwdscope.render.html.saved import page_of

            name, page = given.read_saved(page_of)
        else:
            look = look_at(given, RunSettings(device))
            name, page, interrupted = look.report.name, html.draw(look.report), look.interrupted
        stem = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "page"
        file = output or Path(tempfile.mkdtemp(prefix="fwdscope-"), f"{stem[:80]}.html")
        put_bytes(page.encode("utf-8", errors="backslashreplace"), file)
        if no_open:
            say(f"{file.absolute()}\n")
        elif not webbrowser.open(file.absolute().as_uri()):
            tell("no browser was found here: open the file in one\n")
        if interrupted:
            raise typer.Exit(INTERRUPTED)

    boundary(command, limit)
