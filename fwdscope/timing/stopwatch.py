"""Marks where the steps of a run begin and end, numbered as the trace's recorder does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fwdscope.model.events import LineResult, StepStart
from fwdscope.model.modules import Scope
from fwdscope.model.straight import Key
from fwdscope.timing.clock import Clock
from fwdscope.timing.launch_delays import STRETCH, LaunchDelays


@dataclass(eq=False)
class _Interval:
    """A step with its marks, and the step around it."""

    key: Key | None
    begin: Any
    around: _Interval | None
    end: Any = None


@dataclass(frozen=True)
class _Pause:
    """A delay amid a pass: its marks, and the open steps, whose time does not include it."""

    begin: Any
    end: Any
    open: tuple[_Interval, ...]


class Stopwatch:
    """An observer of a run that takes a mark at the begin and end of every step.

    In a spec, blocks, stacks, parts and loops are not timed, since evaluating lines is not the network's work: their
    time is the sum of what is inside. A line is timed without the layers that it calls. An asynchronous device is
    delayed before each stretch, by ``delays`` with the times of earlier passes.
    """

    def __init__(self, clock: Clock, delays: LaunchDelays | None = None) -> None:
        self.clock = clock
        self.delays = delays or LaunchDelays(clock)
        self.begun = 0
        self.lines = 0
        self.open: list[_Interval] = []
        self.done: list[_Interval] = []
        self.entered = 0
        self.pauses: list[_Pause] = []
        # The host's time when the current stretch began.
        self.since = 0.0

    def begin(self, what: StepStart, inputs: Any) -> None:
        """Begin a layer, block, stack, part, loop or Parameter."""
        summed = isinstance(what.module, Scope) or what.kind in ("loop", "part")
        self.enter(None if summed else ("begin", self.begun))
        self.begun += 1

    def end(self, outputs: Any) -> None:
        """End it."""
        self.leave()

    def turn(self) -> None:
        """Ignore a round of a loop."""

    def line(self) -> None:
        """Begin a line."""
        self.enter(("line", self.lines))
        self.lines += 1

    def line_end(self, end: LineResult, value: Any) -> None:
        """End a line."""
        self.leave()

    def note(self, text: str) -> None:
        """Ignore a note of a loop."""

    def enter(self, key: Key | None) -> None:
        """Begin a step."""
        if self.clock.asynchronous and self.entered % STRETCH == 0:
            self.pause()
        self.entered += 1
        interval = _Interval(key, None, self.open[-1] if self.open else None)
        self.open.append(interval)
        interval.begin = self.clock.mark()

    def leave(self) -> None:
        """End the innermost step."""
        end = self.clock.mark()
        interval = self.open.pop()
        interval.end = end
        self.done.append(interval)

    def pause(self) -> None:
        """Delay the device before a stretch."""
        self.stretch_ends()
        begin = self.clock.mark()
        self.delays.before([self.entered // STRETCH])
        self.pauses.append(_Pause(begin, self.clock.mark(), tuple(self.open)))
        self.since = self.clock.now()

    def stretch_ends(self) -> None:
        """Remember what the host took for the current stretch."""
        if self.pauses:
            self.delays.took((self.entered - 1) // STRETCH, self.clock.now() - self.since)

    def read(self) -> dict[Key, float]:
        """Seconds of each step so far, lines without the layers in them; then restart."""
        self.stretch_ends()
        spans = [(one.begin, one.end) for one in self.done] + [(one.begin, one.end) for one in self.pauses]
        seconds = self.clock.read(spans)
        own = dict(zip(self.done, seconds, strict=False))
        for pause, delay in zip(self.pauses, seconds[len(self.done) :], strict=True):
            for interval in pause.open:
                own[interval] -= delay
        times: dict[Key, float] = {}
        for one, spent in own.items():
            if one.key is not None:
                times[one.key] = times.get(one.key, 0.0) + spent
            line = one.around
            if line is not None and line.key is not None and line.key[0] == "line":
                times[line.key] = times.get(line.key, 0.0) - spent
        self.restart()
        return times

    def restart(self) -> None:
        """Start another pass, also after an exception."""
        self.begun = self.lines = self.entered = 0
        self.open.clear()
        self.done.clear()
        self.pauses.clear()
