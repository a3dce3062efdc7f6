"""``fwdscope annotate``: the shapes of a spec, written behind its lines."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from fwdscope.cli.boundary import FELL_SHORT, InputError, boundary, terminal_of
from fwdscope.cli.options import AllowImport, Limits
from fwdscope.cli.targets import is_module, spec_of
from fwdscope.units import plural

_SPECS = "Spec files."
_WRITE = "Write the shapes into the files; without it the changes are printed as a patch."
_CHECK = "Exit with 1 where a file would change, as for pre-commit."
_LINES = "Lines without `->` that get one: where the shape is not that of the line above, none, or every line."


def annotate(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC", help=_SPECS)],
    write: Annotated[bool, typer.Option("--write", help=_WRITE)] = False,
    check: Annotated[bool, typer.Option("--check", help=_CHECK)] = False,
    lines: Annotated[Literal["changed", "promised", "all"], typer.Option(help=_LINES)] = "changed",
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Write the shapes of specs behind their lines.

    They stand there as promises, `-> (B, 64, 56, 56)`, which `fwdscope check` holds; nothing else of a file changes.
    A promise that holds stays as it is; of one that does not, the sizes that are right stay. A var or a setting is
    written for a size that follows it when it is changed; a size that differs between calls of a line is `_`.
    """

    def command() -> None:
        changed = [spec for spec in specs if _annotate(spec, lines, write, allow_import)]
        if changed and check:
            raise typer.Exit(FELL_SHORT)

    boundary(command, limit)


def _annotate(spec: str, lines: Literal["changed", "promised", "all"], write: bool, allow_import: bool) -> bool:
    """Whether the shapes of a spec are other than its text says; they are written or printed."""
    from fwdscope import annotation
    from fwdscope.render.patch import patch

    path = Path(spec)
    if spec.endswith(".json") or is_module(spec):
        raise InputError(f"{spec} is no spec; annotate writes into spec files, as in: fwdscope annotate model.yaml")
    if write and not path.is_file() and not path.is_dir():
        raise InputError(f"there is no file {spec} to write to")
    checked, _ = spec_of(spec, [], [], allow_import)
    found = annotation.annotate(checked, lines)
    for line, why in found.notes:
        sys.stderr.write(f"{found.name}:{line}: note: {why}\n")
    if found.before == found.after:
        sys.stderr.write(f"{found.name}: nothing to change\n")
        return False
    said = [f"{count} {word}" for count, word in ((found.added, "new"), (found.refreshed, "refreshed")) if count]
    if write:
        _write(path, found.after)
    else:
        sys.stdout.write(patch(found.name, found.before, found.after, terminal_of()[1]))
    shapes = plural(found.added + found.refreshed, "shape")
    ending = "written" if write else "to write: --write does it"
    sys.stderr.write(f"{found.name}: {shapes} ({', '.join(said)}) {ending}\n")
    return True


def _write(path: Path, text: str) -> None:
    """The text into its file, with the mark of UTF-8 where it had one. Raises InputError where it cannot be."""
    try:
        mark = codecs.BOM_UTF8 if path.read_bytes().startswith(codecs.BOM_UTF8) else b""
        path.write_bytes(mark + text.encode())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
