"""Clocks: marks are taken while work runs, and read after one synchronisation.

On a CPU a mark is the host's time. On CUDA it is an event in the stream, so that taking marks does not wait, and
launches by the host are not measured. On MPS the host waits for the device at each mark, which costs some
microseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch

# The marks at the begin and end of some work.
Span = tuple[Any, Any]


class Clock(Protocol):
    """A source of times."""

    # Seconds below which two times cannot be distinguished.
    resolution: float
    # Whether the device runs asynchronously from the host, which queues work.
    asynchronous: bool

    def now(self) -> float:
        """The host's time, in seconds."""

    def mark(self) -> Any:
        """A mark at this point of the work."""

    def read(self, spans: Sequence[Span]) -> list[float]:
        """Seconds between the marks of each pair; waits once for all work so far."""

    def delay(self, seconds: float) -> Any:
        """Keep the device busy for about so long, so that the host can queue work ahead of it; a mark at its end."""

    def is_over(self, delay: Any) -> bool:
        """Whether a delay has ended by now, if there was one."""

    def waiting(self) -> Clock:
        """The clock by which a time ends when the host has waited for the work."""


class HostClock:
    """The host's clock; ``wait`` waits for queued work before each mark."""

    def __init__(
        self,
        nanoseconds: Callable[[], int] = time.perf_counter_ns,
        wait: Callable[[], object] | None = None,
        resolution: float | None = None,
    ) -> None:
        self.nanoseconds = nanoseconds
        self.wait = wait
        # About what reading the clock takes, or waiting for a device.
        self.resolution = resolution or (1e-7 if wait is None else 1e-5)
        self.asynchronous = False

    def now(self) -> float:
        """The host's time, in seconds."""
        return self.nanoseconds() / 1e9

    def mark(self) -> int:
        """The host's time after all work so far is done."""
        if self.wait is not None:
            self.wait()
        return self.nanoseconds()

    def read(self, spans: Sequence[Span]) -> list[float]:
        """Seconds between the marks of each pair."""
        return [(end - begin) / 1e9 for begin, end in spans]

    def delay(self, seconds: float) -> None:
        """Do nothing: the host does the work itself, or waits for it."""

    def is_over(self, delay: None) -> bool:
        """There is no delay."""
        return False

    def waiting(self) -> HostClock:
        """This one."""
        return self


class EventClock:
    """CUDA events in the current stream of a device; ``cuda`` is ``torch.cuda``, or a fake in tests."""

    # "around 0.5 microseconds" by the documentation of torch.cuda.Event.elapsed_time.
    resolution = 5e-7
    asynchronous = True

    def __init__(
        self,
        device: torch.device,
        cuda: Any = torch.cuda,
        nanoseconds: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.device = device
        self.cuda = cuda
        self.nanoseconds = nanoseconds
        # Cycles that a delay counts in a second, once there was one.
        self.rate: float | None = None

    def now(self) -> float:
        """The host's time, in seconds."""
        return self.nanoseconds() / 1e9

    def mark(self) -> Any:
        """An event in the stream."""
        event = self.cuda.Event(enable_timing=True)
        event.record(self.cuda.current_stream(self.device))
        return event

    def read(self, spans: Sequence[Span]) -> list[float]:
        """Seconds between the events of each pair, after one synchronisation."""
        self.cuda.synchronize(self.device)
        return [begin.elapsed_time(end) / 1e3 for begin, end in spans]

    def delay(self, seconds: float) -> Any:
        """Let the device count cycles for this long."""
        if seconds <= 0:
            return None
        if self.rate is None:
            self.rate = self._cycles_per_second()
        self._sleep(int(seconds * self.rate))
        return self.mark()

    def is_over(self, delay: Any) -> bool:
        """Whether the device has come to the event behind a delay."""
        return delay is not None and bool(delay.query())

    def waiting(self) -> HostClock:
        """The host's, which waits for the device at each mark; each forward counts alone, however short."""
        return HostClock(self.nanoseconds, lambda: self.cuda.synchronize(self.device), resolution=1e-7)

    def _sleep(self, cycles: int) -> None:
        with self.cuda.device(self.device):
            self.cuda._sleep(cycles)

    def _cycles_per_second(self) -> float:
        """Measured, since not every device has it as a property: ROCm's counter may not be that of the clock."""
        cycles, seconds = 10_000, 0.0
        while seconds < CALIBRATION_SECONDS and cycles < 10**10:
            cycles *= 10
            begin = self.mark()
            self._sleep(cycles)
            (seconds,) = self.read([(begin, self.mark())])
        return cycles / max(seconds, 1e-9)


# A delay of this length measures the cycles a second.
CALIBRATION_SECONDS = 5e-4
# Pairs of marks that are taken to know their cost, after as many that are not counted.
EMPTY_PAIRS = 50


class Empty(NamedTuple):
    """Seconds between two marks with nothing between them, and how far other such pairs are from that."""

    seconds: float
    noise: float


def empty_pair(clock: Clock) -> Empty:
    """The cost of a pair of marks: its median, and the distance of the 90th percentile, or the clock's resolution.

    On an asynchronous device the pairs are queued behind a delay, as those around layers are, so that the device's time
    for them is found, not the host's.
    """

    def pairs() -> list[Span]:
        return [(clock.mark(), clock.mark()) for _ in range(2 * EMPTY_PAIRS)]

    if clock.asynchronous:
        began = clock.now()
        pairs()
        clock.delay(2 * (clock.now() - began))
    found = sorted(clock.read(pairs())[EMPTY_PAIRS:])
    middle = found[EMPTY_PAIRS // 2]
    return Empty(middle, max(clock.resolution, found[EMPTY_PAIRS * 9 // 10] - middle))


def clock_for(device: torch.device) -> Clock:
    """The clock for work on a device."""
    if device.type == "cuda":
        return EventClock(device)
    if device.type == "mps":
        return HostClock(wait=torch.mps.synchronize)
    return HostClock()
