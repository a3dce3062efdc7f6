"""Peaks: measured with a fake clock, remembered in a file, or taken from the table."""

from __future__ import annotations

import itertools
import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fwdscope.device import peaks as module
from fwdscope.device.local import LocalDevice
from fwdscope.device.peaks import (
    DeviceTimer,
    Gauge,
    convolution_rate,
    copy_rate,
    fastest,
    find_peaks,
    forget,
    measure_peaks,
    product_rate,
)
from fwdscope.report import DeviceState

GIB = 1024**3
CPU = LocalDevice("cpu", "Some CPU", 16 * GIB, 8 * GIB)
H100 = LocalDevice("cuda:0", "NVIDIA H100 80GB HBM3", 79 * GIB, 70 * GIB)


class Clock:
    """A clock that stands still but for what work takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where peaks are remembered in a test."""
    return tmp_path / "cache" / "peaks.json"


@pytest.fixture
def rates() -> list[str]:
    """What was measured, in order."""
    return []


@pytest.fixture
def gauge(rates: list[str], file: Path) -> Gauge:
    """It says rates that are known; nothing is computed."""

    def product(device: LocalDevice, dtype: str, timer: DeviceTimer) -> float | None:
        rates.append(dtype)
        return {"float32": 2e12, "bfloat16": 4e12}.get(dtype)

    def copy(device: LocalDevice, timer: DeviceTimer) -> float:
        rates.append("bandwidth")
        return 5e10

    return Gauge(product, lambda device, dtype, timer: 3e12, copy, file=file)


# --- measuring -------------------------------------------------------------------------------------------------------


def test_the_fastest_repeat_counts_and_the_first_warms_up() -> None:
    clock = Clock()
    # The first is slow, the rest take 0.1 s but for one of 0.08.
    lengths = iter([3.0, 0.1, 0.1, 0.08, *[0.1] * 99])

    def run() -> None:
        clock.now += next(lengths)

    assert fastest(run, DeviceTimer(clock), budget=4.0) == pytest.approx(0.08)
    # 3.1 s for the first two; of the rest one more than 0.08 s each fits until 4 s are over.
    assert clock.now <= 4.0


def test_a_budget_that_the_first_run_spends_still_gives_a_figure() -> None:
    clock = Clock()

    def run() -> None:
        clock.now += 2.0

    assert fastest(run, DeviceTimer(clock), budget=0.5) == pytest.approx(2.0)
    assert clock.now == 4.0


def test_short_runs_are_timed_several_at_once() -> None:
    clock, reads = Clock(), 0

    def read() -> float:
        nonlocal reads
        reads += 1
        # Reading the clock costs as much as ten runs.
        clock.now += 1e-3
        return clock.now

    def run() -> None:
        clock.now += 1e-4

    # Alone a run would seem to take 1.1 ms. Of 10 ms in runs that seem so long, 10 are timed at once: 0.2 ms.
    assert fastest(run, DeviceTimer(read), budget=0.5) == pytest.approx((10 * 1e-4 + 1e-3) / 10)


def test_the_timer_waits_for_the_device() -> None:
    order: list[str] = []

    def clock() -> float:
        order.append("clock")
        return 1.0

    assert DeviceTimer(clock, lambda: order.append("synchronise")).read() == 1.0
    assert order == ["synchronise", "clock"]


class Products:
    """Products that take so long by a clock, and the sizes of those tried."""

    def __init__(self, clock: Clock, seconds: Callable[[int], float]) -> None:
        self.clock, self.seconds = clock, seconds
        self.sizes: list[int] = []

    def __call__(self, device: LocalDevice, dtype: torch.dtype, size: int, timer: DeviceTimer, budget: float) -> float:
        self.sizes.append(size)
        self.clock.now += 2 * self.seconds(size)
        return self.seconds(size)


def test_products_grow_until_the_next_would_outlast_the_budget() -> None:
    clock = Clock()
    # 1 TFLOP/s from 1024 on, less for small ones: 2 · 2048³ / 1e12 = 17 ms, 4096: 137 ms, 8192: 1.1 s.
    products = Products(clock, lambda size: 2 * size**3 / (1e12 if size >= 1024 else 1e11))
    rate = product_rate(CPU, "float32", DeviceTimer(clock), budget=0.5, product=products)
    assert products.sizes == [256, 512, 1024, 2048, 4096]
    assert rate == pytest.approx(1e12)


