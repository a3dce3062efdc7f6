"""Repeats until the median is known: warm-up, batches for what is short, an interval by order statistics."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

from fwdscope.report import Latency
from fwdscope.timing.clock import Clock

PRECISION = 0.02
BUDGET = 5.0
CONFIDENCE = 0.95
# An interval of 95 % needs 6 repeats at least; a p90 that means anything, some more.
LEAST = 10
# As many there are in any case, whatever the budget says: a single one could be anything.
ANYHOW = 3
# Repeats in a burst may all be lucky: they go on for so many seconds, unless there are as many as anyone could want.
SETTLING = 0.5
MOST = 5_000
# Warmed up is what took about as long twice in a row.
AGREEMENT = 0.05
MOST_WARMUPS = 20
# A time has to be this many times what the clock tells apart: forwards shorter than that are timed several at once.
OVER_RESOLUTION = 200
# Work that a device does by itself is queued in groups of about this many seconds, with one wait for each.
GROUP = 0.05
MOST_OF_A_GROUP = 500


@dataclass(frozen=True)
class Samples:
    """Times of repeats, in seconds of one forward each.

    ``interval`` holds the true median with 95 % confidence, None with fewer than 6 repeats. ``batch`` forwards were
    timed together for each. ``precise`` says whether the interval is as narrow as was asked for.
    """

    times: tuple[float, ...]
    interval: tuple[float, float] | None
    batch: int
    warmups: int
    precise: bool
    interrupted: bool
    # Seconds that the measuring took in all, and how many of those it was given.
    elapsed: float
    budget: float | None

    @property
    def latency(self) -> Latency:
        """The figures; there has to be a time."""
        return Latency.of(self.times)


@dataclass(frozen=True)
class SamplingPlan:
    """How to measure: ``warmup`` and ``repeats`` are found out where they are None, within ``budget`` seconds.

    ``precision`` is the half width of the median's interval, relative to the median.
    """

    warmup: int | None = None
    repeats: int | None = None
    precision: float = PRECISION
    budget: float | None = BUDGET
    settling: float = SETTLING


# Told after each group: repeats so far, and the half width of the interval relative to the median, if there is one.
Progress = Callable[[int, float | None], None]


def measure(
    run: Callable[[], object], clock: Clock, plan: SamplingPlan | None = None, progress: Progress | None = None
) -> Samples:
    """Time ``run``: warm up, then repeat until the median is known to the plan's precision or its budget is spent.

    Ctrl-C ends it early: what was measured so far comes back, ``interrupted``.
    """
    plan = plan or SamplingPlan()
    began = clock.now()
    times: list[float] = []
    warmups: list[float] = []
    batch, interrupted = 1, False
    with _without_collection():
        try:
            for seconds in _warming(run, clock, plan, began):
                warmups.append(seconds)
            batch = _batch(warmups, clock)
            while not _enough(times, plan, clock.now() - began):
                count = _group(times, warmups, batch, plan, clock)
                times += _repeats(run, clock, count, batch)
                if progress is not None:
                    progress(len(times), relative_half_width(times))
        except KeyboardInterrupt:
            interrupted = True
    width = relative_half_width(times)
    return Samples(
        times=tuple(times),
        interval=median_interval(times),
        batch=batch,
        warmups=len(warmups),
        precise=width is not None and width <= plan.precision,
        interrupted=interrupted,
        elapsed=clock.now() - began,
        budget=plan.budget,
    )


def _warming(run: Callable[[], object], clock: Clock, plan: SamplingPlan, began: float) -> Iterator[float]:
    """Forwards before the first that counts: as many as the plan says, else until two in a row agree."""
    last: float | None = None
    most = MOST_WARMUPS if plan.warmup is None else plan.warmup
    for _ in range(most):
        (seconds,) = _repeats(run, clock, 1, 1)
        yield seconds
        agree = last is not None and abs(seconds - last) <= AGREEMENT * last
        spent = plan.budget is not None and clock.now() - began > plan.budget / 4
        if plan.warmup is None and (agree or spent):
            return
        last = seconds


def _batch(warmups: Sequence[float], clock: Clock) -> int:
    """How many forwards one time holds, so that the clock's own error does not matter."""
    shortest = min(warmups, default=math.inf)
    return max(1, math.ceil(OVER_RESOLUTION * clock.resolution / max(shortest, 1e-9)))


def _group(times: Sequence[float], warmups: Sequence[float], batch: int, plan: SamplingPlan, clock: Clock) -> int:
    """How many repeats are taken before the next look at the clock and at the interval."""
    left = (plan.repeats or LEAST) - len(times)
    known = times or warmups
    if clock.asynchronous and known:
        fit = int(GROUP / max(batch * min(known), 1e-9))
        wanted = max(1, min(MOST_OF_A_GROUP, fit))
        return min(wanted, left) if plan.repeats else wanted
    # Looking costs a sort: the more there are, the more come before the next look.
    return max(1, min(left, len(times) // 10 + 1) if plan.repeats else len(times) // 10)


def _enough(times: Sequence[float], plan: SamplingPlan, elapsed: float) -> bool:
    if plan.repeats is not None and len(times) >= plan.repeats:
        return True
    if len(times) >= ANYHOW and plan.budget is not None and elapsed >= plan.budget:
        return True
    if plan.repeats is not None or len(times) < LEAST:
        return False
    if elapsed < plan.settling and len(times) < MOST:
        return False
    width = relative_half_width(times)
    return width is not None and width <= plan.precision


def _repeats(run: Callable[[], object], clock: Clock, count: int, batch: int) -> list[float]:
    """Seconds of one forward each, ``batch`` of them timed together; the device is waited for once, at the end."""
    spans = []
    for _ in range(count):
        begin = clock.mark()
        for _ in range(batch):
            run()
        spans.append((begin, clock.mark()))
    return [seconds / batch for seconds in clock.read(spans)]


@contextmanager
def _without_collection() -> Iterator[None]:
    """Without garbage collection, which would stop a forward now and then."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def median_interval(times: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """The two times between which the true median lies with so much confidence, by order statistics.

    Each of n times is below the median with one half, so that the number of those below it is binomial (Conover,
    Practical Nonparametric Statistics, 3.2). None where no two times are that far apart.
    """
    rank = _rank(len(times), confidence)
    if rank is None:
        return None
    ordered = sorted(times)
    return ordered[rank], ordered[-1 - rank]


@cache
def _rank(n: int, confidence: float) -> int | None:
    """The largest rank (from 0) whose time is above the true median with (1 − confidence) / 2 at most."""
    tail = (1 - confidence) / 2
    if n > 1_000:
        # The normal limit: 1.96 deviations of sqrt(n) / 2 for 95 %.
        return math.floor((n - 1) / 2 + NormalDist().inv_cdf(tail) * math.sqrt(n) / 2)
    below, rank = 0.0, None
    for k in range(n // 2 + 1):
        below += math.comb(n, k) / 2**n
        if below > tail:
            break
        rank = k
    return rank


def relative_half_width(times: Sequence[float]) -> float | None:
    """Half the width of the median's interval, as a part of the median."""
    interval = median_interval(times)
    if interval is None:
        return None
    middle = Latency.of(times).median
    return (interval[1] - interval[0]) / 2 / middle if middle else 0.0
