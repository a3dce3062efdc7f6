"""``fwdscope inspect``: the report."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from fwdscope.cli import completion
from fwdscope.cli import options as opt
from fwdscope.cli.boundary import (
    FELL_SHORT,
    WRONG_INPUT,
    boundary,
    check_writable,
    choose_format,
    complain,
    put,
    put_bytes,
    tell,
    terminal_of,
    write_error,
)
from fwdscope.cli.defaults import defaulted
from fwdscope.cli.look import NO_CACHE, Look, look_at
from fwdscope.cli.options import command_line, dtype_given, target_of
from fwdscope.cli.progress import show_progress
from fwdscope.cli.ranks import boundary_of_ranks, report_on_ranks
from fwdscope.cli.vary import inspect_at_sizes, refuse_with_vary
from fwdscope.cli.watch import watch_spec
from fwdscope.errors import InputError, ShapeError
from fwdscope.interrupt import INTERRUPTED
from fwdscope.render import COLUMNS, FIGURES, FORMATS, Options, render
from fwdscope.render.nodes import COLOURS
from fwdscope.settings import SHOW_ALL, BenchSettings, RunSettings
from fwdscope.storage import PRODUCTS, Stored

if TYPE_CHECKING:
    from fwdscope.device.table import Accelerator
    from fwdscope.language.plan import Mesh
    from fwdscope.render.overview import NamedReport
    from fwdscope.report import LargestBatch, Report
    from fwdscope.run.ranks import RankSession
    from fwdscope.targets import Target

_COLUMNS = f"Columns of the table, separated by commas: {', '.join(COLUMNS)}."
_SORT = "List layers without nesting, those with the largest value first: macs, params, memory, …"
_TOP = "List only the N layers that cost most."
_COLOUR = f"What the nodes of a graph are coloured by: {', '.join(COLOURS)}."
_STRICT = "Exit with code 1 if any operator has no counting rule."
_ON = (
    "Estimate time and memory on other hardware, without running: H100, or H100,T4, or all; with --mesh H100x8, or "
    "'H100x64 nvlink:8 ib:400G'."
)
_PARTIAL = "Show the report up to the layer that fails, of a PyTorch model."
_SUGGEST = "Try every change that may mend a problem, however large the network is."
_VARY = "Shapes and costs at several sizes: B=1,8,32 or T=128:4096:x2 or T=128:1024:+128; also dtype. Repeatable."
_SHOW = "Draw one output instead of the report: conv1, conv1[0,3], or attn.weights for attention weights; or all."

_WATCH = "Show the report again each time that the file is saved, with marks at what changed. Ctrl-C ends it."

_PICTURES = (".png", ".svg")
# The formats of a report that keep the strips of --show all, and their endings.
_WITH_STRIPS = {"json": ".json", "html": ".html"}


def inspect(
    ctx: typer.Context,
    targets: opt.TargetTexts,
    depth: opt.Depth = None,
    columns: Annotated[
        str | None, typer.Option(metavar="NAMES", help=_COLUMNS, autocompletion=completion.several(*COLUMNS))
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="NAME", help=_SORT, autocompletion=completion.one_of(FIGURES))
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, metavar="N", help=_TOP)] = None,
    colour: Annotated[
        str | None, typer.Option(metavar="NAME", help=_COLOUR, autocompletion=completion.one_of(COLOURS))
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help=_STRICT)] = False,
    set_: opt.Sets = None,
    vary: Annotated[list[str] | None, typer.Option("--vary", metavar="NAME=VALUES", help=_VARY)] = None,
    arg: opt.Arguments = None,
    input_: opt.Inputs = None,
    dtype: opt.EstimatedDtype = "float32",
    batch: opt.Batch = None,
    past: opt.Past = None,
    weights_dtype: opt.WeightsFormat = None,
    kv_dtype: opt.CacheFormat = None,
    mesh: opt.MeshOption = None,
    shard: opt.ShardOption = None,
    device: opt.Device = None,
    on: Annotated[str | None, typer.Option(metavar="NAMES", help=_ON, autocompletion=completion.hardware)] = None,
    seed: opt.Seed = 0,
    weights: opt.WeightsFile = None,
    weights_partial: opt.WeightsPartial = False,
    train: opt.Train = False,
    training: opt.Training = False,
    loss: opt.Loss = None,
    optimizer: opt.Optimizer = None,
    train_only: opt.TrainOnly = None,
    checkpoint: opt.Checkpoint = None,
    accumulate: opt.Accumulate = None,
    autocast: opt.StepAutocast = None,
    master_weights: opt.MasterWeights = False,
    measured_step: opt.MeasuredTime = None,
    no_stats: Annotated[bool, typer.Option("--no-stats", help="Leave out the statistics of activations.")] = False,
    no_latency: Annotated[bool, typer.Option("--no-latency", help="Leave out the times.")] = False,
    show: Annotated[str | None, typer.Option(metavar="PATH", help=_SHOW)] = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(FORMATS)}. Default: table.")
    ] = None,
    output: opt.ReportOutput = None,
    partial: Annotated[bool, typer.Option("--partial", help=_PARTIAL)] = False,
    suggest: Annotated[bool, typer.Option("--suggest", help=_SUGGEST)] = False,
    watch: Annotated[bool, typer.Option("--watch", help=_WATCH)] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help=NO_CACHE)] = False,
    allow_import: opt.AllowImport = False,
    limit: opt.Limits = None,
) -> None:
    """Show every layer's shapes, parameters and costs."""

    def command() -> None:
        inspected = [target_of(text, set_, input_, dtype, allow_import, arg, past) for text in targets]
        inspected = [_stored_as(one, dtype, Stored(weights_dtype, kv_dtype), on) for one in inspected]
        only_one = {"watch": watch, "show": show is not None, "partial": partial, "vary": bool(vary)}
        _check_targets(inspected, [name for name, is_given in only_one.items() if is_given])
        unasked = defaulted(ctx)
        view = {"depth": depth, "columns": columns, "sort": sort, "top": top, "colour": colour, "on": on}
        view = {name: None if name in unasked else view[name] for name in view}
        runs = not (watch or vary or mesh or on is not None or any(target.is_report for target in inspected))
        chosen = device if runs or "device" not in unasked else None  # a default is for what runs
        runs_on = chosen not in (None, "auto", "meta") and chosen
        meshes = any(text.startswith("mesh=") for text in vary or ())
        not_on_mesh = {"device": runs_on, "show": show, "weights": weights}
        inspected = [opt.on_mesh(one, mesh, shard, meshes, not_on_mesh) for one in inspected]
        others = {"device": runs_on, "watch": watch, "show": show, "weights": weights, "past": past}
        given = {"loss": loss, "optimizer": optimizer, "train_only": train_only, "checkpoint": checkpoint,
                 "accumulate": accumulate, "autocast": autocast, "master_weights": master_weights}  # fmt: skip
        step = opt.training_of(training, given, others)
        if vary:
            single = {"show": show, "weights": weights, "batch": batch, "measured-step": measured_step}
            refuse_with_vary({**view, "on": None, "device": chosen, "partial": partial, **single})
            settings = RunSettings("auto", train=train, training=step)
            inspect_at_sizes(inspected[0], vary, settings, on, _find_hardware(on).accelerators, strict, format_, output)
            return
        form = _check_view(show, format_, output, view)
        if watch and output is not None:
            raise InputError(f"--watch shows the report on the screen: leave -o {output} out")
        if weights_partial and weights is None:
            raise InputError("--weights-partial is for a file of weights: add --weights FILE")
        hardware = _find_hardware(on, measured_step)
        # A picture needs no times.
        draws = show is not None and form not in _WITH_STRIPS
        settings = RunSettings(
            "auto" if chosen is None and (watch or step or on is not None or past or weights_dtype or mesh) else chosen,
            seed, weights, weights_partial, train=train, training=step, stats=not no_stats,
            alternatives=step is not None, latency=not (no_latency or draws), show=show, depth=depth,
        )  # fmt: skip
        inspected, largest = _with_batches(inspected, batch, settings, hardware, watch or show is not None)
        check_writable(output, [weights, *(file for target in inspected for file in opt.files_of(target))])
        if draws:
            _write_picture(look_at(inspected[0], settings), output)
            return
        names = tuple(name.strip() for name in columns.split(",")) if columns else None
        options = Options(depth, names, None, "", output is not None and form == "json", sort, top, colour=colour)
        if watch:
            options = options._replace(target=_command_line(inspected[0], chosen, on, settings, measured_step))

            def draw(report: Report, options: Options) -> str:
                return _text([("", _with_estimates(inspected[0], report, hardware), options)], form, None)

            watch_spec(inspected[0], settings, not no_cache, draw, options)
        try:
            found, interrupted = _inspect_all(inspected, settings, not no_cache, form)
        except ShapeError as error:
            if partial and error.partial is not None:
                _write([("", error.partial, options)], form, output)
            raise
        _write_plan(found, shard)
        shown: list[NamedReport] = []
        for target, report in found:
            again = options._replace(target=_command_line(target, chosen, on, settings, measured_step))
            report = _with_estimates(target, report, hardware, largest.get(id(target)))
            shown.append((target.text, report, _with_formulas(target, report, again) if form == "html" else again))
        _write(shown, form, output)
        code = WRONG_INPUT if len(found) < len(inspected) else _exit_code(found, strict)
        if interrupted or code:
            raise typer.Exit(INTERRUPTED if interrupted else code)

    limits = [*(limit or ()), *([f"mends={10**9}"] * suggest)]
    others = {"watch": watch, "vary": vary, "show": show, "training": training, "on": on, "past": past, "batch": batch,
              "train": train, "top": top, "sort": sort, "columns": columns, "second target": targets[1:]}  # fmt: skip
    settings = BenchSettings(device=device, dtype=dtype, seed=seed, weights=weights)
    make = functools.partial(target_of, targets[0], set_, input_, dtype, allow_import, arg)

    view_of_shards = format_, output, depth
    on_ranks = functools.partial(_inspect_shards, make, (mesh, shard), settings, others, view_of_shards)
    _boundary_of(mesh, settings, on_ranks, command, limits)