def test_a_dtype_without_units_stops_at_small_products() -> None:
    clock = Clock()
    # 1 GFLOP/s: 2 · 256³ / 1e9 = 34 ms, of 512: 268 ms, which is eight times that and within 0.43 s; 1024 is not.
    products = Products(clock, lambda size: 2 * size**3 / 1e9)
    assert product_rate(CPU, "float16", DeviceTimer(clock), 0.5, products) == pytest.approx(1e9)
    assert products.sizes == [256, 512]


def test_products_stay_within_the_free_memory() -> None:
    # A quarter of 48 MiB for three matrices of 4 bytes an element: sqrt(12 MiB / 12) = 1024.
    small = replace(CPU, free=48 * 1024**2)
    products = Products(Clock(), lambda size: 1e-9)
    product_rate(small, "float32", DeviceTimer(Clock()), product=products)
    assert products.sizes == [256, 512, 1024]


def test_a_dtype_that_a_device_cannot_compute_has_no_peak() -> None:
    def fails(*_: object) -> float:
        raise RuntimeError("not implemented for 'Half'")

    assert product_rate(CPU, "float16", DeviceTimer(), product=fails) is None
    assert product_rate(CPU, "int8", DeviceTimer()) is None
    assert product_rate(CPU, "no_such_dtype", DeviceTimer()) is None
    assert product_rate(replace(CPU, free=1000), "float32", DeviceTimer()) is None
    assert copy_rate(replace(CPU, free=0), DeviceTimer()) is None


def test_a_copy_counts_what_is_read_and_what_is_written() -> None:
    # A clock that is 10 ms later whenever it is read.
    timer = DeviceTimer(itertools.count(step=0.01).__next__)
    # An eighth of 8 MiB each: 2 · 1 MiB in 10 ms.
    assert copy_rate(replace(CPU, free=8 * 1024**2), timer) == pytest.approx(2 * 1024**2 / 0.01)


def test_a_real_product_and_a_real_copy_have_a_rate() -> None:
    little = replace(CPU, free=64 * 1024**2)
    rate = product_rate(little, "float32", DeviceTimer(), budget=0.02)
    # No computer multiplies at less than a million a second, nor at more than an exaflop.
    assert rate is not None
    assert 1e6 < rate < 1e18
    bandwidth = copy_rate(little, DeviceTimer(), budget=0.02)
    assert bandwidth is not None
    assert 1e6 < bandwidth < 1e15


def test_measuring_leaves_torchs_random_numbers_as_they_were() -> None:
    before = torch.get_rng_state()
    product_rate(replace(CPU, free=8 * 1024**2), "float32", DeviceTimer(), budget=0.01)
    assert torch.equal(torch.get_rng_state(), before)


# --- cache -----------------------------------------------------------------------------------------------------------


def test_convolutions_of_a_cpu_have_their_own_peak_if_it_is_higher(gauge: Gauge, rates: list[str]) -> None:
    assert measure_peaks(CPU, "float32", gauge).convolution_flops == 3e12
    assert measure_peaks(CPU, "bfloat16", gauge).flops == 4e12
    assert measure_peaks(CPU, "bfloat16", gauge).convolution_flops is None
    assert measure_peaks(CPU, "float16", gauge).convolution_flops is None, "nothing to compare it with"


def test_a_real_convolution_has_a_rate_and_one_without_room_none() -> None:
    rate = convolution_rate(replace(CPU, free=64 * 1024**2), "float32", DeviceTimer(), budget=0.02)
    assert rate is not None
    assert 1e6 < rate < 1e18
    assert convolution_rate(replace(CPU, free=1000), "float32", DeviceTimer()) is None
    assert convolution_rate(CPU, "int8", DeviceTimer()) is None


