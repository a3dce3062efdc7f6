"""``fwdscope bench``: how long a forward takes, and where the time goes."""

from __future__ import annotations

import gc
import os
import shlex
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fwdscope.cli.boundary import INTERRUPTED, InputError, boundary, form_of, hold_output, put, terminal_of
from fwdscope.cli.options import AllowImport, Inputs, Limits, ModelDtype, Seed, Sets, WeightsFile, dtype_of
from fwdscope.cli.progress import progress
from fwdscope.cli.targets import is_module, run_user_code, spec_of, subject_of
from fwdscope.commands.bench import speedup
from fwdscope.commands.bench.speedup import Speedup
from fwdscope.commands.bench.sweep import Sweep, SweepAxis, SweepPoint, combinations, parse, saved_points
from fwdscope.language.problems import SpecError
from fwdscope.report import Report, ReportError
from fwdscope.settings import MEASURE_BUDGET, PRECISION, BenchSettings, RunError
from fwdscope.units import plural

if TYPE_CHECKING:
    from fwdscope.commands.bench.measuring import Measured
    from fwdscope.run.subject import Subject

_TARGET = "A spec file, the name of a spec that ships with fwdscope, or package.module:factory."
_DEVICE = "Where to run it: cpu, cuda, cuda:1, mps. Not given: the fastest here."
_AUTOCAST = "Let torch cast to --dtype operator by operator; not given, weights and inputs are cast."
_VARY = "Measure at several sizes: B=1,8,32 or T=128:4096:x2 or T=128:1024:+128; also dtype and threads. Repeatable."
_LAYERS = "Show the N slowest layers; 0 for all. 15 if not given, and none with --vary."
_BUDGET = "Seconds for the repeats of the whole, and as many for the layers."
_REPEATS = "Exactly so many, rather than until the median is known to --precision."
_WARMUP = "Forwards before the first that counts; not given: until two in a row agree."
_PRECISION = "Half the width of the median's 95 % interval, in percent of the median."
_AGAINST = "Hold it against a benchmark saved with -o FILE.json."
_CHANNELS_LAST = "Weights and images with their channels last in memory."
_OUTPUT = "Write to a file; .json keeps every repeat."
_FORMATS = ("table", "json", "csv")


LAYERS = 15

_Device = Annotated[str | None, typer.Option("--device", metavar="DEVICE", help=_DEVICE)]
_Autocast = Annotated[bool, typer.Option("--autocast", help=_AUTOCAST)]
_Compile = Annotated[bool, typer.Option("--compile", help="Compile the whole with torch.compile first.")]
_ChannelsLast = Annotated[bool, typer.Option("--channels-last", help=_CHANNELS_LAST)]
_Threads = Annotated[int | None, typer.Option(min=1, metavar="N", help="Threads of the CPU.")]
_Batch = Annotated[int | None, typer.Option(min=1, metavar="N", help="The batch, by the var that says it.")]
_Vary = Annotated[list[str] | None, typer.Option("--vary", metavar="NAME=VALUES", help=_VARY)]
_Layers = Annotated[int | None, typer.Option("--layers", min=0, metavar="N", help=_LAYERS)]
_NoLayers = Annotated[bool, typer.Option("--no-layers", help="Do not time the layers.")]
_Budget = Annotated[float, typer.Option(min=0.0, metavar="SECONDS", help=_BUDGET)]
_Precision = Annotated[float, typer.Option(min=0.01, metavar="PERCENT", help=_PRECISION)]
_Repeats = Annotated[int | None, typer.Option(min=1, metavar="N", help=_REPEATS)]
_Warmup = Annotated[int | None, typer.Option(min=0, metavar="N", help=_WARMUP)]
_Against = Annotated[Path | None, typer.Option("--against", metavar="FILE", help=_AGAINST)]
_Format = Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=", ".join(_FORMATS))]
_Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help=_OUTPUT)]


