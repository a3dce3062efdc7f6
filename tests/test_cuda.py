"""What only a GPU can show: statistics, counts, times, memory and commands on a CUDA device.

Times are printed (``pytest -s``) and held only to wide factors, each stated where it is used.
"""

from __future__ import annotations

import gc
import itertools
import json
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner, Result

import fwdscope
from fwdscope.cli import app
from fwdscope.commands.bench.measuring import bench
from fwdscope.commands.bench.workload import Workload, make_workload
from fwdscope.device.local import devices, find
from fwdscope.device.nvml import device_state
from fwdscope.device.precision import tf32_of
from fwdscope.language import load
from fwdscope.model import Network, build
from fwdscope.model.build import example_inputs
from fwdscope.model.initialise import materialise
from fwdscope.model.process_state import torch_default_dtype
from fwdscope.report import LayerRow, Report
from fwdscope.run.memory_guard import needed, reserved
from fwdscope.run.observation import Observation
from fwdscope.run.placement import ModuleCall, move
from fwdscope.run.statistics import Collector, scratch_bytes
from fwdscope.run.subject import SpecSubject
from fwdscope.settings import BenchSettings, RunError
from fwdscope.targets import find_spec
from fwdscope.timing.clock import EventClock, clock_for, empty_pair
from fwdscope.timing.layers import latencies, with_latencies
from fwdscope.timing.sampling import SamplingPlan, measure
from fwdscope.trace import rows_with_nodes, trace, trace_module

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")

CUDA = "cuda:0"
PLACE = torch.device(CUDA)

MLP = """\
name: mlp
vars: {B: 64, d: 256}
inputs: {x: 'randn(B, d)'}
layers:
  - fc1 = Linear(1024)
  - ReLU
  - fc2 = Linear(10)
"""


@pytest.fixture(autouse=True)
def _room() -> None:
    """What earlier tests left on the device is in nobody's way: networks refer to themselves."""
    gc.collect()
    torch.cuda.empty_cache()


@pytest.fixture
def mlp(tmp_path: Path) -> str:
    path = tmp_path / "mlp.yaml"
    path.write_text(MLP)
    return str(path)


@pytest.fixture
def waiting_is_an_error() -> Iterator[Callable[[str], None]]:
    """torch's own watch over operators that make the host wait: ``error`` from here on, ``default`` again."""
    yield torch.cuda.set_sync_debug_mode
    torch.cuda.set_sync_debug_mode("default")


def spec_of(name: str, **variables: object) -> Any:
    path = find_spec(name) or Path(name)
    return load(path, variables={key: str(value) for key, value in variables.items()})


def on_gpu(name: str, **variables: object) -> tuple[Network, dict[str, Tensor]]:
    """A network with weights on the device, and inputs there."""
    checked = spec_of(name, **variables)
    network = materialise(build(checked), CUDA, seed=0)
    return network, example_inputs(checked, CUDA)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def by_hand(work: Callable[[], object], repeats: int = 20) -> list[float]:
    """Seconds of each of some repeats, by events."""
    for _ in range(3):
        work()
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for begin, end in pairs:
        begin.record()
        work()
        end.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) / 1e3 for begin, end in pairs]


def replayed(work: Callable[[], object]) -> float:
    """Median seconds of a replay of a CUDA graph: what the device takes where the host launches nothing."""
    aside = torch.cuda.Stream()
    with torch.inference_mode():
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                work()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
    return sorted(by_hand(graph.replay))[10]


# --- statistics ------------------------------------------------------------------------------------------------------

