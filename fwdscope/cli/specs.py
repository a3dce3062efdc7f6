"""``fwdscope specs``: what ships with the package."""

from __future__ import annotations

from typing import Annotated

import typer

from fwdscope.cli.boundary import InputError, boundary, put, terminal_of


def specs(
    word: Annotated[str | None, typer.Argument(metavar="WORD", help="Only those that speak of it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As data, with the files' places.")] = False,
) -> None:
    """List the networks that ship with fwdscope: each name can be given wherever a spec is."""

    def command() -> None:
        from fwdscope.inspection import shipped
        from fwdscope.language.parser import parse
        from fwdscope.language.source import read
        from fwdscope.render import shipped as drawing

        found = {name: parse(read(path)) for name, path in shipped().items()}
        if word is not None:
            found = {name: one for name, one in found.items() if word.lower() in f"{name} {one.doc}".lower()}
        if not found:
            raise InputError(f"no spec that ships speaks of {word}; all of them: fwdscope specs")
        put(drawing.as_json(found) if as_json else drawing.listing(found, *terminal_of()), None)

    boundary(command)
