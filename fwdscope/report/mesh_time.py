"""How long a step takes on a mesh of devices: what the heaviest rank computes, and what it waits for.

A collective inside layers, over tp or ep, is waited for. What fsdp gathers of a block is gathered while the block
before it is computed, and what fsdp and dp reduce of it is reduced while the next one is; only what takes longer is
waited for, and the first and the last. If launching kernels takes longer than running them, the device waits meanwhile
anyhow. Of p stages that pass m micro-batches on, each idles for p − 1 of m + p − 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fwdscope.report.cluster import Cluster, CollectiveCost, CollectiveTime, MeshEstimate, collective_time, group_of
from fwdscope.report.mesh import DIRECTIONS, Collective, CollectiveKind, Direction, MeshReport
from fwdscope.report.report import FusedTraffic, LayerRow, Peaks, Report, multiplicities
from fwdscope.report.roofline import estimate, launch_slack, with_eager
from fwdscope.report.throughput import items

# Dimensions whose collectives hide behind the work of other blocks.
_HIDING = ("fsdp", "dp")
# The arithmetic of a step that is bound by it takes at least this share of its time.
_COMPUTE_BOUND = 0.5


def mesh_estimate(report: Report, mesh: MeshReport, cluster: Cluster, peaks: Peaks) -> MeshEstimate:
    """The time of a step of a report on a mesh. Raises ValueError if a link that it needs is not known."""
    sizes = [one.size for one in mesh.dimensions]
    places = {one.name: group_of(sizes, at, cluster.node) for at, one in enumerate(mesh.dimensions)}
    timed = [(one, collective_time(one.kind, one.nbytes, places[one.dimension], cluster)) for one in mesh.collectives]
    rank = rank_report(report, mesh)
    found = estimate(rank, peaks)
    work = with_eager(rank, peaks)
    # Of a pipeline the slowest stage, whose work is a part of that of all rows.
    flops = [one.flops for one in mesh.stages]
    part = max(flops) / sum(flops) if sum(flops) else 1.0
    waits = {direction: _waits(work, mesh, timed, direction, part) for direction in DIRECTIONS}
    costs = tuple(_costs(timed, waits))
    all_exposed, slack = sum(one.exposed for one in costs), part * launch_slack(rank, peaks)
    exposed, turns = max(0.0, all_exposed - slack), _turns(report)
    if slack and all_exposed:
        costs = tuple(replace(one, exposed=one.exposed * exposed / all_exposed) for one in costs)
    stages = next((one.size for one in mesh.dimensions if one.name == "pp"), 1)
    compute = None if found.eager_seconds is None else part * found.eager_seconds
    bubble = (stages - 1) / turns * ((compute or 0.0) + exposed)
    seconds = None if compute is None else compute + exposed + bubble
    many = items(report)
    by_link: dict[str, float] = {}
    for cost in costs:
        by_link[cost.link] = by_link.get(cost.link, 0.0) + cost.least
    needed = mesh.rank.peak_memory
    return MeshEstimate(
        cluster, peaks.dtype,
        None if found.seconds is None else max([part * found.seconds, *by_link.values()]),
        seconds, compute, exposed, bubble,
        _bound(rank, peaks, part * (found.compute_seconds or 0.0), compute, bubble, costs),
        many[0] * mesh.batches / seconds if many and seconds else None,
        needed, peaks.memory, needed <= peaks.memory if peaks.memory is not None else None, costs,
    )  # fmt: skip


def _turns(report: Report) -> int:
    return report.training.accumulate if report.training is not None else 1


def rank_report(report: Report, mesh: MeshReport) -> Report:
    """The report with the figures of the heaviest rank in place of the whole network's."""
    rank, totals, step = mesh.rank, report.totals, report.training
    share = rank.params / totals.params if totals.params else 1.0
    fused = None
    if totals.fused is not None and totals.flops:
        skipped = totals.fused.skipped_flops * sum(_flops(report, of_rank=True)) / totals.flops
        fused = FusedTraffic(min(totals.fused.weights, rank.param_bytes), rank.input_bytes, (), int(skipped))
    if step is not None:
        # What no layer does is done by each rank for what it holds.
        phases = tuple(
            replace(one, flops=0, bytes_read=0, bytes_written=0)
            if one.name in ("forward", "backward")
            else replace(
                one,
                flops=int(one.flops * share),
                bytes_read=int((one.bytes_read or 0) * share),
                bytes_written=int((one.bytes_written or 0) * share),
            )
            for one in step.phases
        )
        gradients, state = rank.gradient_bytes or 0, rank.state_bytes or 0
        step = replace(step, phases=phases, gradient_bytes=gradients, state_bytes=state, peak_memory=rank.peak_memory)
    totals = replace(totals, flops=sum(_flops(report, of_rank=True)), fused=fused, peak_memory=rank.peak_memory)
    return replace(report, layers=tuple(map(_of_rank, report.layers)), totals=totals, training=step)


def _flops(report: Report, of_rank: bool) -> Iterator[int]:
    """FLOPs of the forward of the rows at the top."""
    for row, times in zip(report.layers, multiplicities(report.layers), strict=True):
        if row.depth == 1:
            yield times * ((row.rank.flops if row.rank else 0) if of_rank else row.flops or 0)


