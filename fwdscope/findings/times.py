"""Findings about the times of a run: which layers take them, and what share of the roofline they reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fwdscope import units
from fwdscope.findings.network import Checks, Finding, RowGraph, group_name, list_names, row_name
from fwdscope.report import LayerRow
from fwdscope.report.roofline import Roofline, roofline, whole_time

check = Checks()

# The least share of the time that a type of layer is named for.
MIN_SHARE_OF_TIME = 0.1
# A share of the time so many times the share of the FLOPs is out of proportion.
MIN_RATIO_OF_SHARES = 5
# The least share of the time in memory-bound layers that is named.
MIN_MEMORY_BOUND_SHARE = 0.5
# torch and the driver take up to 10 µs to start an operator on a CPU and up to 20 µs on a GPU; a layer is one to three.
LAUNCH = {"cpu": 30e-6}
LAUNCH_ELSEWHERE = 60e-6
# A layer that reaches less of its roofline than this waits for something else.
MAX_SHARE_OF_ROOFLINE = 0.1


class TimedLayer(NamedTuple):
    """A row that contains no other, with the seconds and FLOPs of all equal ones."""

    row: LayerRow
    times: int
    seconds: float
    flops: int
    roofline: Roofline | None


def _timed(network: RowGraph) -> list[TimedLayer]:
    run = network.report.run
    peaks = run.peaks if run else None
    return [
        TimedLayer(row, n, row.latency * n, (row.flops or 0) * n, roofline(row, peaks) if peaks else None)
        for row, n in ((network.rows[i], network.times[i]) for i in network.leaves)
        if row.latency
    ]


def _by_type(timed: Sequence[TimedLayer]) -> list[list[TimedLayer]]:
    """The layers of each type, the type that takes most time first."""
    found: dict[str, list[TimedLayer]] = {}
    for one in timed:
        found.setdefault(one.row.type, []).append(one)
    return sorted(found.values(), key=lambda group: -_seconds(group))


def _seconds(timed: Sequence[TimedLayer]) -> float:
    return sum(one.seconds for one in timed)


def _name(group: Sequence[TimedLayer]) -> str:
    return group_name([one.row for one in group], sum(one.times for one in group))


def _is_noise(network: RowGraph, share: float) -> bool:
    """Whether the times vary by more than a share of them."""
    latency = network.report.run.latency if network.report.run else None
    return latency is not None and latency.iqr > share * latency.median


@check
def _slow_for_its_work(network: RowGraph) -> Iterator[Finding]:
    """Types of layers with a large share of the time and a small share of the FLOPs."""
    whole, flops = whole_time(network.report), network.report.totals.flops
    groups = _by_type(_timed(network))
    # A single type has nothing to be compared with.
    if not whole or not flops or network.report.uncounted or len(groups) < 2:
        return
    slow = []
    for group in groups:
        time, work = _seconds(group) / whole, sum(one.flops for one in group) / flops
        if time >= max(MIN_SHARE_OF_TIME, MIN_RATIO_OF_SHARES * work):
            slow.append(group)
    every = [one for group in slow for one in group]
    share = _seconds(every) / whole
    if not slow or _is_noise(network, share):
        return
    names, verb = list_names(map(_name, slow)), "take" if len(every) > 1 or every[0].times > 1 else "takes"
    work = sum(one.flops for one in every) / flops
    bounds = {one.roofline.bound for one in every if one.roofline}
    advice = "memory-bound: nearly free if fused into the operator before it" if bounds == {"memory"} else None
    text = f"{names} {verb} {units.share(share)} of the time for {units.share(work)} of the FLOPs"
    yield Finding("note", text, row_name(every[0].row) if verb == "takes" else None, advice)


@check
def _memory_bound(network: RowGraph) -> Iterator[Finding]:
    """Memory-bound layers, where they take most of the time."""
    timed, whole = _timed(network), whole_time(network.report)
    bound = [one for one in timed if one.roofline and one.roofline.bound == "memory"]
    share = _seconds(bound) / whole if whole else 0.0
    if not whole or share < MIN_MEMORY_BOUND_SHARE or len(bound) == len(timed) == 1 or _is_noise(network, share):
        return
    groups = _by_type(bound)
    names = list_names(f"{_name(group)} ({units.share(_seconds(group) / whole)})" for group in groups)
    has_weights = any(one.row.params and one.row.macs for one in groups[0])
    advice = "a larger batch reuses each weight more" if has_weights else "fused, they move fewer bytes"
    yield Finding("note", f"{units.share(share)} of the time is memory-bound: {names}", None, advice)


@check
def _far_from_roofline(network: RowGraph) -> Iterator[Finding]:
    """Layers with a large share of the time that reach a small share of their roofline."""
    timed, whole = _timed(network), whole_time(network.report)
    far = [
        (one, one.roofline.share)
        for one in timed
        if one.roofline
        and one.roofline.share is not None
        and one.roofline.share < MAX_SHARE_OF_ROOFLINE
        and one.seconds >= MIN_SHARE_OF_TIME * (whole or 0)
    ]
    share = sum(one.seconds for one, _ in far) / whole if whole else 0.0
    if not far or len(timed) == 1 or _is_noise(network, share):
        return
    far.sort(key=lambda pair: -pair[0].seconds)
    names = list_names(f"{row_name(one.row)} ({units.share(part)} of roofline)" for one, part in far)
    text = f"{names} {'take' if len(far) > 1 else 'takes'} {units.share(share)} of the time"
    path = row_name(far[0][0].row) if len(far) == 1 else None
    # Only if each call takes about as long as a launch can launches be the reason.
    device = network.report.run.device.partition(":")[0] if network.report.run else ""
    launch = LAUNCH.get(device, LAUNCH_ELSEWHERE)
    longest = max(max(one.row.latency_range or (one.row.latency or 0,)) / one.row.calls for one, _ in far)
    advice = f"launch-bound, a call takes {units.seconds(longest)} at most: use a larger batch or --compile"
    yield Finding("note", text, path, advice if longest <= launch else None)