TENSORS: dict[str, Callable[[], Tensor]] = {
    "float32": lambda: torch.randn(8, 64, 56, 56) * 3 + 1,
    "several slices": lambda: torch.randn(5, 1 << 20).abs(),
    "with gaps": lambda: torch.randn(8, 128, 28, 28)[:, :64],
    "transposed": lambda: torch.randn(64, 96, 50).transpose(0, 2),
    "bfloat16": lambda: torch.randn(64, 1000).bfloat16(),
    "float16, squares beyond it": lambda: torch.full((1000,), 60_000.0).half(),
    "float64": lambda: torch.randn(300, dtype=torch.float64) * 1e200,
    "far from zero": lambda: torch.randn(100_000) * 1e-3 + 1000,
    "int64": lambda: torch.arange(-500, 500),
    "bool": lambda: torch.arange(100) % 3 == 0,
    "complex": lambda: torch.randn(50, 50, dtype=torch.complex64),
    "one value": lambda: torch.tensor(2.5),
    "expanded": lambda: torch.randn(7, 1).expand(7, 9),
    "bad ones": lambda: torch.tensor([1.0, math.nan, math.inf, -math.inf, 0.0, -2.0] * 100),
}


@pytest.mark.parametrize("name", TENSORS)
def test_statistics_are_numpys(name: str) -> None:
    torch.manual_seed(0)
    tensor = TENSORS[name]().to(CUDA)
    collector = Collector()
    collector.add("x", [tensor])
    found = collector.results()["x"]
    values = tensor.cpu()
    array = (values.abs() if values.is_complex() else values).double().numpy().reshape(-1)
    finite = array[np.isfinite(array)]
    assert found.elements == array.size
    assert (found.nans, found.infs) == (np.isnan(array).sum(), np.isinf(array).sum())
    assert found.zeros == (finite == 0).sum()
    assert (found.min, found.max) == pytest.approx((finite.min(), finite.max()), rel=1e-6)
    # Scaled, so that the squares of 1e200 stay numbers in numpy too.
    scale = np.abs(finite).max()
    assert found.mean == pytest.approx((finite / scale).mean() * scale, rel=1e-9, abs=1e-9 * scale)
    assert found.std == pytest.approx((finite / scale).std() * scale, rel=1e-6, abs=1e-12 * scale)
    assert found.histogram is not None
    assert sum(found.histogram.counts) == finite.size


def test_statistics_are_those_of_the_cpu() -> None:
    torch.manual_seed(0)
    every = [make() for make in TENSORS.values()]
    here, there = Collector(), Collector()
    for i, tensor in enumerate(every):
        here.add(i, [tensor])
        there.add(i, [tensor.to(CUDA)])
    for name, one, other in zip(TENSORS, here.results().values(), there.results().values(), strict=True):
        assert (one.elements, one.zeros, one.nans, one.infs) == (other.elements, other.zeros, other.nans, other.infs)
        assert other.mean == pytest.approx(one.mean, rel=1e-4, abs=1e-6), name
        assert other.std == pytest.approx(one.std, rel=1e-4, abs=1e-6), name


def test_looking_at_tensors_never_waits_for_the_device(waiting_is_an_error: Callable[[str], None]) -> None:
    tensors = [make().to(CUDA) for make in TENSORS.values()]
    collector = Collector()
    waiting_is_an_error("error")
    for i, tensor in enumerate(tensors):
        collector.add(i, [tensor])
    waiting_is_an_error("default")
    assert len(collector.results()) == len(tensors)


def test_a_whole_forward_under_observation_never_waits(waiting_is_an_error: Callable[[str], None]) -> None:
    network, inputs = on_gpu("resnet18")
    observation = Observation(Collector())
    waiting_is_an_error("error")
    trace(network, observation, inputs)
    waiting_is_an_error("default")
    assert observation.statistics().figures


# --- counts ----------------------------------------------------------------------------------------------------------


def counts(row: LayerRow) -> tuple[object, ...]:
    return row.path, row.type, row.output_shapes, row.params, row.macs, row.flops


@pytest.mark.parametrize("name", ["resnet50", "gpt2", "vit_b_16", "lstm", "transformer_encoder", "unet"])
def test_a_run_there_counts_what_meta_counts(name: str) -> None:
    checked = spec_of(name)
    network = build(checked)
    meta = [row for row, _ in rows_with_nodes(trace(network))]
    network, inputs = on_gpu(name)
    there = [row for row, _ in rows_with_nodes(trace(network, None, inputs))]
    assert list(map(counts, there)) == list(map(counts, meta))


