"""The time of each layer: exact on a clock of the test's own, on the rows it belongs to."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from fake_clocks import Cuda, Time
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.problems import Source
from fwdscope.model import Network, build
from fwdscope.model.build import example_inputs
from fwdscope.model.initialise import materialise
from fwdscope.report import LayerRow
from fwdscope.run.latency import note_on_exposed
from fwdscope.timing.clock import EventClock, HostClock
from fwdscope.timing.layers import LayeredCall, LayerTimes, in_turn, latencies, with_latencies
from fwdscope.trace import rows_with_nodes, trace, trace_module

Pairs = Sequence[tuple[LayerRow, tuple[Any, ...]]]


def network_of(text: str) -> tuple[Network, list[Tensor], Pairs]:
    """A network on a CPU, its inputs, and the rows of a trace of the same run."""
    checked = check(parse(Source("spec.yaml", text)))
    network = materialise(build(checked), "cpu", seed=0)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        inputs = example_inputs(checked, "cpu")
    return network, list(inputs.values()), rows_with_nodes(trace(network, None, inputs))


def slow_down(module: nn.Module, time: Time, seconds: float) -> None:
    """Let each call of a module take so long."""
    module.register_forward_hook(lambda *_: time.passes(seconds))


def leads(cuda: Cuda) -> list[int]:
    """The cycles of all delays but the first two, which tell the rate: 10⁵ are too few, 10⁶ are a millisecond."""
    assert cuda.slept[:2] == [10**5, 10**6]
    return cuda.slept[2:]


class SlowSums(TorchFunctionMode):
    """Additions take 3 ms, wherever they are."""

    def __init__(self, time: Time) -> None:
        super().__init__()
        self.time = time

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") == "add":
            self.time.passes(0.003)
        return func(*args, **(kwargs or {}))


def by_path(rows: Sequence[LayerRow]) -> dict[str, float | None]:
    return {row.path: row.latency for row in rows}


STACKED = """
inputs: {x: 'randn(2, 8)'}
blocks:
  Residual:
    - fc = Linear(8)
    - x + fc
layers:
  - first = Linear(8)
  - body = 3 * Residual
  - last = Linear(2)
