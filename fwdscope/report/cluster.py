"""Linked devices, and how long a collective among some of them takes.

Sizes are those of nccl-tests: what a rank holds of an all-reduce, a broadcast or a send, the whole that is gathered or
scattered, what a rank sends to all others of an all-to-all, its own part included. Each rank of n sends, of S bytes
(nccl-tests, doc/PERFORMANCE.md):

    all-reduce                     2 (n − 1) / n · S
    all-gather, reduce-scatter       (n − 1) / n · S
    all-to-all                       (n − 1) / n · S
    broadcast, reduce, send                        S

The bound is that at the full bandwidth. The estimate is at the bandwidth that is reached, and adds the latency of each
step, with the protocol and algorithm that are fastest, as NCCL chooses them (src/graph/tuning.cc): a ring of n − 1
steps, an all-reduce also by a tree or inside a switch that adds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fwdscope.report.mesh import CollectiveKind, Direction

# A share of the bandwidth that NCCL's protocols LL, LL128 and Simple use; LL in all-reduces and between nodes.
_SHARES, _LL_ADDING = (1 / 3, 0.92, 1.0), 1 / 4
# A tree's share of a ring's bandwidth, and seconds of an all-reduce inside a switch (NVLS).
_TREE, _IN_SWITCH = 0.92, 23e-6
# Devices along an axis of a torus from which it is closed to a ring.
_CLOSED = 4

# Seconds of each protocol; None if there is none.
Latencies = tuple[float | None, ...]


@dataclass(frozen=True)
class Interconnect:
    """A kind of link between devices, or the network between nodes."""

    name: str
    # Bytes a second that a device sends, and receives as many: in a mesh to each of the others, in a torus over each of
    # its links.
    bandwidth: float
    shape: Literal["switch", "mesh", "torus", "network"]
    # The share of it that collectives reach.
    reached: float
    # Seconds of a step of a ring and of a tree, and once a collective.
    ring: Latencies
    tree: Latencies
    base: Latencies
    # The share that all-reduces reach which the switch adds up; None if it does not.
    in_switch: float | None = None

    def among(self, devices: int, peak: bool = False) -> float:
        """Bytes a second that each of some devices sends to the others, at the peak or as reached."""
        links = {"mesh": devices - 1, "torus": 2 if devices >= _CLOSED else 1}.get(self.shape, 1)
        return links * self.bandwidth * (1.0 if peak else self.reached)


@dataclass(frozen=True)
class Cluster:
    """So many devices of one kind, in nodes of some, and the links within and between these."""

    device: str
    number: int
    node: int
    inner: Interconnect | None
    outer: Interconnect | None

    def link(self, group: RankGroup) -> Interconnect:
        """The link that a group's ring is bound by. Raises ValueError if there is none."""
        if (found := self.inner if group.nodes == 1 else self.outer) is None:
            raise ValueError(f"no link between {self.device} is known")
        if group.nodes > 1 and group.in_node > 1 and self.inner is not None:
            many = group.in_node * found.among(group.size)
            return min((found, self.inner), key=lambda one: many if one is found else one.among(group.in_node))
        return found


@dataclass(frozen=True)
class RankGroup:
    """The ranks of a collective: how many, over how many nodes, and how many of them in one."""

    size: int
    nodes: int
    in_node: int


@dataclass(frozen=True)
class CollectiveTime:
    """The seconds of a collective, at least and about, and how it is done."""

    least: float
    seconds: float
    algorithm: Literal["ring", "tree", "switch", "direct"]
    link: str


@dataclass(frozen=True)
class CollectiveCost:
    """The collectives of one kind over one dimension in one direction, of a rank in a step."""

    kind: CollectiveKind
    dimension: str
    direction: Direction
    times: int
    nbytes: int
    # Of all: at least, about, and what of that is waited for.
    least: float
    seconds: float
    exposed: float
    # Of the one that takes longest.
    algorithm: str
    link: str


@dataclass(frozen=True)
class MeshEstimate:
    """The time of a forward or a training step on a cluster."""

    cluster: Cluster
    # The dtype that matrix products run in.
    dtype: str
    # At least, if all communication hides behind work or all work behind communication; and about, run eagerly. None
    # if the peak is not known.
    least: float | None
    seconds: float | None
    # Of it what a rank computes, waits for collectives, and waits for other stages.
    compute_seconds: float | None
    exposed_seconds: float
    bubble_seconds: float
    # ``compute``, ``memory``, ``launches``, ``stages``, or the collectives that are waited for most: ``tp all-reduce``.
    bound: str
    # Tokens or samples a second of all ranks.
    rate: float | None
    # Bytes that a rank needs at the peak, those of a device, and whether they are enough.
    needed: int
    memory: int | None
    fits: bool | None
    collectives: tuple[CollectiveCost, ...]