@pytest.mark.parametrize("name", ["resnet18", "moe_small", "lstm"])
def test_a_report_of_a_run_there_says_what_meta_says(name: str) -> None:
    meta, there = fwdscope.inspect(name), fwdscope.inspect(name, device="cuda", latency=False)
    assert there.device == CUDA
    assert there.run is not None
    assert there.run.device_name == torch.cuda.get_device_name(0)
    assert there.totals.params == meta.totals.params
    if name != "moe_small":  # whose data decide which rows go to which expert
        assert there.totals == meta.totals
    assert all(row.stats is not None for row in there.layers if row.output_shapes and row.kind == "layer")


def test_random_numbers_of_the_device_are_left_as_they_were() -> None:
    torch.cuda.manual_seed(5)
    before = torch.cuda.get_rng_state(0)
    fwdscope.inspect("mlp_mnist", device="cuda", seed=3)
    fwdscope.bench("mlp_mnist", device="cpu", budget=0.1)
    assert torch.equal(torch.cuda.get_rng_state(0), before)


def test_a_seed_gives_the_same_weights_and_inputs_each_time() -> None:
    one, other = (fwdscope.inspect("mlp_mnist", device="cuda", seed=3, latency=False) for _ in range(2))
    assert [row.stats for row in one.layers] == [row.stats for row in other.layers]


def test_a_seed_gives_the_weights_and_inputs_of_the_cpu() -> None:
    checked = spec_of("resnet18")
    here, there = (materialise(build(checked), place, seed=7) for place in ("cpu", CUDA))
    for name, tensor in here.state_dict().items():
        assert torch.equal(tensor, there.state_dict()[name].cpu()), name
    reports = [fwdscope.inspect("mlp_mnist", device=place, seed=7, latency=False) for place in ("cpu", "cuda")]
    one, other = (report.inputs[0].stats for report in reports)
    assert one is not None
    assert other is not None
    # The same numbers, added up in another order.
    assert one.mean == pytest.approx(other.mean, rel=1e-6)
    assert one.std == pytest.approx(other.std, rel=1e-6)
    assert (one.min, one.max) == (other.min, other.max)


def test_weights_are_never_on_the_device_in_a_larger_dtype() -> None:
    module, x = nn.Sequential(*(nn.Linear(2048, 2048, bias=False) for _ in range(8))), torch.randn(1, 2048)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    moved = move(ModuleCall(module, (x,), {}), PLACE, torch.bfloat16)
    # 8 matrices of 2048² in two bytes, and the input; the float32 of one alone would be 16 MiB more.
    size = 8 * 2048**2 * 2
    assert torch.cuda.max_memory_allocated() - before < size + 2**20
    assert {t.dtype for t in moved.tensors()} == {torch.bfloat16}


# --- times -----------------------------------------------------------------------------------------------------------


def product() -> Callable[[], Tensor]:
    a = torch.randn(4096, 4096, device=CUDA, dtype=torch.float16)
    return lambda: a @ a


def test_the_clock_agrees_with_events_by_hand() -> None:
    work = product()
    samples = measure(work, EventClock(PLACE), SamplingPlan(repeats=20))
    hand = sorted(by_hand(work))[10]
    print(f"\na product: {samples.latency.median * 1e6:.1f} µs by the clock, {hand * 1e6:.1f} µs by hand")
    # The same events around the same work: a factor of two is clocks that rise and fall.
    assert hand / 2 < samples.latency.median < hand * 2