def bench(
    target: Annotated[str, typer.Argument(metavar="TARGET", help=_TARGET)],
    device: _Device = None,
    dtype: ModelDtype = "float32",
    autocast: _Autocast = False,
    compile_: _Compile = False,
    channels_last: _ChannelsLast = False,
    threads: _Threads = None,
    batch: _Batch = None,
    vary: _Vary = None,
    layers: _Layers = None,
    no_layers: _NoLayers = False,
    budget: _Budget = MEASURE_BUDGET,
    precision: _Precision = 100 * PRECISION,
    repeats: _Repeats = None,
    warmup: _Warmup = None,
    against: _Against = None,
    seed: Seed = 0,
    weights: WeightsFile = None,
    set_: Sets = None,
    input_: Inputs = None,
    format_: _Format = None,
    output: _Output = None,
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Measure how long a forward takes, and where the time goes: the whole untouched, then each layer."""
    settings = BenchSettings(
        device=device, dtype=dtype, autocast=autocast, compiled=compile_, channels_last=channels_last,
        threads=threads, seed=seed, weights=weights, warmup=warmup, repeats=repeats, precision=precision / 100,
        budget=budget, layers=not no_layers and (not vary or layers is not None),
    )  # fmt: skip
    if no_layers and layers is not None:
        raise typer.BadParameter("--layers and --no-layers contradict each other: leave one of them out")
    wanted = _Wanted(target, tuple(set_ or ()), tuple(input_ or ()), batch, allow_import)
    shown = LAYERS if layers is None else layers or None
    boundary(lambda: _command(wanted, settings, vary or [], against, shown, format_, output), limit)


@dataclass(frozen=True)
class _Wanted:
    """What is to be measured, as the command line says it."""

    target: str
    sets: tuple[str, ...]
    inputs: tuple[str, ...]
    batch: int | None
    allow_import: bool


def _command(
    wanted: _Wanted,
    settings: BenchSettings,
    vary: list[str],
    against: Path | None,
    shown: int | None,
    format: str | None,
    output: Path | None,
) -> None:
    """Measure, write, and say by the exit code whether Ctrl-C ended it."""
    form, before, axes = form_of(format, output, _FORMATS), _saved(against), _axes(vary)
    hold_output(output)
    if against is not None:
        _hold_comparable(before, axes, against)
    varied = {axis.name for axis in axes}
    _hold_together(wanted, settings, varied)
    if settings.autocast and settings.dtype == "float32" and "dtype" not in varied:
        raise InputError("--autocast needs --dtype bfloat16 or float16: what to cast to")
    if axes:
        points, interrupted = _swept(wanted, axes, settings)
        put(_sweep_text(Sweep(axes, points), form, output, before), output)
        if not interrupted and all(point.report is None for point in points):
            raise InputError("no combination could be measured")
    else:
        measured = _measured(wanted, settings)
        interrupted = measured.interrupted
        compared = _compared(before, (), measured.report)
        put(_text(measured.report, form, output, shown, compared, _next(wanted, settings, output)), output)
    if interrupted:
        sys.stdout.flush()
        raise typer.Exit(INTERRUPTED)


def _hold_together(wanted: _Wanted, settings: BenchSettings, varied: set[str]) -> None:
    """Refuse what contradicts itself, and what cannot be measured."""
    if settings.device is not None and settings.device.strip().lower() == "meta":
        raise InputError("--device meta: nothing is computed there, so nothing takes time; fwdscope inspect counts")
    fixed = {
        "dtype": settings.dtype != "float32",
        "threads": settings.threads is not None,
        "batch": wanted.batch is not None,
    }
    for name in sorted(varied):
        if fixed.get(name):
            raise InputError(f"--vary {name} and --{name} are both given: leave one of them out")
        if name in {item.partition("=")[0].strip() for item in wanted.sets}:
            raise InputError(f"--vary {name} and --set {name}=… are both given: leave one of them out")
    if settings.threads is not None:
        _hold_threads(settings.threads, f"--threads {settings.threads}")


def _hold_threads(number: int, said: str) -> None:
    """More threads than cores only wait for one another, and very many end the process."""
    cores = os.cpu_count()
    if cores is not None and number > cores:
        raise InputError(
            f"{said}: this computer has {plural(cores, 'core')}, and more threads only wait for one another"
        )


# --- measuring -------------------------------------------------------------------------------------------------------


def _measured(wanted: _Wanted, settings: BenchSettings) -> Measured:
    """One benchmark. Ctrl-C while it measures leaves what there is; before that it ends the program."""
    from fwdscope.commands.bench.measuring import bench as measure
    from fwdscope.commands.bench.workload import make_workload

    # The command ends at Ctrl-C by default; here it has something to say first.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with progress() as say:
        settings = replace(settings, on_progress=say)
        say("building")
        subject = _subject(wanted, settings)
        return run_user_code(wanted.target, lambda: measure(make_workload(subject, settings), settings))


def _subject(wanted: _Wanted, settings: BenchSettings) -> Subject:
    """What is measured, traced on meta."""
    sets, inputs = list(wanted.sets), list(wanted.inputs)
    if wanted.target.endswith(".json"):
        raise InputError(f"{wanted.target} is a saved report: name the spec, and put the report behind --against")
    if is_module(wanted.target):
        if wanted.batch is not None:
            raise InputError("--batch is for specs; give a module's inputs by --input NAME=8,3,224,224")
        return subject_of(wanted.target, sets, inputs, "float32", wanted.allow_import)
    if wanted.batch is not None:
        from fwdscope.model.inputs import example_inputs
        from fwdscope.run.batch import batch_variable

        checked, _ = spec_of(wanted.target, sets, inputs, wanted.allow_import)
        first = next(iter(example_inputs(checked).values()))
        name = batch_variable(checked, first.shape[0]) if first.dim() else None
        if name is None:
            raise InputError(f"--batch: no var of {wanted.target} says the first size of its first input; use --input")
        if name in {item.partition("=")[0].strip() for item in sets}:
            raise InputError(f"the batch is the var {name} of {wanted.target}: give one of them, not both")
        sets.append(f"{name}={wanted.batch}")
    dtype = "float32" if settings.autocast else settings.dtype
    return subject_of(wanted.target, sets, inputs, dtype, wanted.allow_import)


def _swept(
    wanted: _Wanted, axes: tuple[SweepAxis, ...], settings: BenchSettings
) -> tuple[tuple[SweepPoint, ...], bool]:
    """All combinations in turn; whether Ctrl-C ended it. A combination that cannot run says why, and the others do."""
    points: list[SweepPoint] = []
    for values in combinations(axes):
        # The program runs without collection, and a network refers to itself: the last one's weights are still there.
        gc.collect()
        try:
            try:
                measured = _measured(*_at(wanted, settings, values))
            except KeyboardInterrupt:
                return tuple(points), True
            if measured.report.run is not None and measured.report.run.latency is not None:
                points.append(SweepPoint(values, measured.report))
            if measured.interrupted:
                return tuple(points), True
        except (RunError, SpecError) as error:
            if _unknown_name(error, axes):
                raise
            points.append(SweepPoint(values, None, _brief(error)))
    return tuple(points), False


def _at(wanted: _Wanted, settings: BenchSettings, values: tuple[tuple[str, str], ...]) -> tuple[_Wanted, BenchSettings]:
    """What is measured at one combination: a var of the spec, or an option of this command."""
    for name, value in values:
        if name == "dtype":
            settings = replace(settings, dtype=dtype_of(value))
        elif name == "threads":
            settings = replace(settings, threads=int(value))
        elif name == "batch":
            wanted = replace(wanted, batch=int(value))
        else:
            wanted = replace(wanted, sets=(*wanted.sets, f"{name}={value}"))
    return wanted, settings


def _axes(vary: list[str]) -> tuple[SweepAxis, ...]:
    try:
        axes = tuple(map(parse, vary))
        combinations(axes)
    except ValueError as error:
        raise InputError(str(error)) from None
    for axis in axes:
        for value in axis.values:
            _hold_value(axis.name, value)
    return axes


def _hold_value(name: str, value: str) -> None:
    if name == "dtype":
        try:
            dtype_of(value)
        except typer.BadParameter as error:
            raise InputError(f"--vary dtype: {error.message}") from None
    if name in ("threads", "batch") and not (value.isdigit() and int(value)):
        raise InputError(f"--vary {name}={value}: a whole number above 0 is wanted")
    if name == "threads":
        _hold_threads(int(value), f"--vary threads={value}")


def _unknown_name(error: RunError | SpecError, axes: tuple[SweepAxis, ...]) -> bool:
    """Whether the command line itself is wrong, so that no combination can run."""
    return isinstance(error, SpecError) and any(problem.code == "name" for problem in error.problems)


def _brief(error: RunError | SpecError) -> str:
    text = error.problems[0].message if isinstance(error, SpecError) else str(error)
    return text.splitlines()[0]


# --- what comes out --------------------------------------------------------------------------------------------------


def _saved(path: Path | None) -> tuple[SweepPoint, ...]:
    """The points of a benchmark saved before."""
    if path is None:
        return ()
    try:
        points = saved_points(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--against {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"--against {path} is no report: it is not UTF-8") from None
    except ReportError as error:
        raise InputError(f"--against {path}: {error}") from None
    if not any(point.report and point.report.run and point.report.run.latency for point in points):
        raise InputError(f"--against {path} holds no latency: save one with fwdscope bench … -o {path.name}")
    return points


def _hold_comparable(before: tuple[SweepPoint, ...], axes: tuple[SweepAxis, ...], path: Path) -> None:
    """Refuse to measure what nothing in the file is of the same sizes as. A single report is beside everything."""
    if len(before) == 1 and not before[0].values:
        return
    known = [dict(point.values) for point in before]
    if not any(dict(values) in known for values in combinations(axes)):
        names = ", ".join(dict.fromkeys(name for point in known for name in point))
        raise InputError(f"--against {path} holds a sweep over {names}, of other sizes: give the same --vary")


def _compared(before: tuple[SweepPoint, ...], values: tuple[tuple[str, str], ...], now: Report) -> Speedup | None:
    """Beside the point of the same values; a single report is beside everything."""
    fitting = [point for point in before if dict(point.values) == dict(values)]
    if len(before) == 1 and not before[0].values:
        fitting = list(before)
    return speedup.against(fitting[0].report, now) if fitting and fitting[0].report else None


def _text(
    report: Report, form: str, output: Path | None, layers: int | None, compared: Speedup | None, command: str
) -> str:
    if form == "json":
        return report.dumps()
    if form == "csv":
        from fwdscope.render import render

        return render(report, "csv")
    from fwdscope.render.bench import draw

    width, color = (100, False) if output else terminal_of()
    return draw(report, width, color, layers, compared, command)


def _sweep_text(sweep: Sweep, form: str, output: Path | None, before: tuple[SweepPoint, ...]) -> str:
    if form == "json":
        return sweep.dumps()
    from fwdscope.render.sweep import as_csv, draw_sweep

    if form == "csv":
        return as_csv(sweep)
    width, color = (100, False) if output else terminal_of()
    compared = [_compared(before, point.values, point.report) if point.report else None for point in sweep.points]
    return draw_sweep(sweep, width, color, compared)


def _next(wanted: _Wanted, settings: BenchSettings, output: Path | None) -> str:
    """The same again, to be kept and held against."""
    if output is not None:
        return ""
    valued = {
        "--device": settings.device,
        "--dtype": settings.dtype if settings.dtype != "float32" else None,
        "--threads": settings.threads,
        "--batch": wanted.batch,
    }
    flags = {
        "--autocast": settings.autocast,
        "--compile": settings.compiled,
        "--channels-last": settings.channels_last,
        "--allow-import": wanted.allow_import,
    }
    words = [wanted.target, *(word for item in wanted.sets for word in ("--set", item))]
    words += [word for item in wanted.inputs for word in ("--input", item)]
    words += [word for option, value in valued.items() if value is not None for word in (option, str(value))]
    words += [option for option, given in flags.items() if given]
    return f"fwdscope bench {shlex.join(words)} -o before.json   ·   then, changed: --against before.json"