def group_of(sizes: Sequence[int], dimension: int, node: int) -> RankGroup:
    """The ranks along a dimension of a mesh whose last dimension numbers neighbours, over nodes of some devices.

    Of all such groups, one that spans the most nodes.
    """
    size, stride = sizes[dimension], math.prod(sizes[dimension + 1 :])
    found = RankGroup(size, 1, size)
    for first in range(math.prod(sizes) // size):
        start = first // stride * stride * size + first % stride
        nodes = len({(start + i * stride) // node for i in range(size)})
        if nodes > found.nodes:
            found = RankGroup(size, nodes, -(-size // nodes))
    return found


def collective_time(kind: CollectiveKind, nbytes: int, group: RankGroup, cluster: Cluster) -> CollectiveTime:
    """How long a collective of a size takes. Raises ValueError if no link is known."""
    link = cluster.link(group)
    if group.size == 1 or not nbytes:
        return CollectiveTime(0.0, 0.0, "direct", link.name)
    least = _transfer(kind, nbytes, group, cluster, True)
    direct: Literal["ring", "direct"] = "direct" if kind in ("all-to-all", "send") else "ring"
    found = [CollectiveTime(least, seconds, direct, link.name) for seconds in _by_ring(kind, nbytes, group, cluster)]
    if kind == "all-reduce":
        found += [CollectiveTime(least, one, "tree", link.name) for one in _by_tree(nbytes, group, cluster)]
        if link.in_switch is not None and group.nodes == 1 and group.size > 2:
            # Every rank sends all that it has, and the part of the sum that it fetched to all others.
            once = nbytes * (group.size + 1) / group.size / link.bandwidth
            seconds = _IN_SWITCH + once / link.in_switch
            least = min(least, once)
            found = [CollectiveTime(least, one.seconds, one.algorithm, one.link) for one in found]
            found.append(CollectiveTime(least, seconds, "switch", link.name))
    return min(found, key=lambda one: one.seconds)


def _links(group: RankGroup, cluster: Cluster) -> tuple[Interconnect, Interconnect]:
    """The links of steps within a node and between nodes; where there are no such steps, twice the other."""
    inner, outer = cluster.inner, cluster.outer
    if group.nodes == 1 or inner is None:
        one = inner if group.nodes == 1 else outer
        assert one is not None  # `Cluster.link` has raised
        return one, one
    assert outer is not None
    return (inner if group.in_node > 1 else outer), outer


def _bandwidth(group: RankGroup, cluster: Cluster, peak: bool) -> float:
    """Bytes a second of each rank of a ring: of several in a node, each sends through the network of its own."""
    inner, outer = _links(group, cluster)
    if group.nodes == 1:
        return inner.among(group.size, peak)
    between = group.in_node * outer.among(group.size, peak)
    return min(between, inner.among(group.in_node, peak)) if group.in_node > 1 else between


def _transfer(kind: CollectiveKind, nbytes: float, group: RankGroup, cluster: Cluster, peak: bool) -> float:
    """The seconds of the bytes alone."""
    n, (inner, outer) = group.size, _links(group, cluster)
    share = 1.0 if peak else (inner if group.nodes == 1 else outer).reached
    if kind == "send":
        return nbytes / ((inner if group.nodes == 1 else outer).bandwidth * share)
    if kind == "all-to-all":
        if group.nodes > 1:
            out = nbytes * (n - group.in_node) / n / outer.among(n, peak)
            return max(out, nbytes * (group.in_node - 1) / n / inner.among(group.in_node, peak))
        # Around a ring each part passes a quarter of the devices on average.
        passed = n / 4 if inner.shape == "torus" and n >= _CLOSED else (n - 1) / n
        return nbytes * passed / inner.among(n, peak)
    factors = {"all-reduce": 2 * (n - 1) / n, "all-gather": (n - 1) / n, "reduce-scatter": (n - 1) / n}
    return nbytes * factors.get(kind, 1.0) / _bandwidth(group, cluster, peak)


def _protocols(kind: CollectiveKind, group: RankGroup) -> tuple[float, ...]:
    is_adding = kind in ("all-reduce", "reduce") or group.nodes > 1
    return (_LL_ADDING if is_adding else _SHARES[0], *_SHARES[1:])


def _by_ring(kind: CollectiveKind, nbytes: float, group: RankGroup, cluster: Cluster) -> Iterator[float]:
    n, nodes, (inner, outer) = group.size, group.nodes, _links(group, cluster)
    rounds = 2 if kind == "all-reduce" else 1
    steps = rounds * (n // 2 if inner.shape == "torus" and n >= _CLOSED else n - 1)
    between = 0 if nodes == 1 else min(steps, 2 * nodes if kind == "all-reduce" else nodes - 1)
    if kind in ("all-to-all", "send"):
        steps, between = 1, int(nodes > 1)
    seconds = _transfer(kind, nbytes, group, cluster, False)
    for share, first, within, out in zip(_protocols(kind, group), outer.base, inner.ring, outer.ring, strict=True):
        if first is not None and within is not None and out is not None:
            yield first + (steps - between) * within + between * out + seconds / share


def _by_tree(nbytes: float, group: RankGroup, cluster: Cluster) -> Iterator[float]:
    """A chain in each node and a tree over the nodes, up and down."""
    inner, outer = _links(group, cluster)
    seconds = 2 * nbytes / (_TREE * _bandwidth(group, cluster, False))
    shares = _protocols("all-reduce", group)
    for share, first, within, out in zip(shares, outer.base, inner.tree, outer.tree, strict=True):
        if first is not None and within is not None and out is not None:
            latency = (group.in_node - 1) * within + math.ceil(math.log2(group.nodes)) * out
            yield first + 2 * latency + seconds / share
