"""``fwdscope specs``: the specs that ship with the package."""

from __future__ import annotations

from typing import Annotated

import typer

from fwdscope.cli.boundary import boundary, put, terminal_of
from fwdscope.errors import InputError


def specs(
    word: Annotated[str | None, typer.Argument(metavar="WORD", help="List only specs that mention this word.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the paths of the files.")] = False,
) -> None:
    """List the specs that ship with fwdscope; each can be named wherever a spec file can."""

    def command() -> None:
        from fwdscope.language.parser import parse
        from fwdscope.language.source import read
        from fwdscope.render import shipped as drawing
        from fwdscope.targets import shipped_specs

        found = {name: parse(read(path)) for name, path in shipped_specs().items()}
        if word is not None:
            found = {name: one for name, one in found.items() if word.lower() in f"{name} {one.doc}".lower()}
        if not found:
            raise InputError(f"no spec that ships mentions {word}; all of them: fwdscope specs")
        put(drawing.as_json(found) if as_json else drawing.listing(found, *terminal_of()), None)

    boundary(command)