def test_a_delay_lasts_about_as_long_as_asked() -> None:
    clock = clock_for(PLACE)
    clock.delay(1e-3)
    torch.cuda.synchronize()
    began = time.perf_counter()
    clock.delay(0.05)
    queued = time.perf_counter() - began
    torch.cuda.synchronize()
    held = time.perf_counter() - began
    print(f"\na delay of 50 ms: {queued * 1e6:.0f} µs to queue, {held * 1e3:.1f} ms")
    # The device may run at less than its highest clock, and then counts its cycles for longer.
    assert queued < 0.02
    assert 0.03 < held < 0.5


def test_a_delay_can_be_asked_whether_it_is_over() -> None:
    clock = EventClock(PLACE)
    mark = clock.delay(0.2)
    assert not clock.is_over(mark)
    torch.cuda.synchronize()
    assert clock.is_over(mark)


def test_an_empty_pair_of_events_costs_some_microseconds_at_most() -> None:
    found = empty_pair(EventClock(PLACE))
    print(f"\nan empty pair: {1e6 * found.seconds:.2f} µs, ± {1e6 * found.noise:.2f}")
    # The resolution of events is half a microsecond; launching one by one would be about ten.
    assert 0 <= found.seconds < 5e-6
    assert found.noise < 5e-6


class Launcher(nn.Module):
    """Many small kernels, after which it may look at a number."""

    def __init__(self, kernels: int, waits: bool = False) -> None:
        super().__init__()
        self.kernels, self.waits = kernels, waits

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.kernels):
            x = x + 1
        return x * float(x.sum() * 0 + 1) if self.waits else x


def test_layers_that_fill_the_queue_have_no_launching_in_their_times() -> None:
    # 3,000 kernels, where CUDA queues about a thousand.
    module, x = nn.Sequential(*(Launcher(30) for _ in range(100))), torch.zeros(64, device=CUDA)
    pairs = rows_with_nodes(trace_module(module, [x], {}, where_it_lives=True)[0])
    times = latencies(module, [x], passes=5)
    _, layers = with_latencies(pairs, times)
    with torch.inference_mode():
        whole = measure(lambda: module(x), EventClock(PLACE), SamplingPlan(repeats=10)).latency.median
        graph = replayed(lambda: module(x))
    print(f"\n100 layers of 30 kernels: {layers} s by layer, {whole} s launched one by one, {graph} s as a graph")
    assert layers is not None
    assert graph / 3 < layers < 1.5 * graph
    assert not times.exposed


def test_a_layer_that_waits_for_the_device_is_named_and_alone() -> None:
    module, x = nn.Sequential(*(Launcher(5, i == 20) for i in range(40))), torch.zeros(64, device=CUDA)
    times = latencies(module, [x], passes=5)
    assert times.exposed == {("step", "20", 1)}


def test_forwards_are_queued_or_waited_for() -> None:
    settings = BenchSettings(device="cuda", budget=0.5, layers=False)
    queued = bench(workload("resnet18", settings), settings).report.run
    waiting = replace(settings, latency=True)
    alone = bench(workload("resnet18", waiting), waiting).report.run
    assert queued is not None
    assert alone is not None
    assert queued.latency is not None
    assert alone.latency is not None
    assert (queued.repeats_are, alone.repeats_are) == ("queued", "alone")
    print(f"\nresnet18: {queued.latency.median} s queued, {queued.other_latency} and {alone.latency.median} alone")
    # Waiting for each can only take longer; both ways to measure it agree within what clocks do.
    assert alone.latency.median > 0.95 * queued.latency.median
    assert queued.other_latency == pytest.approx(alone.latency.median, rel=0.3)


def test_the_driver_tells_the_state_of_the_device_at_work() -> None:
    state = device_state(find("cuda").uuid)
    if torch.version.cuda is None or state is None:
        pytest.skip("no driver tells it here")
    print(f"\n{state}")
    assert state.driver
    assert state.clock
    ran = fwdscope.bench("resnet18", device="cuda", budget=0.3, layers=False).run
    assert ran is not None
    assert ran.state is not None
    assert ran.state.driver == state.driver
    assert (ran.state.clock or 0) <= 1.05 * (ran.state.max_clock or 10**6)


