"""Marks where the steps of a run begin and end, and delays of a device that the host launches too slowly.

Where the host launches more slowly than the device computes, marks would time the launching. So the device waits before
each stretch of a pass for as long as the host needs to launch it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from fwdscope.model.events import LineResult, StepCounter, StepKey, StepStart, own_work_key
from fwdscope.model.modules import Scope
from fwdscope.timing.clock import Clock

# Calls in a stretch. With their marks and kernels they fit into CUDA's queue of about a thousand entries; launching
# into a full queue waits for the device.
STRETCH = 128
# Delay in terms of what launching took before, and its maximum in seconds.
DELAY_FACTOR = 1.5
MAX_DELAY = 1.0


class LaunchDelays:
    """Delays the device before a stretch, by what the host took for its calls in earlier passes.

    A call that waits for the device (boolean indexing, a full queue) waits for the delay as well. So that delays do not
    grow, the first pass has none, and the shortest time of each call counts.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.shortest: dict[Hashable, float] = {}

    def before(self, calls: Iterable[Hashable]) -> None:
        """Delay the device for as long as the host will take for these calls."""
        seconds = sum(self.shortest.get(call, 0.0) for call in calls)
        self.clock.delay(min(MAX_DELAY, DELAY_FACTOR * seconds))

    def took(self, call: Hashable, seconds: float) -> None:
        """Remember what the host took for a call."""
        self.shortest[call] = min(seconds, self.shortest.get(call, math.inf))


@dataclass(eq=False)
class _Interval:
    """A step with its marks, and the step around it."""

    key: StepKey | None
    around: _Interval | None
    is_line: bool
    begin: Any = None
    end: Any = None
    # How many steps began in it, and the mark at which the last one ended.
    inside: int = 0
    # Marks that were taken inside it.
    marks: int = 0
    since: Any = None


class Stopwatch:
    """An observer of a run that takes a mark at the begin and end of every step.

    In a spec, blocks, stacks, parts and loops are not timed, since evaluating lines is not the network's work: their
    time is the sum of what is inside. A line is timed without the layers that it calls. An asynchronous device is
    delayed before each stretch, by ``delays`` with the times of earlier passes. ``empty`` is what a pair of marks
    costs, which is taken off.
    """

    def __init__(self, clock: Clock, delays: LaunchDelays | None = None, empty: float = 0.0) -> None:
        self.clock = clock
        self.empty = empty
        self.delays = delays or LaunchDelays(clock)
        # The host's time when the current stretch began.
        self.since = 0.0
        self.restart()

    def restart(self) -> None:
        """Start another pass, also after an exception."""
        self.steps = StepCounter()
        self.entered = 0
        self.open: list[_Interval] = []
        self.done: list[_Interval] = []
        # Delays amid a pass: their marks, and the steps then open, whose time does not include them.
        self.pauses: list[tuple[Any, Any, tuple[_Interval, ...]]] = []
        # What steps did themselves between those inside them, from mark to mark.
        self.gaps: list[tuple[StepKey, Any, Any]] = []

    def begin(self, what: StepStart, inputs: Any) -> None:
        """Begin a layer, block, stack, part, loop or Parameter."""
        key = self.steps.step(what.path)
        self.enter(None if isinstance(what.module, Scope) or what.kind in ("loop", "part") else key)

    def end(self, outputs: Any) -> None:
        """End it."""
        end = self.clock.mark()
        interval = self.open.pop()
        interval.end = end
        self.done.append(interval)
        if interval.inside:
            self.gap(interval, end)
        if interval.around is not None:
            interval.around.since = end
            interval.around.marks += 2 + interval.marks

    def gap(self, around: _Interval, until: Any) -> None:
        """What a step did itself since it began or the last step inside it ended."""
        if around.key is not None:
            since = around.begin if around.since is None else around.since
            self.gaps.append((own_work_key(around.key, around.inside), since, until))

    def line(self) -> None:
        """Begin a line."""
        self.enter(None, is_line=True)

    def line_end(self, end: LineResult, value: Any) -> None:
        """End a line."""
        self.end(value)
        self.done[-1].key = self.steps.line(end.path)

    def note(self, *_: Any, **__: Any) -> None:
        """Ignore notes of the report and rounds of a loop."""

    turn = note

    def enter(self, key: StepKey | None, is_line: bool = False) -> None:
        """Begin a step; before a stretch, delay the device."""
        around = self.open[-1] if self.open else None
        pauses = self.clock.asynchronous and self.entered % STRETCH == 0
        if pauses:
            self.stretch_ends()
            begin = self.clock.mark()
            self.delays.before([self.entered // STRETCH])
            self.pauses.append((begin, self.clock.mark(), tuple(self.open)))
            self.since = self.clock.now()
        self.entered += 1
        interval = _Interval(key, around, is_line)
        self.open.append(interval)
        interval.begin = self.clock.mark()
        if around is not None:
            self.gap(around, self.pauses[-1][0] if pauses else interval.begin)
            around.inside += 1

    def stretch_ends(self) -> None:
        """Remember what the host took for the current stretch."""
        if self.pauses:
            self.delays.took((self.entered - 1) // STRETCH, self.clock.now() - self.since)

    def read(self) -> dict[StepKey, float]:
        """Seconds of each step so far, lines without the layers in them; then restart."""
        self.stretch_ends()
        spans = [(one.begin, one.end) for one in self.done] + [(begin, end) for begin, end, _ in self.pauses]
        seconds = self.clock.read([*spans, *[(begin, end) for _, begin, end in self.gaps]])
        own = dict(zip(self.done, seconds, strict=False))
        for (*_, paused), delay in zip(self.pauses, seconds[len(self.done) :], strict=False):
            for interval in paused:
                own[interval] -= delay
        times: dict[StepKey, float] = {}
        for (key, _, _), spent in zip(self.gaps, seconds[len(spans) :], strict=True):
            times[key] = times.get(key, 0.0) + max(0.0, spent - self.empty)
        for one, taken in own.items():
            # From mark to mark there is the cost of one mark, and of all between.
            spent = max(0.0, taken - (1 + one.marks) * self.empty)
            if one.key is not None:
                times[one.key] = times.get(one.key, 0.0) + spent
            if one.around is not None and one.around.is_line and one.around.key is not None:
                times[one.around.key] = times.get(one.around.key, 0.0) - spent
        self.restart()
        return times
