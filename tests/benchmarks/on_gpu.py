"""Holds what fwdscope says of a GPU against other ways to measure the same there, in at most 9 minutes.

Run by hand: python tests/benchmarks/on_gpu.py [--device cuda:1] [--only NAME …]. With ``--device cpu`` the parts that a
CPU can do run there, with small networks.

Each part states its aims, and prints a line for each: ``holds``, ``FAILS``, or a figure alone. A part runs in a process
of its own, so that one that fails, hangs or breaks the CUDA context ends alone; it has so many seconds, and is left out
where fewer are left of the 9 minutes. The exit code is 1 if any aim is missed or any part fails, and 2 without a GPU.

The other ways are triton's ``do_bench`` (which empties the L2 cache before each repeat), the replay of a CUDA graph of
the same calls (what the device takes where the host launches nothing), events by hand, ``torch.compile``, torch's own
peaks of memory, and NVIDIA's driver.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import fwdscope
from fwdscope.commands.bench.measuring import bench
from fwdscope.commands.bench.workload import Workload, make_workload
from fwdscope.device.local import DeviceError, LocalDevice, devices, find
from fwdscope.device.nvml import device_state
from fwdscope.device.precision import tf32_of
from fwdscope.device.table import published
from fwdscope.language import load
from fwdscope.model import build
from fwdscope.model.initialise import materialise
from fwdscope.model.process_state import torch_default_dtype
from fwdscope.report import Report
from fwdscope.run.memory_guard import needed, reserved
from fwdscope.run.statistics import Collector, scratch_bytes
from fwdscope.run.subject import SpecSubject
from fwdscope.settings import BenchSettings
from fwdscope.targets import find_spec
from fwdscope.timing.clock import clock_for, empty_pair
from fwdscope.timing.layers import latencies, with_latencies
from fwdscope.timing.sampling import SamplingPlan, drift, measure
from fwdscope.trace import rows_with_nodes, trace_module

SECONDS = 540.0
MIB = 2**20


@dataclass(frozen=True)
class Result:
    """A line of a part; ``holds`` None is a figure without an aim."""

    text: str
    holds: bool | None = None


def aim(text: str, value: float, low: float, high: float = math.inf) -> Result:
    """Whether a value lies between two."""
    wanted = f"{low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
    return Result(f"{text}: {value:.3f} (aim: {wanted})", low <= value <= high)


@dataclass(frozen=True)
class Case:
    """A network, at a size and in a dtype."""

    spec: str
    variables: dict[str, str]
    dtype: str = "float32"

    def __str__(self) -> str:
        return " ".join([self.spec, *(f"{name}={value}" for name, value in self.variables.items()), self.dtype])


# Whose device is never idle, so that the whole is the replay; and small ones, of which the host launches each kernel.
BUSY = (
    Case("resnet50", {"B": "64"}),
    Case("resnet50", {"B": "64"}, "bfloat16"),
    Case("gpt2", {"B": "8"}, "bfloat16"),
)
LAUNCHED = (Case("resnet50", {"B": "1"}), Case("gpt2", {"T": "64"}, "bfloat16"))
SMALL = Case("mlp_mnist", {"B": "256"})


def on_cuda(device: LocalDevice) -> bool:
    return device.kind == "cuda"


def wait(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)


def workload(case: Case, settings: BenchSettings) -> Workload:
    """The network of a case on its device, with its inputs."""
    path = find_spec(case.spec)
    assert path is not None, f"{case.spec} does not ship with fwdscope"
    dtype = "float32" if settings.autocast else case.dtype
    return make_workload(SpecSubject(load(path, variables=case.variables), {}, dtype), settings)


def settings_of(case: Case, device: LocalDevice, budget: float = 1.0, **others: Any) -> BenchSettings:
    return BenchSettings(device=device.device, dtype=case.dtype, budget=budget, **others)


@contextlib.contextmanager
def forward_of(made: Workload) -> Iterator[Callable[[], Any]]:
    """Its forward, in the mode and dtype in which it is measured."""
    module, args, kwargs = made.ready.call
    run: Callable[..., Any] = made.graph or module
    with torch.inference_mode(), torch_default_dtype(made.ready.subject.default_dtype):
        module.eval()
        yield lambda: run(*args, **kwargs)


def by_hand(work: Callable[[], object], place: torch.device, repeats: int = 30) -> float:
    """Median seconds of a forward, by events on a GPU, and by the host's clock on a CPU."""
    for _ in range(5):
        work()
    wait(place)
    if place.type != "cuda":
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
        return statistics.median(times)
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for begin, end in pairs:
        begin.record()
        work()
        end.record()
    wait(place)
    return statistics.median(begin.elapsed_time(end) for begin, end in pairs) / 1e3


