"""``fwdscope check``: specs against their promised shapes, expectations and baselines."""

from __future__ import annotations

import contextlib
import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fwdscope.cli import completion
from fwdscope.cli.boundary import boundary, check_writable, choose_format, put, say, terminal_of
from fwdscope.cli.defaults import defaulted
from fwdscope.cli.options import AllowImport, Arguments, Limits, ModelDtype, ReportOutput, content_of, split_pair
from fwdscope.cli.progress import show_progress
from fwdscope.cli.watch import watch_checks
from fwdscope.errors import InputError
from fwdscope.extensions import import_from_here
from fwdscope.render.badge import render_badge
from fwdscope.render.checks import FORMATS, render

if TYPE_CHECKING:
    from fwdscope.commands.check.baseline import BaselineFolder
    from fwdscope.commands.check.files import SpecFile
    from fwdscope.commands.check.outcome import CheckRun, Outcome
    from fwdscope.commands.check.run import CheckPlan

_TARGETS = (
    "Spec files, folders, globs in quotes, names of specs that ship, PyTorch models as `inspect` takes them, or - for "
    "stdin. Default: specs/, or the current folder."
)
_BASELINE = "Compare each report with the one kept in this folder."
_UPDATE = "Write the baselines instead of comparing with them."
_TOLERANCE = "How far costs may differ from the baseline, as 1%. Shapes and parameters must be equal."
_JOBS = "Processes to use, at most one per core. Each loads torch, which pays off from a few hundred specs on."
_TIMEOUT = "Seconds for one spec, in a process of its own; then it has crashed. Default: 600 with --jobs, else none."
_BADGE = (
    "Write what shields.io's endpoint badge reads: params.json and macs.json the figure of the one spec checked, any "
    "other name whether all is well."
)
_WATCH = "Check again each time that a file is saved, with marks at what changed. Ctrl-C ends it."
_SIZES = "A size of the inputs of a library's model: B (batch), T (tokens), H, W, F (frames). Repeatable."
_FORMAT_ONLY = "Check only that specs are laid out as `fwdscope format` writes them, from their text alone."
_GROW = "Check formulas under `expect` at other values of their vars too, near and far, as `scale` builds them."
_NO_CACHE = "Build every spec, even if it has not changed since an earlier run."


def check(
    ctx: typer.Context,
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="TARGET", help=_TARGETS, autocompletion=completion.targets)
    ] = None,
    baseline: Annotated[str | None, typer.Option(metavar="FOLDER", help=_BASELINE)] = None,
    update: Annotated[bool, typer.Option("--update", help=_UPDATE)] = False,
    tolerance: Annotated[str | None, typer.Option(metavar="PERCENT", help=_TOLERANCE)] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, metavar="N", help=_JOBS)] = 1,
    timeout: Annotated[float | None, typer.Option(min=1, max=10**6, metavar="SECONDS", help=_TIMEOUT)] = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(FORMATS)}. Default: text.")
    ] = None,
    output: ReportOutput = None,
    badge: Annotated[Path | None, typer.Option(metavar="FILE", help=_BADGE)] = None,
    watch: Annotated[bool, typer.Option("--watch", help=_WATCH)] = False,
    format_only: Annotated[bool, typer.Option("--format-only", help=_FORMAT_ONLY)] = False,
    grow: Annotated[bool, typer.Option("--grow", help=_GROW)] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help=_NO_CACHE)] = False,
    sizes: Annotated[list[str] | None, typer.Option("--set", metavar="SIZE=VALUE", help=_SIZES)] = None,
    arguments: Arguments = None,
    dtype: ModelDtype = "float32",
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Check specs against their promised shapes, expectations and baselines.

    Exits with code 1 if a check fails, 2 if a spec is invalid.
    """

    def command() -> None:
        from fwdscope.commands.check.files import files
        from fwdscope.commands.check.one import CheckSettings
        from fwdscope.commands.check.run import CheckPlan

        form = choose_format(format_, output, FORMATS)
        if format_only and (baseline or update or watch or badge):
            raise InputError("--format-only reads the text alone: leave --baseline, --update, --watch and --badge out")
        folder = _baselines(baseline, update, tolerance, "tolerance" in defaulted(ctx))
        if allow_import:
            import_from_here()
        plan = CheckPlan(CheckSettings(dtype, allow_import, grow), jobs, not no_cache, folder, timeout)
        if "-" in (targets or []) and folder is not None:
            raise InputError("a baseline is of a file, and - is stdin: leave one of them out")
        if watch:
            if form != "text" or output is not None or update or "-" in (targets or []):
                raise InputError("--watch shows outcomes on the screen: leave --format, -o, --update and - out")
            watch_checks(targets or [], plan)
        found = files(
            targets or [],
            content_of("-") if "-" in (targets or []) else None,
            dict(split_pair(item, "--set", "B=8") for item in sizes or ()),
            dict(split_pair(item, "--arg", "width=64") for item in arguments or ()),
        )
        read = [file.path for file in found]
        check_writable(output, [*read, *map(folder.file, read)] if folder is not None else read)
        if badge is not None:
            choose_format(None, badge, ("json",))
            check_writable(badge, read)
        run = _run(found, plan, form, output) if not format_only else _layouts(found, form, output)
        if badge is not None:
            put(render_badge(run, badge.stem), badge)
        if code := run.exit_code:
            raise typer.Exit(code)

    boundary(command, limit)


def _layouts(files: tuple[SpecFile, ...], form: str, output: Path | None) -> CheckRun:
    """Check how the files are laid out, and write the result."""
    from fwdscope.commands.check.layout import check_layouts
    from fwdscope.render.checks import text

    run = check_layouts(files)
    if form == "text" and output is None:
        say(text.render(run, terminal_of()[1]))
    else:
        put(render(run, form), output)
    return run


def _baselines(baseline: str | None, update: bool, tolerance: str | None, by_default: bool) -> BaselineFolder | None:
    """The folder of baselines, if one is given."""
    from fwdscope.commands.check.baseline import BaselineFolder

    if baseline is None:
        if update or (tolerance is not None and not by_default):
            raise InputError(f"{'--update' if update else '--tolerance'} is for baselines: add --baseline FOLDER")
        return None
    if not baseline.strip():
        raise InputError("--baseline is empty; give a folder")
    if Path(baseline).exists() and not Path(baseline).is_dir():
        raise InputError(f"--baseline {baseline} is a file; give a folder")
    percent = (tolerance or "0%").strip()
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?\s*%", percent):
        raise InputError(f"--tolerance {tolerance}: write a percentage, as in --tolerance 1%")
    return BaselineFolder(Path(baseline), update, float(percent.removesuffix("%")) / 100)


def _run(files: tuple[SpecFile, ...], plan: CheckPlan, form: str, output: Path | None) -> CheckRun:
    """Check the files and write the result; text on stdout appears line by line."""
    from fwdscope.commands.check.run import check_files
    from fwdscope.render.checks import text
    from fwdscope.render.lines import write

    lines = form == "text" and output is None
    colour, width = terminal_of()[1], text.name_width([file.shown for file in files])
    with contextlib.ExitStack() as stack:
        report_progress = stack.enter_context(show_progress("loading torch"))
        checked = itertools.count(1)

        def on_outcome(outcome: Outcome) -> None:
            if lines:
                stack.close()  # the lines show how far it is
                say(write([text.line(outcome, width)], colour))
            else:
                report_progress(f"{next(checked)} of {len(files)} checked")

        run = check_files(files, plan, on_outcome)
    if lines:
        say(write(text.closing(run), colour))
    else:
        put(render(run, form), output)
    return run