def _of_rank(row: LayerRow) -> LayerRow:
    share, backward = row.rank, row.backward
    if share is None:
        none = dict.fromkeys(("macs", "flops", "bytes_read", "bytes_written", "kernels"), 0)
        return replace(row, **none, backward=backward and replace(backward, **none))  # type: ignore[arg-type]
    if backward is not None:
        backward = replace(
            backward, macs=share.backward_macs, flops=share.backward_flops, bytes_read=share.backward_read,
            bytes_written=share.backward_written, kernels=share.backward_kernels,
        )  # fmt: skip
    return replace(
        row, macs=share.macs, flops=share.flops, bytes_read=share.bytes_read, bytes_written=share.bytes_written,
        kernels=share.kernels, backward=backward,
    )  # fmt: skip


# --- what hides behind work ------------------------------------------------------------------------------------------


def _waits(
    work: Report,
    mesh: MeshReport,
    timed: Sequence[tuple[Collective, CollectiveTime]],
    direction: Direction,
    part: float,
) -> float:
    """The seconds of all micro-batches for which collectives of blocks are waited for, in one direction."""
    turns = _turns(work)
    eager = {path: one / turns for path, one in _eager(work, direction)}
    whole = part * eager.pop("")
    inside = sum(one.times * time.seconds for one, time in timed if _is(one, direction, hiding=False)) / turns
    slower = 1 + inside / whole if whole else 1.0
    of_blocks = [(one, time) for one, time in timed if _is(one, direction, hiding=True)]
    paths = list(dict.fromkeys(one.path for one, _ in of_blocks if one.path))
    copies = {one.path: max(1, one.times // turns) for one, _ in of_blocks}
    gathers, reductions = dict[str, float](), dict[str, float]()
    for one, time in of_blocks:
        into = gathers if one.kind == "all-gather" else reductions
        into[one.path] = into.get(one.path, 0.0) + time.seconds * (one.times if not paths else 1)
    if not paths:  # the gradients of all layers, in buckets
        number = sum(one.times for one, _ in of_blocks) or 1
        steps = [(0.0, whole * slower / number, reductions.get("", 0.0) / number)] * number
        return waited(steps)
    rest = max(0.0, whole - sum(copies[path] * eager.get(path, 0.0) for path in paths))
    work_of = {path: slower * (eager.get(path, 0.0) if path else rest) for path in ("", *paths)}
    order = ["", *paths] if direction == "forward" else [*reversed(paths), ""]
    blocks = [(gathers.get(path, 0.0), work_of[path], reductions.get(path, 0.0)) for path in order]
    return turns * waited(
        [block for path, block in zip(order, blocks, strict=True) for _ in range(copies[path] if path else 1)]
    )


def _is(one: Collective, direction: Direction, hiding: bool) -> bool:
    return one.direction == direction and (one.dimension in _HIDING) == hiding


def _eager(work: Report, direction: Direction) -> Iterator[tuple[str, float]]:
    """The eager seconds of each row by its path, copies included, and of all under the empty path."""
    total = 0.0
    for row, times in zip(work.layers, multiplicities(work.layers), strict=True):
        backward = (row.backward.eager if row.backward else None) or 0.0
        seconds = backward if direction == "backward" else (row.eager or 0.0) - backward
        total += times * seconds if row.depth == 1 else 0.0
        yield row.path, seconds
    yield "", total


def waited(blocks: Sequence[tuple[float, float, float]]) -> float:
    """How long the work of blocks waits, of which each gathers one block ahead, works, and then reduces."""
    done, link = 0.0, blocks[0][0] if blocks else 0.0
    ready, reduces = link, 0.0
    for i, (_, work, reduced) in enumerate(blocks):
        begin = max(done, ready)
        done, link = begin + work, max(link, begin)
        if i + 1 < len(blocks):
            link += blocks[i + 1][0]
            ready = link
        link += reduces
        reduces = reduced
    return max(done, link) + reduces - sum(work for _, work, _ in blocks)


def _costs(
    timed: Sequence[tuple[Collective, CollectiveTime]], waits: dict[Direction, float]
) -> Iterator[CollectiveCost]:
    found: dict[tuple[Direction, str, CollectiveKind], list[tuple[Collective, CollectiveTime]]] = {}
    hiding = {
        direction: sum(one.times * time.seconds for one, time in timed if _is(one, direction, hiding=True))
        for direction in waits
    }
    for one, time in timed:
        found.setdefault((one.direction, one.dimension, one.kind), []).append((one, time))
    for (direction, dimension, kind), several in found.items():
        seconds = sum(one.times * time.seconds for one, time in several)
        exposed = seconds
        if dimension in _HIDING:
            exposed = seconds * min(1.0, waits[direction] / hiding[direction]) if hiding[direction] else 0.0
        longest = max((time for _, time in several), key=lambda time: time.seconds)
        yield CollectiveCost(
            kind, dimension, direction, sum(one.times for one, _ in several),
            sum(one.times * one.nbytes for one, _ in several), sum(one.times * time.least for one, time in several),
            seconds, exposed, longest.algorithm, longest.link,
        )  # fmt: skip


def _bound(
    rank: Report,
    peaks: Peaks,
    arithmetic: float | None,
    compute: float | None,
    bubble: float,
    costs: Sequence[CollectiveCost],
) -> str:
    """What takes most of a step."""
    waiting: dict[str, float] = {"stages": bubble}
    for one in costs:
        name = f"{one.dimension} {one.kind}"
        waiting[name] = waiting.get(name, 0.0) + one.exposed
    most = max(waiting, key=lambda name: waiting[name])
    if compute is None or sum(waiting.values()) > compute:
        return most if sum(waiting.values()) else ""
    if launch_slack(rank, peaks):
        return "launches"
    return "compute" if (arithmetic or 0.0) >= _COMPUTE_BOUND * compute else "memory"
