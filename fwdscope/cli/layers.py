"""``fwdscope layers``: the vocabulary."""

from __future__ import annotations

from typing import Annotated

import typer

from fwdscope.cli import completion
from fwdscope.cli.boundary import boundary, page, put, terminal_of
from fwdscope.errors import InputError

_NAME = "A layer, function, method or attribute to show, or a word to search for."


def layers(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help=_NAME, autocompletion=completion.names)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole vocabulary as JSON.")] = False,
) -> None:
    """List the layers and functions that specs may use, or show one."""

    def command() -> None:
        from fwdscope.render import vocabulary

        if as_json:
            put(vocabulary.as_json(), None)
            return
        width, colour = terminal_of()
        try:
            text = vocabulary.page_of(name, width, colour) if name else vocabulary.listing(None, width, colour)
        except LookupError as error:
            raise InputError(str(error.args[0])) from None
        page(text)

    boundary(command)