def test_listing_devices_makes_no_context() -> None:
    if torch.version.cuda is None or sys.platform != "linux":
        pytest.skip("asks NVIDIA's driver")
    code = (
        "import ctypes, torch; from fwdscope.device.local import devices; devices();"
        "made = ctypes.c_int(); library = ctypes.CDLL('libcuda.so.1');"
        "print([(library.cuDevicePrimaryCtxGetState(i, ctypes.byref(ctypes.c_uint()), ctypes.byref(made)), made.value)"
        " for i in range(torch.cuda.device_count())])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert found.stdout.strip() == str([(0, 0)] * torch.cuda.device_count())


def test_tf32_is_set_for_the_benchmark_alone() -> None:
    before = tf32_of(), torch.backends.cudnn.benchmark
    found = {}
    for tf32 in (True, False):
        settings = BenchSettings(device="cuda", budget=0.5, layers=False, tf32=tf32, cudnn_benchmark=tf32)
        ran = bench(workload("resnet50", settings, B=32), settings).report.run
        assert ran is not None
        assert ran.latency is not None
        assert (ran.tf32, ran.cudnn_benchmark) == ("on" if tf32 else "off", tf32)
        found[tf32] = ran.latency.median
    print(f"\nresnet50: {found[True]} s with TF32, {found[False]} without")
    assert (tf32_of(), torch.backends.cudnn.benchmark) == before
    if torch.version.cuda is not None and torch.cuda.get_device_capability()[0] >= 8:
        assert found[True] < found[False]


def test_two_modules_are_compared_in_turn_by_layer() -> None:
    small, large = (nn.Sequential(nn.Linear(1024, width), nn.Linear(width, 64)) for width in (256, 8192))
    found = fwdscope.versus(small, large, torch.randn(512, 1024), device="cuda", budget=1.0)
    assert found.speedup is not None
    assert found.speedup.answer == "slower"
    assert any(one.answer(len(found.layers)) == "slower" for one in found.layers)


def test_launching_is_in_no_layers_time() -> None:
    # Kernels of some microseconds each, which the host takes longer to launch, most of all under hooks.
    module = nn.Sequential(*(nn.Linear(64, 64) for _ in range(400))).to(CUDA).eval()
    x = torch.randn(1, 64, device=CUDA)
    pairs = rows_with_nodes(trace_module(module, [x], {}, where_it_lives=True)[0])
    _, layers = with_latencies(pairs, latencies(module, [x], passes=5))
    with torch.inference_mode():
        whole = measure(lambda: module(x), EventClock(PLACE), SamplingPlan(repeats=20)).latency.median
    graph = replayed(lambda: module(x))
    print(f"\n400 small layers: {layers} s by layer, {whole} s launched one by one, {graph} s as a graph")
    assert layers is not None
    # Each layer has two events between it and the next: they may cost as much as the kernel, not several times that.
    assert graph / 2 < layers < 4 * graph


def workload(name: str, settings: BenchSettings, **variables: object) -> Workload:
    dtype = "float32" if settings.autocast else settings.dtype
    return make_workload(SpecSubject(spec_of(name, **variables), {}, dtype), settings)


@pytest.mark.parametrize(
    ("name", "variables", "dtype"),
    [("resnet50", {"B": 32}, "float32"), ("gpt2", {"T": 512}, "bfloat16"), ("transformer_encoder", {}, "float16")],
    ids=["resnet50", "gpt2", "transformer"],
)
def test_times_are_those_of_a_graphs_replay(name: str, variables: dict[str, object], dtype: str) -> None:
    settings = BenchSettings(device="cuda", dtype=dtype, budget=1.0)
    measured = workload(name, settings, **variables)
    ran = bench(measured, settings).report.run
    assert ran is not None
    assert ran.latency is not None
    assert ran.layers_latency is not None
    assert measured.graph is not None
    forward = measured.graph
    with torch_default_dtype(measured.ready.subject.default_dtype):
        graph = replayed(lambda: forward(*measured.ready.call.args))
    print(
        f"\n{name}: whole {ran.latency.median * 1e3:.3f} ms, layers {ran.layers_latency * 1e3:.3f} ms, "
        f"graph replay {graph * 1e3:.3f} ms"
    )
    # The whole has the host's gaps in it, and can be no faster than the replay but for noise; one layer at a time loses
    # what overlaps, and gains nothing.
    assert ran.latency.median > 0.7 * graph
    assert graph / 2 < ran.layers_latency < 3 * graph


def test_every_layer_that_computes_has_a_time() -> None:
    report = fwdscope.bench("resnet18", device="cuda", budget=0.5)
    assert all(row.latency is not None and row.latency >= 0 for row in report.layers)
    assert all(row.latency > 0 for row in report.layers if row.latency is not None and row.macs)


def test_autocast_and_channels_last_run() -> None:
    for settings in (
        BenchSettings(device="cuda", dtype="bfloat16", autocast=True, budget=0.2),
        BenchSettings(device="cuda", dtype="float16", channels_last=True, budget=0.2),
    ):
        ran = bench(workload("resnet18", settings), settings).report.run
        assert ran is not None
        assert ran.latency is not None


@pytest.mark.skipif(not (shutil.which("gcc") or shutil.which("clang")), reason="triton needs a C compiler")
def test_what_is_compiled_is_measured() -> None:
    pytest.importorskip("triton")
    settings = BenchSettings(device="cuda", compiled=True, budget=0.2)
    ran = bench(workload("mlp_mnist", settings), settings).report.run
    assert ran is not None
    assert ran.compiled


def test_ctrl_c_leaves_what_was_measured() -> None:
    told = itertools.count()

    def interrupted(stage: str) -> None:
        if "repeats" in stage and next(told) == 2:
            signal.raise_signal(signal.SIGINT)

    settings = BenchSettings(device="cuda", budget=60.0, precision=1e-9, on_progress=interrupted)
    measured = bench(workload("resnet18", settings), settings)
    assert measured.interrupted
    assert measured.samples.times
    ran = measured.report.run
    assert ran is not None
    assert any("interrupted after" in note for note in ran.notes)
    # The device is none the worse for it.
    assert fwdscope.bench("mlp_mnist", device="cuda", budget=0.1).run is not None


# --- memory ----------------------------------------------------------------------------------------------------------


def test_the_peak_is_torchs_own() -> None:
    settings = BenchSettings(device="cuda", budget=0.2, layers=False)
    measured = workload("resnet50", settings, B=16)
    ran = bench(measured, settings).report.run
    assert ran is not None
    assert ran.peak_memory is not None
    assert measured.graph is not None
    torch.cuda.reset_peak_memory_stats()
    with torch.inference_mode():
        measured.graph(*measured.ready.call.args)
    hand, counted = torch.cuda.max_memory_allocated(), measured.report.totals.peak_memory
    assert counted is not None
    print(f"\npeak: {ran.peak_memory / 2**20:.1f} MiB, by hand {hand / 2**20:.1f}, counted {counted / 2**20:.1f}")
    # The same forward; the allocator hands out blocks of 512 bytes, and a library's workspace comes and goes.
    assert ran.peak_memory == pytest.approx(hand, rel=0.1)
    # What the trace counts has no workspaces in it, which torch's own figure has.
    assert 0.8 * counted < hand < 2 * counted
    # The guard reckons with at least what the allocator came to hold.
    need = needed(measured.ready.subject, measured.report, PLACE, copied=True, stats=False)
    assert ran.reserved_memory is not None
    most = need.counted + need.more + need.perhaps
    print(f"reserved: {ran.reserved_memory / 2**20:.1f} MiB, at most {most / 2**20:.1f} reckoned")
    assert ran.peak_memory <= ran.reserved_memory <= most


def test_the_allocator_reserves_by_the_rules_that_are_reckoned_with() -> None:
    sizes = [512, 5000, 3 * 2**20, 9 * 2**20, 11 * 2**20, 40 * 2**20]
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    kept = [torch.empty(size, dtype=torch.uint8, device=CUDA) for size in sizes]
    # What earlier tensors left room for may serve some of them.
    assert torch.cuda.memory_reserved() - before <= reserved(sizes)
    assert torch.cuda.memory_reserved() - before >= sum(sizes) - 20 * 2**20
    del kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_statistics_take_no_more_memory_than_is_reckoned(dtype: torch.dtype) -> None:
    x = torch.randn(2**24, device=CUDA).to(dtype)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    Collector().add("x", [x])
    torch.cuda.synchronize()
    # The histogram's sample, and blocks that are rounded up.
    assert torch.cuda.max_memory_allocated() - before < scratch_bytes(x.numel(), on_cpu=False) + 16 * 2**20


def test_what_is_free_is_what_the_driver_says_and_what_torch_keeps() -> None:
    torch.cuda.empty_cache()
    before = find("cuda").free
    kept = torch.empty(2**28, dtype=torch.uint8, device=CUDA)
    during = find("cuda").free
    del kept
    after = find("cuda").free
    assert before is not None
    assert during is not None
    assert after is not None
    # A block of 256 MiB while it is in use; in torch's cache it is free again. Other programs may move 64 MiB.
    assert before - during == pytest.approx(2**28, abs=2**26)
    assert after == pytest.approx(before, abs=2**26)


def test_a_forward_that_cannot_fit_is_refused_with_the_largest_batch(mlp: str) -> None:
    result = run("inspect", mlp, "--device", "cuda", "--set", "B=100_000_000")  # 400 GB for one activation
    assert result.exit_code == 2
    assert "the forward needs" in result.stderr
    assert f"{CUDA} ({torch.cuda.get_device_name(0)}) has" in result.stderr
    assert "the largest batch that fits is" in result.stderr


def test_running_out_of_memory_after_all_is_told() -> None:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.001)  # of 80 GB: 80 MB, and VGG-16 has weights of 553
    try:
        with pytest.raises(RunError, match="the device ran out of memory: CUDA out of memory"):
            fwdscope.inspect("vgg16", device="cuda")
        with pytest.raises(RunError, match="the device ran out of memory: CUDA out of memory"):
            fwdscope.bench("vgg16", device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert fwdscope.inspect("mlp_mnist", device="cuda").run is not None


# --- commands --------------------------------------------------------------------------------------------------------


def test_inspect_runs_from_end_to_end(mlp: str) -> None:
    result = run("inspect", mlp, "--device", "cuda", "--format", "json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["run"]["device"] == CUDA
    assert data["run"]["latency"]
    assert data["run"]["peak_memory"] > 0
    drawn = run("inspect", mlp, "--device", "cuda")
    assert drawn.exit_code == 0, drawn.stderr
    assert "fc1" in drawn.stdout


def test_bench_runs_from_end_to_end_and_sweeps(mlp: str, tmp_path: Path) -> None:
    saved = tmp_path / "before.json"
    assert run("bench", mlp, "--device", "cuda", "--budget", "0.2", "-o", str(saved)).exit_code == 0
    result = run("bench", mlp, "--device", "cuda", "--budget", "0.2", "--against", str(saved))
    assert result.exit_code == 0, result.stderr
    swept = run(
        "bench", mlp, "--device", "cuda", "--budget", "0.1", "--vary", "B=1,64", "--vary", "dtype=float32,float16"
    )
    assert swept.exit_code == 0, swept.stderr


def test_devices_lists_the_gpu() -> None:
    result = run("devices", "--json")
    assert result.exit_code == 0, result.stderr
    assert torch.cuda.get_device_name(0) in result.stdout


def test_a_module_that_is_there_is_measured_where_it_is() -> None:
    module, x = nn.Linear(8, 8).to(CUDA), torch.randn(2, 8, device=CUDA)
    report = fwdscope.inspect(module, x, device="cuda")
    assert report.device == CUDA
    assert fwdscope.bench(module, x, device="cuda", budget=0.1).run is not None
    assert module.weight.device == PLACE


def test_a_device_that_is_not_here_is_refused() -> None:
    missing = f"cuda:{torch.cuda.device_count()}"
    result = run("inspect", "mlp_mnist", "--device", missing)
    assert result.exit_code == 2
    assert missing in result.stderr
    assert torch.cuda.get_device_name(0) in result.stderr


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one CUDA device here")
def test_another_gpu_than_the_current_one_does_all_the_work() -> None:
    assert len([one for one in devices() if one.kind == "cuda"]) == torch.cuda.device_count()
    before = torch.cuda.memory_allocated(0), torch.cuda.get_rng_state(0)
    report = fwdscope.bench("resnet18", device="cuda:1", budget=0.2)
    assert report.run is not None
    assert report.run.device == "cuda:1"
    assert report.run.latency is not None
    assert report.run.latency.median > 0
    assert torch.cuda.memory_allocated(0) == before[0]
    assert torch.equal(torch.cuda.get_rng_state(0), before[1])
    assert fwdscope.inspect("resnet18", device="cuda:1").device == "cuda:1"
    assert torch.cuda.current_device() == 0


# --- requests, graphs, cold caches, transfers, energy ----------------------------------------------------------------


def both_ways(spec: str, *more: str) -> list[float]:
    """The median of a benchmark without some options, and with them."""
    medians = []
    for options in ((), more):
        common = ("--device", "cuda", "--budget", "0.5", "--no-layers", "--latency", "--format", "json")
        result = run("bench", spec, *common, *options)
        found = Report.loads(result.stdout).run
        assert found is not None
        assert found.latency is not None
        assert (found.is_graph, found.is_cold) == ("--graph" in options, "--flush-l2" in options)
        medians.append(found.latency.median)
    print(f"{medians[0]:.3e} s, with {' '.join(more)} {medians[1]:.3e} s")
    return medians


def test_a_graph_is_no_slower_than_its_launches(mlp: str) -> None:
    launched, replayed = both_ways(mlp, "--graph")
    assert replayed < 1.2 * launched


def test_a_cold_forward_is_no_faster_than_a_warm_one(mlp: str) -> None:
    warm, cold = both_ways(mlp, "--flush-l2")
    assert cold > 0.9 * warm


def test_requests_on_streams_transfers_and_energy(mlp: str) -> None:
    result = run(
        "bench", mlp, "--device", "cuda", "--budget", "1", "--no-layers", "--rate", "200/s", "--concurrency", "2",
        "--transfers", "--energy", "--format", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    found = Report.loads(result.stdout).run
    assert found is not None
    assert found.load is not None
    assert found.transfers is not None
    assert found.latency is not None
    # 64 rows of 256 floats go in, 64 of 10 come out.
    assert (found.transfers.input_bytes, found.transfers.output_bytes) == (64 * 256 * 4, 64 * 10 * 4)
    assert found.load.is_kept
    assert found.load.served == found.load.sent
    assert found.load.latency.median > 0.5 * found.latency.median
    if found.energy is None:
        assert any("energy is not known" in note for note in found.notes)
    else:
        assert found.energy.source == "NVML"
        assert 5 < found.energy.watts < 1500


def test_a_forward_that_waits_is_no_graph(tmp_path: Path) -> None:
    spec = tmp_path / "waits.yaml"
    spec.write_text("inputs: {x: 'randn(4, 8)'}\nlayers:\n  - y = Linear(8)\n  - y[y > 0]\n")
    result = run("bench", str(spec), "--device", "cuda", "--graph")
    assert (result.exit_code, "cannot be captured as a CUDA graph" in result.stderr) == (2, True)
