"""Clocks and devices whose time the test decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


class Time:
    """Time that goes on only when somebody says so, in nanoseconds."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)


def taking(time: Time, seconds: Iterator[float]) -> Callable[[], None]:
    """A forward that takes the next of these seconds each time it is run."""
    return lambda: time.passes(next(seconds))


class Event:
    """As torch.cuda.Event: it holds the device's time once the device has come to it."""

    def __init__(self, cuda: Cuda, enable_timing: bool) -> None:
        assert enable_timing
        self.cuda = cuda
        self.at: float | None = None
        self.recorded = 0.0

    def record(self, stream: object) -> None:
        assert stream == self.cuda.current_stream("cuda:0")
        self.cuda.time.passes(self.cuda.mark_host)
        self.recorded = self.cuda.time.now / 1e9
        self.cuda.enqueue(self)

    def query(self) -> bool:
        self.cuda.work(self.cuda.time.now / 1e9)
        return self.at is not None

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds."""
        assert self.at is not None, "read before the device came to it"
        assert end.at is not None, "read before the device came to it"
        return (end.at - self.at) * 1e3


class Cuda:
    """A device that works through a queue, later than the host: kernels by their seconds, events by recording when.

    An event takes the host and the device some seconds. A queue holds ``room`` entries; the host waits until there is
    room for another. A delay counts ``rate`` cycles a second.
    """

    def __init__(self, time: Time, mark_host: float = 0.0, mark_device: float = 0.0, room: int = 10**9) -> None:
        self.time = time
        self.mark_host, self.mark_device, self.room = mark_host, mark_device, room
        self.rate = 1e9
        self.queue: list[Any] = []
        self.clock = 0.0
        self.synchronisations = 0
        self.slept: list[int] = []

    def Event(self, enable_timing: bool = False) -> Event:
        return Event(self, enable_timing)

    def launch(self, seconds: float, host: float = 1e-5) -> None:
        """A kernel, which the host takes some time to launch."""
        self.enqueue((self.time.now / 1e9, seconds))
        self.time.passes(host)

    def enqueue(self, item: Any) -> None:
        self.queue.append(item)
        if len(self.queue) > self.room:
            self.work(self.time.now / 1e9)
        while len(self.queue) > self.room:
            self.work(self.clock, 1)
            self.time.now = max(self.time.now, round(self.clock * 1e9))

    def current_stream(self, device: object) -> str:
        return "the stream"

    def work(self, until: float, at_least: int = 0) -> None:
        """Do what is done at a time of the host, and so many entries in any case."""
        while self.queue:
            item = self.queue[0]
            if isinstance(item, Event):
                end = max(self.clock, item.recorded) + self.mark_device
            else:
                end = max(self.clock, item[0]) + item[1]
            if end > until + 1e-12 and at_least <= 0:
                return
            at_least -= 1
            self.clock = end
            if isinstance(item, Event):
                item.at = end
            self.queue.pop(0)

    def synchronize(self, device: object) -> None:
        self.synchronisations += 1
        self.work(float("inf"))
        self.time.now = max(self.time.now, round(self.clock * 1e9))

    def device(self, device: object) -> Any:
        import contextlib

        return contextlib.nullcontext()

    def _sleep(self, cycles: int) -> None:
        self.slept.append(cycles)
        self.enqueue((self.time.now / 1e9, cycles / self.rate))
