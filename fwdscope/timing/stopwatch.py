"""Marks where the steps of a run begin and end, numbered as the trace's recorder numbers them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fwdscope.model.events import LineResult, StepStart
from fwdscope.model.modules import Scope
from fwdscope.model.straight import Key
from fwdscope.timing.clock import Clock
from fwdscope.timing.leads import STRETCH, Leads


@dataclass(eq=False)
class _Interval:
    """A step: its marks, and the layers directly inside a line."""

    key: Key | None
    begin: Any
    around: _Interval | None
    end: Any = None


@dataclass(frozen=True)
class _Pause:
    """A lead in the middle of a pass: its marks, and the steps that were open, of whose time it is no part."""

    begin: Any
    end: Any
    open: tuple[_Interval, ...]


class Stopwatch:
    """An observer of a run that takes a mark at every begin and end.

    What contains others in a spec (blocks, stacks, parts, loops) is not timed: it is the sum of what is inside, since
    reading the lines costs time that is not the network's. A line is timed without the layers that it calls.
    ``leads`` know the host's times of earlier passes; a device that works on its own is held before each stretch.
    """

    def __init__(self, clock: Clock, leads: Leads | None = None) -> None:
        self.clock = clock
        self.leads = leads or Leads(clock)
        self.begun = 0
        self.lines = 0
        self.open: list[_Interval] = []
        self.done: list[_Interval] = []
        self.entered = 0
        self.pauses: list[_Pause] = []
        # The host's time when the stretch that it is in began.
        self.since = 0.0

    def begin(self, what: StepStart, inputs: Any) -> None:
        """A layer, block, stack, part, loop or Parameter begins."""
        summed = isinstance(what.module, Scope) or what.kind in ("loop", "part")
        self.enter(None if summed else ("begin", self.begun))
        self.begun += 1

    def end(self, outputs: Any) -> None:
        """It ends."""
        self.leave()

    def turn(self) -> None:
        """A round of a loop."""

    def line(self) -> None:
        """A line begins."""
        self.enter(("line", self.lines))
        self.lines += 1

    def line_end(self, end: LineResult, value: Any) -> None:
        """A line ends."""
        self.leave()

    def note(self, text: str) -> None:
        """What a loop has to say."""

    def enter(self, key: Key | None) -> None:
        """A step begins."""
        if self.clock.asynchronous and self.entered % STRETCH == 0:
            self.pause()
        self.entered += 1
        interval = _Interval(key, None, self.open[-1] if self.open else None)
        self.open.append(interval)
        interval.begin = self.clock.mark()

    def leave(self) -> None:
        """The innermost step ends."""
        end = self.clock.mark()
        interval = self.open.pop()
        interval.end = end
        self.done.append(interval)

    def pause(self) -> None:
        """Hold the device before a stretch."""
        self.stretch_ends()
        begin = self.clock.mark()
        self.leads.before([self.entered // STRETCH])
        self.pauses.append(_Pause(begin, self.clock.mark(), tuple(self.open)))
        self.since = self.clock.now()

    def stretch_ends(self) -> None:
        """Remember what the host took for the stretch that it is in."""
        if self.pauses:
            self.leads.took((self.entered - 1) // STRETCH, self.clock.now() - self.since)

    def read(self) -> dict[Key, float]:
        """Seconds of each step so far, of lines without what they contain; forgets them and starts anew."""
        self.stretch_ends()
        spans = [(one.begin, one.end) for one in self.done] + [(one.begin, one.end) for one in self.pauses]
        seconds = self.clock.read(spans)
        own = dict(zip(self.done, seconds, strict=False))
        for pause, held in zip(self.pauses, seconds[len(self.done) :], strict=True):
            for interval in pause.open:
                own[interval] -= held
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
        """Count from the start of another pass; what an exception left open is forgotten."""
        self.begun = self.lines = self.entered = 0
        self.open.clear()
        self.done.clear()
        self.pauses.clear()
