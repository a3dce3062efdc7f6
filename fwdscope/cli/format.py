"""``fwdscope format``: specs with their arrows in one column and their calls spaced alike."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Annotated

import typer

from fwdscope.cli import completion
from fwdscope.cli.boundary import FELL_SHORT, WRONG_INPUT, boundary, say, tell, terminal_of, write_error
from fwdscope.cli.options import Limits, content_of
from fwdscope.cli.spec_files import spec_files, write_spec
from fwdscope.errors import InputError
from fwdscope.language.problems import SpecError
from fwdscope.units import plural

if TYPE_CHECKING:
    from fwdscope.commands.check.files import SpecFile
    from fwdscope.language.problems import Source

_SPECS = "Spec files, folders, globs in quotes, or - for stdin, whose layout goes to stdout."
_CHECK = "Write nothing; exit with code 1 if a file would change."
_DIFF = "Write nothing; print the changes as a patch, and exit with code 1 if there are any."


def format(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC", help=_SPECS, autocompletion=completion.targets)],
    check: Annotated[bool, typer.Option("--check", help=_CHECK)] = False,
    diff: Annotated[bool, typer.Option("--diff", help=_DIFF)] = False,
    limit: Limits = None,
) -> None:
    """Lay out specs: arrows in one column, calls spaced alike.

    Nothing else in a file changes: not its line ends, comments, quotes, indentation, nor what any line means. A file
    that does not parse stays as it is. The arrows of a file stand in the column that most of them have, if every line
    leaves room, else behind the longest line.
    """

    def command() -> None:
        changed, same, wrong = 0, 0, 0
        for file in _files(specs, not (check or diff)):
            try:
                is_changed = _format(file, check, diff)
                changed, same = changed + is_changed, same + (not is_changed)
            except SpecError as error:
                # The other files are laid out all the same.
                write_error(error)
                wrong += 1
        if specs != ["-"]:
            counts = [f"{plural(changed, 'file')} {'to format' if check or diff else 'formatted'}"]
            counts += [f"{same} left unchanged"] * bool(same) + [f"{wrong} with problems"] * bool(wrong)
            tell(f"{', '.join(counts)}\n")
        if wrong:
            raise typer.Exit(WRONG_INPUT)
        if changed and (check or diff):
            raise typer.Exit(FELL_SHORT)

    boundary(command, limit)


def _files(specs: list[str], write: bool) -> list[SpecFile]:
    if "-" not in specs:
        return spec_files(specs, write)
    if len(specs) > 1:
        raise InputError("- is stdin: give it alone")
    from fwdscope.commands.check.files import files

    return list(files(specs, content_of("-")))


def _format(file: SpecFile, check: bool, diff: bool) -> bool:
    """Lay out a spec, and write or print what that changes. False if it changes nothing."""
    from fwdscope.language.formatting import format_text
    from fwdscope.language.source import decode, read
    from fwdscope.render.patch import patch

    try:
        source: Source = read(file.path, file.shown) if file.content is None else decode(file.content, "stdin")
    except OSError as error:
        raise InputError(f"{file.shown} cannot be read: {error.strerror}") from None
    after = format_text(source)
    if diff:
        say(patch(source.name, source.text, after, terminal_of()[1]), unchanged=True)
    elif file.content is not None and not check:
        mark = codecs.BOM_UTF8.decode() if file.content.startswith(codecs.BOM_UTF8) else ""
        say(f"{mark}{after}", unchanged=True)
    if after == source.text:
        return False
    if not (check or diff or file.content is not None):
        write_spec(file.path, after)
    if not diff and (check or file.content is None):
        tell(f"{source.name}: {'to format' if check else 'formatted'}\n")
    return True
