"""Repeat a forward until its median is known: warm-up, batches of short forwards, a confidence interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fwdscope.garbage_collection import without_garbage_collection
from fwdscope.report import Latency, median_interval
from fwdscope.timing.clock import Clock

PRECISION = 0.02
BUDGET = 5.0
# A 95 % interval needs at least 6 repeats; a meaningful p90 some more.
MIN_REPEATS = 10
# Repeats whatever the budget is, since a single one may be an outlier.
MIN_REPEATS_OVER_BUDGET = 3
# Seconds that repeats go on for, unless there are MAX_REPEATS, since a short burst may be all fast or all slow.
MIN_SECONDS = 0.5
MAX_REPEATS = 5_000
# Warm-up ends when two forwards in a row differ by less than the first share, and the second is not faster by more than
# the other: a clock that rises makes each a little faster.
AGREEMENT = 0.05
RISING = 0.01
MAX_WARMUPS = 20
# Seconds of work after which an asynchronous device has reached the clock that it keeps, and those after which it is
# not waited for any longer.
WARM_SECONDS, MAX_WARM_SECONDS = 0.3, 2.0
# A time has to be this many times the clock's resolution: several shorter forwards are timed together.
OVER_RESOLUTION = 200
# Seconds of work in a group that is queued on an asynchronous device before waiting for it.
GROUP_SECONDS = 0.05
MAX_GROUP = 500


@dataclass(frozen=True)
class Samples:
    """Times of repeats, in seconds of one forward each.

    ``interval`` is the 95 % confidence interval of the median, None with fewer than 6 repeats. ``batch`` forwards were
    timed together for each time. ``precise``: the interval is as narrow as the plan asks for.
    """

    times: tuple[float, ...]
    interval: tuple[float, float] | None
    batch: int
    warmups: int
    precise: bool
    interrupted: bool
    # Seconds that measuring took, and its budget.
    elapsed: float
    budget: float | None

    @property
    def latency(self) -> Latency:
        """The figures of the times, of which there must be one."""
        return Latency.of(self.times)


@dataclass(frozen=True)
class SamplingPlan:
    """How to measure: ``warmup`` and ``repeats`` are as many as needed if None, within ``budget`` seconds.

    ``precision`` is the half width of the median's interval, relative to the median.
    """

    warmup: int | None = None
    repeats: int | None = None
    precision: float = PRECISION
    budget: float | None = BUDGET
    settling: float = MIN_SECONDS
    # Called before each forward, which is then timed by itself.
    before: Callable[[], object] | None = None


def measure(
    run: Callable[[], object],
    clock: Clock,
    plan: SamplingPlan | None = None,
    progress: Callable[[int, float | None], None] | None = None,
) -> Samples:
    """Time ``run``: warm up, then repeat until the median is known to the plan's precision or its budget is spent.

    ``progress`` is called with the repeats so far and half the width of the median's interval, relative to it. Ctrl-C
    ends it early, with the times so far.
    """
    plan = plan or SamplingPlan()
    began = clock.now()
    times: list[float] = []
    warmups: list[float] = []
    batch, interrupted = 1, False
    try:
        with without_garbage_collection():
            for seconds in warm_up(run, clock, plan, began):
                warmups.append(seconds)
            batch = batch_of(warmups, clock) if plan.before is None else 1
            while not _enough(times, plan, clock.now() - began):
                count = _group(times, warmups, batch, plan, clock)
                times += time_repeats(run, clock, count, batch, plan.before)
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


def batch_of(warmups: Sequence[float], clock: Clock) -> int:
    """So many forwards are timed together that the clock's error does not matter."""
    return max(1, math.ceil(OVER_RESOLUTION * clock.resolution / max(min(warmups, default=math.inf), 1e-9)))


def warm_up(run: Callable[[], object], clock: Clock, plan: SamplingPlan, began: float) -> Iterator[float]:
    """Seconds of warm-up forwards: as many as the plan says, else until they no longer get faster.

    On an asynchronous device they are queued in groups, which keep it busy, and looked at by their fastest.
    """
    started, last, number, count = clock.now(), -math.inf, 0, 1
    least, most = (WARM_SECONDS, MAX_WARM_SECONDS) if clock.asynchronous else (0.0, math.inf)
    while number < (plan.warmup if plan.warmup is not None else math.inf if clock.asynchronous else MAX_WARMUPS):
        times = time_repeats(run, clock, count, 1, plan.before)
        yield from times
        number += count
        if plan.warmup is None:
            seconds, spent = min(times), clock.now() - started
            ends = -RISING * last <= seconds - last <= AGREEMENT * last and spent >= least
            if ends or spent > most or (plan.budget is not None and clock.now() - began > plan.budget / 4):
                return
            last = seconds
            if clock.asynchronous and number > 1:
                count = max(1, min(MAX_GROUP, int(GROUP_SECONDS / max(seconds, 1e-9))))


def drift(times: Sequence[float]) -> float:
    """The share by which the last third of the times is slower than the first, by their medians; 0 of few times."""
    third = len(times) // 3
    if third < MIN_REPEATS:
        return 0.0
    first, last = (sorted(part)[third // 2] for part in (times[:third], times[-third:]))
    return last / first - 1


def _group(times: Sequence[float], warmups: Sequence[float], batch: int, plan: SamplingPlan, clock: Clock) -> int:
    """How many repeats to take before looking at the clock and the interval."""
    left = (plan.repeats or MIN_REPEATS) - len(times)
    known = times or warmups
    if clock.asynchronous and known:
        fit = int(GROUP_SECONDS / max(batch * min(known), 1e-9))
        wanted = max(1, min(MAX_GROUP, fit))
        return min(wanted, left) if plan.repeats else wanted
    # Each look sorts all times: the more there are, the larger the next group.
    return max(1, min(left, len(times) // 10 + 1) if plan.repeats else len(times) // 10)


def _enough(times: Sequence[float], plan: SamplingPlan, elapsed: float) -> bool:
    if plan.repeats is not None and len(times) >= plan.repeats:
        return True
    if len(times) >= MIN_REPEATS_OVER_BUDGET and plan.budget is not None and elapsed >= plan.budget:
        return True
    if plan.repeats is not None or len(times) < MIN_REPEATS:
        return False
    if elapsed < plan.settling and len(times) < MAX_REPEATS:
        return False
    width = relative_half_width(times)
    return width is not None and width <= plan.precision


def time_repeats(
    run: Callable[[], object], clock: Clock, count: int, batch: int, before: Callable[[], object] | None = None
) -> list[float]:
    """Seconds of one forward each, timed ``batch`` at a time, with one wait for the device at the end.

    What is called ``before`` each is not timed.
    """
    spans = []
    for _ in range(count):
        if before is not None:
            before()
        begin = clock.mark()
        for _ in range(batch):
            run()
        spans.append((begin, clock.mark()))
    return [seconds / batch for seconds in clock.read(spans)]


def relative_half_width(times: Sequence[float]) -> float | None:
    """Half the width of the median's interval, relative to the median."""
    interval = median_interval(times)
    if interval is None:
        return None
    middle = Latency.of(times).median
    return (interval[1] - interval[0]) / 2 / middle if middle else 0.0
