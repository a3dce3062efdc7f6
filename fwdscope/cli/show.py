"""``inspect --show``: one output of the run, drawn in the terminal or into a file."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fwdscope.cli.boundary import put, put_bytes, terminal_of
from fwdscope.errors import InputError

if TYPE_CHECKING:
    from fwdscope.report.pictures import Picture

_PNG, _SVG = ".png", ".svg"
# A text file gets what the terminal gets, without colours.
_TEXT = (".txt", "")


def check_picture_file(output: Path | None) -> None:
    """Raise InputError if no picture can be written to a file of this ending."""
    if output is not None and output.suffix not in (_PNG, _SVG, *_TEXT):
        raise InputError(f"{output}: a picture is written as {_PNG}, {_SVG} or .txt")
    if output is not None and output.suffix == _PNG and find_spec("PIL") is None:
        raise InputError(f"{output}: a PNG needs Pillow: pip install 'fwdscope[png]', or write {_SVG}")


def write_picture(picture: Picture, output: Path | None) -> None:
    """Draw a picture in the terminal, or in a file by its ending. Raises InputError if it cannot be written."""
    if output is not None and output.suffix == _PNG:
        from fwdscope.render.images import png

        put_bytes(png(picture), output)
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
