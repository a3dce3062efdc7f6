"""``fwdscope lsp``: the language server for specs."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from fwdscope.cli.boundary import boundary, tell
from fwdscope.cli.options import AllowImport
from fwdscope.errors import InputError
from fwdscope.interrupt import run_command

_HINTS = "What stands behind lines: shapes, params, macs, separated by commas."


def lsp(
    hints: Annotated[str, typer.Option(metavar="NAMES", help=_HINTS)] = "shapes",
    allow_import: AllowImport = False,
) -> None:
    """Serve an editor: problems, shapes and figures of specs while they are written."""

    def command() -> None:
        from fwdscope.editor.messages import HINTS, python_program
        from fwdscope.language.names import did_you_mean

        if find_spec("pygls") is None or find_spec("lsprotocol") is None:
            raise InputError("the language server needs pygls: pip install 'fwdscope[editor]'")
        names = [name.strip() for name in hints.split(",")]
        for name in names:
            if name not in HINTS:
                raise InputError(f"--hints {name}: there is no such hint; {did_you_mean(name, HINTS, 'there are')}")
        if sys.stdin.isatty():
            tell("an editor starts this, and speaks the language server protocol with it; Ctrl-C ends it\n")
        # It runs for days: what parsed the options, pydantic among it, makes room.
        program = python_program("fwdscope.editor.requests", names, allow_import)
        if os.name != "nt":
            os.execv(program[0], program)
        raise typer.Exit(run_command(program)[0])  # there, another process would take the place of this one's end

    boundary(command)
