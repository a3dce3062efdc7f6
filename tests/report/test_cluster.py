"""Times of collectives: closed forms, and figures that were measured and published."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwdscope.device.links import cluster_of
from fwdscope.report.cluster import Cluster, Interconnect, RankGroup, collective_time, group_of
from fwdscope.report.mesh import CollectiveKind

# 100 GB/s within a node of 4 and 10 GB/s from each device to other nodes, all of it reached; a step takes 1 µs within a
# node and 10 µs between nodes.
_NEAR = Interconnect("near", 100e9, "switch", 1.0, (None, None, 1e-6), (None, None, 1e-6), (None, None, 0.0))
_FAR = Interconnect("far", 10e9, "network", 1.0, (None, None, 10e-6), (None, None, 10e-6), (None, None, 0.0))
_CLUSTER = Cluster("device", 16, 4, _NEAR, _FAR)
_NODE = RankGroup(4, 1, 4)


# Of 4 ranks each sends of 1 GB, at 100 GB/s, as doc/PERFORMANCE.md of nccl-tests derives:
#   all-reduce 2 · 3/4 GB = 15 ms; all-gather, reduce-scatter, all-to-all 3/4 GB = 7.5 ms; broadcast, send 1 GB = 10 ms;
# and a ring has 2 · 3, 3 or 3 steps of 1 µs; an all-to-all and a send have one.
@pytest.mark.parametrize(
    ("kind", "least", "steps"),
    [
        ("all-reduce", 15e-3, 6),
        ("all-gather", 7.5e-3, 3),
        ("reduce-scatter", 7.5e-3, 3),
        ("all-to-all", 7.5e-3, 1),
        ("broadcast", 10e-3, 3),
        ("send", 10e-3, 1),
    ],
)
def test_a_collective_takes_its_bytes_over_the_bandwidth_and_its_steps(
    kind: CollectiveKind, least: float, steps: int
) -> None:
    found = collective_time(kind, 10**9, _NODE, _CLUSTER)
    assert found.least == pytest.approx(least)
    assert found.seconds == pytest.approx(least + steps * 1e-6)
    assert found.link == "near"


def test_several_ranks_of_a_node_send_between_nodes_over_a_network_port_each() -> None:
    # 16 ranks, 4 in each of 4 nodes: four rings, each over another port, so 4 · 10 GB/s, below the 100 within.
    # 2 · 15/16 · 1 GB / 40 GB/s = 46.875 ms. One rank in each of 4 nodes has one port: 2 · 3/4 GB / 10 GB/s = 150 ms.
    assert collective_time("all-reduce", 10**9, RankGroup(16, 4, 4), _CLUSTER).least == pytest.approx(46.875e-3)
    assert collective_time("all-reduce", 10**9, RankGroup(4, 4, 1), _CLUSTER).least == pytest.approx(150e-3)
    # With ports of 100 GB/s the four would carry 400 GB/s, and the ring is bound by the 100 GB/s within.
    fast = replace(_CLUSTER, outer=replace(_FAR, bandwidth=100e9))
    found = collective_time("all-reduce", 10**9, RankGroup(16, 4, 4), fast)
    assert (found.least, found.link) == (pytest.approx(2 * 15 / 16 / 100), "near")


def test_an_all_to_all_sends_most_of_its_bytes_to_other_nodes() -> None:
    # 12 of 16 parts leave the node, over the rank's own port: 12/16 GB / 10 GB/s = 75 ms.
    assert collective_time("all-to-all", 10**9, RankGroup(16, 4, 4), _CLUSTER).least == pytest.approx(75e-3)


def test_small_all_reduces_over_many_nodes_go_by_a_tree() -> None:
    # 64 nodes of one rank: a ring takes 2 · 63 steps of 10 µs, a tree 2 · log2(64) = 12 of them.
    found = collective_time("all-reduce", 8, RankGroup(64, 64, 1), replace(_CLUSTER, number=64, node=1, inner=None))
    assert (found.algorithm, found.seconds) == ("tree", pytest.approx(120e-6, rel=1e-3))


def test_the_last_dimension_of_a_mesh_lies_inside_a_node() -> None:
    # dp=4,tp=8 in nodes of 8: ranks 0–7 are a tp group, ranks 0, 8, 16, 24 a dp group.
    assert group_of((4, 8), 1, 8) == RankGroup(8, 1, 8)
    assert group_of((4, 8), 0, 8) == RankGroup(4, 4, 1)
    # tp=4 in nodes of 8: dp=4 has ranks 0 and 4 of the first node, 8 and 12 of the second.
    assert group_of((4, 4), 0, 8) == RankGroup(4, 2, 2)
    assert group_of((16,), 0, 8) == RankGroup(16, 2, 8)
    # tp=3 in nodes of 8: ranks 6 to 8 lie in two.
    assert group_of((8, 3), 1, 8) == RankGroup(3, 2, 2)


def _bus_bandwidth(text: str, kind: CollectiveKind, nbytes: int, ranks: int, algorithm: str | None = None) -> float:
    """GB/s as nccl-tests reports it, from the time here."""
    cluster = cluster_of(text)[1]
    if algorithm == "ring" and cluster.inner is not None:
        cluster = replace(cluster, inner=replace(cluster.inner, in_switch=None))
    found = collective_time(kind, nbytes, group_of((ranks,), 0, cluster.node), cluster)
    rounds = 2 if kind == "all-reduce" else 1
    return nbytes / found.seconds * rounds * (ranks - 1) / ranks / 1e9


# Measured and published by others, at large sizes:
#   8 H100: NCCL reaches 370 GB/s by rings (sjeaugey in NVIDIA/nccl-tests issue 212), and all-reduces in the switch an
#   algorithm bandwidth of 275 GB/s, which is a bus bandwidth of 275 · 2 · 7/8 = 481.
#   8 A100: 235 GB/s; 8 MI300X: 312.9, 2 of them 47.7 GB/s, at 4 GB (stas00/ml-engineering, network/README.md).
#   2 H100 PCIe with NVLink bridges: 115.9 GB/s at 2 GB (NVIDIA/nccl issue 1161).
@pytest.mark.parametrize(
    ("text", "kind", "nbytes", "ranks", "algorithm", "published"),
    [
        ("H100x8", "all-gather", 16 * 2**30, 8, None, 370),
        ("H100x8", "all-reduce", 16 * 2**30, 8, "ring", 370),
        ("H100x8", "all-reduce", 16 * 2**30, 8, None, 481),
        ("A100x8", "all-reduce", 4 * 2**30, 8, None, 235),
        ("MI300Xx8", "all-reduce", 4 * 2**30, 8, None, 312.9),
        ("MI300Xx8", "all-reduce", 4 * 2**30, 2, None, 47.7),
        ("H100 PCIex2 nvlink:2", "all-reduce", 2 * 2**30, 2, None, 115.9),
    ],
)
def test_bandwidths_are_those_that_were_measured(
    text: str, kind: CollectiveKind, nbytes: int, ranks: int, algorithm: str | None, published: float
) -> None:
    assert _bus_bandwidth(text, kind, nbytes, ranks, algorithm) == pytest.approx(published, rel=0.07)


# nccl-tests of 8 H100 in kvcache-ai/Mooncake pull request 3484, all-reduces of float32, µs:
#   32 KiB 18.7 · 1 MiB 27.8 · 4 MiB 53.2 · 16 MiB 121 · 32 MiB 195. The model has no time of a launch, and the switch
#   adds from some MB on, so half to one and a half times is what it can be held to.
@pytest.mark.parametrize(
    ("nbytes", "measured"), [(2**15, 18.7), (2**20, 27.8), (2**22, 53.2), (2**24, 121), (2**25, 195)]
)
def test_small_collectives_take_their_latency(nbytes: int, measured: float) -> None:
    found = collective_time("all-reduce", nbytes, RankGroup(8, 1, 8), cluster_of("H100x8")[1])
    assert 0.6 < found.seconds * 1e6 / measured < 1.4


def test_a_torus_gathers_around_both_ways() -> None:
    # jax-ml/scaling-book, sharding.md, question 2: gathering 2 · 1024 · 4096 / 4 bytes over an axis of 4 TPU v4 takes
    # 23 µs at 9e10 bytes/s both ways; there all of it is sent, here the 3/4 that a device lacks. Question 3: a tiny one
    # takes two hops of 1 µs. An all-to-all takes a quarter of the bytes of what all have together.
    cluster = cluster_of("TPU v4 x4")[1]
    group = group_of((4,), 0, cluster.node)
    gathered = 2 * 1024 * 4096 // 4
    assert collective_time("all-gather", gathered, group, cluster).least == pytest.approx(23.3e-6 * 3 / 4, rel=0.01)
    assert collective_time("all-gather", 256, group, cluster).seconds == pytest.approx(2e-6, rel=0.01)
    assert collective_time("all-to-all", 10**6, group, cluster).least == pytest.approx(10**6 * 4 / 4 / 9e10)
