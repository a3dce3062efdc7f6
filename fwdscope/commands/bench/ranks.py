"""Measure a sharded network on real ranks: each measures itself, and the first reports for all."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

from fwdscope.commands.bench.measuring import run_of
from fwdscope.commands.bench.workload import Workload
from fwdscope.device.local import LocalDevice
from fwdscope.errors import InputError
from fwdscope.garbage_collection import without_garbage_collection
from fwdscope.language.plan import Mesh, Plan
from fwdscope.mesh.ranks import CollectiveCounter, on_ranks
from fwdscope.model.process_state import torch_default_dtype
from fwdscope.report import Latency, Report
from fwdscope.report.ranks import RankRun
from fwdscope.run.context import in_mode, out_of_memory_as_run_error
from fwdscope.run.latency import is_shared, peak_memory
from fwdscope.run.prepare import prepared
from fwdscope.run.ranks import gathered
from fwdscope.run.shards import observe_shards
from fwdscope.run.subject import Subject
from fwdscope.settings import BenchSettings
from fwdscope.timing.clock import clock_for
from fwdscope.timing.sampling import MIN_REPEATS, time_repeats
from fwdscope.units import plural

# Forwards before the first that counts, at most so many that do, and those that are looked at for overlap.
WARMUPS, MOST_REPEATS, PROFILED = 3, 1_000, 3

Interval = tuple[float, float]


def bench_ranks(
    subject: Subject,
    report: Report,
    device: LocalDevice,
    settings: BenchSettings,
    sharding: tuple[Plan, Mesh],
    devices: DeviceMesh,
) -> Report:
    """Measure a forward on all ranks of a mesh, on each of which this is called; the report has all their figures.

    All ranks repeat it as often, each repeat from the moment at which all are ready.
    """
    plan, mesh = sharding
    draw = mesh.batch_at(devices.get_coordinate() or ())
    with prepared(subject, report, device, settings, copied=True, draw=draw) as ready, out_of_memory_as_run_error():
        graph = lambda: subject.straight_graph(ready.call)[0]  # noqa: E731
        with (
            _ready_to_run(subject, ready.call.module, settings),
            on_ranks(ready.call, plan, mesh, devices, graph) as network,
        ):
            run = network.run
            clock, place = clock_for(ready.place), ready.place
            settings.on_progress(f"running on {plural(mesh.ranks, 'rank')}")
            for _ in range(WARMUPS if settings.warmup is None else max(1, settings.warmup)):
                run()
            with CollectiveCounter(devices) as counter:
                run()
            times, repeats = list[float](), 1
            with without_garbage_collection():
                while len(times) < repeats:
                    dist.barrier()
                    times += time_repeats(run, clock, 1, 1)
                    if len(times) == 1:
                        slowest = max(gathered(times[0]))
                        fitting = min(MOST_REPEATS, max(MIN_REPEATS, int(settings.budget / max(slowest, 1e-6))))
                        repeats = settings.repeats or fitting
            dist.barrier()
            overlaps = [overlap_of(run, place) for _ in range(PROFILED)]
            dist.barrier()
            held = network.held
            totals = replace(report.totals, param_bytes=sum(one.nbytes for one in held))
            peak = peak_memory(place, totals, run)
            mine = RankRun(
                dist.get_rank(), socket.gethostname(), device.device, tuple(times), median(times),
                median([inside for inside, _ in overlaps]), median([hidden for _, hidden in overlaps]), peak,
                sum(one.numel() for one in held), counter.traffic,
            )  # fmt: skip
            threads = torch.get_num_threads() if place.type == "cpu" else None
        ranks: list[RankRun] = gathered(mine)
    workload = Workload(ready, report, (), None)
    together = [max(times) for times in zip(*(one.times for one in ranks), strict=True)]
    ran = replace(
        run_of(workload, settings, together, threads),
        latency=Latency.of(together),
        peak_memory=max((one.peak_memory or 0 for one in ranks), default=0) or None,
        ranks=tuple(ranks),
        notes=tuple(["other programs are running: times are noisy"] * is_shared(device)),
    )
    return replace(report, device=device.device, run=ran)


def inspect_ranks(
    subject: Subject,
    report: Report,
    device: LocalDevice,
    settings: BenchSettings,
    sharding: tuple[Plan, Mesh],
    devices: DeviceMesh,
) -> Report:
    """The statistics of the shards of all ranks of a mesh, on each of which this is called."""
    plan, mesh = sharding
    if mesh.size("tp") == 1:
        raise InputError(f"mesh {mesh}: every rank has whole outputs, as one process has: leave --mesh out")
    with prepared(subject, report, device, settings, copied=True) as ready, out_of_memory_as_run_error():
        with _ready_to_run(subject, ready.call.module, settings):
            rows = observe_shards(ready, plan, devices)
        threads = torch.get_num_threads() if device.kind == "cpu" else None
        notes = ("statistics are of the parts of all ranks together; --format json has the std of each rank's",)
        run = replace(run_of(Workload(ready, report, (), None), settings, (), threads), notes=notes)
    return replace(report, device=device.device, layers=rows, run=run)


@contextlib.contextmanager
def _ready_to_run(subject: Subject, module: torch.nn.Module, settings: BenchSettings) -> Any:
    """In evaluation mode and without gradients; not in inference mode, which ``fully_shard`` does not take."""
    with contextlib.ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch_default_dtype(subject.default_dtype))
        stack.enter_context(in_mode(module, training=False))
        yield


# --- what hides behind work ------------------------------------------------------------------------------------------

# Operators that wait for a collective or start one, by the beginnings of their names.
_NOT_WORK = ("c10d::", "_c10d_functional", "gloo:", "nccl:")


def overlap_of(run: Callable[[], object], place: torch.device) -> tuple[float, float]:
    """Seconds of a run in which a collective is under way, and of these the seconds in which it computes too."""
    from torch.profiler import ProfilerActivity, profile

    on_gpu = place.type == "cuda"
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu]
    with profile(activities=activities) as profiled:
        run()
    collectives, work, waiting = list[Interval](), list[Interval](), list[Interval]()
    for event in profiled.events() or ():
        span = event.time_range.start / 1e6, event.time_range.end / 1e6
        if on_gpu:
            if str(event.device_type) == "DeviceType.CUDA":
                (collectives if event.name.startswith("nccl") else work).append(span)
        elif event.is_async and event.name.startswith("gloo:"):
            collectives.append(span)
        elif event.name.startswith("aten::"):
            work.append(span)
        elif event.name.startswith(_NOT_WORK):
            waiting.append(span)
    together = _union(collectives)
    hidden = _common(together, _union(work)) - _common(_common_spans(together, _union(work)), _union(waiting))
    return sum(end - start for start, end in together), hidden


def _union(spans: Iterable[Interval]) -> list[Interval]:
    """The same moments as spans that do not meet."""
    found: list[Interval] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def _common_spans(one: Sequence[Interval], other: Sequence[Interval]) -> list[Interval]:
    """The moments that are in both, of spans in order that do not meet."""
    found, i, j = list[Interval](), 0, 0
    while i < len(one) and j < len(other):
        start, end = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if start < end:
            found.append((start, end))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return found


def _common(one: Sequence[Interval], other: Sequence[Interval]) -> float:
    return sum(end - start for start, end in _common_spans(one, other))
