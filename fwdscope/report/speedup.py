"""Compare two measurements: the ratio of their times, and whether a difference is larger than noise.

Three kinds of samples are compared, each with an interval of the ratio that assumes no distribution: rounds in which
both ran in turn, several processes of each, and the repeats of one process each. :func:`judge` alone answers. Other
programs only make a forward slower, so that the fastest count: of repeats their 10th percentile.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import comb
from typing import Literal, TypeAlias

from fwdscope.report.report import FAST, Latency, Report, median_interval, quantile

CONFIDENCE = 0.99
DRAWS = 4_000
# Fewer repeats do not show their noise.
LEAST = 3
# The share by which times of one program differ although nothing changed: of two copies in one process, by where their
# numbers lie in memory; of several processes, by when they ran; and of single ones, which do not show how they differ.
FLOORS = {"rounds": 0.01, "processes": 0.05, "repeats": 0.25}

# The share by which clocks and power limits are the same.
SAME_STATE = 0.03

Answer: TypeAlias = Literal["faster", "slower", "cannot tell"]
Interval: TypeAlias = tuple[float, float]


def judge(interval: Interval | None, floor: float = 0.0) -> Answer:
    """What the interval of a ratio to 1 says, where differences up to the share ``floor`` mean nothing."""
    if interval is not None and interval[1] * (1 + floor) < 1:
        return "faster"
    return "slower" if interval is not None and interval[0] > 1 + floor else "cannot tell"


@dataclass(frozen=True)
class Speedup:
    """``ratio`` is the time now over the time before, which are in seconds: 0.5 is twice as fast."""

    before: float
    ratio: float
    # The 99 % confidence interval of the ratio; None with too few samples.
    interval: Interval | None
    # What else differs between the two: device, dtype, batch, threads.
    differs: tuple[str, ...] = ()
    # What was sampled.
    of: Literal["rounds", "processes", "repeats"] = "repeats"

    @property
    def floor(self) -> float:
        """The share by which the ratio may differ from 1 without a reason."""
        return FLOORS[self.of]

    @property
    def answer(self) -> Answer:
        """Whether it is faster or slower now."""
        return judge(self.interval, self.floor)


def in_turn(rounds: Sequence[tuple[float, float]], differs: tuple[str, ...] = ()) -> Speedup:
    """The second of two programs compared with the first, which ran in turn; there must be a round."""
    ratios = sorted(second / first for first, second in rounds)
    before = quantile(sorted(first for first, _ in rounds), 0.5)
    return Speedup(before, quantile(ratios, 0.5), ratio_interval(rounds), differs, "rounds")


def ratio_interval(rounds: Sequence[tuple[float, float]]) -> Interval | None:
    """The interval of the median ratio of rounds, second over first: what resampling rounds comes to, without draws."""
    return median_interval([second / first for first, second in rounds], CONFIDENCE)


def compare(
    before: Latency,
    now: Latency,
    differs: tuple[str, ...] = (),
    processes: tuple[Sequence[float], Sequence[float]] = ((), ()),
) -> Speedup:
    """The ratio of two 10th percentiles; their interval is that of ``processes``, if there are several of both."""
    if all(len(times) > 1 for times in processes):
        ratios = sorted(one / other for one in processes[1] for other in processes[0])
        beyond = _beyond(*map(len, processes))
        interval = (ratios[beyond - 1], ratios[-beyond]) if beyond else None
        return Speedup(before.p10, quantile(ratios, 0.5), interval, differs, "processes")
    enough = min(len(before.times), len(now.times)) >= LEAST
    return Speedup(before.p10, now.p10 / before.p10, _resampled(before.times, now.times) if enough else None, differs)


def with_processes(reports: Sequence[Report]) -> Report:
    """The first of several processes' reports, with the times of all."""
    runs = [report.run for report in reports if report.run]
    latencies = [run.latency for run in runs if run.latency]
    if len(latencies) < 2:
        return reports[0]
    together = Latency.of([time for one in latencies for time in one.times])
    return replace(reports[0], run=replace(runs[0], latency=together, processes=tuple([one.p10 for one in latencies])))