def _boundary_of(
    mesh: Mesh | None,
    settings: BenchSettings,
    on_ranks: Callable[[RankSession | None], None],
    command: Callable[[], None],
    limits: list[str],
) -> None:
    if mesh is not None and settings.device not in (None, "auto", "meta"):
        boundary_of_ranks(on_ranks, limits)
    else:
        boundary(command, limits)


def _inspect_shards(
    make: Callable[[], Target],
    on_mesh: tuple[Mesh | None, str | None],
    settings: BenchSettings,
    others: Mapping[str, object],
    view: tuple[str | None, Path | None, int | None],
    session: RankSession | None,
) -> None:
    """Take the statistics of the shards of all ranks; the first writes them. ``others`` are what this leaves out."""
    from fwdscope.commands.bench.request import BenchRequest

    if wrong := next((name for name, value in others.items() if value), None):
        wrong = wrong if " " in wrong else f"--{wrong}"
        raise InputError(f"--mesh with --device {settings.device} takes the statistics of shards: leave {wrong} out")
    format_, output, depth = view
    form, target = _check_view(None, format_, output, {}), opt.on_mesh(make(), *on_mesh)
    report = report_on_ranks(session, BenchRequest(target, settings), output, inspects=True)
    if report is not None:
        _write([(target.text, report, Options(depth, None, None, "", output is not None))], form, output)


