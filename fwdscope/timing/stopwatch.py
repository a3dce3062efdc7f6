"""Marks where the steps of a run begin and end, and delays of a device that the host launches too slowly.

Where the host launches more slowly than the device computes, marks would time the launching. So the device waits before
each stretch of a pass for as long as the host needs to launch it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from fwdscope.model.events import LineResult, StepCounter, StepKey, StepStart, own_work_key
from fwdscope.model.modules import Scope
from fwdscope.timing.clock import Clock

# Calls in a stretch. With their marks and a few kernels each they fit into CUDA's queue of about a thousand entries.
STRETCH = 128
# Delay in terms of what launching took before, and its maximum in seconds.
DELAY_FACTOR = 1.5
MAX_DELAY = 1.0
# Seconds more, since a host that launches one short call may be late by as much.
DELAY_MORE = 2e-5


class LaunchDelays:
    """Delays the device before each stretch of a pass, by what the host took for its calls in earlier passes.

    The first pass has no delay. A call that waits for the device waits for the delay as well, so that the shortest time
    of each call counts. A stretch begins with an empty queue. Where a delay is over before a call is launched, because
    that waits for the device or the queue was full, another stretch begins, and in later passes the call has one of its
    own. If its delay is too short even then, launching is in its time: ``late`` counts such passes.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.shortest: list[float] = []
        self.starts: set[int] = set()
        self.late: Counter[StepKey] = Counter()
        # Whether the last pass began a stretch that earlier ones did not: the time of a call in it has launching in it.
        self.changed = False
        self.restart()

    def restart(self) -> None:
        """Begin another pass."""
        self.calls, self.first, self.since = 0, 0, 0.0
        self.key: StepKey | None = None
        self.delay: Any = None
        self.found: set[int] = set()

    def begin(self, key: StepKey | None) -> bool:
        """A call begins; whether :meth:`wait` is due before it."""
        if not self.clock.asynchronous:
            return False
        is_late = self._end()
        starts = not self.calls or is_late or self.calls in self.starts or self.calls - self.first == STRETCH
        if starts:
            self.first = self.calls
        self.key, self.since = key, self.clock.now()
        self.calls += 1
        return starts

    def wait(self) -> None:
        """Delay the device for as long as the host will take until the next stretch."""
        if self.first:
            self.clock.read(())
        end = min((start for start in self.starts if start > self.first), default=self.first + STRETCH)
        seconds = sum(self.shortest[self.first : min(end, self.first + STRETCH)])
        more = DELAY_MORE if seconds else 0.0
        self.delay = self.clock.delay(min(MAX_DELAY, DELAY_FACTOR * seconds + more))
        self.since = self.clock.now()

    def _end(self) -> bool:
        """Remember what the host took for the last call; whether its delay was too short."""
        if not self.calls:
            return False
        spent, last = self.clock.now() - self.since, self.calls - 1
        if last == len(self.shortest):
            self.shortest.append(spent)
        self.shortest[last] = min(spent, self.shortest[last])
        if not self.clock.is_over(self.delay):
            return False
        self.delay = None
        if last > self.first:
            # A queue that was full is then shorter by some calls; of one that waits, it is the next pass that finds it.
            self.found |= {last - (last - self.first) // 16, last + 1}
        elif self.key is not None:
            self.late[self.key] += 1
        return True

    def end_pass(self) -> None:
        """All calls of the pass are launched, and the device is not yet waited for."""
        self._end()
        self.changed = not self.found <= self.starts
        self.starts |= self.found
        self.restart()


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
        self.restart()

    def restart(self) -> None:
        """Start another pass, also after an exception."""
        self.steps = StepCounter()
        self.delays.restart()
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
        pauses = self.delays.begin(key)
        if pauses:
            begin = self.clock.mark()
            self.delays.wait()
            self.pauses.append((begin, self.clock.mark(), tuple(self.open)))
        interval = _Interval(key, around, is_line)
        self.open.append(interval)
        interval.begin = self.clock.mark()
        if around is not None:
            self.gap(around, self.pauses[-1][0] if pauses else interval.begin)
            around.inside += 1

    def read(self) -> dict[StepKey, float]:
        """Seconds of each step so far, lines without the layers in them; then restart."""
        self.delays.end_pass()
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