def replay(work: Callable[[], Any], place: torch.device) -> Callable[[], Any]:
    """What replays a CUDA graph of a forward; on a CPU the forward."""
    if place.type != "cuda":
        return work
    aside = torch.cuda.Stream(place)
    aside.wait_stream(torch.cuda.current_stream(place))
    with torch.cuda.stream(aside):
        for _ in range(3):
            work()
    torch.cuda.current_stream(place).wait_stream(aside)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        work()
    return captured.replay


def do_bench(work: Callable[[], Any]) -> float:
    """Median seconds by triton; NaN without it."""
    try:
        from triton.testing import do_bench as by_triton  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return math.nan
    return float(by_triton(work, warmup=100, rep=500, return_mode="median")) / 1e3


def milliseconds(**seconds: float) -> str:
    return ", ".join(f"{name} {1e3 * each:.4f} ms" for name, each in seconds.items() if not math.isnan(each))


# --- parts -----------------------------------------------------------------------------------------------------------


def the_device(device: LocalDevice) -> Iterator[Result]:
    """What the driver says of the device, and that listing devices makes no context on any."""
    yield Result(f"{device.name}, {device.form or device.kind}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    if not on_cuda(device):
        return
    state = device_state(device.uuid)
    yield Result(f"by its driver: {state}", None if torch.version.cuda is None else state is not None)
    if sys.platform == "linux" and torch.version.cuda is not None:
        library, active, flags = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.c_uint()
        listed = devices()
        for i in range(torch.cuda.device_count()):
            # "active" is whether the primary context of the device was made (CUDA driver API, 6.7).
            failed = library.cuDevicePrimaryCtxGetState(i, ctypes.byref(flags), ctypes.byref(active))
            yield Result(f"listing devices makes no context on cuda:{i}", not failed and not active.value)
        (by_driver,) = (one.free for one in listed if one.device == device.device)
        before = torch.cuda.mem_get_info(device.device)[0]  # which makes a context, some hundreds of MiB
        yield aim("free by the driver over free by CUDA", (by_driver or 0) / max(before, 1), 0.95, 1.2)


def times_of_the_whole(case: Case, device: LocalDevice) -> Iterator[Result]:
    """The whole and the sum of the layers beside a graph's replay and do_bench; medians of three rounds in turn."""
    place, settings = torch.device(device.device), settings_of(case, device)
    made, clock = workload(case, settings), clock_for(place)
    module, args, kwargs = made.ready.call
    with forward_of(made) as run:
        again = replay(run, place)
        rounds = []
        for _ in range(3):
            whole = measure(run, clock, SamplingPlan(budget=settings.budget)).latency.median
            times = latencies(module, args, kwargs, passes=10, clock=clock, graph=made.graph)
            layers = with_latencies(made.rows, times)[1] or math.nan
            rounds.append((whole, layers, by_hand(again, place), do_bench(run) if on_cuda(device) else math.nan))
    whole, layers, graph, triton = (statistics.median(side) for side in zip(*rounds, strict=True))
    yield Result(f"{case}: {milliseconds(whole=whole, layers=layers, replay=graph, do_bench=triton)}")
    if not on_cuda(device):
        # Another program may have run meanwhile: the ways are compared, and no more.
        yield aim("whole over by hand", whole / graph, 0.5, 2)
        yield aim("layers over by hand", layers / graph, 0.3, 3)
        return
    if case in BUSY:
        yield aim("whole over replay", whole / graph, 0.97, 1.05)
        yield (
            aim("whole over do_bench", whole / triton, 0.9, 1.05)
            if not math.isnan(triton)
            else Result("no triton here")
        )
    else:
        yield aim("whole over replay, with the host's launching", whole / graph, 0.97)
    # Timed one by one, layers neither overlap nor keep the device full: more where they are short.
    yield aim("layers over replay", layers / graph, 0.9, 1.1 if case in BUSY else 1.3)


def queued_and_alone(device: LocalDevice) -> Iterator[Result]:
    """Both times of a forward, beside a loop of the host's that waits for each."""
    place = torch.device(device.device)
    for case in LAUNCHED if on_cuda(device) else (SMALL,):
        run = bench(
            made := workload(case, settings_of(case, device)), settings_of(case, device, layers=False)
        ).report.run
        assert run is not None
        assert run.latency is not None
        with forward_of(made) as work:
            times = []
            for _ in range(50):
                wait(place)
                began = time.perf_counter()
                work()
                wait(place)
                times.append(time.perf_counter() - began)
        hand = statistics.median(times)
        alone = run.other_latency or run.latency.median
        yield Result(f"{case}: {milliseconds(queued=run.latency.median, alone=alone, by_hand=hand)}, {run.repeats_are}")
        yield aim("  alone over by hand", alone / hand, *((0.9, 1.1) if on_cuda(device) else (0.5, 2)))
        if on_cuda(device):
            yield aim("  alone over queued", alone / run.latency.median, 0.97)


def replayed_and_cold(device: LocalDevice) -> Iterator[Result]:
    """--graph beside a replay by hand, and --flush-l2 beside do_bench, which empties the L2 cache, too."""
    place = torch.device(device.device)
    if not on_cuda(device):
        yield Result("left out: needs CUDA")
        return
    for case, of_graph in ((LAUNCHED[0], True), (BUSY[1], False)):
        given = settings_of(case, device, layers=False, graph=of_graph, flush_l2=not of_graph)
        run = bench(made := workload(case, given), given).report.run
        assert run is not None
        assert run.latency is not None
        with forward_of(made) as work:
            hand = by_hand(replay(work, place), place) if of_graph else do_bench(work)
        yield Result(f"{case}: {milliseconds(bench=run.latency.median, by_hand=hand)}")
        if not math.isnan(hand):
            name = "--graph over a replay by hand" if of_graph else "--flush-l2 over do_bench"
            yield aim(name, run.latency.median / hand, 0.95, 1.05)


class Launcher(nn.Module):
    """A layer of many small kernels, after which it may look at a number."""

    def __init__(self, kernels: int, waits: bool) -> None:
        super().__init__()
        self.kernels, self.waits = kernels, waits

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.kernels):
            x = x + 1
        if self.waits:
            x = x * float(x.sum() * 0 + 1)
        return x


