"""``inspect --show``: one output of the run, drawn in the terminal or into a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fwdscope.cli.boundary import InputError, put, terminal_of

if TYPE_CHECKING:
    from fwdscope.report.pictures import Picture

# What a file of a picture may end in; other files get what the terminal does, without colours.
_PNG, _SVG = ".png", ".svg"
_TEXT = (".txt", "")


def check_file(output: Path | None) -> None:
    """Refuse a file of a kind that no picture is written as, before anything runs."""
    if output is not None and output.suffix not in (_PNG, _SVG, *_TEXT):
        raise InputError(f"{output}: a picture is written as {_PNG}, {_SVG} or .txt")


def write_picture(picture: Picture, output: Path | None) -> None:
    """Draw a picture in the terminal, or into a file by its ending. Raises InputError where it cannot be written."""
    if output is not None and output.suffix == _PNG:
        from fwdscope.render.images import png

        _put_bytes(png(picture), output)
    elif output is not None and output.suffix == _SVG:
        from fwdscope.render.images import svg

        put(svg(picture), output)
    elif output is None and sys.stdout.isatty():
        from rich.console import Console

        from fwdscope.render.maps import print_picture

        print_picture(picture, Console())
    else:
        from fwdscope.render.maps import lines

        width, _ = terminal_of()
        put("\n".join(line.plain.rstrip() for line in lines(picture, width, coloured=False)), output)


def _put_bytes(data: bytes, output: Path) -> None:
    try:
        output.write_bytes(data)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}") from None
    sys.stderr.write(f"wrote {output}\n")
