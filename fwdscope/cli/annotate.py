"""``fwdscope annotate``: the shapes of a spec, written behind its lines."""

from __future__ import annotations

import codecs
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fwdscope.cli.boundary import FELL_SHORT, WRONG_INPUT, boundary, say, terminal_of
from fwdscope.cli.options import AllowImport, Limits
from fwdscope.errors import InputError
from fwdscope.language.problems import SpecError
from fwdscope.units import plural

if TYPE_CHECKING:
    from fwdscope.commands.check.files import SpecFile

_SPECS = "Spec files, folders, or globs in quotes."
_WRITE = "Write the shapes into the files; without it the changes are printed as a patch."
_CHECK = "Exit with 1 where a file would change, as for pre-commit."
_LINES = "Lines without `->` that get one: where the shape is not that of the line above, none, or every line."
_WHICH = ("changed", "promised", "all")


def _which(text: str) -> str:
    if text not in _WHICH:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(_WHICH)}")
    return text


def annotate(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC", help=_SPECS)],
    write: Annotated[bool, typer.Option("--write", help=_WRITE)] = False,
    check: Annotated[bool, typer.Option("--check", help=_CHECK)] = False,
    lines: Annotated[Any, typer.Option(parser=_which, metavar="|".join(_WHICH), help=_LINES)] = "changed",
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Write the shapes of specs behind their lines.

    They stand there as promises, `-> (B, 64, 56, 56)`, which `fwdscope check` holds; nothing else of a file changes.
    A promise that holds stays as it is; of one that does not, the sizes that are right stay. A var or a setting is
    written for a size that follows it when it is changed; a size that differs between calls of a line is `_`.
    """

    def command() -> None:
        states = [_state(file, lines, write, allow_import) for file in _files(specs, write)]
        if "wrong" in states:
            raise typer.Exit(WRONG_INPUT)
        if "changed" in states and check:
            raise typer.Exit(FELL_SHORT)

    boundary(command, limit)


def _files(specs: list[str], write: bool) -> list[SpecFile]:
    """The spec files of all targets. Raises InputError where one names none, or none that may be written."""
    from fwdscope.commands.check.files import files, looks_like_spec
    from fwdscope.targets import shipped_specs

    found = files(specs)
    for spec in specs:
        if write and not Path(spec).exists() and spec.removesuffix(".yaml") in shipped_specs():
            raise InputError(f"{spec} ships with fwdscope: copy it to a file of yours to write into")
    try:
        meant = [file for file in found if file.named or looks_like_spec(file.path.read_text("utf-8", "replace"))]
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from None
    if not meant:
        raise InputError(f"none of the {len(found)} files is a spec: each has `inputs:` and `layers:`")
    return meant


def _state(
    file: SpecFile, lines: Literal["changed", "promised", "all"], write: bool, allow_import: bool
) -> Literal["same", "changed", "wrong"]:
    """What becomes of one file; one that is no spec is told, and the others go on."""
    from fwdscope.render.problems import write_problems

    try:
        return "changed" if _annotate(file, lines, write, allow_import) else "same"
    except SpecError as error:
        write_problems(error, sys.stderr)
        return "wrong"


def _annotate(file: SpecFile, lines: Literal["changed", "promised", "all"], write: bool, allow_import: bool) -> bool:
    """Whether the shapes of a spec are other than its text says; they are written or printed."""
    from fwdscope.commands import annotate as annotation
    from fwdscope.language import load
    from fwdscope.render.patch import patch

    try:
        checked = load(file.path, file.shown, {}, allow_import)
    except OSError as error:
        raise InputError(f"{file.shown} cannot be read: {error.strerror}") from None
    if allow_import:
        sys.path.insert(0, str(Path.cwd()))
    found = annotation.annotate(checked, lines)
    for line, why in found.notes:
        sys.stderr.write(f"{found.name}:{line}: note: {why}\n")
    if found.before == found.after:
        sys.stderr.write(f"{found.name}: nothing to change\n")
        return False
    said = [f"{count} {word}" for count, word in ((found.added, "new"), (found.refreshed, "refreshed")) if count]
    if write:
        _write(file.path, found.after)
    else:
        say(patch(found.name, found.before, found.after, terminal_of()[1]))
    shapes = plural(found.added + found.refreshed, "shape")
    ending = "written" if write else "to write: --write does it"
    sys.stderr.write(f"{found.name}: {shapes} ({', '.join(said)}) {ending}\n")
    return True


def _write(path: Path, text: str) -> None:
    """The text into its file, with the mark of UTF-8 where it had one. Raises InputError where it cannot be."""
    before = b""
    try:
        before = path.read_bytes()
        mark = codecs.BOM_UTF8 if before.startswith(codecs.BOM_UTF8) else b""
        path.write_bytes(mark + text.encode())
    except OSError as error:
        # A disk that is full must not cost the file: what was there fits again.
        with contextlib.suppress(OSError):
            path.write_bytes(before)
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
