"""A benchmark as it is asked for: of one target, or of a target at several sizes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any, NamedTuple

from fwdscope import disk, inspection
from fwdscope.errors import InputError
from fwdscope.language.plan import Mesh
from fwdscope.report import Report, ReportError
from fwdscope.report.sweep import SweepAxis, SweepPoint, combinations, saved_points
from fwdscope.settings import COMPILE_MODES, CUDAGRAPHS, BenchSettings, dtype_name
from fwdscope.targets import Target
from fwdscope.units import plural, positions

if TYPE_CHECKING:
    from torch import nn

    from fwdscope.commands.bench.measuring import Measured
    from fwdscope.commands.bench.workload import Workload
    from fwdscope.report.versus import Versus
    from fwdscope.run.ranks import RankPlace
    from fwdscope.run.subject import Subject


# Options without a value, which are "yes" or "no" as values of a name, and their settings.
SWITCHES = {
    "compile": "compiled",
    "autocast": "autocast",
    "channels-last": "channels_last",
    "graph": "graph",
    "tf32": "tf32",
    "cudnn-benchmark": "cudnn_benchmark",
    "latency": "latency",
}


class BenchRequest(NamedTuple):
    """What is to be measured and how. ``batch`` replaces the var that is the first size of the first input."""

    target: Target
    settings: BenchSettings
    batch: int | None = None

    def at(self, values: Sequence[tuple[str, str]]) -> BenchRequest:
        """The request at one combination of a sweep: each value replaces an option, or a var of the spec."""
        target, settings, batch = self
        for name, value in values:
            if name == "dtype":
                settings = replace(settings, dtype=dtype_name(value))
            elif name == "threads":
                settings = replace(settings, threads=int(value))
            elif name == "batch":
                batch = int(value)
            elif name == "past":
                target = target._replace(past=positions(value))
            elif name in SWITCHES:
                switch: dict[str, Any] = {SWITCHES[name]: value == "yes"}
                settings = replace(settings, **switch)
            else:
                target = target.with_value(name, value)
        return BenchRequest(target, settings, batch)


def check_request(request: BenchRequest, axes: Sequence[SweepAxis] = ()) -> None:
    """Raise InputError for options that contradict each other, or that cannot be measured."""
    target, settings, batch = request
    varied = {axis.name for axis in axes}
    if settings.device is not None and settings.device.strip().lower() == "meta":
        raise InputError("--device meta computes nothing, so there is nothing to time; fwdscope inspect counts")
    target.refuse_report(": name the spec, and put the report behind --against")
    if target.is_module and not target.is_of_library and batch is not None:
        raise InputError(
            "--batch is for specs and models of libraries; give a module's inputs by --input NAME=8,3,224,224"
        )
    fixed = {"dtype": settings.dtype != "float32", "threads": settings.threads is not None, "batch": batch is not None}
    for name in sorted(varied):
        if fixed.get(name):
            raise InputError(f"--vary {name} and --{name} are both given: leave one of them out")
    if settings.autocast and (target.past or "past" in varied):
        raise InputError("--autocast is not for a step behind earlier positions (--past): --dtype alone casts it")
    if settings.autocast and settings.dtype == "float32" and "dtype" not in varied:
        raise InputError("--autocast needs --dtype bfloat16 or float16: what to cast to")
    if settings.threads is not None:
        _check_threads(settings.threads, f"--threads {settings.threads}")
    _check_conditions(settings, bool(target.past or "past" in varied))


def _check_conditions(settings: BenchSettings, has_past: bool) -> None:
    """Raise InputError for options of bench that exclude one another, or that the device or target is not for."""
    mode, several, device = settings.compile_mode, settings.concurrency > 1, settings.device
    if mode is not None and mode not in COMPILE_MODES:
        raise InputError(f"--compile-mode {mode}: expected one of {', '.join(COMPILE_MODES)}")
    graphs = "--graph" if settings.graph else f"--compile-mode {mode}" if mode in CUDAGRAPHS else ""
    if settings.graph and mode in CUDAGRAPHS:
        raise InputError(f"--compile-mode {mode} replays CUDA graphs of its own: leave --graph out")
    if several and graphs:
        raise InputError(f"{graphs} has one set of outputs, which threads would overwrite: leave --concurrency out")
    if several and has_past:
        raise InputError("--concurrency: threads would write into one cache of earlier positions: leave --past out")
    if settings.flush_l2 and (several or settings.rate):
        option = "--rate" if settings.rate else "--concurrency"
        raise InputError(f"--flush-l2 is for forwards one by one: leave it or {option} out")
    for name, is_given in (("graph", settings.graph), ("transfers", settings.transfers)):
        if is_given and device is not None and not device.strip().lower().startswith("cuda"):
            raise InputError(f"--{name} is for CUDA devices, and --device is {device}: leave it out")


def check_axes(axes: Sequence[SweepAxis], target: Target) -> None:
    """Raise InputError for a name that --set gives too, or a value that can be no dtype, batch or number of threads."""
    for axis in axes:
        if axis.name in target.variables:
            raise InputError(f"--vary {axis.name} and --set {axis.name}=… are both given: leave one of them out")
        if axis.name == "past" and target.past:
            raise InputError("--vary past and --past are both given: leave one of them out")
        for value in axis.values:
            _check_value(axis.name, value)


def _check_value(name: str, value: str, option: str = "--vary") -> None:
    if name == "dtype":
        try:
            dtype_name(value)
        except ValueError as error:
            raise InputError(f"{option} dtype: {error}") from None
    if name == "mesh":
        Mesh.parse(value)
    if name in SWITCHES and value not in ("yes", "no"):
        raise InputError(f"{option} {name}={value}: write yes or no")
    if name in ("threads", "batch") and not (value.isdigit() and int(value)):
        raise InputError(f"{option} {name}={value}: write a whole number above 0")
    if name == "threads":
        _check_threads(int(value), f"{option} threads={value}")


def _check_threads(number: int, option: str) -> None:
    # Very many threads end the process.
    cores = os.cpu_count()
    if cores is not None and number > cores:
        has = f"this computer has {plural(cores, 'core')}"
        raise InputError(f"{option}: {has}, and more threads only wait for one another")


def run_benchmark(request: BenchRequest) -> Measured:
    """Prepare the target on its device and measure it. Ctrl-C while it is measured keeps what there is."""
    request = _with_dtype(request)
    subject = inspection.make_subject(request.target)
    return request.target.run_user_code(lambda: measure(subject, request.settings))


def run_on_ranks(request: BenchRequest, place: RankPlace | None, options: str, inspects: bool = False) -> Report | None:
    """Measure a target on all ranks of its mesh, on each of which this is called; the report on the first, else None.

    With ``inspects`` they take the statistics of their shards instead. ``options`` are what all ranks must have been
    given. Raises InputError where they differ.
    """
    from fwdscope.commands.bench.ranks import bench_ranks, inspect_ranks
    from fwdscope.device.local import find
    from fwdscope.language.plan import Plan
    from fwdscope.language.plan_parser import read_plan
    from fwdscope.language.problems import Source
    from fwdscope.mesh.inspection import with_mesh
    from fwdscope.run.choose import find_device
    from fwdscope.run.ranks import process_group

    request = _with_dtype(request)
    target, settings, _ = request
    subject = inspection.make_subject(target)
    if settings.dtype not in ("float32", subject.dtype):
        subject = subject.cast(settings.dtype)
    spec = None if target.is_module else target.load_spec()[0].spec
    mesh, plan = target.mesh, target.plan or "auto"
    if spec is not None:
        mesh, plan = mesh or spec.mesh, target.plan or spec.shard or "auto"
    assert mesh is not None  # `on_mesh` has refused
    report = with_mesh(subject, subject.report(), mesh, plan)
    assert report.mesh is not None
    text = indent(report.mesh.plan, "  ")
    sharding = read_plan(Source("", f"shard:\n{text}\n")) if text else Plan(), mesh
    device = find_device(settings.device)
    content = hashlib.sha256(repr((target.content, report.spec, report.totals, report.mesh)).encode()).hexdigest()[:12]
    with process_group(place, dict(mesh.sizes), device.kind, {"options": options, "network": content}) as devices:
        if device.kind == "cuda":
            device = find("cuda")
        work = inspect_ranks if inspects else bench_ranks
        found = target.run_user_code(lambda: work(subject, report, device, settings, sharding, devices))
        return found if devices.get_rank() == 0 else None


def second_of(request: BenchRequest, target: Target, values: Sequence[tuple[str, str]]) -> BenchRequest:
    """The request of ``--vs`` and ``--vs-set``: as the first, with another target, or other values."""
    for name, value in values:
        _check_value(name, value, "--vs-set")
        if name == "latency":
            raise InputError("--vs-set latency: both are timed alike: --latency")
    try:
        second = request._replace(target=target).at(values)
    except ValueError as error:
        raise InputError(f"--vs-set: {error}") from None
    check_request(second)
    return second


def run_in_turn(one: BenchRequest, other: BenchRequest, values: Sequence[tuple[str, str]]) -> Versus:
    """Prepare two targets on one device and measure them in turn; ``values`` are those of the second alone.

    Ctrl-C while they are measured keeps the rounds.
    """
    from fwdscope.commands.bench.workload import make_workload

    def make(request: BenchRequest, settings: BenchSettings) -> Workload:
        subject = inspection.make_subject(request.target)
        return request.target.run_user_code(lambda: make_workload(subject, settings))

    one, other = _with_dtype(one), _with_dtype(other)
    labels = one.target.text, ", ".join([other.target.text, *map("=".join, values)])
    ways = partial(make, one), partial(make, other)
    return one.target.run_user_code(
        lambda: other.target.run_user_code(lambda: _in_turn(ways, (one.settings, other.settings), labels, dict(values)))
    )


def modules_in_turn(
    modules: tuple[nn.Module, nn.Module],
    inputs: Sequence[Any],
    keywords: Mapping[str, Any],
    settings: BenchSettings,
    values: Sequence[tuple[str, str]],
) -> Versus:
    """Measure two modules on the same inputs in turn; ``values`` are settings of the second alone."""
    from fwdscope.commands.bench.workload import make_workload
    from fwdscope.run.subject import ModuleSubject

    for name, value in values:
        if name not in ("dtype", "threads", *SWITCHES):
            raise InputError(f"{name}: a module has no vars; what can differ is dtype, threads, {', '.join(SWITCHES)}")
        _check_value(name, value, "changes:")
    changed = BenchRequest(Target(""), settings).at(values).settings
    ways = [partial(make_workload, ModuleSubject((module, tuple(inputs), keywords))) for module in modules]
    names = [type(module).__name__ for module in modules]
    labels = names[0], ", ".join([names[1], *map("=".join, values)])
    return _in_turn((ways[0], ways[1]), (settings, changed), labels, {})


def _in_turn(
    ways: tuple[Callable[[BenchSettings], Workload], Callable[[BenchSettings], Workload]],
    settings: tuple[BenchSettings, BenchSettings],
    labels: tuple[str, str],
    values: Mapping[str, str],
) -> Versus:
    from fwdscope.commands.bench.measuring import bench_in_turn
    from fwdscope.language.replaced import point_at_options

    first = ways[0](settings[0])
    # Both on one device, also where it was chosen.
    changed = replace(settings[1], device=first.ready.device.device)
    with point_at_options(dict.fromkeys(values, "--vs-set")):
        both = first, ways[1](changed)
    return bench_in_turn(both, (settings[0], changed), labels)


def _with_dtype(request: BenchRequest) -> BenchRequest:
    """The request with its batch and the dtype of its settings in the target."""
    target, settings, batch = request
    settings.on_progress("building")
    if batch is not None:
        target = inspection.with_batch(target, batch)
    if not target.is_module:
        target = target._replace(dtype="float32" if settings.autocast else settings.dtype)
    elif target.past and target.text.startswith("transformers:") and settings.dtype != "float32":
        # Its own cache may hold states of another dtype.
        target = target._replace(arguments={"dtype": settings.dtype, **target.arguments})
    return BenchRequest(target, settings)


def measure(subject: Subject, settings: BenchSettings) -> Measured:
    """Prepare a network on its device and measure it."""
    from fwdscope.commands.bench.measuring import bench
    from fwdscope.commands.bench.workload import make_workload

    return bench(make_workload(subject, settings), settings)


def run_sweep(
    request: BenchRequest, axes: Sequence[SweepAxis], measure: Callable[[BenchRequest], Measured] = run_benchmark
) -> tuple[tuple[SweepPoint, ...], bool]:
    """One benchmark for each combination, and whether Ctrl-C ended the sweep; see :func:`inspection.run_sweep`."""

    def report_at(values: Sequence[tuple[str, str]]) -> tuple[Report | None, bool]:
        measured = measure(request.at(values))
        run = measured.report.run
        return (measured.report if run is not None and run.latency is not None else None), measured.interrupted

    return inspection.run_sweep(axes, report_at, with_weights=True)


def read_saved(path: Path, axes: Sequence[SweepAxis]) -> tuple[SweepPoint, ...]:
    """The points of a saved benchmark. Raises InputError if none of them is of a size that ``axes`` measure."""
    try:
        points = saved_points(disk.read_text(path))
    except OSError as error:
        raise InputError(f"--against {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"--against {path} is no report: it is not UTF-8") from None
    except ReportError as error:
        raise InputError(f"--against {path}: {error}") from None
    if not any(point.report and point.report.run and point.report.run.latency for point in points):
        raise InputError(f"--against {path} has no latency: save one with fwdscope bench … -o {path.name}")
    if _single(points) is None and all(matching(points, values) is None for values in combinations(axes)):
        names = ", ".join(dict.fromkeys(name for point in points for name, _ in point.values))
        raise InputError(f"--against {path} is a sweep over {names}, of other sizes: give the same --vary")
    return points


def matching(points: Sequence[SweepPoint], values: Sequence[tuple[str, str]]) -> SweepPoint | None:
    """The point of the same values. A single report is compared with every point."""
    if (single := _single(points)) is not None:
        return single
    return next((point for point in points if dict(point.values) == dict(values)), None)


def _single(points: Sequence[SweepPoint]) -> SweepPoint | None:
    return points[0] if len(points) == 1 and not points[0].values else None