def _stored_as(target: Target, dtype: str, stored: Stored, on: str | None) -> Target:
    """The target with its formats. Products in fp8 or int8 are for estimates; what lies between them is bfloat16."""
    if dtype not in PRODUCTS:
        return target._replace(stored=stored)
    if on is None:
        raise InputError(f"--dtype {dtype} is for estimates: add --on H100; --weights-dtype {dtype} counts bytes alone")
    # A model in code has its own dtype.
    between = "float32" if target.is_module else "bfloat16"
    return target._replace(dtype=between, stored=stored.with_products(dtype))


def _check_view(show: str | None, format: str | None, output: Path | None, view: Mapping[str, object]) -> str:
    """The format to write. Raises InputError for options that have no effect on it, or on a picture."""
    given = [name for name, value in view.items() if value is not None]
    if show is not None:
        forms = _WITH_STRIPS if show == SHOW_ALL else {}
        if output is not None and output.suffix not in (*_PICTURES, ".txt", "", *forms.values()):
            endings = ", ".join([*forms.values(), ".png", ".svg"])
            raise InputError(f"{output}: a picture is written as {endings} or .txt")
        if output is not None and output.suffix == ".png" and find_spec("PIL") is None:
            raise InputError(f"{output}: a PNG needs Pillow: pip install 'fwdscope[png]', or write .svg")
        if not show.strip():
            raise InputError("--show needs the path of an output, as the report names it: --show layer1.0.conv2")
        if format is not None and format not in forms:
            raise InputError(
                f"--show draws instead of a report: leave --format out{' or write json or html' * bool(forms)}"
            )
        for name in given:
            if name != "depth" or show != SHOW_ALL:
                raise InputError(
                    f"--show draws {'outputs' if forms else 'one output'} instead of a report: leave --{name} out"
                )
        return format or next((form for form, end in forms.items() if output and output.suffix == end), "table")
    if format is None and output is not None and output.suffix.lower() == ".png":
        raise InputError(f"-o {output}: a picture is of one output: add --show PATH, as the report names it")
    form = choose_format(format, output, FORMATS)
    for name in given:
        if name not in FORMATS[form].heeds:
            raise InputError(f"--{name} has no effect on the format {form}: leave it out")
    return form


