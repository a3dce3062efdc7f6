"""The time of a step on a mesh: what hides behind work, and what the heaviest rank takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdscope.report import Environment, LayerRow, Peaks, Report, TensorInfo, Totals
from fwdscope.report.cluster import Cluster, Interconnect
from fwdscope.report.mesh import Collective, MeshDimension, MeshReport, RankFigures, RowShare, Stage
from fwdscope.report.mesh_time import mesh_estimate, waited

# 1 TFLOP/s and 1 TB/s, all of it reached; a link of 1 GB/s without latency.
_PEAKS = Peaks("device", "bfloat16", 1e12, 1e12, 10**9, "table", None, 1.0, 1.0)
_LINK = Interconnect("link", 1e9, "switch", 1.0, (None, None, 0.0), (None, None, 0.0), (None, None, 0.0))
_CLUSTER = Cluster("device", 2, 2, _LINK, None)


@pytest.mark.parametrize(
    ("blocks", "seconds"),
    [
        # Only the first gather, of 2, is waited for: the second, of 3, is through while the first block works for 10.
        ([(2.0, 10.0, 0.0), (3.0, 10.0, 0.0)], 2.0),
        # The second takes 3, of which the first block's work hides 1.
        ([(2.0, 1.0, 0.0), (3.0, 1.0, 0.0)], 2.0 + 2.0),
        # A backward: nothing works while the last block reduces.
        ([(1.0, 10.0, 4.0), (1.0, 10.0, 4.0)], 1.0 + 4.0),
        # While the second block works for 2, the first reduces for 4: the second's own reduction begins 2 later.
        ([(0.0, 2.0, 4.0), (0.0, 2.0, 4.0)], 2.0 + 4.0),
        ([], 0.0),
    ],
)
def test_blocks_wait_for_what_their_neighbours_do_not_hide(
    blocks: list[tuple[float, float, float]], seconds: float
) -> None:
    assert waited(blocks) == pytest.approx(seconds)


def _report(*collectives: Collective, dimension: str = "tp", kernels: int = 1) -> Report:
    """Two equal blocks of 2 TFLOPs, of which each of two ranks computes a half: 1 s a block."""
    share = RowShare(0, 0, 10**12, 0, 10**9, 10**9, kernels)
    rows = tuple(
        LayerRow(f"h.{i}", "Linear", "layer", 1, flops=2 * 10**12, bytes_read=1, bytes_written=1, rank=share)
        for i in range(2)
    )
    return Report(
        "net",
        (TensorInfo("tokens", (4, 1000), "int64"),),
        (),
        rows,
        Totals(1000, 1000, 0, 4000, 0, flops=4 * 10**12),
        Environment("1", "3", "2", "linux"),
        mesh=MeshReport(
            (MeshDimension(dimension, 2),), "", RankFigures(500, 2000, 0, 0, 0, 2 * 10**12, 6 * 10**8, 0), 1000,
            4 * 10**12, collectives,
        ),
    )  # fmt: skip


def _estimate(report: Report):  # type: ignore[no-untyped-def]
    assert report.mesh is not None
    return mesh_estimate(report, report.mesh, _CLUSTER, _PEAKS)


def test_all_reduces_of_tensor_parallelism_are_waited_for() -> None:
    # Two all-reduces of 100 MB over 2 ranks: 2 · 1/2 · 0.1 s each. Two blocks compute 1 s each.
    found = _estimate(_report(Collective("all-reduce", "tp", 2, 10**8, 2, "h.0", row=0)))
    assert found.compute_seconds == pytest.approx(2.0)
    assert found.exposed_seconds == pytest.approx(0.2)
    assert found.seconds == pytest.approx(2.2)
    assert found.rate == pytest.approx(4000 / 2.2)
    assert (found.bound, found.fits, found.needed) == ("compute", True, 6 * 10**8)
    (cost,) = found.collectives
    assert (cost.times, cost.nbytes, cost.seconds, cost.exposed) == (
        2,
        2 * 10**8,
        pytest.approx(0.2),
        pytest.approx(0.2),
    )


def test_gathers_of_blocks_hide_behind_the_block_before() -> None:
    # Each block's gather of 1 GB takes 1/2 s: the first is waited for, the second hides behind a block of 1 s. Both
    # ranks have a batch of their own.
    gathers = [Collective("all-gather", "fsdp", 2, 10**9, 1, f"h.{i}", row=i) for i in range(2)]
    found = _estimate(_report(*gathers, dimension="fsdp"))
    assert found.exposed_seconds == pytest.approx(0.5)
    assert found.seconds == pytest.approx(2.5)
    assert found.rate == pytest.approx(2 * 4000 / 2.5)


def test_equal_blocks_in_one_row_are_gathered_one_after_the_other() -> None:
    # The same with both blocks in one row, × 2.
    report = _report(Collective("all-gather", "fsdp", 2, 10**9, 2, "h.0", row=0), dimension="fsdp")
    found = _estimate(replace(report, layers=(replace(report.layers[0], repeat=2),)))
    assert found.exposed_seconds == pytest.approx(0.5)
    assert found.seconds == pytest.approx(2.5)


def test_what_is_waited_for_longer_than_computed_bounds_the_step() -> None:
    found = _estimate(_report(Collective("all-reduce", "tp", 2, 3 * 10**9, 1, "h.0", row=0)))
    assert found.exposed_seconds == pytest.approx(3.0)
    assert found.bound == "tp all-reduce"


def test_a_device_that_waits_for_launches_communicates_meanwhile() -> None:
    # 100,000 kernels a block at 20 µs are 4 s of launching for 2 s of work: 0.2 s of all-reduces hide in the 2 s left.
    report = _report(Collective("all-reduce", "tp", 2, 10**8, 2, "h.0", row=0), kernels=100_000)
    found = _estimate(report)
    assert (found.seconds, found.exposed_seconds) == (pytest.approx(4.0), pytest.approx(0.0))
    assert found.bound == "launches"


def test_stages_idle_while_the_first_micro_batch_comes() -> None:
    # 2 stages and one micro-batch: each works for 2 s and waits as long.
    found = _estimate(_report(dimension="pp"))
    assert found.bubble_seconds == pytest.approx(2.0)
    assert (found.seconds, found.rate) == (pytest.approx(4.0), pytest.approx(1000.0))


def test_the_slowest_stage_bounds_a_pipeline() -> None:
    # Of 2 s of work in all rows, a stage has 3/4, and both wait for the first micro-batch: 1.5 · 2.
    report = _report(dimension="pp")
    assert report.mesh is not None
    stages = tuple(Stage(f"h.{i}", 0, 0, 0, flops, 0, 0) for i, flops in enumerate((10**12, 3 * 10**12)))
    found = mesh_estimate(report, replace(report.mesh, stages=stages), _CLUSTER, _PEAKS)
    assert (found.compute_seconds, found.bubble_seconds) == (pytest.approx(1.5), pytest.approx(1.5))


def test_no_time_without_a_peak() -> None:
    report = _report()
    assert report.mesh is not None
    found = mesh_estimate(report, report.mesh, _CLUSTER, replace(_PEAKS, flops=None))
    assert (found.seconds, found.least, found.rate) == (None, None, None)