"""


@pytest.mark.core
def test_each_row_has_the_time_of_one_copy_and_what_contains_others_their_sum() -> None:
    network, inputs, pairs = network_of(STACKED)
    time = Time()
    slow_down(network.get_submodule("first"), time, 0.010)
    for i, seconds in enumerate((0.001, 0.002, 0.006)):
        slow_down(network.get_submodule(f"body.{i}.fc"), time, seconds)
    slow_down(network.get_submodule("last"), time, 0.020)
    with SlowSums(time):
        times = latencies(network, inputs, passes=3, clock=HostClock(time))
    assert len(times.passes) == 3
    rows, whole = with_latencies(pairs, times)
    found = by_path(rows)
    # The mean of three copies: (1 + 2 + 6) / 3 = 3 ms; with its sum of 3 ms a block takes 6, and the stack 18.
    assert found == pytest.approx(
        {"first": 0.010, "body": 0.018, "body.0": 0.006, "body.0.fc": 0.003, "body.0.add": 0.003, "last": 0.020}
    )
    assert whole == pytest.approx(0.010 + 0.018 + 0.020)


def test_what_marks_cost_is_in_no_layer() -> None:
    # Reading this clock takes 1 ms, and each layer 10.
    time = Time()

    def read() -> int:
        time.passes(0.001)
        return time()

    clock = HostClock(read)
    network, inputs, pairs = network_of(STACKED)
    for i in range(3):
        slow_down(network.get_submodule(f"body.{i}.fc"), time, 0.010)
    rows, _ = with_latencies(pairs, latencies(network, inputs, passes=1, clock=clock))
    assert by_path(rows) == pytest.approx(
        {"first": 0.0, "body": 0.030, "body.0": 0.010, "body.0.fc": 0.010, "body.0.add": 0.0, "last": 0.0}
    )
    module = nn.Sequential(nn.Sequential(nn.ReLU(), nn.ReLU()), nn.ReLU())
    for inner in (module[0][0], module[0][1], module[1]):
        slow_down(inner, time, 0.010)
    x = torch.ones(2)
    pairs = rows_with_nodes(trace_module(module, [x], {}, where_it_lives=True)[0])
    rows, _ = with_latencies(pairs, latencies(module, [x], passes=1, clock=clock))
    # What is outside is timed over the marks of what is inside.
    found = by_path(rows)
    assert found["0"] == pytest.approx(0.020)
    assert found["0.0"] == pytest.approx(0.010)


def test_each_row_has_the_range_of_its_passes() -> None:
    network, inputs, pairs = network_of(STACKED)
    time = Time()
    for i, seconds in enumerate((0.001, 0.002, 0.006)):
        slow_down(network.get_submodule(f"body.{i}.fc"), time, seconds)
    (one,) = latencies(network, inputs, passes=1, clock=HostClock(time)).passes
    rows, _ = with_latencies(pairs, LayerTimes((one, {step: 3 * spent for step, spent in one.items()})))
    # Of one copy 3 ms in the first pass and 9 in the second, and three times as long for the stack.
    assert {row.path: row.latency_range for row in rows if row.path in ("body", "body.0.fc")} == {
        "body": pytest.approx((0.009, 0.027)),
        "body.0.fc": pytest.approx((0.003, 0.009)),
    }


def test_the_rounds_of_a_loop_are_together() -> None:
    network, inputs, pairs = network_of(
        "inputs: {x: 'randn(2, 8)'}\nlayers:\n  - modules:\n      fc: Linear(8)\n"
        "  - for: t in range(4)\n    do:\n      - fc(prev)\n  - ReLU\n"
    )
    time = Time()
    slow_down(network.get_submodule("fc"), time, 0.005)
    rows, whole = with_latencies(pairs, latencies(network, inputs, passes=1, clock=HostClock(time)))
    assert by_path(rows)["fc"] == pytest.approx(0.020)
    assert rows[0].kind == "loop"
    assert rows[0].latency == pytest.approx(0.020)
    assert whole == pytest.approx(0.020)


def test_a_layer_called_again_has_a_time_for_each_row() -> None:
    network, inputs, pairs = network_of(
        "inputs: {x: 'randn(2, 8)'}\nlayers:\n  - fc = Linear(8)\n  - ReLU\n  - fc(prev)\n"
    )
    time = Time()
    calls = iter((0.001, 0.004) * 9)
    network.get_submodule("fc").register_forward_hook(lambda *_: time.passes(next(calls)))
    # One run writes the graph down, one warms up: the order stays that of the two calls.
    rows, _ = with_latencies(pairs, latencies(network, inputs, passes=1, clock=HostClock(time)))
    assert [row.latency for row in rows if row.path == "fc"] == pytest.approx([0.001, 0.004])


def test_modules_inside_torchs_own_layers_have_times_too() -> None:
    network, inputs, pairs = network_of(
        "inputs: {x: 'randn(2, 5, 8)'}\nlayers:\n"
        "  - enc = TransformerEncoderLayer(2, dim_feedforward=16, batch_first=True)\n  - ReLU\n"
    )
    time = Time()
    layer = network.get_submodule("enc")
    slow_down(layer, time, 0.007)
    slow_down(layer.get_submodule("linear1"), time, 0.002)
    rows, whole = with_latencies(pairs, latencies(network, inputs, passes=2, clock=HostClock(time)))
    found = by_path(rows)
    assert found["enc.linear1"] == pytest.approx(0.002)
    assert found["enc"] == pytest.approx(0.009)
    assert whole == pytest.approx(0.009)


def test_where_the_data_decide_the_lines_are_watched() -> None:
    network, inputs, pairs = network_of(
        "inputs: {x: 'full((2, 8), 8.0)'}\nlayers:\n  - fc = Linear(8)(x)\n  - x + 0\n"
        "  - while: prev.sum() > 100\n    do:\n      - prev / 2\n  - Dropout\n".replace("  - fc = Linear(8)(x)\n", "")
    )
    time = Time()
    slow_down(network.get_submodule("dropout"), time, 0.004)
    with SlowSums(time):
        rows, whole = with_latencies(pairs, latencies(network, inputs, passes=1, clock=HostClock(time)))
    found = by_path(rows)
    # 16 values of 8 are 128: one round halves them.
    assert found["add"] == pytest.approx(0.003)
    assert found["dropout"] == pytest.approx(0.004)
    assert whole == pytest.approx(0.007)
    assert network.blueprint.observer is None


class Own(nn.Module):
    """Computes something between its modules."""

    def __init__(self, time: Time) -> None:
        super().__init__()
        self.time = time
        self.a = nn.Linear(4, 4)
        self.pair = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        y = self.pair(self.a(x))
        self.time.passes(0.050)
        return y * 2


def test_a_module_of_pythons_by_hooks_with_a_row_for_what_it_computes_itself() -> None:
    time = Time()
    module, x = Own(time), torch.randn(2, 4)
    slow_down(module.a, time, 0.001)
    slow_down(module.pair[0], time, 0.002)
    slow_down(module.pair, time, 0.004)
    pairs = rows_with_nodes(trace_module(module, [x], {}, where_it_lives=True)[0])
    before = [len(inner._forward_hooks) for inner in module.modules()]
    rows, whole = with_latencies(pairs, latencies(module, [x], passes=2, clock=HostClock(time)))
    # What contains others in a module of Python's is timed itself: 2 ms inside and 4 of its own.
    assert by_path(rows) == pytest.approx({"a": 0.001, "pair": 0.006, "pair.0": 0.002, "pair.1": 0.0, "mul": 0.050})
    assert whole == pytest.approx(0.057)
    assert [len(inner._forward_hooks) for inner in module.modules()] == before


def test_hooks_and_observers_go_after_an_error_too() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 4))
    with pytest.raises(RuntimeError):
        latencies(module, [torch.randn(2, 4)])
    assert not any(inner._forward_hooks or inner._forward_pre_hooks for inner in module.modules())
    network, inputs, _ = network_of(STACKED)
    with pytest.raises(Exception, match=r"\S"):
        latencies(network, [inputs[0][:, :5]])
    assert network.blueprint.observer is None


def test_ctrl_c_leaves_the_passes_so_far() -> None:
    network, inputs, pairs = network_of("inputs: {x: 'randn(2, 8)'}\nlayers:\n  - fc = Linear(8)\n")
    time = Time()
    calls = 0

    def called(*_: Any) -> None:
        nonlocal calls
        calls += 1
        time.passes(0.001)
        # The graph is written down in the first call, the second warms up.
        if calls == 5:
            raise KeyboardInterrupt

    network.get_submodule("fc").register_forward_hook(called)
    times = latencies(network, inputs, passes=10, clock=HostClock(time))
    assert times.interrupted
    assert len(times.passes) == 2
    rows, whole = with_latencies(pairs, times)
    assert rows[0].latency == whole == pytest.approx(0.001)


def test_passes_end_with_the_budget_but_one_runs_in_any_case() -> None:
    network, inputs, _ = network_of("inputs: {x: 'randn(2, 8)'}\nlayers:\n  - fc = Linear(8)\n")
    time = Time()
    slow_down(network.get_submodule("fc"), time, 10.0)
    assert len(latencies(network, inputs, passes=10, budget=1.0, clock=HostClock(time)).passes) == 1
    # Written down, warmed up, and then: 20 s are over before the first pass, 50 before the fourth.
    assert len(latencies(network, inputs, passes=10, budget=45.0, clock=HostClock(time)).passes) == 3


def test_on_a_gpu_the_host_runs_ahead_and_one_wait_ends_a_pass() -> None:
    network, inputs, pairs = network_of(STACKED)
    time = Time()
    cuda = Cuda(time)
    for inner in network.modules():
        if isinstance(inner, nn.Linear):
            # The host takes a hundred times as long to launch as the device to compute.
            inner.register_forward_hook(lambda *_: cuda.launch(1e-6, host=1e-4))
    times = latencies(network, inputs, passes=4, clock=EventClock(torch.device("cuda:0"), cuda, time))
    rows, whole = with_latencies(pairs, times)
    assert by_path(rows)["first"] == pytest.approx(1e-6)
    # Five layers of a microsecond each; no launch is in it.
    assert whole == pytest.approx(5e-6)
    # The empty pairs, one warm-up, two delays that tell their rate, and four passes. The warm-up has no delay; it says
    # how long the host takes: five launches of 0.1 ms, and half as much again, and 20 µs.
    assert cuda.synchronisations == 8
    assert leads(cuda) == pytest.approx([770_000] * 4, abs=1)


def test_on_a_gpu_a_module_is_launched_ahead_of_the_device_too() -> None:
    time = Time()
    cuda = Cuda(time)
    module, x = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), torch.randn(2, 4)
    pairs = rows_with_nodes(trace_module(module, [x], {}, where_it_lives=True)[0])

    def two_kernels(*_: Any) -> None:
        """A host that lags would leave a gap of 0.1 ms between them."""
        cuda.launch(1e-6, host=1e-4)
        cuda.launch(1e-6, host=1e-4)

    for inner in module:
        inner.register_forward_hook(two_kernels)
    clock = EventClock(torch.device("cuda:0"), cuda, time)
    _, whole = with_latencies(pairs, latencies(module, [x], passes=3, clock=clock))
    assert whole == pytest.approx(4e-6)
    # The warm-up has no delay; it says how long the host takes: four launches of 0.1 ms, and half as much again.
    assert leads(cuda) == pytest.approx([620_000] * 3, abs=1)


def test_a_call_that_waits_for_the_device_makes_no_lead_longer() -> None:
    network, inputs, _ = network_of(STACKED)
    time = Time()
    cuda = Cuda(time)

    def counted(*_: Any) -> None:
        """As boolean indexing: the host goes on when the device is done, a delay included."""
        cuda.launch(1e-6, host=1e-4)
        cuda.synchronize(None)

    network.get_submodule("first").register_forward_hook(counted)
    latencies(network, inputs, passes=8, clock=EventClock(torch.device("cuda:0"), cuda, time))
    # 0.1 ms and half as much again, before the eighth pass as before the first.
    assert leads(cuda) == pytest.approx([170_000] * 8, abs=1)


def test_a_slow_host_holds_the_device_no_longer_than_a_second() -> None:
    network, inputs, _ = network_of(STACKED)
    time = Time()
    cuda = Cuda(time)
    network.get_submodule("first").register_forward_hook(lambda *_: cuda.launch(1e-6, host=30.0))
    latencies(network, inputs, passes=1, clock=EventClock(torch.device("cuda:0"), cuda, time))
    assert leads(cuda) == pytest.approx([1_000_000_000], rel=1e-6)


def test_a_long_module_is_launched_in_stretches_whose_leads_are_in_no_time() -> None:
    time = Time()
    cuda = Cuda(time)
    module, x = nn.Sequential(*(nn.Linear(2, 2) for _ in range(300))), torch.randn(2, 2)
    pairs = rows_with_nodes(trace_module(module, [x], {}, where_it_lives=True)[0])
    for inner in module:
        inner.register_forward_hook(lambda *_: cuda.launch(1e-6, host=1e-4))
    clock = EventClock(torch.device("cuda:0"), cuda, time)
    times = latencies(module, [x], passes=2, clock=clock)
    _, whole = with_latencies(pairs, times)
    assert whole == pytest.approx(300e-6)
    # The whole's own time goes around all of it; the second and third stretch began inside it.
    assert times.of([("step", "", 1)]) == pytest.approx([300e-6] * 2)
    # 301 begin: 128, 128 and 45; the first of them, the whole, launches nothing itself.
    assert leads(cuda) == pytest.approx([127 * 150_000, 128 * 150_000, 45 * 150_000] * 2, rel=1e-2)


def module_on_gpu(cuda: Cuda, calls: int, kernels: int, waits: Sequence[int] = ()) -> tuple[nn.Module, Tensor, Pairs]:
    """Layers of some kernels of a microsecond, which the host takes 0.1 ms to launch; some wait for the device."""
    module, x = nn.Sequential(*(nn.Linear(2, 2) for _ in range(calls))), torch.randn(2, 2)
    pairs = rows_with_nodes(trace_module(module, [x], {}, where_it_lives=True)[0])
    for i, inner in enumerate(module):

        def launch(*_: Any, i: int = i) -> None:
            for _ in range(kernels):
                cuda.launch(1e-6, host=1e-4)
            if i in waits:
                cuda.synchronize(None)
                cuda.launch(1e-6, host=1e-4)

        inner.register_forward_hook(launch)
    return module, x, pairs


def test_layers_that_fill_the_queue_are_launched_in_shorter_stretches() -> None:
    # 100 layers of 20 kernels and 2 events: a queue of 1,024 is full in the 47th. The host waits there for the end of
    # the delay, and would then launch the rest while the device waits: 0.1 ms a kernel in place of a microsecond.
    cuda = Cuda(Time(), room=1024)
    module, x, pairs = module_on_gpu(cuda, calls=100, kernels=20)
    times = latencies(module, [x], passes=3, clock=EventClock(torch.device("cuda:0"), cuda, cuda.time))
    rows, whole = with_latencies(pairs, times)
    assert whole == pytest.approx(100 * 20e-6)
    assert {round(row.latency or 0, 9) for row in rows} == {20e-6}
    assert len(times.passes) == 3
    assert not times.exposed


def test_behind_a_layer_that_waits_for_the_device_another_stretch_begins() -> None:
    cuda = Cuda(Time())
    module, x, _ = module_on_gpu(cuda, calls=10, kernels=2, waits=[4])
    times = latencies(module, [x], passes=3, clock=EventClock(torch.device("cuda:0"), cuda, cuda.time))
    for i in range(10):
        # The one that waits launches another kernel 0.1 ms after that, and is named.
        assert (times.of([("step", str(i), 1)])[-1] < 1e-5) == (i != 4)
    assert times.exposed == {("step", "4", 1)}


def test_in_the_graph_of_a_spec_a_call_that_waits_has_a_stretch_of_its_own() -> None:
    lines = "".join(f"  - l{i} = Linear(4)\n" for i in range(8))
    network, inputs, pairs = network_of(f"inputs: {{x: 'randn(2, 4)'}}\nlayers:\n{lines}")
    cuda = Cuda(Time())

    def launch(module: nn.Module, *_: Any) -> None:
        cuda.launch(1e-6, host=1e-4)
        if module is network.get_submodule("l3"):
            cuda.synchronize(None)
            cuda.launch(1e-6, host=1e-4)

    for inner in network.modules():
        if isinstance(inner, nn.Linear):
            inner.register_forward_hook(launch)
    times = latencies(network, inputs, passes=2, clock=EventClock(torch.device("cuda:0"), cuda, cuda.time))
    found = by_path(with_latencies(pairs, times)[0])
    assert [found[f"l{i}"] for i in range(8) if i != 3] == pytest.approx([1e-6] * 7)
    assert (found["l3"] or 0) > 5e-5
    notes = note_on_exposed(times, tuple(pairs))
    assert notes == [
        "the time of l3 includes launching: it waits for the device, or launches more than the queue holds"
    ]


def test_layers_of_two_networks_are_timed_in_turn() -> None:
    time, ran = Time(), list[str]()
    calls = []
    for name, seconds in (("a", 0.010), ("b", 0.020)):
        module = nn.Sequential(nn.Linear(2, 2))
        module[0].register_forward_hook(lambda *_, name=name: ran.append(name))
        slow_down(module[0], time, seconds)
        calls.append(LayeredCall(module, [torch.ones(1, 2)]))
    one, other = in_turn(calls, HostClock(time), passes=6, order=random.Random(1))
    assert one.of([("step", "0", 1)]) == pytest.approx([0.010] * 6)
    assert other.of([("step", "0", 1)]) == pytest.approx([0.020] * 6)
    # Both warm up; then each round has both, not always in one order.
    rounds = ["".join(ran[i : i + 2]) for i in range(0, 14, 2)]
    assert rounds[0] == "ab"
    assert set(rounds[1:]) == {"ab", "ba"}


def test_rows_without_times_stay_as_they_were() -> None:
    _, _, pairs = network_of(STACKED)
    rows, whole = with_latencies(pairs, LayerTimes(()))
    assert whole is None
    assert all(row.latency is None for row in rows)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_layers_take_no_longer_than_the_whole() -> None:
    from fwdscope.timing.clock import clock_for
    from fwdscope.timing.sampling import SamplingPlan, measure

    checked = check(parse(Source("spec.yaml", STACKED.replace("(2, 8)", "(4096, 2048)").replace("(8)", "(2048)"))))
    network = materialise(build(checked), "cuda", seed=0)
    inputs = list(example_inputs(checked, "cuda").values())
    times = latencies(network, inputs, passes=5)
    pairs = rows_with_nodes(trace(network, None, {"x": inputs[0]}))
    _, whole = with_latencies(pairs, times)
    with torch.inference_mode():
        samples = measure(lambda: network(*inputs), clock_for(torch.device("cuda")), SamplingPlan(repeats=20))
    assert whole is not None
    assert 0 < whole < 2 * samples.latency.median