@pytest.mark.core
def test_a_figure_is_measured_once(gauge: Gauge, rates: list[str], file: Path) -> None:
    first = measure_peaks(CPU, "float32", gauge)
    assert (first.name, first.dtype, first.flops, first.bandwidth) == ("Some CPU", "float32", 2e12, 5e10)
    assert (first.memory, first.source) == (16 * GIB, "measured")
    assert measure_peaks(CPU, "float32", gauge) == first
    assert rates == ["float32", "bandwidth"]
    # Another dtype shares the bandwidth.
    assert measure_peaks(CPU, "bfloat16", gauge).flops == 4e12
    assert rates == ["float32", "bandwidth", "bfloat16"]


def test_unsupported_dtypes_are_cached_too(gauge: Gauge, rates: list[str]) -> None:
    assert measure_peaks(CPU, "float16", gauge).flops is None
    assert measure_peaks(CPU, "float16", gauge).flops is None
    assert rates.count("float16") == 1


def test_remeasuring_drops_the_cached_peaks(gauge: Gauge, rates: list[str]) -> None:
    measure_peaks(CPU, "float32", gauge)
    measure_peaks(CPU, "bfloat16", gauge)
    find_peaks(CPU, "float32", remeasure=True, gauge=gauge)
    assert rates == ["float32", "bandwidth", "bfloat16", "float32", "bandwidth"]
    forget(CPU, gauge)
    measure_peaks(CPU, "bfloat16", gauge)
    assert rates[5:] == ["bfloat16", "bandwidth"]


def test_peaks_are_cached_by_device_torch_and_threads(gauge: Gauge, rates: list[str]) -> None:
    measure_peaks(CPU, "float32", gauge)
    measure_peaks(replace(CPU, name="Other CPU"), "float32", gauge)
    measure_peaks(CPU, "float32", replace(gauge, threads=lambda: 97))
    measure_peaks(CPU, "float32", replace(gauge, torch_version="9.9"))
    measure_peaks(CPU, "float32", replace(gauge, threads=lambda: 97))
    assert rates.count("float32") == 4


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"version": 0, "devices": {}}', '{"version": 2, "devices": 3}', "[" * 100_000],
    ids=["cut", "list", "version", "shape", "deep"],
)
def test_a_broken_file_is_ignored_and_written_again(gauge: Gauge, rates: list[str], file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text)
    assert measure_peaks(CPU, "float32", gauge).flops == 2e12
    measure_peaks(CPU, "float32", gauge)
    assert rates == ["float32", "bandwidth"]
    assert json.loads(file.read_text())["version"] == 2


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    "value",
    [
        *("fast", None, {"rate": 2e12}),
        *({"rate": rate, "at": NOW, "busy": False} for rate in ("fast", -1.0, True)),
        {"rate": 2e12, "at": "today", "busy": False},
        {"rate": 2e12, "at": NOW, "busy": None},
    ],
)
def test_an_invalid_figure_is_measured_again(gauge: Gauge, rates: list[str], file: Path, value: object) -> None:
    measure_peaks(CPU, "float32", gauge)
    data = json.loads(file.read_text())
    next(iter(data["devices"].values()))["float32"] = value
    file.write_text(json.dumps(data))
    assert measure_peaks(CPU, "float32", gauge).flops == 2e12
    assert rates == ["float32", "bandwidth", "float32"]


def test_a_binary_file_is_ignored(gauge: Gauge, rates: list[str], file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"\xff\xfe\x00")
    assert measure_peaks(CPU, "float32", gauge).flops == 2e12


def test_a_cache_that_cannot_be_written_is_ignored(gauge: Gauge, rates: list[str], file: Path) -> None:
    file.parent.write_text("a file where the folder should be")
    assert measure_peaks(CPU, "float32", gauge).flops == 2e12
    assert measure_peaks(CPU, "float32", gauge).flops == 2e12
    assert rates == ["float32", "bandwidth"] * 2


def test_no_temporary_files_are_left(gauge: Gauge, rates: list[str], file: Path) -> None:
    measure_peaks(CPU, "float32", gauge)
    measure_peaks(CPU, "bfloat16", gauge)
    assert [path.name for path in file.parent.iterdir()] == ["peaks.json"]
    assert stat.S_ISREG(file.stat().st_mode)


def test_without_a_cache_folder_figures_are_measured_each_time(gauge: Gauge, rates: list[str]) -> None:
    gauge = replace(gauge, file=None)
    measure_peaks(CPU, "float32", gauge)
    measure_peaks(CPU, "float32", gauge)
    assert rates == ["float32", "bandwidth"] * 2


