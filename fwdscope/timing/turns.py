"""Time two programs in turn: what else the machine does slows both of a round, so that their ratio stays.

A round is a turn of each, in an order drawn at random. Other programs only make a forward slower, so that the fastest
of a turn counts.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

from fwdscope.garbage_collection import without_garbage_collection
from fwdscope.report.speedup import LEAST, ratio_interval
from fwdscope.timing.clock import Clock
from fwdscope.timing.sampling import MAX_REPEATS, MIN_REPEATS, SamplingPlan, batch_of, time_repeats, warm_up

# Forwards of a turn, and the seconds after which a turn has no further one: long forwards see all of the noise anyway.
TURN = 3
TURN_SECONDS = 0.1


class Contender(NamedTuple):
    """A program, and what is set during its turns: threads, the mode, autocast."""

    run: Callable[[], object]
    during: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext


@dataclass(frozen=True)
class Turns:
    """Seconds of a forward of both programs, the fastest of each turn, for each round."""

    rounds: tuple[tuple[float, float], ...]
    # The forwards that were timed in each turn.
    forwards: tuple[int, int]
    precise: bool
    interrupted: bool


def measure_in_turn(
    pair: tuple[Contender, Contender],
    clock: Clock,
    plan: SamplingPlan,
    order: random.Random,
    progress: Callable[[int, float | None], None] = lambda *_: None,
) -> Turns:
    """Time two programs in turn until the interval of their ratio is as narrow as the plan asks for.

    ``plan.repeats`` is the number of rounds. The first forward of a turn is not timed where there are several, since
    the other program's numbers fill the caches. Ctrl-C ends it early, with the rounds so far.
    """
    rounds: list[tuple[float, float]] = []
    sizes, batches, interrupted = [1, 1], [1, 1], False
    began = clock.now()
    try:
        with without_garbage_collection():
            for i, one in enumerate(pair):
                with one.during():
                    warmups = list(warm_up(one.run, clock, plan, clock.now()))
                batches[i] = batch_of(warmups, clock) if plan.before is None else 1
                together = batches[i] * min(warmups, default=TURN_SECONDS)
                sizes[i] = max(1, min(TURN, int(TURN_SECONDS / max(together, 1e-9))))
            while not _enough(rounds, plan, clock.now() - began):
                # Each look sorts all rounds: the more there are, the more are added.
                for _ in range(1 if plan.repeats else 1 + len(rounds) // 10):
                    rounds.append(_round(pair, sizes, batches, clock, order, plan.before))
                progress(len(rounds), half_width(rounds))
    except KeyboardInterrupt:
        interrupted = True
    width = half_width(rounds)
    precise = width is not None and width <= plan.precision
    return Turns(tuple(rounds), (sizes[0] * batches[0], sizes[1] * batches[1]), precise, interrupted)


def _round(
    pair: tuple[Contender, Contender],
    sizes: Sequence[int],
    batches: Sequence[int],
    clock: Clock,
    order: random.Random,
    before: Callable[[], object] | None = None,
) -> tuple[float, float]:
    times = [0.0, 0.0]
    for i in order.sample((0, 1), 2):
        run, during = pair[i]
        with during():
            if sizes[i] > 1:
                run()
            times[i] = min(time_repeats(run, clock, sizes[i], batches[i], before))
    return times[0], times[1]


def half_width(rounds: Sequence[tuple[float, float]]) -> float | None:
    """Half the width of the ratio's interval; None with too few rounds."""
    interval = ratio_interval(rounds)
    return None if interval is None else (interval[1] - interval[0]) / 2


def _enough(rounds: Sequence[tuple[float, float]], plan: SamplingPlan, elapsed: float) -> bool:
    if plan.repeats is not None:
        return len(rounds) >= plan.repeats
    if plan.budget is not None and elapsed >= plan.budget and len(rounds) >= LEAST:
        return True
    if len(rounds) < MIN_REPEATS or (elapsed < plan.settling and len(rounds) < MAX_REPEATS):
        return False
    width = half_width(rounds)
    return width is not None and width <= plan.precision
