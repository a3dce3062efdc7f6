"""Compare two measurements: how much the median changed, and whether that is beyond the noise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from fwdscope.report import Latency, Report, quantile

DRAWS = 4_000
CONFIDENCE = 0.95
# Fewer repeats do not show their noise.
LEAST = 3


@dataclass(frozen=True)
class Speedup:
    """``ratio`` is the median now over the median before, which are in seconds: 0.5 is twice as fast."""

    before: float
    ratio: float
    # The 95 % confidence interval of the ratio, from the repeats of both; None with too few repeats.
    interval: tuple[float, float] | None
    # What else differs between the two runs: device, dtype, batch, threads.
    differs: tuple[str, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether the difference is beyond the noise of the two runs."""
        return self.interval is not None and not self.interval[0] <= 1.0 <= self.interval[1]


def compare(before: Latency, now: Latency, differs: tuple[str, ...] = ()) -> Speedup:
    """The ratio of two medians with a bootstrap interval, which is the same for the same times."""
    interval = None
    if min(len(before.times), len(now.times)) >= LEAST:
        generator = random.Random(0)
        olds, news = sorted(before.times), sorted(now.times)
        ratios = sorted(_median(news, generator) / _median(olds, generator) for _ in range(DRAWS))
        tail = (1 - CONFIDENCE) / 2
        interval = quantile(ratios, tail), quantile(ratios, 1 - tail)
    return Speedup(before.median, now.median / before.median, interval, differs)


def _median(ordered: Sequence[float], generator: random.Random) -> float:
    """The median of a resample of sorted times.

    It is the sample's quantile at the median of n uniform numbers, which is Beta((n + 1) / 2, (n + 1) / 2): so no
    resample of n times has to be drawn and sorted (David and Nagaraja, Order Statistics, 2.3).
    """
    half = (len(ordered) + 1) / 2
    return ordered[min(len(ordered) - 1, int(generator.betavariate(half, half) * len(ordered)))]


def against(before: Report, now: Report) -> Speedup | None:
    """Compare two reports of benchmarks; None if one of them has no latency."""
    old, new = before.run, now.run
    if old is None or new is None or old.latency is None or new.latency is None:
        return None
    facts = [
        ("model", before.name, now.name),
        ("device", f"{old.device} ({old.device_name})", f"{new.device} ({new.device_name})"),
        ("dtype", old.dtype, new.dtype),
        ("inputs", *(", ".join(f"{one.name} {one.shape}" for one in run.inputs) for run in (before, now))),
        ("earlier positions", before.past or 0, now.past or 0),
        ("threads", old.threads, new.threads),
        ("compiled", old.compiled, new.compiled),
        ("channels last", old.channels_last, new.channels_last),
        ("torch", before.environment.torch, now.environment.torch),
    ]
    differs = tuple(f"{what} {was} then, {is_} now" for what, was, is_ in facts if was != is_)
    return compare(old.latency, new.latency, differs)
