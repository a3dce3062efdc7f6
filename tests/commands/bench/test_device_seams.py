"""What a benchmark asks of a GPU that is not here: queued and waited for, its state, autocast, settings."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import reports_of_runs
import torch
from fake_clocks import Cuda, Time

from fwdscope.cli.bench import _command_line
from fwdscope.commands.bench.measuring import _middle, bench
from fwdscope.commands.bench.request import BenchRequest
from fwdscope.commands.bench.workload import Workload, make_workload
from fwdscope.device.local import LocalDevice
from fwdscope.language import load
from fwdscope.render.bench import draw
from fwdscope.report import DeviceState, Peaks
from fwdscope.report.speedup import differences
from fwdscope.run.latency import how_computed
from fwdscope.run.subject import SpecSubject
from fwdscope.settings import BenchSettings, RunError
from fwdscope.targets import Target, find_spec
from fwdscope.timing.clock import EventClock

PLACE = torch.device("cuda:0")
NO_PEAKS = Peaks("", "float32", None, None, None, "measured")


def workload(settings: BenchSettings) -> Workload:
    path = find_spec("mlp_mnist")
    assert path is not None
    return make_workload(SpecSubject(load(path), {}), settings)


def measured(settings: BenchSettings, states: list[DeviceState | None] | None = None) -> Any:
    """The run of a network whose two layers take the host 0.5 ms each before a kernel of 1 ms."""
    cuda, made = Cuda(Time()), workload(settings)

    def kernel(*_: object) -> None:
        cuda.time.passes(5e-4)
        cuda.launch(1e-3, host=0.0)

    for name in ("fc1", "fc2"):
        made.ready.call.module.get_submodule(name).register_forward_hook(kernel)
    asked = iter(states or ())
    clock = EventClock(PLACE, cuda, cuda.time)
    return bench(made, settings, clock, lambda *_: NO_PEAKS, lambda _: next(asked, None)).report.run


@pytest.mark.core
def test_forwards_are_queued_or_waited_for_and_the_other_time_is_beside() -> None:
    settings = BenchSettings(device="cpu", repeats=5, layers=False)
    # Queued, the device is never idle: 2 ms. Alone it waits 0.5 ms for the first kernel.
    queued = measured(settings)
    assert queued.latency.median == pytest.approx(2e-3)
    assert (queued.repeats_are, queued.other_latency) == ("queued", pytest.approx(2.5e-3))
    alone = measured(replace(settings, latency=True))
    assert alone.latency.median == pytest.approx(2.5e-3)
    assert (alone.repeats_are, alone.other_latency) == ("alone", pytest.approx(2e-3))
    report = reports_of_runs.report([0.002])
    text = draw(replace(report, run=replace(report.run, repeats_are="queued", other_latency=0.0025)), 100)
    assert "forwards are queued one behind another; waited for, one at a time: 2.50 ms" in " ".join(text.split())


def test_a_device_is_asked_for_its_state_while_it_works() -> None:
    states = [DeviceState("550.54", clock, 1980, 400.0, 700.0, 60) for clock in (1980, 1200, 1755)]
    slowed = [states[0], replace(states[1], slowed_by=("heat",)), replace(states[2], slowed_by=("power cap", "heat"))]
    # The middle clock, and all that slowed it.
    assert _middle(slowed) == replace(slowed[2], slowed_by=("heat", "power cap"))
    assert _middle([]) is None
    run = measured(BenchSettings(device="cpu", repeats=5, layers=False), [states[2]])
    assert run.state == states[2]
    report = reports_of_runs.report([0.03])
    text = draw(
        replace(report, run=replace(report.run, state=slowed[2], reserved_memory=2**30, peak_memory=2**29)), 100
    )
    assert "1,755 of 1,980 MHz · 400 of 700 W · 60 °C · slowed by power cap, heat · driver 550.54" in " ".join(
        text.split()
    )
    assert "512 MiB peak (measured), 1.00 GiB reserved" in text


def test_how_a_gpu_computes_is_recorded_and_drawn() -> None:
    backends = SimpleNamespace(
        cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=True)),
        cudnn=SimpleNamespace(allow_tf32=False, benchmark=True),
    )
    found = how_computed(LocalDevice("cuda:0", "T4", None, None), backends)
    assert found == {"tf32": "products", "cudnn_benchmark": True}
    assert how_computed(LocalDevice("cpu", "", None, None), backends) == {}
    report = reports_of_runs.report([0.03])
    text = draw(replace(report, run=replace(report.run, **found)), 140)
    assert "TF32 in products  ·  cudnn.benchmark" in text
    assert "TF32" not in draw(replace(report, run=replace(report.run, **found, dtype="float16")), 140)


def test_no_comparison_is_silent_about_how_a_gpu_computed() -> None:
    report = reports_of_runs.report([0.03])
    assert report.run is not None
    state = DeviceState("550.54", 1980, 1980, 400.0, 700.0, 60)
    old = replace(report, run=replace(report.run, tf32="off", cudnn_benchmark=False, state=state))
    slower = replace(state, driver="560.28", clock=1500, power_limit=500.0)
    assert old.run is not None
    new = replace(old, run=replace(old.run, tf32="on", cudnn_benchmark=True, repeats_are="queued", state=slower))
    assert differences(old, new) == (
        "TF32 off then, on now",
        "cudnn.benchmark False then, True now",
        "forwards alone then, queued now",
        "driver 550.54 then, 560.28 now",
        "clock 1,980 MHz then, 1,500 MHz now",
        "power limit 700 W then, 500 W now",
    )
    # A clock that is 1 % lower is the same.
    near = replace(old, run=replace(old.run, state=replace(state, clock=1965)))
    assert differences(old, near) == ()


def test_what_only_a_gpu_has_is_refused_on_a_cpu() -> None:
    for settings in (BenchSettings(device="cpu", tf32=False), BenchSettings(device="cpu", cudnn_benchmark=True)):
        with pytest.raises(RunError, match="for CUDA devices: on cpu leave them out"):
            workload(settings)


def test_autocast_begins_anew_with_each_forward() -> None:
    # It keeps the weights that it has cast until it ends, which a program that casts for each forward has not.
    inside: list[bool] = []
    between: list[bool] = []

    def enabled(seen: list[bool]) -> None:
        seen.append(torch.is_autocast_enabled("cpu"))

    settings = BenchSettings(
        device="cpu", dtype="bfloat16", autocast=True, warmup=1, repeats=3, on_progress=lambda _: enabled(between)
    )
    made = workload(settings)
    made.ready.call.module.get_submodule("fc1").register_forward_hook(lambda *_: enabled(inside))
    bench(made, settings, peaks=lambda *_: NO_PEAKS)
    # In the warm-up, the repeats and the passes over the layers alike.
    assert inside == [True] * len(inside)
    assert len(inside) >= 1 + 3 + 1 + 3
    assert not any(between)
    assert len(between) >= 3


def test_the_command_that_measures_again_has_the_same_settings() -> None:
    settings = BenchSettings(device="cuda", tf32=False, cudnn_benchmark=True, latency=True)
    line = _command_line(BenchRequest(Target("gpt2"), settings))
    assert line == "fwdscope bench gpt2 --device cuda --latency --no-tf32 --cudnn-benchmark"
    assert _command_line(BenchRequest(Target("gpt2"), BenchSettings(tf32=True))) == "fwdscope bench gpt2 --tf32"


def test_a_sweep_sets_how_a_gpu_computes() -> None:
    request = BenchRequest(Target("gpt2"), BenchSettings())
    at = request.at([("tf32", "yes"), ("cudnn-benchmark", "no"), ("latency", "yes")]).settings
    assert (at.tf32, at.cudnn_benchmark, at.latency) == (True, False, True)
