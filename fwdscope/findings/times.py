"""Findings about where a run's time went, and how near its layers came to what the device can do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fwdscope import units
from fwdscope.findings.network import Checks, Finding, Network, name, some
from fwdscope.report import LayerRow
from fwdscope.report.roofline import Roofline, roofline

check = Checks()

# A type of layer is worth a word from this part of the time on.
_MUCH = 0.1
# So many times its share of the FLOPs: products run near the arithmetic's peak, what moves data runs at the memory's.
_OUT_OF_PROPORTION = 5
# Layers that memory bounds are worth a word from this part of the time on.
_MOST = 0.5
# A layer that comes less near to what the device can do is held up by something else.
_FAR = 0.1


@dataclass(frozen=True)
class _Timed:
    """A childless row with the seconds and FLOPs of all equal ones."""

    row: LayerRow
    times: int
    seconds: float
    flops: int
    roof: Roofline | None


def _timed(network: Network) -> list[_Timed]:
    run = network.report.run
    peaks = run.peaks if run else None
    return [
        _Timed(row, n, row.latency * n, (row.flops or 0) * n, roofline(row, peaks) if peaks else None)
        for row, n in ((network.rows[i], network.times[i]) for i in network.leaves)
        if row.latency
    ]


@check
def _slow_for_its_work(network: Network) -> Iterator[Finding]:
    """Types of layers that take much of the time and do little of the arithmetic."""
    timed = _timed(network)
    whole, flops = sum(one.seconds for one in timed), network.report.totals.flops
    if not whole or not flops or network.report.uncounted:
        return
    by_type: dict[str, list[_Timed]] = {}
    for one in timed:
        by_type.setdefault(one.row.type, []).append(one)
    # What is alone is compared with nothing.
    if len(by_type) < 2:
        return
    for kind, ones in sorted(by_type.items(), key=lambda item: -sum(one.seconds for one in item[1])):
        time, work = sum(one.seconds for one in ones) / whole, sum(one.flops for one in ones) / flops
        if time < _MUCH or time < _OUT_OF_PROPORTION * work:
            continue
        count = sum(one.times for one in ones)
        what = name(ones[0].row) if count == 1 else f"{kind} × {count}"
        verb = "takes" if count == 1 else "take"
        text = f"{what} {verb} {units.share(time)} of the time for {units.share(work)} of the FLOPs"
        yield Finding("note", text, what if count == 1 else None, _advice_for_slow(ones))


def _advice_for_slow(ones: list[_Timed]) -> str | None:
    bounds = {one.roof.bound for one in ones if one.roof}
    return "memory bounds it: fused with what stands before it, it would cost little" if bounds == {"memory"} else None


@check
def _memory_bounds(network: Network) -> Iterator[Finding]:
    """Layers that wait for memory rather than for arithmetic, where they take most of the time."""
    timed = _timed(network)
    whole = sum(one.seconds for one in timed)
    bound = [one for one in timed if one.roof and one.roof.bound == "memory"]
    part = sum(one.seconds for one in bound) / whole if whole else 0.0
    if part < _MOST or len(bound) == len(timed) == 1:
        return
    by_type: dict[str, float] = {}
    for one in bound:
        by_type[one.row.type] = by_type.get(one.row.type, 0.0) + one.seconds
    largest = sorted(by_type.items(), key=lambda item: -item[1])
    names = some([f"{kind} ({units.share(seconds / whole)})" for kind, seconds in largest])
    ridge = next(one.roof.ridge for one in bound if one.roof)
    text = f"{units.share(part)} of the time goes to layers that memory bounds: {names}"
    has_weights = any(one.row.params for one in bound if one.row.type == largest[0][0] and one.row.macs)
    advice = "a larger batch meets each weight more often" if has_weights else "fused, they would move less"
    yield Finding("note", f"{text}; they do less than {units.count(ridge)} FLOPs a byte", None, advice)


@check
def _far_from_the_roof(network: Network) -> Iterator[Finding]:
    """Layers that take much of the time and come nowhere near what the device can do."""
    timed = _timed(network)
    whole = sum(one.seconds for one in timed)
    far = [
        (one, one.roof.share)
        for one in timed
        if one.roof and one.roof.share is not None and one.roof.share < _FAR and one.seconds >= _MUCH * whole
    ]
    if not far or len(timed) == 1:
        return
    far.sort(key=lambda pair: -pair[0].seconds)
    names = some([f"{name(one.row)} ({units.share(share)} of the roof)" for one, share in far])
    part = units.share(sum(one.seconds for one, _ in far) / whole)
    verb, come, it = ("take", "come", "they") if len(far) > 1 else ("takes", "comes", "it")
    text = f"{names} {verb} {part} of the time, and {it} {come} nowhere near what the device can do"
    path = name(far[0][0].row) if len(far) == 1 else None
    yield Finding("note", text, path, "a small step mostly waits to be begun: a larger batch, or --compile")