def _check_targets(targets: list[Target], only_one: list[str]) -> None:
    """Raise InputError for options that are not for these targets."""
    if "watch" in only_one and len(only_one) > 1:
        raise InputError(f"--watch shows the whole report: leave --{only_one[1]} out")
    if len(targets) > 1 and only_one:
        raise InputError(f"--{only_one[0]} is for one target; here are {len(targets)}")
    if "partial" in only_one and not (targets[0].is_module or targets[0].load_spec()[0].spec.model):
        raise InputError("--partial is for PyTorch models; every problem of a spec is reported at once")


def _inspect_all(
    targets: list[Target], settings: RunSettings, cached: bool, form: str
) -> tuple[list[tuple[Target, Report]], bool]:
    """The targets with their reports, and whether Ctrl-C ended a run, after which the others are left out.

    Of several targets, one that is wrong is reported and left out; one alone raises. What is said of figures of an
    earlier look stands in a text to read, or else on stderr, so that data are the same.
    """
    if FORMATS[form].is_single and len(targets) > 1:
        raise InputError(f"the format {form} is of one network; here are {len(targets)}")
    found = []
    for target in targets:
        try:
            look = look_at(target, settings, cached)
            report = look.report
            if look.note and not FORMATS[form].is_data:
                report = replace(report, notes=(*report.notes, look.note))
            elif look.note and report.run:
                tell(f"{target.text}: {look.note}\n")
            found.append((target, report))
            if look.interrupted:
                return found, True
        except InputError as error:
            if len(targets) == 1:
                raise
            write_error(error)
    return found, False


class _Hardware(NamedTuple):
    """The devices of ``--on``, with ``all`` the fastest first; how many of one, and the seconds of a step on these."""

    accelerators: tuple[Accelerator, ...] = ()
    fastest_first: bool = False
    number: int = 1
    seconds: float | None = None
    # The option as it is given, and whether it is of a cluster, as H100x8 is.
    on: str | None = None
    is_cluster: bool = False