def against_limit(times: Sequence[float], limit: float) -> Speedup:
    """Times compared with a time that they must keep to."""
    fast = quantile(sorted(times), FAST)
    return Speedup(limit, fast / limit, _resampled([limit], times) if len(times) >= LEAST else None)


def _resampled(before: Sequence[float], now: Sequence[float]) -> Interval:
    """The interval of the ratio by resampling, which is the same for the same times."""
    generator = random.Random(0)
    olds, news = sorted(before), sorted(now)
    drawn = sorted(_fast(news, generator) / _fast(olds, generator) for _ in range(DRAWS))
    tail = (1 - CONFIDENCE) / 2
    return quantile(drawn, tail), quantile(drawn, 1 - tail)


def _fast(ordered: Sequence[float], generator: random.Random) -> float:
    """The 10th percentile of a resample of sorted times.

    It is the sample's quantile at the same percentile of n uniform numbers, which is Beta(0.1 (n + 1), 0.9 (n + 1)): so
    no resample of n times has to be drawn and sorted (David and Nagaraja, Order Statistics, 2.3).
    """
    n = len(ordered)
    return ordered[min(n - 1, int(generator.betavariate(FAST * (n + 1), (1 - FAST) * (n + 1)) * n))]


def _beyond(m: int, n: int) -> int:
    """How many of the m · n sorted ratios the interval's ends are from both ends, 0 if even the last is too near.

    The number of pairs in which one is the larger is Mann and Whitney's U (Hollander and Wolfe, Nonparametric
    Statistical Methods, 4.3).
    """
    tail, below = (1 - CONFIDENCE) / 2 * comb(m + n, m), 0
    for u in range(m * n // 2):
        below += _orders(m, n, u)
        if below > tail:
            return u
    return m * n // 2


@cache
def _orders(m: int, n: int, u: int) -> int:
    """The number of orders of m and n samples in which u pairs have the first's larger."""
    if u < 0 or not (m and n):
        return int(u == 0 and m >= 0 and n >= 0)
    return _orders(m - 1, n, u - n) + _orders(m, n - 1, u)


def against(before: Report, now: Report) -> Speedup | None:
    """Compare two reports of benchmarks; None if one of them has no latency."""
    old, new = before.run, now.run
    if old is None or new is None or old.latency is None or new.latency is None:
        return None
    differs = differences(before, now)
    return compare(old.latency, new.latency, differs, (old.processes, new.processes))


def differences(before: Report, now: Report, words: tuple[str, str] = ("then", "now")) -> tuple[str, ...]:
    """What else differs between the runs of two reports; ``words`` follow the values of each."""
    old, new = before.run, now.run
    if old is None or new is None:
        return ()
    facts = [
        ("model", before.name, now.name),
        ("device", f"{old.device} ({old.device_name})", f"{new.device} ({new.device_name})"),
        ("dtype", old.dtype, new.dtype),
        ("autocast", old.precision == "autocast", new.precision == "autocast"),
        ("inputs", *(", ".join(f"{one.name} {one.shape}" for one in run.inputs) for run in (before, now))),
        ("earlier positions", before.past or 0, now.past or 0),
        ("threads", old.threads, new.threads),
        ("compiled", old.compiled, new.compiled),
        ("compile mode", old.compile_mode, new.compile_mode),
        ("CUDA graph", old.is_graph, new.is_graph),
        ("cold caches", old.is_cold, new.is_cold),
        ("channels last", old.channels_last, new.channels_last),
        ("TF32", old.tf32, new.tf32),
        ("cudnn.benchmark", old.cudnn_benchmark, new.cudnn_benchmark),
        ("forwards", old.repeats_are, new.repeats_are),
        ("torch", before.environment.torch, now.environment.torch),
    ]
    if old.state and new.state:
        facts.append(("driver", old.state.driver, new.state.driver))
        for what, unit, was, is_ in (
            ("clock", "MHz", old.state.clock, new.state.clock),
            ("power limit", "W", old.state.power_limit, new.state.power_limit),
        ):
            if was and is_ and abs(is_ / was - 1) > SAME_STATE:
                facts.append((what, f"{was:,.0f} {unit}", f"{is_:,.0f} {unit}"))
    return tuple(f"{what} {was} {words[0]}, {is_} {words[1]}" for what, was, is_ in facts if was != is_)
