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

    def record(self, stream: object) -> None:
        assert stream == self.cuda.current_stream("cuda:0")
        self.cuda.queue.append(self)

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds."""
        assert self.at is not None, "read before the device came to it"
        assert end.at is not None, "read before the device came to it"
        return (end.at - self.at) * 1e3


class Cuda:
    """A device that works through a queue, later than the host: kernels by their seconds, events by recording when."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.queue: list[Any] = []
        self.clock = 0.0
        self.synchronisations = 0
        self.slept: list[int] = []

    def Event(self, enable_timing: bool = False) -> Event:
        return Event(self, enable_timing)

    def launch(self, seconds: float, host: float = 1e-5) -> None:
        """A kernel, which the host takes some time to launch."""
        self.queue.append((self.time.now / 1e9, seconds))
        self.time.passes(host)

    def current_stream(self, device: object) -> str:
        return "the stream"

    def synchronize(self, device: object) -> None:
        self.synchronisations += 1
        for item in self.queue:
            if isinstance(item, Event):
                item.at = self.clock
            else:
                launched, seconds = item
                self.clock = max(self.clock, launched) + seconds
        self.queue.clear()
        self.time.now = max(self.time.now, round(self.clock * 1e9))

    def get_device_properties(self, device: object) -> Any:
        return type("Properties", (), {"clock_rate": 1_000_000})()

    def device(self, device: object) -> Any:
        import contextlib

        return contextlib.nullcontext()

    def _sleep(self, cycles: int) -> None:
        self.slept.append(cycles)
        self.queue.append((self.time.now / 1e9, cycles / 1e9))