def _find_hardware(on: str | None, seconds: float | None = None) -> _Hardware:
    """The devices of ``--on H100,T4``, ``--on all`` or ``--on H100x8``. Raises InputError for an unknown name."""
    names = [name.strip() for name in on.split(",")] if on is not None else []
    if seconds is not None and (len(names) != 1 or names[0].lower() == "all"):
        raise InputError("--measured-step needs the device that the step ran on, and how many of them: --on H100x8")
    if on is None:
        return _Hardware()
    from fwdscope.device.links import cluster_of
    from fwdscope.device.table import UnknownAcceleratorError, accelerators_in, accelerators_of

    try:
        if seconds is not None:
            device, number = accelerators_in(names[0])
            return _Hardware((device,), False, number, seconds, on)
        if "all" in [name.lower() for name in names]:
            return _Hardware(accelerators_of(names), True, on=on)
        found = [cluster_of(name) for name in names]
    except UnknownAcceleratorError as error:
        raise InputError(f"--on {on}: {error}") from None
    devices = tuple({device.name: device for device, _ in found}.values())
    number = max(cluster.number for _, cluster in found)
    return _Hardware(devices, False, number, None, on, number > 1 or any(":" in name for name in names))


def _with_batches(
    targets: list[Target],
    batch: int | str | None,
    settings: RunSettings,
    hardware: _Hardware,
    is_other: bool,
) -> tuple[list[Target], dict[int, LargestBatch]]:
    """The targets with another batch size; if that is ``max``, the largest one that fits into a device's memory.

    Those largest ones are by the target's ``id()``.
    """
    from fwdscope.inspection import with_batch, with_largest_batch

    if batch is None:
        return targets, {}
    for target in targets:
        target.refuse_report(", whose sizes are fixed: --batch needs the spec")
    if isinstance(batch, int):
        return [with_batch(target, batch) for target in targets], {}
    accelerators, number = hardware.accelerators, hardware.number
    if len(accelerators) != 1 or number > 1 or settings.device not in ("auto", "meta") or is_other:
        raise InputError("--batch max finds what fits into one device's memory, without a run: add --on H100")
    memory = accelerators[0].peaks("float32").memory
    if memory is None:
        raise InputError(f"--batch max: the memory of {accelerators[0].name} is not known")
    with show_progress("loading torch") as on_progress:
        found = [with_largest_batch(target, settings, memory, on_progress) for target in targets]
    return [target for target, _ in found], {id(target): largest for target, largest in found}


def _with_estimates(target: Target, report: Report, hardware: _Hardware, largest: LargestBatch | None = None) -> Report:
    """The report with the estimates of ``--on``; with ``all``, the fastest devices first."""
    from fwdscope.report.roofline import estimate, fastest_first, with_eager
    from fwdscope.report.throughput import dtype_of_products, measured_step

    accelerators, dtype = hardware.accelerators, dtype_of_products(report)
    if hardware.seconds is not None:
        if report.training is None:
            raise InputError("--measured-step is of a training step: add --training")
        peaks = accelerators[0].peaks(dtype)
        found = measured_step(report, report.training, hardware.seconds, peaks, hardware.number)
        report = replace(report, measured_step=found)
    if report.mesh is not None and hardware.on and hardware.seconds is None:
        from fwdscope.device.links import mesh_estimates
        from fwdscope.device.table import UnknownAcceleratorError

        if hardware.fastest_first:
            raise InputError("--on all is for one device: name the clusters of a mesh, as in --on H100x8,A100x8")
        try:
            return replace(report, mesh_estimates=mesh_estimates(report, report.mesh, hardware.on))
        except UnknownAcceleratorError as error:
            raise InputError(f"--on {hardware.on}: {error}") from None
    if hardware.is_cluster:
        raise InputError(
            f"--on {hardware.on}: several devices are for a mesh (add --mesh tp=8) or a --measured-step; leave ×N out"
        )
    if accelerators and hardware.number == 1:
        report = replace(report, estimates=tuple(estimate(report, one.peaks(dtype)) for one in accelerators))
        if len(report.estimates) == 1:
            report = with_eager(report, report.estimates[0].peaks)
            report = replace(report, estimates=(replace(report.estimates[0], largest_batch=largest),))
        if report.past and not target.is_report:
            from fwdscope.inspection import with_generation

            report = with_generation(target, report)
    return fastest_first(report) if hardware.fastest_first else report


