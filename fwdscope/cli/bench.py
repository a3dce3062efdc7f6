"""``fwdscope bench``: how long a forward takes, and where the time goes."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Annotated

import typer

from fwdscope.cli import completion
from fwdscope.cli import options as opt
from fwdscope.cli.boundary import boundary, check_writable, choose_format, put, terminal_of
from fwdscope.cli.options import command_line, content_of, split_pair, target_of
from fwdscope.cli.progress import show_progress
from fwdscope.cli.ranks import boundary_of_ranks, report_on_ranks
from fwdscope.cli.vary import parse_axes
from fwdscope.errors import InputError
from fwdscope.interrupt import INTERRUPTED, Stop, run_command
from fwdscope.settings import COMPILE_MODES, MEASURE_BUDGET, PRECISION, BenchSettings

if TYPE_CHECKING:
    from fwdscope.commands.bench.measuring import Measured
    from fwdscope.commands.bench.request import BenchRequest
    from fwdscope.report import Report
    from fwdscope.report.speedup import Speedup
    from fwdscope.report.sweep import SweepAxis, SweepPoint
    from fwdscope.run.ranks import RankSession
    from fwdscope.targets import Target

_AUTOCAST = "Run under torch.autocast in --dtype. Default: cast weights and inputs."
_COMPILE = "Compile the model with torch.compile first."
_CHANNELS_LAST = "Keep weights and images in channels-last memory format."
_LATENCY = "Wait for the end of each forward before the next. Default: they are queued on a GPU, as in serving."
_TF32 = "Compute float32 in TF32 on NVIDIA GPUs, or not. Default: torch's, which is convolutions alone."
_CUDNN_BENCHMARK = "Let cuDNN try its algorithms for convolutions, or not. Default: torch's, which is not."
_BATCH = "Batch size: sets the var that is the first size of the first input."
_VARY = "Measure at several sizes: B=1,8,32 or T=128:4096:x2 or T=128:1024:+128; also dtype and threads. Repeatable."
_LAYERS = "Show the N slowest layers; 0 for all. Default: 15, and none with --vary."
_BUDGET = "Seconds for measuring the whole model, and as many for its layers."
_PRECISION = "Stop when the median's 95 % confidence interval is within ± this share of the median."
_REPEATS = "Repeat exactly N times instead of until --precision is reached."
_WARMUP = "Forwards before measuring. Default: until two in a row take about as long."
_AGAINST = "Compare with a benchmark that was saved with -o FILE.json."
_PROCESSES = "Measure in N processes one after the other, 5 or more, which shows --against how much processes differ."
_VS = "Measure another network in turn with TARGET, in one process, and compare their times."
_VS_SET = "With --vs, or against itself: another value on that side: hidden=512, dtype=bf16, threads=1, compile=yes."
_COMPILE_MODE = f"Compile the model in a mode of torch.compile: {', '.join(COMPILE_MODES)}."
_GRAPH = "Capture the forward as a CUDA graph, and replay it."
_FLUSH = "Fill the last cache with other data before each forward."
_RATE = "Also serve requests that arrive at a rate, at random times: 100/s. Percentiles include queueing."
_CONCURRENCY = "Also serve requests with N threads at once, each with a CUDA stream of its own."
_TRANSFERS = "Also time the copies of inputs to the GPU and of outputs back."
_ENERGY = "Also measure the energy of a forward, by NVML or RAPL."
_FORMATS = ("table", "json", "csv", "html")

_DEFAULT_LAYERS = 15
# Options that are called as their settings.
_OPTIONS = ("device", "dtype", "autocast", "threads", "seed", "weights", "warmup", "repeats", "budget")


def _parse_rate(text: str) -> float:
    """Requests a second in ``100/s`` or ``90/min``."""
    number, _, unit = text.partition("/")
    seconds = {"": 1, "s": 1, "sec": 1, "min": 60}.get(unit.strip())
    try:
        rate = float(number)
    except ValueError:
        rate = 0.0
    if seconds is None or not 0 < rate < 1e6:
        raise typer.BadParameter(f"{text}: write the requests a second, as in 100/s, or 90/min")
    return rate / seconds


def bench(
    target: opt.NetworkText,
    device: opt.Device = None,
    dtype: opt.ModelDtype = "float32",
    autocast: Annotated[bool, typer.Option("--autocast", help=_AUTOCAST)] = False,
    compile_: Annotated[bool, typer.Option("--compile", help=_COMPILE)] = False,
    channels_last: Annotated[bool, typer.Option("--channels-last", help=_CHANNELS_LAST)] = False,
    tf32: Annotated[bool | None, typer.Option("--tf32/--no-tf32", help=_TF32)] = None,
    cudnn_benchmark: Annotated[
        bool | None, typer.Option("--cudnn-benchmark/--no-cudnn-benchmark", help=_CUDNN_BENCHMARK)
    ] = None,
    latency: Annotated[bool, typer.Option("--latency", help=_LATENCY)] = False,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="CPU threads.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, metavar="N", help=_BATCH)] = None,
    vary: Annotated[list[str] | None, typer.Option("--vary", metavar="NAME=VALUES", help=_VARY)] = None,
    layers: Annotated[int | None, typer.Option("--layers", min=0, metavar="N", help=_LAYERS)] = None,
    no_layers: Annotated[bool, typer.Option("--no-layers", help="Do not time the layers.")] = False,
    budget: Annotated[float, typer.Option(min=0.0, metavar="SECONDS", help=_BUDGET)] = MEASURE_BUDGET,
    precision: Annotated[float, typer.Option(min=0.01, metavar="PERCENT", help=_PRECISION)] = 100 * PRECISION,
    repeats: Annotated[int | None, typer.Option(min=1, metavar="N", help=_REPEATS)] = None,
    warmup: Annotated[int | None, typer.Option(min=0, metavar="N", help=_WARMUP)] = None,
    compile_mode: Annotated[
        str | None,
        typer.Option(
            "--compile-mode", metavar="MODE", help=_COMPILE_MODE, autocompletion=completion.one_of(COMPILE_MODES)
        ),
    ] = None,
    graph: Annotated[bool, typer.Option("--graph", help=_GRAPH)] = False,
    flush_l2: Annotated[bool, typer.Option("--flush-l2", help=_FLUSH)] = False,
    rate: Annotated[float | None, typer.Option(parser=_parse_rate, metavar="N/s", help=_RATE)] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, metavar="N", help=_CONCURRENCY)] = 1,
    transfers: Annotated[bool, typer.Option("--transfers", help=_TRANSFERS)] = False,
    energy: Annotated[bool, typer.Option("--energy", help=_ENERGY)] = False,
    against: Annotated[Path | None, typer.Option("--against", metavar="FILE", help=_AGAINST)] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, max=100, metavar="N", help=_PROCESSES)] = 1,
    vs: Annotated[
        str | None, typer.Option("--vs", metavar="TARGET", help=_VS, autocompletion=completion.targets)
    ] = None,
    vs_set: Annotated[list[str] | None, typer.Option("--vs-set", metavar="NAME=VALUE", help=_VS_SET)] = None,
    seed: opt.Seed = 0,
    weights: opt.WeightsFile = None,
    set_: opt.Sets = None,
    arg: opt.Arguments = None,
    past: opt.Past = None,
    mesh: opt.MeshOption = None,
    shard: opt.ShardOption = None,
    input_: opt.Inputs = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(_FORMATS)}. Default: table.")
    ] = None,
    output: opt.ReportOutput = None,
    allow_import: opt.AllowImport = False,
    limit: opt.Limits = None,
) -> None:
    """Measure how long a forward takes, and where the time goes.

    The whole model is measured first, without hooks, then each layer. With --vs or --vs-set two networks are measured
    in turn instead, which finds small differences also on a busy machine.
    """
    if no_layers and layers is not None:
        raise typer.BadParameter("--layers and --no-layers contradict each other: leave one of them out")
    settings = BenchSettings(
        device=device, dtype=dtype, autocast=autocast, compiled=compile_ or compile_mode is not None,
        channels_last=channels_last, threads=threads, seed=seed, weights=weights, warmup=warmup, repeats=repeats,
        precision=precision / 100, budget=budget, layers=not no_layers and (not vary or layers is not None),
        latency=latency, tf32=tf32, cudnn_benchmark=cudnn_benchmark, graph=graph, flush_l2=flush_l2,
        compile_mode=compile_mode, concurrency=concurrency, rate=rate, transfers=transfers, energy=energy,
    )  # fmt: skip
    shown = _DEFAULT_LAYERS if layers is None else layers or None

    apart = {"rate": rate, "concurrency": concurrency - 1, "transfers": transfers, "energy": energy}

    def on_ranks(session: RankSession | None) -> None:
        given = {"--vary": vary, "--against": against, "--vs": vs, "--vs-set": vs_set, "--compile": compile_,
                 "--autocast": autocast, "--channels-last": channels_last, "--processes": processes > 1,
                 "--layers": layers, "--past": past, "--compile-mode": compile_mode, "--graph": graph,
                 "--flush-l2": flush_l2, **{f"--{name}": value for name, value in apart.items()}}  # fmt: skip
        if wrong := next((name for name, value in given.items() if value), None):
            raise InputError(f"bench --mesh measures a whole forward on all ranks: leave {wrong} out")
        sharded = opt.on_mesh(target_of(target, set_, input_, "float32", allow_import, arg), mesh, shard)
        _bench_on_ranks(session, sharded, settings, batch, choose_format(format_, output, _FORMATS), output)

    def command() -> None:
        with show_progress("loading torch"):
            from fwdscope.commands.bench.request import BenchRequest, check_request, read_saved

        form = choose_format(format_, output, _FORMATS)
        request = BenchRequest(target_of(target, set_, input_, "float32", allow_import, arg, past), settings, batch)
        axes = parse_axes(vary or (), request.target)
        check_writable(output, [*opt.files_of(request.target), against, weights])
        before = read_saved(against, axes) if against is not None else ()
        check_request(request, axes)

        def measure(request: BenchRequest) -> Measured:
            return _measure(request, processes, limit or ())

        if vs is not None or vs_set:
            in_turn = {"vary": vary, "against": against, "processes": processes - 1, **apart}
            _refuse(in_turn, "--vs times two whole networks in turn")
            interrupted = _compare_in_turn(request, vs, vs_set or (), form, output, shown)
        elif axes:
            _refuse(apart, "--vary measures the forward alone at each size")
            interrupted = _sweep(request, axes, before, form, output, measure)
        else:
            interrupted = _benchmark(request, before, form, output, shown, measure)
        if interrupted:
            sys.stdout.flush()
            raise typer.Exit(INTERRUPTED)

    if mesh is not None or shard is not None:
        boundary_of_ranks(on_ranks, limit)
    else:
        boundary(command, limit)


def _refuse(options: Mapping[str, object], reason: str) -> None:
    """Raise InputError for an option that is given."""
    if wrong := next((name for name, value in options.items() if value), None):
        raise InputError(f"{reason}: leave --{wrong} out")


def _bench_on_ranks(
    session: RankSession | None,
    target: Target,
    settings: BenchSettings,
    batch: int | None,
    form: str,
    output: Path | None,
) -> None:
    """Measure on all ranks; the first writes what all of them found."""
    from fwdscope.commands.bench.request import BenchRequest
    from fwdscope.render import html, render
    from fwdscope.render.bench import draw

    report = report_on_ranks(session, BenchRequest(target, settings, batch), output)
    if report is None:
        return
    if form == "table":
        put(draw(report, *_width_and_colour(output)), output)
    else:
        put(html.draw(report, None) if form == "html" else render(report, form), output)


def _benchmark(
    request: BenchRequest,
    before: tuple[SweepPoint, ...],
    form: str,
    output: Path | None,
    shown: int | None,
    measure: Callable[[BenchRequest], Measured],
) -> bool:
    """Measure once and write the report. True if Ctrl-C ended it."""
    from fwdscope.render import render
    from fwdscope.render.bench import draw

    measured = measure(request)
    report = measured.report
    if form == "table":
        compared = _compare(before, (), report)
        several = f" --processes {max(5, len(report.run.processes))}" if report.run else ""
        next_steps = (
            f"{_command_line(request)}{several} -o before.json",
            f"then, changed:{several} --against before.json",
        )
        text = draw(report, *_width_and_colour(output), shown, compared, () if output else next_steps)
    elif form == "html":
        from fwdscope.render import html

        text = html.draw(report, _compare(before, (), report))
    else:
        text = render(report, form)
    put(text, output)
    return measured.interrupted


def _compare_in_turn(
    request: BenchRequest, vs: str | None, sets: Sequence[str], form: str, output: Path | None, layers: int | None
) -> bool:
    """Measure two networks in turn and write how they compare. True if Ctrl-C ended it."""
    from fwdscope.commands.bench.request import run_in_turn, second_of
    from fwdscope.render import versus

    target, values = request.target, [split_pair(item, "--vs-set", "B=8") for item in sets]
    if vs is not None:
        target = target._replace(text=vs, content=content_of(vs))
        check_writable(output, [*opt.files_of(target)])
    second = second_of(request, target, values)
    with _progress() as report_progress:
        settings = replace(request.settings, on_progress=report_progress)
        found = run_in_turn(request._replace(settings=settings), second, values)
    if form == "table":
        text = versus.draw(found, *_width_and_colour(output), layers)
    else:
        text = {"csv": versus.as_csv, "html": versus.page_of}[form](found) if form != "json" else found.dumps()
    put(text, output)
    return found.interrupted


def _sweep(
    request: BenchRequest,
    axes: tuple[SweepAxis, ...],
    before: tuple[SweepPoint, ...],
    form: str,
    output: Path | None,
    measure: Callable[[BenchRequest], Measured],
) -> bool:
    """Measure at all combinations and write the table. True if Ctrl-C ended it."""
    from fwdscope.commands.bench.request import run_sweep
    from fwdscope.render.html.sweep import render as page_of
    from fwdscope.render.sweep import as_csv, draw_sweep
    from fwdscope.report.sweep import Sweep

    points, interrupted = run_sweep(request, axes, measure)
    sweep = Sweep(axes, points)
    if form == "json":
        put(sweep.dumps(), output)
    else:
        compared = [_compare(before, point.values, point.report) for point in points]
        drawn = {
            "csv": lambda: as_csv(sweep, compared),
            "html": lambda: page_of(sweep, compared),
            "table": lambda: draw_sweep(sweep, *_width_and_colour(output), compared),
        }
        put(drawn[form](), output)
    if not interrupted and all(point.report is None for point in points):
        raise InputError("no combination could be measured")
    return interrupted


def _measure(request: BenchRequest, processes: int, limits: Sequence[str]) -> Measured:
    """One benchmark, with progress on stderr. Ctrl-C while it measures keeps what there is."""
    from fwdscope.commands.bench.request import run_benchmark
    from fwdscope.report import Report
    from fwdscope.report.speedup import with_processes

    with _progress() as report_progress:
        settings = replace(request.settings, on_progress=report_progress)
        first = run_benchmark(request._replace(settings=settings))
        reports, interrupted = [first.report], first.interrupted
        try:
            while len(reports) < processes and not interrupted:
                report_progress(f"process {len(reports) + 1} of {processes}")
                words = [*shlex.split(_command_line(request)), "--no-layers", "--format", "json"]
                command = [sys.executable, "-m", *words, *(f"--limit={limit}" for limit in limits)]
                code, text = run_command(
                    command, request.target.content, stdin=PIPE if request.target.content else DEVNULL,
                    stdout=PIPE, stderr=DEVNULL,
                )  # fmt: skip
                if code:
                    here = f"process {len(reports) + 1} of --processes ended with code {code}"
                    raise InputError(f"{here}; it ran {shlex.join(words)}")
                reports.append(Report.loads(text.decode()))
        except KeyboardInterrupt:
            interrupted = True
    return replace(first, report=with_processes(reports), interrupted=interrupted)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Progress on stderr, while Ctrl-C ends what is measured."""
    with show_progress("loading torch") as report_progress, Stop() as stop:
        import torch  # noqa: F401  # until here Ctrl-C ends the program

        stop.arm()
        yield report_progress