def launching(device: LocalDevice) -> Iterator[Result]:
    """Layers whose kernels take less than their launches: no launching is in their times."""
    place = torch.device(device.device)
    empty = empty_pair(clock := clock_for(place))
    yield Result(
        f"an empty pair of marks takes {1e6 * empty.seconds:.2f} µs, ± {1e6 * empty.noise:.2f}", empty.noise < 5e-6
    )
    x = torch.zeros(64, device=place)
    for name, calls, kernels, waiting in (
        ("400 layers of a kernel", 400, 1, -1),
        ("100 layers of 30 kernels, which fill the queue", 100, 30, -1),
        ("40 layers of 5 kernels, the 20th waits for the device", 40, 5, 20),
    ):
        module = nn.Sequential(*(Launcher(kernels, i == waiting) for i in range(calls))).to(place)
        pairs = rows_with_nodes(trace_module(module, [x], {}, where_it_lives=True)[0])
        times = latencies(module, [x], passes=5, clock=clock)
        layers = with_latencies(pairs, times)[1] or math.nan
        late = sorted(str(key) for key in times.exposed)
        run = partial(module, x)
        with torch.inference_mode():
            hand = by_hand(run, place)
            graph = by_hand(replay(run, place), place) if waiting < 0 else math.nan
        yield Result(f"{name}: {milliseconds(layers=layers, whole=hand, replay=graph)}; {late}")
        if on_cuda(device):
            yield Result("  only what waits is said to include launching", len(late) == (waiting >= 0))
            if waiting < 0:
                # The replay has gaps between its kernels, too.
                yield aim("  layers over replay", layers / graph, 0.3, 1.5)
            yield aim("  layers over the whole, most of which is launching", layers / hand, 0, 1.0)


def delays(device: LocalDevice) -> Iterator[Result]:
    """A delay takes as long as it is asked for, and the host goes on meanwhile."""
    place = torch.device(device.device)
    clock = clock_for(place)
    run = product(place, 2048 if on_cuda(device) else 64)
    for _ in range(50):
        run()
    clock.delay(1e-3)
    wait(place)
    began = time.perf_counter()
    clock.delay(0.05)
    queued = time.perf_counter() - began
    wait(place)
    spent = time.perf_counter() - began
    yield Result(f"50 ms: {1e6 * queued:.0f} µs to queue, {1e3 * spent:.1f} ms until its end")
    if on_cuda(device):
        yield aim("  seconds over those asked for", spent / 0.05, 0.8, 2.0)
        yield Result("  the host goes on", queued < 0.01)


