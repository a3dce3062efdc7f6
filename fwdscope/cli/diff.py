"""``fwdscope diff``: what changed between two networks."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fwdscope.cli.boundary import (
    FELL_SHORT,
    InputError,
    boundary,
    complain,
    form_of,
    hold_output,
    pair,
    put,
    terminal_of,
)
from fwdscope.cli.options import AllowImport, Limits, ModelDtype, Output, Sets
from fwdscope.cli.targets import report_of
from fwdscope.inspection import find_spec, inspect_spec
from fwdscope.report import Report, ReportError

if TYPE_CHECKING:
    from fwdscope.commands.diff import Comparison, Condition

_TARGET = "A spec, a saved report (.json), package.module:factory, or FILE@REV, the file at a revision of git."
_DEPTH = "Levels of nesting to show; what is hidden counts in the row above it."
_FAIL_ON = 'Exit with 1 where this is so: "macs > +5%", "params > +1M", "peak_memory > 250 MiB". May be given again.'
_FORMAT = "text, markdown (for a pull request), json; text if not given."


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help=_TARGET)],
    after: Annotated[str, typer.Argument(metavar="B", help="The same, to compare with A.")],
    depth: Annotated[int | None, typer.Option(min=1, metavar="N", help=_DEPTH)] = None,
    fail_on: Annotated[list[str] | None, typer.Option("--fail-on", metavar="CONDITION", help=_FAIL_ON)] = None,
    set_: Sets = None,
    dtype: ModelDtype = "float32",
    format_: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=_FORMAT)] = None,
    output: Output = None,
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Show what changed between two networks.

    Layers are matched by name and by structure: added, removed, renamed, moved, or changed in shape, parameters, costs.
    """

    def command() -> None:
        from fwdscope.commands.diff import compare
        from fwdscope.render.diff import FORMATS, DiffOptions, render

        form = form_of(format_, output, FORMATS)
        hold_output(output)
        conditions = [_condition(text) for text in fail_on or []]
        reports = [_report(target, set_ or [], dtype, allow_import) for target in (before, after)]
        compared = compare(*reports)
        width, color = terminal_of() if output is None else (140, False)
        put(render(compared, form, DiffOptions(depth, (before, after)), width, color), output)
        _fail(compared, conditions)

    boundary(command, limit)


def _condition(text: str) -> Condition:
    from fwdscope.commands.diff import Condition

    try:
        return Condition.parse(text)
    except ValueError as error:
        raise InputError(f"--fail-on: {error}") from None


def _fail(compared: Comparison, conditions: list[Condition]) -> None:
    """Tell the conditions that are so. Raises Exit where there is one, InputError where a figure is missing."""
    from fwdscope.render.diff import movement

    met = []
    for condition in conditions:
        try:
            if condition.met(compared):
                met.append(condition)
        except ValueError as error:
            raise InputError(f"--fail-on: {error}") from None
    for condition in met:
        complain(f"{condition.text}: {movement(compared.total(condition.name))}")
    if met:
        raise typer.Exit(FELL_SHORT)


def _report(target: str, sets: list[str], dtype: str, allow_import: bool) -> Report:
    # The last @ but for git's own, as in HEAD@{1}.
    parted = re.fullmatch(r"(.*)@(?!\{)((?:[^@]|@\{)*)", target, re.DOTALL)
    if parted is None or Path(target).exists() or find_spec(target) is not None:
        return report_of(target, sets, [], dtype, allow_import)
    path, revision = parted.groups()
    data = _at_revision(target, path, revision)
    if path.endswith(".json"):
        if sets or dtype != "float32":
            raise InputError(f"{target} is a saved report; --set and --dtype are for specs")
        try:
            return Report.loads(data.decode("utf-8", errors="replace"))
        except ReportError as error:
            raise InputError(f"{target}: {error}") from None
    from fwdscope.language.check import check
    from fwdscope.language.parser import parse
    from fwdscope.language.source import decode

    variables = dict(pair(item, "--set", "B=8") for item in sets)
    return inspect_spec(check(parse(decode(data, target), variables), allow_import), dtype=dtype)


def _at_revision(target: str, path: str, revision: str) -> bytes:
    """A file as it was at a revision. Raises InputError that says which of the two is not there."""
    if not path or not revision:
        raise InputError(f"{target}: write a file and a revision, as in model.yaml@HEAD~1")
    folder, name = Path(path).parent, Path(path).name
    if not folder.is_dir():
        raise InputError(f"{target}: there is no folder {folder}")
    if _git(folder, "rev-parse", "--git-dir") is None:
        raise InputError(f"{target}: {folder.resolve()} is in no git checkout")
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise InputError(f"{target}: git knows no revision {revision}; in a shallow checkout, fetch it first")
    data = _git(folder, "cat-file", "blob", f"{commit.decode().strip()}:./{name}")
    if data is None:
        raise InputError(f"{target}: {path} is no file in revision {revision}")
    return data


def _git(folder: Path, *arguments: str) -> bytes | None:
    """What git says, None where it fails. Raises InputError where there is no git."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise InputError("FILE@REV asks git, and there is no git here") from None
    return done.stdout if done.returncode == 0 else None