def _write_plan(found: list[tuple[Target, Report]], shard: str | None) -> None:
    """Write the plan that was proposed for a target to the file of ``--shard auto:FILE``, which is not there yet."""
    if shard is None or not shard.startswith("auto:"):
        return
    file = Path(shard.removeprefix("auto:"))
    plans = [report.mesh.plan_file for _, report in found if report.mesh is not None]
    if len(plans) > 1:
        raise InputError(f"--shard auto:{file} is for one target; here are {len(plans)}")
    if file.exists():
        raise InputError(f"--shard auto:{file}: the file is there; give another name, or --shard {file} to use it")
    for text in plans:
        put(text, file)


def _with_formulas(target: Target, report: Report, options: Options) -> Options:
    """The options with the formulas of rows, if these are found quickly."""
    from fwdscope.commands.scale import row_formulas

    return options._replace(formulas=row_formulas(target, report))


def _exit_code(found: list[tuple[Target, Report]], strict: bool) -> int:
    """1 if a promise or an expectation of a file is not met, or with ``strict`` an operator is not counted, else 0."""
    uncounted = dict.fromkeys(name for _, report in found for name in report.uncounted)
    if strict and uncounted:
        complain(f"no counting rule for {', '.join(uncounted)}")
        return FELL_SHORT
    reports = [report for target, report in found if not target.is_report]
    broken = (row.promise and not row.promise.held for report in reports for row in report.layers)
    return FELL_SHORT * (any(report.shortfalls for report in reports) or any(broken))


def _command_line(
    target: Target, device: str | None, on: str | None, settings: RunSettings, seconds: float | None
) -> str:
    """The target and the options that decide the figures of the report."""
    options = {
        "--dtype": dtype_given(target),
        "--device": device,
        "--on": on,
        "--weights": settings.weights,
        "--weights-partial": settings.partial,
        "--seed": settings.seed or None,
        "--train": settings.train,
        **(settings.training.options() if settings.training else {}),
        "--measured-step": None if seconds is None else f"{seconds:.6g}s",
        "--no-stats": not settings.stats,
        "--no-latency": not settings.latency,
    }
    return command_line(target, options)


def _write(reports: list[NamedReport], form: str, output: Path | None) -> None:
    if reports:
        put(_text(reports, form, output), output)


def _text(reports: list[NamedReport], form: str, output: Path | None) -> str:
    if form == "table" and output is None:
        width, color = terminal_of()
        room = width if sys.stdout.isatty() else None
        reports = [(name, report, options._replace(width=room, color=color)) for name, report, options in reports]
    try:
        if len(reports) > 1:
            from fwdscope.render.overview import render_several

            return render_several(reports, form)
        return render(reports[0][1], form, reports[0][2])
    except ValueError as error:
        # An unknown column; the message lists the known ones.
        raise InputError(str(error)) from None


def _write_picture(look: Look, output: Path | None) -> None:
    """Draw an output, or the strips of a report, in the terminal or in a file by its ending."""
    from rich.console import Console

    from fwdscope.render import images, maps, strips

    picture, report = look.picture, look.report
    if output is not None and output.suffix == ".png":
        put_bytes(images.png(picture) if picture else strips.png(report), output)
    elif output is not None and output.suffix == ".svg":
        put(images.svg(picture) if picture else strips.svg(report), output)
    elif output is None and (sys.stdout.isatty() or terminal_of()[1]):
        console = Console()
        if picture:
            maps.print_picture(picture, console, console.height - 1)  # the prompt stands below
        else:
            maps.print_drawing(functools.partial(strips.lines, report), console)
    else:
        width = terminal_of()[0]
        drawn = maps.lines(picture, width, False) if picture else strips.lines(report, width, False)
        put("\n".join(line.plain.rstrip() for line in drawn), output)
