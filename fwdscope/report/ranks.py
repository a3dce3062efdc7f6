"""What real ranks measured of a sharded network, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fwdscope.report.mesh import Collective, CollectiveKind


@dataclass(frozen=True)
class Traffic:
    """The collectives of one kind over one dimension of a mesh: how many, and the bytes of their tensors."""

    kind: CollectiveKind
    dimension: str
    calls: int
    nbytes: int


@dataclass(frozen=True)
class RankRun:
    """What one rank measured of a forward."""

    rank: int
    host: str
    device: str
    # Each repeat, from the moment at which all ranks are ready; and their median.
    times: tuple[Annotated[float, (1e-30, 1e30, False)], ...]
    median: float
    # Seconds of one forward in which a collective is under way, and of these the seconds in which it computes too.
    collective_seconds: float
    hidden_seconds: float
    # Bytes at the peak, as of a run; None if unknown.
    peak_memory: int | None
    # What it holds of the parameters, and what it communicates in one forward.
    params: int
    traffic: tuple[Traffic, ...]


def traffic_of(collectives: Iterable[Collective], direction: str = "forward") -> tuple[Traffic, ...]:
    """The collectives of a direction by kind and dimension."""
    found: dict[tuple[CollectiveKind, str], tuple[int, int]] = {}
    for one in collectives:
        if one.direction == direction:
            calls, nbytes = found.get((one.kind, one.dimension), (0, 0))
            found[one.kind, one.dimension] = calls + one.times, nbytes + one.times * one.nbytes
    return tuple(Traffic(*key, *values) for key, values in sorted(found.items()))


def slowest_rank(ranks: Sequence[RankRun]) -> RankRun:
    """The rank with the longest median."""
    return max(ranks, key=lambda one: one.median)