# --- too low ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(file: Path) -> World:
    """A device whose speed, and what runs beside it, a test decides."""
    return World(file)


class World:
    """What is measured of it, and when."""

    def __init__(self, file: Path) -> None:
        self.now, self.busy, self.rate, self.measured = NOW, False, 2e12, 0
        self.gauge = Gauge(
            self.product,
            lambda device, dtype, timer: None,
            lambda device, timer: 5e10,
            is_busy=lambda: self.busy,
            now=lambda: self.now,
            has_tf32=lambda device: False,
            file=file,
        )

    def product(self, device: LocalDevice, dtype: str, timer: DeviceTimer) -> float:
        """A measurement."""
        self.measured += 1
        return self.rate

    def seen(self, seconds: float, rate: float) -> float | None:
        """The peak so many seconds later, were the device measured at this rate now."""
        self.now += seconds
        self.rate = rate
        return measure_peaks(CPU, "float32", self.gauge).flops


def test_a_figure_is_good_for_a_month_and_then_whatever_is_measured(world: World) -> None:
    assert world.seen(0, 2e12) == 2e12
    assert world.seen(29 * 86_400, 3e12) == 2e12
    assert world.seen(2 * 86_400, 1e12) == 1e12
    assert world.measured == 2


def test_a_figure_of_a_busy_machine_is_measured_again_soon_and_the_higher_one_stays(world: World) -> None:
    world.busy = True
    assert world.seen(0, 1e12) == 1e12
    assert world.seen(599, 9e12) == 1e12
    assert world.seen(2, 0.5e12) == 1e12, "slower still says nothing against the first"
    assert world.measured == 2
    world.busy = False
    assert world.seen(601, 2e12) == 2e12
    assert world.seen(86_400, 3e12) == 2e12
    assert world.measured == 3


def test_a_figure_of_the_future_is_measured_again(world: World) -> None:
    world.seen(0, 2e12)
    assert world.seen(-3_600, 3e12) == 3e12


def test_a_figure_that_was_beaten_is_measured_again_but_not_every_time(world: World) -> None:
    world.seen(0, 1e12)
    world.rate = 2e12
    assert measure_peaks(CPU, "float32", world.gauge, exceeded=True).flops == 1e12, "it was measured just now"
    world.now += 601
    assert measure_peaks(CPU, "float32", world.gauge, exceeded=True).flops == 2e12
    world.now, world.rate = world.now + 601, 1.5e12
    assert measure_peaks(CPU, "float32", world.gauge, exceeded=True).flops == 2e12, "it never falls"
    assert measure_peaks(CPU, "float32", world.gauge).flops == 2e12
    assert world.measured == 3


def test_a_gpu_does_not_mind_a_busy_processor(world: World, file: Path) -> None:
    world.busy = True
    measure_peaks(replace(H100, name="NVIDIA GeForce RTX 3090 Ti"), "float32", world.gauge)
    assert [
        one["busy"] for figures in json.loads(file.read_text())["devices"].values() for one in figures.values()
    ] == [
        False,
        False,
    ]


# --- published -------------------------------------------------------------------------------------------------------


def test_a_gpu_whose_figures_are_published_is_not_measured(gauge: Gauge, rates: list[str]) -> None:
    found = find_peaks(H100, "bfloat16", gauge=gauge)
    assert (found.name, found.flops, found.bandwidth, found.source) == ("H100 SXM 80GB", 989.4e12, 3.35e12, "table")
    assert found.memory == 79 * GIB, "what is here has told its own memory"
    assert rates == []


def test_a_gpu_of_the_same_name_with_other_memory_is_another(gauge: Gauge, rates: list[str]) -> None:
    # NVIDIA sells an RTX 3060 with 12 GB and with 8, whose bus is narrower: 240 GB/s in place of 360.
    large, small = (LocalDevice("cuda:0", "NVIDIA GeForce RTX 3060", gib * GIB, None) for gib in (12, 8))
    assert find_peaks(large, "float16", gauge=gauge).source == "table"
    assert find_peaks(small, "float16", gauge=gauge).source == "measured"
    assert rates == ["float16", "bandwidth"]