def _compare(before: tuple[SweepPoint, ...], values: tuple[tuple[str, str], ...], now: Report | None) -> Speedup | None:
    """The report compared with that of the same values in an earlier benchmark."""
    from fwdscope.commands.bench.request import matching
    from fwdscope.report import speedup

    point = matching(before, values)
    return speedup.against(point.report, now) if point is not None and point.report and now else None


def _width_and_colour(output: Path | None) -> tuple[int, bool]:
    return (100, False) if output else terminal_of()


def _command_line(request: BenchRequest) -> str:
    """The command that measures the same again."""
    target, settings, batch = request
    given = {field.name: getattr(settings, field.name) for field in fields(settings)}
    changed = {field.name: given[field.name] for field in fields(settings) if given[field.name] != field.default}
    options = {f"--{name}": changed.get(name) for name in _OPTIONS} | {
        "--batch": batch,
        "--compile": settings.compiled and settings.compile_mode is None,
        "--compile-mode": settings.compile_mode,
        "--graph": settings.graph,
        "--flush-l2": settings.flush_l2,
        "--channels-last": settings.channels_last,
        "--latency": settings.latency,
        **{
            f"--{'' if value else 'no-'}{name}": True
            for name, value in (("tf32", settings.tf32), ("cudnn-benchmark", settings.cudnn_benchmark))
            if value is not None
        },
        "--precision": f"{100 * settings.precision:g}" if "precision" in changed else None,
    }
    return f"fwdscope bench {command_line(target, options)}"