def product(place: torch.device, n: int, dtype: torch.dtype = torch.float32) -> Callable[[], Tensor]:
    a, b = (torch.randn(n, n, device=place, dtype=dtype) for _ in range(2))
    return lambda: a @ b


def warming_up(device: LocalDevice) -> Iterator[Result]:
    """After a pause of some seconds: the repeats do not get faster, since the clock has risen before the first."""
    place = torch.device(device.device)
    with torch.inference_mode():
        run = product(place, 4096, torch.bfloat16) if on_cuda(device) else product(place, 128)
        run()
        wait(place)
        time.sleep(5.0 if on_cuda(device) else 0.0)
        idle = device_state(device.uuid)
        samples = measure(run, clock_for(place), SamplingPlan(budget=3.0, precision=1e-9, settling=2.0))
        busy = device_state(device.uuid)
    third = max(1, len(samples.times) // 10)
    first, last = (statistics.median(part) for part in (samples.times[:third], samples.times[-third:]))
    clocks = f"{idle and idle.clock} MHz before, {busy and busy.clock} after; drift {100 * drift(samples.times):+.1f} %"
    yield Result(f"{samples.warmups} forwards to warm up; {clocks}")
    yield aim(
        "first tenth of the repeats over the last", first / last, *((0.95, 1.05) if on_cuda(device) else (0.3, 3))
    )


def memory(device: LocalDevice) -> Iterator[Result]:
    """The peak beside torch's own, and what the allocator reserves beside what the guard reckons."""
    place = torch.device(device.device)
    case = Case("resnet50", {"B": "32"}) if on_cuda(device) else SMALL
    made = workload(case, settings := settings_of(case, device, layers=False, budget=0.5))
    report = bench(made, settings).report
    assert report.run is not None
    counted, measured = report.totals.peak_memory, report.run.peak_memory
    yield Result(f"{case}: {(counted or 0) / MIB:.1f} MiB counted, {(measured or 0) / MIB:.1f} measured")
    if not on_cuda(device):
        return
    assert counted
    assert measured
    with forward_of(made) as run:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(place)
        run()
        hand = torch.cuda.max_memory_allocated(place)
    yield aim("  measured over torch's own", measured / hand, 0.97, 1.03)
    yield aim("  measured over counted", measured / counted, 0.95, 1.5)
    need = needed(made.ready.subject, report, place, copied=True, stats=False)
    held = report.run.reserved_memory or 0
    least, most = need.counted + need.more, need.counted + need.more + need.perhaps
    yield Result(f"  {held / MIB:.1f} MiB reserved; {least / MIB:.1f} to {most / MIB:.1f} reckoned", held <= most)
    del made, run
    sizes = [512, 3 * MIB, 9 * MIB, 11 * MIB, 5000, 40 * MIB]
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(place)
    kept = [torch.empty(size, dtype=torch.uint8, device=place) for size in sizes]
    taken = torch.cuda.memory_reserved(place) - before
    yield Result(
        f"  {len(kept)} tensors reserve {taken / MIB:.0f} MiB, {reserved(sizes) / MIB:.0f} by its rules",
        taken <= reserved(sizes),
    )
    del kept
    for dtype in (torch.float32, torch.float16):
        x = torch.randn(2**24, device=place).to(dtype)
        torch.cuda.reset_peak_memory_stats(place)
        before = torch.cuda.memory_allocated(place)
        (collector := Collector()).add("x", [x])
        wait(place)
        spent = torch.cuda.max_memory_allocated(place) - before
        collector.results()
        reckoned = scratch_bytes(x.numel(), on_cpu=False)
        yield aim(f"  statistics of {dtype} take, over what is reckoned", spent / reckoned, 0.3, 1.1)


def seeds(device: LocalDevice) -> Iterator[Result]:
    """A seed gives the CPU's weights and inputs."""
    path = find_spec("resnet18")
    assert path is not None
    here, there = (materialise(build(load(path)), where, seed=7) for where in ("cpu", device.device))
    pairs = zip(here.state_dict().values(), there.state_dict().values(), strict=True)
    yield Result("weights are those of the CPU", all(torch.equal(one, other.cpu()) for one, other in pairs))
    reports = [fwdscope.inspect("mlp_mnist", device=one, seed=7, latency=False) for one in ("cpu", device.device)]
    ends = [report.inputs[0].stats for report in reports]
    means = [one.mean if one is not None and one.mean is not None else math.nan for one in ends]
    yield Result(f"inputs are too: means {means}", math.isclose(*means, rel_tol=1e-5))


def precision(device: LocalDevice) -> Iterator[Result]:
    """TF32 and cudnn.benchmark are set for a benchmark alone, and change what float32 takes."""
    if not on_cuda(device):
        yield Result("left out: needs CUDA")
        return
    case, before = Case("resnet50", {"B": "64"}), (tf32_of(), torch.backends.cudnn.benchmark)
    found = {}
    for tf32 in (True, False):
        run = bench(workload(case, given := settings_of(case, device, layers=False, tf32=tf32)), given).report.run
        assert run is not None
        assert run.latency is not None
        found[tf32] = run.latency.median
        yield Result(f"--{'' if tf32 else 'no-'}tf32 is recorded as {run.tf32}", run.tf32 == ("on" if tf32 else "off"))
    has = torch.version.cuda is not None and torch.cuda.get_device_capability(device.device)[0] >= 8
    yield aim("float32 without TF32 over with it", found[False] / found[True], 1.3 if has else 0.8)
    run = bench(
        workload(case, given := settings_of(case, device, layers=False, cudnn_benchmark=True)), given
    ).report.run
    assert run is not None
    assert run.latency is not None
    yield Result(f"--cudnn-benchmark: {milliseconds(time=run.latency.median)}", run.cudnn_benchmark is True)
    yield Result("torch's settings are as before", (tf32_of(), torch.backends.cudnn.benchmark) == before)


def autocast(device: LocalDevice) -> Iterator[Result]:
    """Autocast beside a loop of events in which each forward enters it."""
    place = torch.device(device.device)
    case = Case("resnet50", {"B": "16"}, "bfloat16") if on_cuda(device) else Case("mlp_mnist", {}, "bfloat16")
    made = workload(case, settings := settings_of(case, device, layers=False, autocast=True))
    run = bench(made, settings).report.run
    assert run is not None
    assert run.latency is not None
    with forward_of(made) as work:

        def entered() -> None:
            with torch.autocast(device.kind, dtype=torch.bfloat16):
                work()

        hand = by_hand(entered, place)
    yield Result(f"{case}: {milliseconds(bench=run.latency.median, by_hand=hand)}")
    yield aim("  bench over by hand", run.latency.median / hand, *((0.9, 1.1) if on_cuda(device) else (0.3, 3)))


def in_turn(device: LocalDevice) -> Iterator[Result]:
    """--vs: a network against itself cannot be told apart, and one with a tenth more work is slower."""
    x = torch.randn(64, 1024)
    layers = 20

    def stack(n: int) -> nn.Module:
        return nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(n)))

    budget = 2.0 if on_cuda(device) else 0.5
    for more, wanted in ((0, "cannot tell"), (layers // 10, "slower")):
        found = fwdscope.versus(stack(layers), stack(layers + more), x, device=device.device, budget=budget)
        speedup = found.speedup
        assert speedup is not None
        answer, interval = speedup.answer, speedup.interval
        holds = None if not on_cuda(device) and answer == "cannot tell" else answer == wanted
        yield Result(f"{more} of {layers} layers more: {speedup.ratio:.3f} {interval}, {answer} (aim: {wanted})", holds)
        differ = [one.paths for one in found.layers if one.answer(len(found.layers)) != "cannot tell"]
        # A layer that the first has not is slower in the second.
        yield Result(f"  layers that differ: {differ}", None if not on_cuda(device) else len(differ) <= more + 1)


def compiled(case: Case, device: LocalDevice) -> Iterator[Result]:
    """--compile beside eager, and both beside the times that --on gives for this device."""
    if not on_cuda(device):
        yield Result("left out: needs CUDA")
        return
    found = {}
    for way in (False, True):
        given = settings_of(case, device, layers=False, compiled=way)
        run = bench(workload(case, given), given).report.run
        assert run is not None
        assert run.latency is not None
        found[way] = run.latency.median
        yield Result(f"{case}: {milliseconds(**{'compiled' if way else 'eager': found[way]})}")
    yield aim("compiled over eager", found[True] / found[False], 0.0, 1.1)
    if (known := published(device.name, device.memory)) is None:
        yield Result("no published figures of this device")
        return
    command = [sys.executable, "-m", "fwdscope", "inspect", case.spec, "--on", known.name, "--dtype", case.dtype]
    command += [word for name, value in case.variables.items() for word in ("--set", f"{name}={value}")]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, timeout=60, check=True)
    estimate = Report.loads(done.stdout).estimates[0]
    assert estimate.seconds
    assert estimate.eager_seconds
    yield Result(f"--on {known.name}: {milliseconds(fused=estimate.seconds, eager=estimate.eager_seconds)}")
    yield aim("fused, a bound, over compiled", estimate.seconds / found[True], 0.0, 1.0)
    yield aim("eager, an estimate, over eager", estimate.eager_seconds / found[False], 0.5, 2.0)


Part = Callable[[LocalDevice], Iterator[Result]]
# The parts with the seconds that each may take, the most telling first.
PARTS: dict[str, tuple[Part, float]] = {
    "device": (the_device, 40),
    "launching": (launching, 60),
    **{f"whole-{i}": (partial(times_of_the_whole, case), 45) for i, case in enumerate((*BUSY, *LAUNCHED), 1)},
    "alone": (queued_and_alone, 50),
    "graph": (replayed_and_cold, 40),
    "delays": (delays, 30),
    "memory": (memory, 60),
    "seeds": (seeds, 40),
    "warmup": (warming_up, 40),
    "precision": (precision, 60),
    "autocast": (autocast, 40),
    "vs": (in_turn, 50),
    "compile-1": (partial(compiled, Case("gpt2", {"B": "4"}, "bfloat16")), 120),
    "compile-2": (partial(compiled, Case("resnet50", {"B": "32"}, "float16")), 150),
}
# What a CPU does in the place of a GPU's networks.
ON_CPU: dict[str, tuple[Part, float]] = {
    **{name: part for name, part in PARTS.items() if not name.startswith("whole")},
    "whole-1": (partial(times_of_the_whole, SMALL), 45),
}


def parts_of(device: LocalDevice) -> dict[str, tuple[Part, float]]:
    return PARTS if on_cuda(device) else ON_CPU


def run_part(name: str, device: LocalDevice) -> int:
    """Print the lines of a part; 1 if one does not hold."""
    if on_cuda(device) and name != "device":
        torch.cuda.set_device(device.device)
    held = True
    for result in parts_of(device)[name][0](device):
        words = {True: "holds", False: "FAILS", None: "     "}
        print(f"{words[result.holds]}  {result.text}", flush=True)
        held = held and result.holds is not False
    return 0 if held else 1


def run_all(names: list[str], device: LocalDevice, seconds: float = SECONDS) -> int:
    """Each part in a process of its own; 1 if one of them failed or does not hold."""
    began, wrong = time.perf_counter(), []
    for name in names:
        part, limit = parts_of(device)[name]
        left = max(0.0, seconds - (time.perf_counter() - began))
        print(f"\n{name}: {(getattr(part, 'func', part).__doc__ or '').splitlines()[0]}", flush=True)
        if left < limit / 4:
            print(f"       left out: {left:.0f} s are left of {seconds:.0f}", flush=True)
            wrong.append(name)
            continue
        command = [sys.executable, __file__, "--device", device.device, "--part", name]
        try:
            code = subprocess.run(command, timeout=min(limit, left), check=False).returncode
        except subprocess.TimeoutExpired:
            print(f"FAILS  not done within {min(limit, left):.0f} s", flush=True)
            code = 1
        if code:
            wrong.append(name)
    print(f"\n{len(names) - len(wrong)} of {len(names)} parts hold, in {time.perf_counter() - began:.0f} s", flush=True)
    print(f"not these: {', '.join(wrong)}" if wrong else "all aims are met", flush=True)
    return 1 if wrong else 0


def main(arguments: list[str]) -> int:
    """Run all parts, or one of them in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="+", choices=PARTS)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    try:
        # Without a context, which one of the parts looks for.
        found = {one.device: one for one in devices(free=False)}
        device = found.get(given.device) or found.get(f"{given.device}:0") or find(given.device)
    except DeviceError as error:
        print(f"on_gpu.py measures on a GPU: {error}", file=sys.stderr)
        return 2
    return run_part(given.part, device) if given.part else run_all(given.only or list(parts_of(device)), device)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