def test_a_gpus_measured_peaks_are_of_its_form_and_power_limit(gauge: Gauge, rates: list[str]) -> None:
    one = LocalDevice("cuda:0", "NVIDIA GeForce RTX 3060", 8 * GIB, None, uuid="a", form="28 SMs, 8.6")
    limits = {"a": 170.0, "b": 120.0}
    asked = replace(gauge, state=lambda uuid: DeviceState(power_limit=limits[uuid]), has_tf32=lambda _: False)
    for device in (one, one, replace(one, uuid="b"), replace(one, form="24 SMs, 8.6"), replace(one, memory=6 * GIB)):
        measure_peaks(device, "float16", asked)
    # The second alone is the same device as before.
    assert rates == ["float16", "bandwidth"] * 4


@pytest.fixture
def precisions() -> Iterator[None]:
    """What torch may compute float32 in, put back afterwards."""
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions


@pytest.mark.usefixtures("precisions")
def test_torchs_settings_decide_what_float32_runs_in() -> None:
    found = find_peaks(H100, "float32")
    assert (found.flops, found.convolution_flops) == (67e12, 494.5e12)
    torch.backends.cudnn.allow_tf32 = False
    assert find_peaks(H100, "float32").convolution_flops is None
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    assert find_peaks(H100, "float32").flops == 494.5e12
    # A T4 has no units for TF32, whatever a program allows.
    assert find_peaks(replace(H100, name="Tesla T4", memory=15 * GIB), "float32").flops == 8.1e12


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="this torch has one for all")
@pytest.mark.usefixtures("precisions")
def test_each_operators_own_setting_decides_too() -> None:
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    kept = matmul.fp32_precision, convolution.fp32_precision
    try:
        matmul.fp32_precision, convolution.fp32_precision = "tf32", "ieee"
        # Of these, torch's settings for all operators say nothing but an error.
        found = find_peaks(H100, "float32")
        assert (found.flops, found.convolution_flops) == (494.5e12, None)
    finally:
        matmul.fp32_precision, convolution.fp32_precision = kept


def test_a_gpu_that_is_not_in_the_table_is_measured_also_in_tf32(gauge: Gauge, rates: list[str]) -> None:
    allowed: list[bool] = []

    def watched(*arguments: Any) -> float | None:
        allowed.append(module.products_in_tf32())
        return gauge.product(*arguments)

    newer = replace(gauge, product=watched, has_tf32=lambda device: True)
    found = find_peaks(replace(H100, name="NVIDIA GeForce RTX 3090 Ti"), "float32", gauge=newer)
    assert (found.source, found.flops, found.convolution_flops) == ("measured", 2e12, 2e12)
    assert rates == ["float32", "float32", "bandwidth"]
    assert allowed == [False, True]
    # As the program had it, afterwards.
    assert not module.products_in_tf32()
    assert torch.get_float32_matmul_precision() == "highest"


def test_loading_a_gpus_kernels_is_in_no_budget() -> None:
    clock = Clock()
    first = iter([3.0])
    # The library takes 3 s to load; then 10 TFLOP/s: 2 · 2048³ / 1e13 = 1.7 ms, 8192: 110 ms.
    products = Products(clock, lambda size: next(first, 0.0) + 2 * size**3 / 1e13)
    rate = product_rate(replace(H100, name="Some GPU"), "float32", DeviceTimer(clock), 0.5, products)
    assert rate == pytest.approx(1e13)
    assert products.sizes[:2] == [256, 256]
    assert products.sizes[-1] >= 4096


def test_a_cpu_is_measured_by_its_name(gauge: Gauge, rates: list[str]) -> None:
    assert find_peaks("cpu", "float32", gauge=gauge).source == "measured"
    assert rates == ["float32", "bandwidth"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_stays_below_its_published_roofs(file: Path) -> None:
    published = find_peaks("cuda", "bfloat16")
    own = measure_peaks("cuda", "bfloat16", Gauge(file=file))
    if published.source == "measured":
        pytest.skip("no figures are published of this device")
    assert own.flops is not None
    assert own.bandwidth is not None
    assert published.flops is not None
    assert published.bandwidth is not None
    assert own.flops < published.flops
    assert own.bandwidth < published.bandwidth
