"""``--vary``: one network at several sizes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fwdscope.cli.boundary import FELL_SHORT, check_writable, choose_format, complain, put, terminal_of
from fwdscope.cli.options import command_line, dtype_given, files_of
from fwdscope.cli.progress import show_progress
from fwdscope.errors import InputError
from fwdscope.interrupt import INTERRUPTED, Stop
from fwdscope.settings import RunSettings
from fwdscope.targets import Target

if TYPE_CHECKING:
    from fwdscope.device.table import Accelerator
    from fwdscope.report import Report
    from fwdscope.report.sweep import SweepAxis


def parse_axes(texts: Sequence[str], target: Target) -> tuple[SweepAxis, ...]:
    """The names of ``--vary`` and their values. Raises InputError for what cannot be read, or contradicts ``--set``."""
    from fwdscope.commands.bench.request import check_axes
    from fwdscope.report.sweep import combinations, parse

    try:
        axes = tuple(map(parse, texts))
        combinations(axes)
    except ValueError as error:
        raise InputError(str(error)) from None
    check_axes(axes, target)
    return axes


def refuse_with_vary(options: Mapping[str, object]) -> None:
    """Raise InputError for an option of ``inspect`` that has no effect with --vary."""
    for name, value in options.items():
        if value not in (None, False, "meta"):
            raise InputError(f"--vary gives the totals at each size, without a run: leave --{name} out")


def inspect_at_sizes(
    target: Target,
    texts: Sequence[str],
    settings: RunSettings,
    on: str | None,
    devices: tuple[Accelerator, ...],
    strict: bool,
    format: str | None,
    output: Path | None,
) -> None:
    """``inspect --vary``: shapes and costs at all combinations, with estimates of the time on the devices of ``on``."""
    from fwdscope.device.links import mesh_estimates
    from fwdscope.inspection import inspect_at, run_sweep
    from fwdscope.render.html.sweep import render as page_of
    from fwdscope.render.sweep_costs import FORMATS, render
    from fwdscope.report.roofline import estimate
    from fwdscope.report.sweep import Sweep
    from fwdscope.report.throughput import dtype_of_products

    form = choose_format(format, output, (*FORMATS, "html"))
    check_writable(output, files_of(target))
    target.refuse_report(", whose sizes are fixed: --vary needs the spec")
    axes = parse_axes(texts, target)
    with show_progress("loading torch") as report_progress, Stop() as stop:
        import torch  # noqa: F401  # until here Ctrl-C ends the program, then it ends the sweep

        stop.arm()

        def report_at(values: Sequence[tuple[str, str]]) -> tuple[Report, bool]:
            report_progress(", ".join(f"{name}={value}" for name, value in values))
            report = inspect_at(target, values, settings)
            if report.mesh is not None and on is not None:
                return replace(report, mesh_estimates=mesh_estimates(report, report.mesh, on, part=True)), False
            estimates = tuple(estimate(report, one.peaks(dtype_of_products(report))) for one in devices)
            return replace(report, estimates=estimates), False

        points, interrupted = run_sweep(axes, report_at)
    varied = "".join(f" --vary {shlex.quote(text)}" for text in texts)
    given = {"--dtype": dtype_given(target)}
    step = settings.training.options() if settings.training else {}
    is_run = not step and not target.stored.products and all(axis.name != "mesh" for axis in axes)
    bench = [f"fwdscope bench {command_line(target, given)}{varied}"] * is_run
    again = command_line(target, {**given, **step, "--on": on}) + varied
    steps = (*bench, f"fwdscope inspect {again} -o sweep.csv")
    width, color = terminal_of() if output is None else (100, False)
    sweep = Sweep(axes, points)
    put(page_of(sweep) if form == "html" else render(sweep, form, width, color, steps), output)
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if all(point.report is None for point in points):
        raise InputError("no combination could be inspected")
    missing = dict.fromkeys(name for point in points if point.report for name in point.report.uncounted)
    if strict and missing:
        complain(f"no counting rule for {', '.join(missing)}")
        raise typer.Exit(FELL_SHORT)
