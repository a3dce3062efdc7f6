"""``fwdscope specs``: the specs that ship with the package."""

from __future__ import annotations

from typing import Annotated

import typer

from fwdscope.cli import completion
from fwdscope.cli.boundary import boundary, page, put, terminal_of
from fwdscope.errors import InputError

_NAME = "A spec to print, or a word: only specs that mention it are listed."


def specs(
    word: Annotated[str | None, typer.Argument(metavar="NAME", help=_NAME, autocompletion=completion.shipped)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the paths of the files.")] = False,
) -> None:
    """List the specs that ship with fwdscope, or print one; each can be named wherever a spec file can."""

    def command() -> None:
        from fwdscope.language.parser import parse
        from fwdscope.language.source import read
        from fwdscope.render import shipped as drawing
        from fwdscope.targets import shipped_specs

        files = shipped_specs()
        if word is not None and not as_json and (one := files.get(word.removesuffix(".yaml"))):
            page(one.read_text(encoding="utf-8"))
            return
        found = {name: parse(read(path)) for name, path in files.items()}
        if word is not None:
            found = {name: one for name, one in found.items() if word.lower() in f"{name} {one.doc}".lower()}
        if not found:
            raise InputError(f"no spec that ships mentions {word}; all of them: fwdscope specs")
        if as_json:
            put(drawing.as_json(found), None)
        else:
            page(drawing.listing(found, *terminal_of()))

    boundary(command)
