"""``fwdscope check``: promises, expectations and baselines held."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fwdscope.cli.boundary import boundary, check_writable, choose_format, put, say, terminal_of
from fwdscope.cli.options import AllowImport, Limits, ModelDtype
from fwdscope.errors import InputError

if TYPE_CHECKING:
    from fwdscope.commands.check import Plan

_FORMATS = ("text", "github", "junit", "json", "markdown")
_TARGETS = "Spec files, folders, globs in quotes, or names of specs that ship. If none: specs/, or the current folder."
_BASELINE = "Hold each report against the one kept in this folder."
_UPDATE = "Write the baselines instead of holding them."
_TOLERANCE = "How far costs may move from the baseline, as 1%. Shapes and parameters are exact."
_JOBS = "Processes, at most one a core. Each loads torch, so they pay from some hundred specs on."
_NO_CACHE = "Build every spec, also those that did not change since an earlier run."


def check(
    targets: Annotated[list[str] | None, typer.Argument(metavar="TARGET", help=_TARGETS)] = None,
    baseline: Annotated[str | None, typer.Option(metavar="FOLDER", help=_BASELINE)] = None,
    update: Annotated[bool, typer.Option("--update", help=_UPDATE)] = False,
    tolerance: Annotated[str | None, typer.Option(metavar="PERCENT", help=_TOLERANCE)] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, metavar="N", help=_JOBS)] = 1,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(_FORMATS)}; text if not given.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file; its ending says the format.")
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help=_NO_CACHE)] = False,
    dtype: ModelDtype = "float32",
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Hold specs to what they promise and expect, and to baselines. Exit code 1 where one falls short."""

    def command() -> None:
        from fwdscope.commands.check import Folder, Plan, Settings

        form = choose_format(format_, output, _FORMATS)
        check_writable(output)
        if baseline is None and (update or tolerance is not None):
            raise InputError(f"{'--update' if update else '--tolerance'} is for baselines: add --baseline FOLDER")
        folder = Folder(_folder(baseline), update, _part(tolerance or "0%")) if baseline is not None else None
        if allow_import:
            sys.path.insert(0, str(Path.cwd()))
        plan = Plan(Settings(dtype, allow_import), jobs, not no_cache, folder)
        code = _run(targets or [], plan, form, output)
        if code:
            raise typer.Exit(code)

    boundary(command, limit)


def _run(targets: list[str], plan: Plan, form: str, output: Path | None) -> int:
    """Check all targets, write the report, give the exit code. Text is written as it comes."""
    from fwdscope.commands.check import Run, files, outcomes, remarks_on
    from fwdscope.render.checks import FORMATS, text

    started = time.perf_counter()
    found = files(targets)
    live = form == "text" and output is None
    colour, width = terminal_of()[1], text.name_width([file.shown for file in found])
    done = []
    try:
        for outcome in outcomes(found, plan):
            done.append(outcome)
            if live:
                say(text.line(outcome, width, colour) + "\n")
    except OSError as error:
        if plan.folder is None:
            raise
        raise InputError(f"--baseline {plan.folder.path}: {error.filename}: {error.strerror}") from None
    if all(outcome.state == "skipped" for outcome in done):
        raise InputError(f"none of the {len(done)} files is a spec: each has `inputs:` and `layers:`")
    remarks = tuple(remarks_on(plan.folder, done)) if plan.folder is not None else ()
    run = Run(tuple(done), time.perf_counter() - started, remarks)
    if live:
        say("\n".join(text.closing(run, colour)) + "\n")
    else:
        put(FORMATS[form].render(run), output)
    return run.exit_code


def _folder(text: str) -> Path:
    """The folder of baselines. Raises InputError where it can be none."""
    if not text.strip():
        raise InputError("--baseline is empty; give a folder")
    if Path(text).exists() and not Path(text).is_dir():
        raise InputError(f"--baseline {text} is a file; give a folder")
    return Path(text)


def _part(text: str) -> float:
    """``1%`` as 0.01."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?\s*%", text.strip()):
        raise InputError(f"--tolerance {text}: write a percentage, as in --tolerance 1%")
    return float(text.strip().removesuffix("%")) / 100
