"""``fwdscope lsp``: the language server for specs."""

from __future__ import annotations

import gc
import os
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from fwdscope.cli.boundary import boundary, tell
from fwdscope.cli.defaults import read_defaults
from fwdscope.cli.options import AllowImport
from fwdscope.errors import InputError

_HINTS = "What stands behind lines: shapes, params, macs, separated by commas."


def lsp(
    hints: Annotated[str, typer.Option(metavar="NAMES", help=_HINTS)] = "shapes",
    allow_import: AllowImport = False,
) -> None:
    """Serve an editor: problems, shapes and figures of specs while they are written."""

    def command() -> None:
        if find_spec("pygls") is None or find_spec("lsprotocol") is None:
            raise InputError("the language server needs pygls: pip install 'fwdscope[editor]'")
        gc.enable()  # a server runs for days
        from fwdscope.editor.requests import make_server
        from fwdscope.editor.server import HINTS
        from fwdscope.language.names import did_you_mean

        names = [name.strip() for name in hints.split(",")]
        for name in names:
            if name not in HINTS:
                raise InputError(f"--hints {name}: there is no such hint; {did_you_mean(name, HINTS, 'there are')}")
        if sys.stdin.isatty():
            tell("an editor starts this, and speaks the language server protocol with it; Ctrl-C ends it\n")
        # The streams are the protocol's alone, and closed at its end.
        streams = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        make_server(names, allow_import, read_defaults).start_io(*streams)

    boundary(command)
