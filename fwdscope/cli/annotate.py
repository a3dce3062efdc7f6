"""``fwdscope annotate``: the shapes of a spec, written behind its lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fwdscope.cli import completion
from fwdscope.cli.boundary import FELL_SHORT, WRONG_INPUT, boundary, say, tell, terminal_of, write_error
from fwdscope.cli.options import AllowImport, Limits
from fwdscope.cli.progress import show_progress
from fwdscope.cli.spec_files import spec_files, write_spec
from fwdscope.errors import InputError
from fwdscope.extensions import import_from_here
from fwdscope.language.problems import SpecError
from fwdscope.units import plural

if TYPE_CHECKING:
    from fwdscope.commands.check.files import SpecFile

_SPECS = "Spec files, folders, or globs in quotes."
_WRITE = "Write the shapes into the files. Default: print the changes as a patch."
_CHECK = "Exit with code 1 if a file would change, for pre-commit and CI."
_LINES = "Lines that get a shape besides those that have one: those that change the shape, none, or all."
_CHOICES = ("changed", "promised", "all")


_DEPTH = "Of a model in code (`model:`): how many levels of its layers get a shape."


def _parse_choice(text: str) -> str:
    if text not in _CHOICES:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(_CHOICES)}")
    return text


def annotate(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC", help=_SPECS, autocompletion=completion.targets)],
    write: Annotated[bool, typer.Option("--write", help=_WRITE)] = False,
    check: Annotated[bool, typer.Option("--check", help=_CHECK)] = False,
    lines: Annotated[Any, typer.Option(parser=_parse_choice, metavar="|".join(_CHOICES), help=_LINES)] = "changed",
    depth: Annotated[int, typer.Option(min=1, metavar="N", help=_DEPTH)] = 1,
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Write the shape of each line's output behind the line.

    Shapes are written as promises, `-> (B, 64, 56, 56)`, which `fwdscope check` checks. Nothing else in a file changes.
    A promise that is met stays as it is; of a broken one, only the wrong sizes change. A size that depends on a var
    or a setting is written with its name, in a block also by the size of an input, `x.shape[1]`; a size that differs
    between calls of a line otherwise is `_`. Where shapes are added, all of a file stand in one column if lines allow.
    """

    def command() -> None:
        changed, wrong = False, False
        if "-" in specs:
            raise InputError("annotate needs a file, and - is stdin")
        for file in spec_files(specs, write):
            try:
                changed = _annotate(file, lines, depth, write, allow_import) or changed
            except SpecError as error:
                # The other files are annotated all the same.
                write_error(error)
                wrong = True
        if wrong:
            raise typer.Exit(WRONG_INPUT)
        if changed and check:
            raise typer.Exit(FELL_SHORT)

    boundary(command, limit)


def _annotate(
    file: SpecFile, lines: Literal["changed", "promised", "all"], depth: int, write: bool, allow_import: bool
) -> bool:
    """Write or print the new text of a spec. False if its shapes are already right."""
    from fwdscope.commands import annotate as annotation
    from fwdscope.language import load
    from fwdscope.render.patch import patch

    if allow_import:
        import_from_here()
    try:
        with show_progress(f"building {file.shown}"):
            found = annotation.annotate(load(file.path, file.shown, {}, allow_import), lines, depth)
    except OSError as error:
        raise InputError(f"{file.shown} cannot be read: {error.strerror}") from None
    for line, why in found.notes:
        tell(f"{found.name}:{line}: note: {why}\n")
    if found.before == found.after:
        tell(f"{found.name}: nothing to change\n")
        return False
    if write:
        write_spec(file.path, found.after)
    else:
        say(patch(found.name, found.before, found.after, terminal_of()[1]), unchanged=True)
    counts = [f"{count} {word}" for count, word in ((found.added, "new"), (found.refreshed, "refreshed")) if count]
    shapes = plural(found.added + found.refreshed, "shape")
    ending = "written" if write else "to write: add --write"
    tell(f"{found.name}: {shapes} ({', '.join(counts)}) {ending}\n")
    return True
