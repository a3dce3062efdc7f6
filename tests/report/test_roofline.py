"""The roofline of a row, and the least time of a whole network on a device that is not here."""

from __future__ import annotations

import functools
import math
import subprocess
import sys
from dataclasses import replace

import pytest

from fwdscope.device.table import accelerator, accelerators_of
from fwdscope.inspection import inspect_spec
from fwdscope.language import load
from fwdscope.report import (
    Backward,
    Environment,
    FusedTraffic,
    LayerRow,
    Peaks,
    Phase,
    Report,
    TensorInfo,
    Totals,
    TrainingStep,
)
from fwdscope.report.roofline import (
    LAUNCH,
    estimate,
    fastest_first,
    fused_bytes,
    is_launch_bound,
    ridge,
    roofline,
    steps,
    utilisation,
    with_eager,
)
from fwdscope.report.throughput import items
from fwdscope.targets import shipped_specs

# 100 FLOP/s and 10 bytes/s: the roofs meet at 10 FLOPs per byte.
ROOFS = Peaks("a device", "float32", 100.0, 10.0, 1000, "table")


def row(
    path: str = "fc", flops: int | None = 0, read: int | None = 0, written: int | None = 0, **fields: object
) -> LayerRow:
    given = {"type": "Linear", "kind": "layer", "depth": path.count(".") + 1, "macs": (flops or 0) // 2} | fields
    return LayerRow(path=path, flops=flops, bytes_read=read, bytes_written=written, **given)  # type: ignore[arg-type]


# 30 bytes of weights and ends, and two results of 5 bytes that lie between products.
FUSED = FusedTraffic(20, 10, ((5, 2),), 0)


def network(*rows: LayerRow, fused: FusedTraffic | None = FUSED, **fields: object) -> Report:
    top = [one for one in rows if one.depth == 1]
    sums = {
        name: sum((getattr(one, name) or 0) * one.repeat for one in top)
        for name in ("macs", "flops", "bytes_read", "bytes_written")
    }
    totals = Totals(
        params=0, trainable_params=0, buffers=0, param_bytes=0, buffer_bytes=0, peak_memory=500, fused=fused, **sums
    )
    environment = Environment("0", "3.11", "2.13.0", "linux")
    return Report("net", (), (), rows, totals, environment, **fields)  # type: ignore[arg-type]


# --- a row -----------------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_a_row_above_the_ridge_is_bound_by_compute() -> None:
    # 600 FLOPs over 20 bytes: 30 each, beyond 10. Arithmetic takes 600 / 100 = 6 s, traffic 20 / 10 = 2.
    found = roofline(row(flops=600, read=15, written=5), ROOFS)
    assert found is not None
    assert (found.intensity, found.bound, found.least, found.share) == (30.0, "compute", 6.0, None)


def test_a_row_below_the_ridge_is_bound_by_memory() -> None:
    # 100 FLOPs over 50 bytes: 1 s of arithmetic, 5 s of traffic.
    found = roofline(row(flops=100, read=40, written=10), ROOFS)
    assert found is not None
    assert (found.intensity, found.bound, found.least) == (2.0, "memory", 5.0)


def test_a_timed_row_has_a_share_of_its_roofline() -> None:
    # The least is 600 / 100 = 6 s, and it took 8.
    found = roofline(row(flops=600, read=15, written=5, latency=8.0), ROOFS)
    assert found is not None
    assert found.share == 0.75


def test_a_row_that_only_moves_is_bound_by_memory() -> None:
    found = roofline(row(flops=0, read=10, written=10, latency=4.0), ROOFS)
    assert found is not None
    assert (found.intensity, found.bound, found.least, found.share) == (0.0, "memory", 2.0, 0.5)


def test_a_row_that_moves_nothing_has_no_intensity() -> None:
    found = roofline(row(flops=50), ROOFS)
    assert found is not None
    assert (found.intensity, found.bound, found.least) == (None, "compute", 0.5)


@pytest.mark.parametrize(
    ("one", "peaks"),
    [
        (row(flops=None, read=1, written=1), ROOFS),
        (row(flops=1, read=None, written=1), ROOFS),
        (row(flops=1, read=1, written=None), ROOFS),
        (row(), ROOFS),
        (row(flops=1, read=1, uncounted=("aten::mystery",)), ROOFS),
        (row(flops=1, read=1), replace(ROOFS, flops=None)),
        (row(flops=1, read=1), replace(ROOFS, bandwidth=None)),
    ],
    ids=["flops", "read", "written", "nothing", "uncounted", "no rate", "no bandwidth"],
)
def test_what_is_not_known_has_no_roofline(one: LayerRow, peaks: Peaks) -> None:
    assert roofline(one, peaks) is None


@pytest.mark.parametrize(
    ("fields", "peak"),
    [
        ({"parameters": (TensorInfo("weight", (8, 3, 3, 3), "float32"),)}, 400.0),
        # A convolution by a weight that stands elsewhere is known by its windows.
        ({"receptive_field": (3, 3)}, 400.0),
        ({"parameters": (TensorInfo("weight", (8, 3), "float32"),)}, 100.0),
        ({}, 100.0),
        # A pooling has windows, but no products.
        ({"receptive_field": (3, 3), "macs": 0}, 100.0),
    ],
    ids=["weight", "windows", "linear", "attention", "pooling"],
)
def test_a_row_that_may_convolve_has_the_roof_of_convolutions(fields: dict[str, object], peak: float) -> None:
    found = roofline(row(flops=800, **fields), replace(ROOFS, convolution_flops=400.0))
    assert found is not None
    assert found.least == 800 / peak


def test_without_a_rate_or_a_bandwidth_there_is_no_ridge() -> None:
    assert ridge(ROOFS) == 10.0
    assert ridge(replace(ROOFS, flops=None)) is None
    assert ridge(replace(ROOFS, bandwidth=None)) is None


# --- the whole -------------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_the_whole_takes_at_least_its_arithmetic_and_what_no_fusion_saves() -> None:
    report = network(row("a", 600, 15, 5), row("b", 100, 40, 10))
    # Arithmetic 700 / 100; 20 + 10 bytes once and 2 · 5 twice: 50 / 10.
    found = estimate(report, replace(ROOFS, cache=0))
    assert (found.seconds, found.compute_seconds, found.memory_seconds) == (7.0, 7.0, 5.0)
    assert (found.needed, found.fits) == (500, True)
    # A cache of 2 bytes keeps as much of each, one of unknown size may keep them all.
    assert fused_bytes(report, "forward", 2) == 30 + 2 * 2 * (5 - 2)
    assert fused_bytes(report, "forward", None) == 30
    slow = estimate(report, replace(ROOFS, bandwidth=2.0, cache=0))
    assert (slow.seconds, slow.memory_seconds) == (25.0, 25.0)


def test_what_a_kernel_may_skip_is_not_in_the_bound_and_is_in_the_utilisation() -> None:
    report = network(row("a", 600, 15, 5), fused=replace(FUSED, skipped_flops=200))
    assert estimate(report, ROOFS).compute_seconds == 4.0
    assert utilisation(report, ROOFS, 12.0) == 0.5


@pytest.mark.core
def test_eagerly_each_layer_takes_the_slower_of_the_two_at_the_rates_that_are_reached() -> None:
    report = network(row("a", 600, 15, 5), row("b", 100, 40, 10))
    # 80 % of 100 FLOP/s and 85 % of 10 bytes/s where nothing is published: 600 / 80, then 50 / 8.5.
    assert estimate(report, ROOFS).eager_seconds == pytest.approx(7.5 + 50 / 8.5)
    # 50 % of each: 600 / 50, then 50 / 5.
    assert estimate(report, replace(ROOFS, achieved_flops=0.5, achieved_bandwidth=0.5)).eager_seconds == 12 + 10


def test_kernels_queue_so_that_launching_counts_only_if_it_takes_longer_over_all() -> None:
    # A million launches take 20 s, more than 13.4 s of work; half as many in front of a longer layer do not.
    rows = row("a", 600, 15, 5, kernels=1_000_000), row("b", 100, 40, 10)
    assert estimate(network(*rows), ROOFS).eager_seconds == pytest.approx(LAUNCH * 1e6)
    assert is_launch_bound(network(*rows), ROOFS)
    assert [one.eager for one in with_eager(network(*rows), ROOFS).layers] == pytest.approx([20.0, 0.0])
    fewer = replace(rows[0], kernels=500_000), rows[1]
    assert not is_launch_bound(network(*fewer), ROOFS)
    assert estimate(network(*fewer), ROOFS).eager_seconds == pytest.approx(7.5 + 50 / 8.5)


def test_copies_count_as_often_as_they_stand_there() -> None:
    stack = row("h", 600 * 3, 20 * 3, 0, kind="stack")
    copies = row("h.0", 600, 20, 0, kind="copies", repeat=3)
    inner = row("h.0.fc", 600, 20, 0)
    found = estimate(network(stack, copies, inner), ROOFS)
    assert found.compute_seconds == 18.0
    assert found.eager_seconds == pytest.approx(3 * 600 / 80)


def test_what_a_block_does_by_itself_is_not_lost() -> None:
    # The block has 100 FLOPs and 60 bytes more than what is in it.
    block = row("block", 700, 60, 20, kind="block")
    found = estimate(network(block, row("block.fc", 600, 15, 5)), ROOFS)
    assert found.compute_seconds == 7.0
    assert found.eager_seconds == pytest.approx(600 / 80 + 60 / 8.5)


@pytest.mark.parametrize(
    ("memory", "needed", "fits"), [(500, 500, True), (499, 500, False), (None, 500, None), (1000, None, None)]
)
def test_it_fits_where_the_peak_is_no_more_than_the_memory(
    memory: int | None, needed: int | None, fits: bool | None
) -> None:
    report = network(row(flops=1, read=1))
    report = replace(report, totals=replace(report.totals, peak_memory=needed))
    found = estimate(report, replace(ROOFS, memory=memory))
    assert (found.needed, found.fits) == (needed, fits)


def test_without_a_rate_there_is_no_time_but_still_a_fit() -> None:
    found = estimate(network(row(flops=100, read=50)), replace(ROOFS, flops=None))
    # 30 bytes.
    assert (found.seconds, found.compute_seconds, found.memory_seconds, found.fits) == (None, None, 3.0, True)
    assert found.eager_seconds is None


def test_a_report_that_did_not_count_has_no_time() -> None:
    found = estimate(network(row(flops=None, read=None, written=None)), ROOFS)
    assert (found.seconds, found.compute_seconds, found.eager_seconds) == (None, None, None)


def test_a_report_of_an_older_version_has_no_bound() -> None:
    found = estimate(network(row(flops=600, read=20), fused=None), ROOFS)
    assert (found.seconds, found.memory_seconds, found.eager_seconds) == (None, None, 7.5)


def test_operators_without_a_rule_leave_what_is_known_of_their_row() -> None:
    report = network(row(flops=600, read=15, written=5, uncounted=("aten::mystery",)), uncounted=("aten::mystery",))
    assert estimate(report, ROOFS).seconds == 6.0
    assert utilisation(report, ROOFS, 12.0) is None


def test_utilisation_is_the_part_of_the_peak_that_was_used() -> None:
    # 700 FLOPs in 14 s are 50 FLOP/s of 100.
    assert utilisation(network(row("a", 600, 15, 5), row("b", 100, 40, 10)), ROOFS, 14.0) == 0.5
    assert utilisation(network(row(flops=1)), replace(ROOFS, flops=None), 1.0) is None
    assert utilisation(network(row(flops=1)), ROOFS, 0.0) is None


def estimated(report: Report, devices: tuple[Peaks, ...]) -> Report:
    return replace(report, estimates=tuple(estimate(report, peaks) for peaks in devices))


def test_fastest_first_sorts_estimates_by_time() -> None:
    report = network(row(flops=600, read=20))
    slow, none = replace(ROOFS, name="slow", flops=10.0), replace(ROOFS, name="none", flops=None)
    found = estimated(report, (none, slow, ROOFS))
    assert [one.peaks.name for one in found.estimates] == ["none", "slow", "a device"]
    assert [one.peaks.name for one in fastest_first(found).estimates] == ["a device", "slow", "none"]


def test_estimates_are_saved_with_the_report_and_made_of_a_saved_one() -> None:
    report = network(row(flops=600, read=20))
    found = estimated(report, (ROOFS, replace(ROOFS, flops=None, memory=None)))
    assert Report.loads(found.dumps()) == found
    assert estimated(Report.loads(report.dumps()), (ROOFS,)).estimates == found.estimates[:1]


# --- a training step -------------------------------------------------------------------------------------------------


def trained(*rows: LayerRow, own: int = 0) -> Report:
    """A step whose backward has ``own`` bytes that belong to no row, behind a loss and before an optimizer."""
    report = network(*rows)
    tops = [(one.repeat, one.backward) for one in rows if one.depth == 1 and one.backward is not None]
    flops, read = (sum(n * getattr(one, name) for n, one in tops) for name in ("flops", "bytes_read"))
    forward = (report.totals.macs or 0, report.totals.flops or 0, report.totals.bytes_read or 0, 0)
    phases = (
        Phase("forward", *forward, 0),
        Phase("loss", 0, 10, 15, 5, 0),
        Phase("backward", 0, flops, read + own, 0, 0),
        Phase("optimizer", 0, 50, 200, 100, 0),
    )
    step = TrainingStep("sum", "sgd", phases, 0, 0, 0, 0, 700, "backward", None, 0, 0, ())
    return replace(report, training=step)


def backward(flops: int, read: int) -> Backward:
    return Backward(0, flops, read, 0, 0)


def test_a_step_takes_at_least_the_slower_of_the_two_in_each_phase() -> None:
    rows = row("a", 600, 20, backward=backward(1200, 30)), row("b", 100, 50, backward=backward(200, 60))
    report = trained(*rows, own=40)
    assert report.training is not None
    report = replace(report, training=replace(report.training, gradient_bytes=400, state_bytes=50))
    found = estimate(report, ROOFS)
    # Forward max(700 / 100, 30 / 10); loss 10 / 100; backward max(1400 / 100, 400 / 10); the optimizer reads and writes
    # weights of 400 bytes and a state of 50, and reads 400 of gradients: 1,300 / 10.
    assert [(one.name, one.seconds) for one in found.phases] == [
        ("forward", 7.0), ("loss", 0.1), ("backward", 40.0), ("optimizer", 130.0),
    ]  # fmt: skip
    # Arithmetic 7 + 0.1 + 14 + 0.5, traffic 3 + 0 + 40 + 130.
    assert found.seconds == pytest.approx(177.1)
    assert (found.compute_seconds, found.memory_seconds) == (pytest.approx(21.6), 173.0)
    # Eagerly at 80 FLOP/s and 8.5 bytes/s: backward 1200 / 80, 60 / 8.5, and 40 bytes in no row.
    assert found.phases[2].eager_seconds == pytest.approx(15 + 60 / 8.5 + 40 / 8.5)
    assert (found.needed, found.fits) == (700, True)
    assert estimate(trained(*rows), replace(ROOFS, flops=None)).seconds is None


def test_each_row_has_its_eager_time_and_a_container_that_of_what_is_in_it() -> None:
    # At half of each rate: two copies of 12 s forward and 24 s backward, and 100 FLOPs of the block's own backward with
    # 30 bytes: 6 s.
    half = replace(ROOFS, achieved_flops=0.5, achieved_bandwidth=0.5)
    inner = row("h.0.fc", 600, 20, backward=backward(1200, 30))
    block = row("h.0", 600, 20, kind="copies", repeat=2, backward=backward(1300, 60))
    stack = row("h", 1200, 40, kind="stack", backward=backward(2600, 120))
    report = trained(stack, block, inner)
    assert [(one.text, times) for one, times in steps(report.layers)] == [("Linear, itself", 2), ("", 2)]
    timed = with_eager(report, half)
    assert [(one.eager, one.backward and one.backward.eager) for one in timed.layers] == [(84, 60), (42, 30), (36, 24)]
    assert estimate(report, half).phases[2].eager_seconds == 60.0
    assert Report.loads(timed.dumps()) == timed
    assert with_eager(report, replace(ROOFS, flops=None)) == report


def test_micro_batches_take_as_often_as_long_and_the_optimizer_does_not() -> None:
    report = trained(row("a", 600, 20, backward=backward(1200, 30)))
    assert report.training is not None
    phases = [replace(one, flops=4 * one.flops, bytes_read=4 * one.bytes_read) for one in report.training.phases[:3]]
    step = replace(report.training, phases=(*phases, report.training.phases[3]), accumulate=4)
    report = replace(report, training=step, inputs=(TensorInfo("x", (2, 8), "int64"),))
    # Forward 4 · 600 / 100, loss 40 / 100, backward 4 · 1200 / 100, optimizer 50 / 100.
    assert [one.seconds for one in estimate(report, ROOFS).phases] == [24.0, 0.4, 48.0, 0.5]
    assert with_eager(report, ROOFS).layers[0].eager == pytest.approx(4 * 1800 / 80)
    assert items(report) == (64, "tokens")


@pytest.mark.parametrize(
    ("dtype", "shape", "found"),
    [("int64", (4, 128), (512, "tokens")), ("float32", (4, 3, 8, 8), (4, "samples")), ("float32", (), None)],
)
def test_items_are_tokens_where_the_input_is_of_whole_numbers(
    dtype: str, shape: tuple[int, ...], found: object
) -> None:
    assert items(replace(network(row()), inputs=(TensorInfo("x", shape, dtype),))) == found


# --- against published numbers ---------------------------------------------------------------------------------------


@functools.cache
def traced(name: str, dtype: str = "float32") -> Report:
    return inspect_spec(load(shipped_specs()[name], name, {}, False), dtype=dtype)


@pytest.mark.parametrize("name", ["resnet50", "gpt2", "vit_b_16", "unet", "mixtral_8x7b"])
def test_steps_are_the_network_so_that_nothing_is_counted_twice_or_lost(name: str) -> None:
    report, sums = traced(name), traced(name).totals
    assert sums.flops is not None
    assert sums.bytes_read is not None
    assert sums.bytes_written is not None
    assert sums.fused is not None
    # At one FLOP, or one byte, a second the seconds are the network's FLOPs or bytes.
    only_flops = replace(ROOFS, flops=1.0, bandwidth=1e9, achieved_flops=1.0)
    found = estimate(report, only_flops)
    assert found.compute_seconds == sums.flops - sums.fused.skipped_flops
    assert found.eager_seconds == pytest.approx(sums.flops, rel=1e-3)
    moved = estimate(report, replace(ROOFS, flops=1e12, bandwidth=1.0, achieved_bandwidth=1.0, cache=0))
    assert moved.eager_seconds == pytest.approx(sums.bytes_read + sums.bytes_written, rel=1e-3)
    # Each weight is read, though not all rows of a table; all is far less than what the operators move apart.
    assert 0.9 * sums.param_bytes < sums.fused.weights <= sums.param_bytes + sums.buffer_bytes
    assert moved.memory_seconds is not None
    assert moved.memory_seconds < 0.95 * moved.eager_seconds


def test_llama_3_8b_fits_an_80_gb_gpu_in_bfloat16_and_not_a_t4() -> None:
    report = traced("llama3_8b", "bfloat16")
    # 8,030,261,248 parameters of 2 bytes: 16.06e9 bytes, which a T4's 16e9 do not hold even alone.
    assert report.totals.param_bytes == 2 * 8_030_261_248
    known = [one.peaks("bfloat16") for one in accelerators_of(["H100", "A100 40GB", "T4", "L4"])]
    fits = {one.name: estimate(report, one).fits for one in known}
    assert fits == {"H100 SXM 80GB": True, "A100 40GB SXM": True, "T4": False, "L4": True}


def test_a_forward_of_llama_3_8b_takes_at_least_twice_its_parameters_times_its_tokens() -> None:
    report = traced("llama3_8b", "bfloat16")
    tokens = math.prod(report.inputs[0].shape)
    found = estimate(report, accelerator("H100").peaks("bfloat16"))
    # 2 FLOPs for each weight but the embedding's (128,256 · 4,096) and each token, attention's products left out:
    weights = 8_030_261_248 - 128_256 * 4_096
    assert found.seconds is not None
    assert found.seconds >= 2 * weights * tokens / 989.4e12
    # and with attention, norms and traffic not twice that.
    assert found.seconds < 2 * (2 * weights * tokens / 989.4e12)


@pytest.mark.parametrize(("batch", "published"), [(8, 3.29e-3), (32, 6.58e-3), (128, 21.3e-3), (256, 39.7e-3)])
def test_tensorrt_is_no_faster_than_the_bound_and_eager_torch_is_slower(batch: int, published: float) -> None:
    """ResNet-50 in float16 on a V100 by TensorRT 4 (Caffe's variant, with 7 % fewer MACs)."""
    report = inspect_spec(load(shipped_specs()["resnet50"], "resnet50", {"B": str(batch)}, False), dtype="float16")
    found = estimate(report, accelerator("V100").peaks("float16"))
    assert found.seconds is not None
    assert found.eager_seconds is not None
    assert found.seconds < published < 2 * found.eager_seconds
    # 4.09 G MACs an image, at 125 TFLOP/s.
    assert found.compute_seconds == pytest.approx(batch * 2 * 4.09e9 / 125e12, rel=0.02)


def test_a_resnet_at_float16_moves_half_and_computes_in_tf32_at_float32() -> None:
    single, half = traced("resnet50"), traced("resnet50", "float16")
    a100 = accelerator("A100")
    slow, fast = estimate(single, a100.peaks("float32")), estimate(half, a100.peaks("float16"))
    assert slow.compute_seconds is not None
    assert slow.memory_seconds is not None
    # Half the bytes over the same bandwidth: the 25.6 million weights, since its cache may hold all results.
    assert fast.memory_seconds == pytest.approx(slow.memory_seconds / 2, rel=0.01)
    assert slow.memory_seconds == pytest.approx(4 * 25.7e6 / 2.039e12, rel=0.02)
    # 4.09 G MACs in TF32, for all but the last layer convolve: 2 · 4.09e9 / 156e12 = 52 µs.
    assert slow.compute_seconds == pytest.approx(2 * 4.09e9 / 156e12, rel=0.1)


def test_roofline_and_table_do_not_load_torch() -> None:
    code = (
        "import sys; from fwdscope.report.roofline import estimate; from fwdscope.device.table import accelerators;"
        "accelerators()[0].peaks('bfloat16'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
