"""``fwdscope diff``: what changed between two networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from fwdscope.cli import completion
from fwdscope.cli.boundary import FELL_SHORT, boundary, check_writable, choose_format, complain, put, terminal_of
from fwdscope.cli.look import NO_CACHE, look_at
from fwdscope.cli.options import (
    Accumulate,
    AllowImport,
    Arguments,
    Checkpoint,
    Depth,
    Limits,
    Loss,
    MasterWeights,
    ModelDtype,
    Optimizer,
    Output,
    Past,
    Sets,
    StepAutocast,
    Training,
    TrainOnly,
    content_of,
    files_of,
    split_pair,
    target_of,
    training_of,
)
from fwdscope.errors import InputError
from fwdscope.settings import META, RunSettings
from fwdscope.targets import Target
from fwdscope.targets.target import load_checkpoints

if TYPE_CHECKING:
    from fwdscope.report import Report

_TARGET = "A spec, a saved report (.json), either at a git revision (FILE@REV), or package.module:name."
_SECOND = "The same, to compare with A. Default: A itself, with the vars of --before and --after."
_BEFORE = "Replace a var of A, or an argument of a model: depth=12. Repeatable."
_AFTER = "Replace a var of B, or an argument of a model: depth=24. Repeatable."
_FAIL_ON = 'Exit with code 1 if this is so: "macs > +5%", "params > +1M", "peak_memory > 250 MiB". Repeatable.'
_FORMAT = "text, markdown (for a pull request), json, html (both networks side by side). Default: text."


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help=_TARGET, autocompletion=completion.targets)],
    second: Annotated[str | None, typer.Argument(metavar="B", help=_SECOND, autocompletion=completion.targets)] = None,
    before: Annotated[list[str] | None, typer.Option("--before", metavar="VAR=VALUE", help=_BEFORE)] = None,
    after: Annotated[list[str] | None, typer.Option("--after", metavar="VAR=VALUE", help=_AFTER)] = None,
    depth: Depth = None,
    fail_on: Annotated[list[str] | None, typer.Option("--fail-on", metavar="CONDITION", help=_FAIL_ON)] = None,
    set_: Sets = None,
    arg: Arguments = None,
    dtype: ModelDtype = "float32",
    past: Past = None,
    training: Training = False,
    loss: Loss = None,
    optimizer: Optimizer = None,
    train_only: TrainOnly = None,
    checkpoint: Checkpoint = None,
    autocast: StepAutocast = None,
    accumulate: Accumulate = None,
    master_weights: MasterWeights = False,
    format_: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=_FORMAT)] = None,
    output: Output = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help=NO_CACHE)] = False,
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Show what changed between two networks, or in one with other vars.

    Layers are matched by name and structure, and shown if they were added, removed, renamed, moved or changed.
    """

    def command() -> None:
        from fwdscope.commands.diff import Condition, compare
        from fwdscope.language.replaced import point_at_options
        from fwdscope.render.diff import FORMATS, DiffOptions, movement, render
        from fwdscope.render.html.diff import render as page_of

        form = choose_format(format_, output, (*FORMATS, "html"))
        try:
            conditions = [Condition.parse(text) for text in fail_on or []]
        except ValueError as error:
            raise InputError(f"--fail-on: {error}") from None
        if second is None and not before and not after:
            raise InputError(f"diff {first}: with what? Name a second target, or other vars: --after depth=24")
        sides = list(_sides(target_of(first, set_, None, dtype, allow_import, arg, past), second, before, after))
        check_writable(output, [file for target, _, _ in sides for file in files_of(target)])
        given = {"loss": loss, "optimizer": optimizer, "train_only": train_only, "checkpoint": checkpoint,
                 "accumulate": accumulate, "autocast": autocast, "master_weights": master_weights}  # fmt: skip
        step = training_of(training, given, {"past": past})
        names = [name for _, name, _ in sides]
        reports: list[Report] = []
        if all(target.is_checkpoint for target, _, _ in sides):
            reports += load_checkpoints([target for target, _, _ in sides])
            sides = []
        for target, _, options in sides:
            with point_at_options(options):
                if target.is_report:  # which has them, or not
                    reports.append(look_at(target._replace(past=0), META, not no_cache).report)
                else:
                    reports.append(look_at(target, RunSettings(training=step), not no_cache).report)
        compared = compare(*reports)
        width, color = terminal_of() if output is None else (140, False)
        chosen = DiffOptions(depth, (names[0], names[1]))
        put(page_of(compared, chosen) if form == "html" else render(compared, form, chosen, width, color), output)
        try:
            met = [condition for condition in conditions if condition.met(compared)]
        except ValueError as error:
            raise InputError(f"--fail-on: {error}") from None
        for condition in met:
            complain(f"{condition.text}: {movement(compared.total(condition.name))}")
        if met:
            raise typer.Exit(FELL_SHORT)

    boundary(command, limit)


def _sides(
    first: Target, second: str | None, before: list[str] | None, after: list[str] | None
) -> Iterator[tuple[Target, str, dict[str, str]]]:
    """Both targets, their names, and the option that gave each var of theirs alone."""
    for text, option, given in ((first.text, "--before", before), (second or first.text, "--after", after)):
        own = dict(split_pair(item, option, "depth=12") for item in given or ())
        if twice := next((name for name in own if name in first.variables), None):
            raise InputError(f"{option} {twice}=… and --set {twice}=… are both given: leave one of them out")
        content = first.content if text == first.text else content_of(text)
        target = first._replace(text=text, content=content)
        for name, value in own.items():
            target = target.with_value(name, value)
        yield target, " ".join([text, *(f"{name}={value}" for name, value in own.items())]), dict.fromkeys(own, option)
