"""Clocks: marks taken while the work runs, read after one synchronisation."""

from __future__ import annotations

import itertools

import pytest
import torch
from fake_clocks import Cuda, Time

from fwdscope.timing.clock import EventClock, HostClock, clock_for, empty_pair

CUDA = torch.device("cuda:0")


@pytest.mark.core
def test_the_hosts_clock_reads_what_passed_between_two_marks() -> None:
    time = Time()
    clock = HostClock(time)
    begin = clock.mark()
    time.passes(0.25)
    middle = clock.mark()
    time.passes(0.5)
    assert clock.read([(begin, middle), (middle, clock.mark())]) == [0.25, 0.5]
    assert clock.now() == 0.75


def test_a_device_that_works_by_itself_is_waited_for_at_each_mark() -> None:
    time = Time()
    # What was queued before a mark takes a tenth of a second.
    clock = HostClock(time, wait=lambda: time.passes(0.1))
    begin = clock.mark()
    assert clock.read([(begin, clock.mark())]) == [0.1]


def test_events_are_read_after_one_synchronisation() -> None:
    time = Time()
    cuda = Cuda(time)
    clock = EventClock(CUDA, cuda, time)
    spans = []
    for seconds in (0.002, 0.003, 0.004):
        begin = clock.mark()
        cuda.launch(seconds)
        spans.append((begin, clock.mark()))
    assert cuda.synchronisations == 0
    # The host was long through when the device began with the second: no gaps are in the times.
    assert clock.read(spans) == pytest.approx([0.002, 0.003, 0.004])
    assert cuda.synchronisations == 1


def test_a_lead_keeps_the_device_busy_while_the_host_goes_on() -> None:
    time = Time()
    cuda = Cuda(time)
    clock = EventClock(CUDA, cuda, time)
    # Without a delay the device waits for the host, which takes 1 ms for each launch.
    begin = clock.mark()
    cuda.launch(1e-5, host=1e-3)
    cuda.launch(1e-5, host=1e-3)
    assert clock.read([(begin, clock.mark())]) == pytest.approx([2e-3])
    # At a clock of 1 GHz 0.1 ms is too short to tell it, and a millisecond is not; then ten million cycles.
    mark = clock.delay(0.01)
    assert cuda.slept == [100_000, 1_000_000, 10_000_000]
    assert not clock.is_over(mark)
    begin = clock.mark()
    cuda.launch(1e-5, host=1e-3)
    cuda.launch(1e-5, host=1e-3)
    assert clock.read([(begin, clock.mark())]) == pytest.approx([2e-5])


@pytest.mark.parametrize("rate", [1e8, 1.98e9])
def test_the_rate_of_delays_is_measured(rate: float) -> None:
    # As on ROCm, whose counter has 100 MHz on some devices whatever the clock is.
    cuda = Cuda(Time())
    cuda.rate = rate
    clock = EventClock(CUDA, cuda, cuda.time)
    assert not clock.is_over(None)
    mark = clock.delay(0.25)
    assert cuda.slept[-1] == pytest.approx(0.25 * rate, rel=1e-6)
    cuda.time.passes(0.2)
    assert not clock.is_over(mark)
    cuda.time.passes(0.06)
    assert clock.is_over(mark)


def test_a_clock_that_waits_times_a_forward_alone() -> None:
    cuda = Cuda(Time())
    clock = EventClock(CUDA, cuda, cuda.time).waiting()
    begin = clock.mark()
    cuda.launch(2e-3, host=1e-4)
    # Launched at once, done after 2 ms; the host is there after 0.1 and waits.
    assert clock.read([(begin, clock.mark())]) == pytest.approx([2e-3])
    assert not clock.asynchronous
    assert HostClock().waiting().wait is None


def test_on_a_device_an_empty_pair_costs_what_the_device_takes_for_an_event() -> None:
    # The host takes 3 µs for an event, the device 0.7: behind a delay the device is never short of events.
    cuda = Cuda(Time(), mark_host=3e-6, mark_device=0.7e-6)
    assert empty_pair(EventClock(CUDA, cuda, cuda.time)).seconds == pytest.approx(0.7e-6)


def test_no_lead_is_no_sleep() -> None:
    time = Time()
    cuda = Cuda(time)
    EventClock(CUDA, cuda, time).delay(0.0)
    assert cuda.slept == []


def test_each_device_has_its_clock() -> None:
    clock = clock_for(torch.device("cpu"))
    assert isinstance(clock, HostClock)
    assert clock.wait is None
    apple = clock_for(torch.device("mps"))
    assert isinstance(apple, HostClock)
    assert apple.wait is torch.mps.synchronize


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_events_measure_what_a_synchronised_host_does() -> None:
    import time

    clock = clock_for(torch.device("cuda"))
    x = torch.randn(4096, 4096, device="cuda")
    for _ in range(3):
        x @ x
    torch.cuda.synchronize()
    before = time.perf_counter()
    begin = clock.mark()
    for _ in range(50):
        x @ x
    (seconds,) = clock.read([(begin, clock.mark())])
    host = time.perf_counter() - before
    # Twenty times as long as any launch: both are the device's work, the events never more than the host saw.
    assert 0 < seconds <= host


def test_an_empty_pair_of_marks_has_a_cost_and_a_noise() -> None:
    # Reading takes 60 ns, and 200 more each twentieth time; a pair is the time of one reading.
    time = Time()
    count = itertools.count(1)

    def read() -> int:
        time.passes(60e-9 + 200e-9 * (next(count) % 20 == 0))
        return time()

    found = empty_pair(HostClock(read))
    assert found.seconds == pytest.approx(60e-9)
    # Of 50 pairs 5 have the slow reading between their marks: the 90th percentile is 200 ns above the median.
    assert found.noise == pytest.approx(200e-9)
    assert empty_pair(HostClock(Time())) == (0.0, HostClock().resolution)
