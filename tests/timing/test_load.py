"""Requests: when they arrive, what they wait, and what a server can serve; exact, on a clock of the test's own."""

from __future__ import annotations

import threading
from statistics import mean
from typing import Any

import pytest
import torch
from fake_clocks import Time

from fwdscope.report import Load
from fwdscope.timing.load import MOST, Server, arrivals, on_own_stream, serve


def test_requests_arrive_as_a_poisson_process_of_the_rate() -> None:
    sent = arrivals(50.0, 1e9, seed=3)
    assert len(sent) == MOST
    gaps = [b - a for a, b in zip((0.0, *sent), sent, strict=False)]
    # The mean of 20,000 exponential gaps of 0.02 s is known to 0.7 %; e⁻¹ of them are longer than it.
    assert mean(gaps) == pytest.approx(0.02, rel=0.03)
    assert mean(gap > 0.02 for gap in gaps) == pytest.approx(0.368, abs=0.015)
    assert sent == arrivals(50.0, 1e9, seed=3) != arrivals(50.0, 1e9, seed=4)
    within = arrivals(50.0, 2.0, seed=3)
    assert within == sent[: len(within)]
    assert within[-1] < 2.0 <= sent[len(within)]
    assert arrivals(0.01, 1.0, seed=0) == (1.0,)


def served(seconds: float, *sent: float, rate: float = 1.0, until: float = 100.0) -> Load:
    """Requests on a clock that only a forward and a wait move on."""
    time = Time()
    server = Server(lambda: time.passes(seconds), now=lambda: time.now / 1e9, sleep=lambda s: time.passes(s + 1e-9))
    load = serve(server, 1, until, rate if sent else None, sent)
    assert load is not None
    return load


@pytest.mark.core
def test_a_request_waits_for_those_before_it() -> None:
    # Sent at 1, 2 and 3, each takes 2.5: done at 3.5, 6 and 8.5. A benchmark of one after the other would say 2.5.
    load = served(2.5, 1.0, 2.0, 3.0)
    assert load.latency.times == pytest.approx((2.5, 4.0, 5.5), abs=1e-3)
    assert load.latency.median == pytest.approx(4.0, abs=1e-3)
    assert (load.sent, load.served, load.service) == (3, 3, pytest.approx(2.5))
    # A worker serves 0.4 a second at most, and one a second arrives.
    assert load.capacity == pytest.approx(0.4)
    assert not load.is_kept


def test_a_rate_that_is_kept_has_the_time_of_a_forward() -> None:
    load = served(0.25, 1.0, 2.0, 3.0)
    assert load.latency.times == pytest.approx((0.25,) * 3, abs=1e-3)
    assert load.is_kept
    # 3 served until 3.25.
    assert load.throughput == pytest.approx(3 / 3.25, rel=1e-3)


def test_requests_that_queue_too_long_are_left() -> None:
    # Sent within 3 s, and taken until 6: begun at 1, 3.5 and 6, not at 8.5.
    load = served(2.5, 1.0, 1.5, 2.0, 2.5, 3.0, until=3.0)
    assert (load.sent, load.served) == (5, 3)


def test_without_a_rate_requests_follow_one_another_for_the_time_given() -> None:
    load = served(0.5, until=3.0)
    assert load.latency.times == (0.5,) * 7  # the last begins at 3.0
    assert (load.rate, load.is_kept, load.sent) == (None, True, 7)


def test_workers_run_at_once_without_gradients() -> None:
    together, modes = threading.Barrier(3), list[bool]()

    def forward() -> None:
        together.wait(timeout=20)  # of three threads, or none goes on
        modes.append(torch.is_inference_mode_enabled())

    server = Server(forward, lambda: on_own_stream(torch.device("cpu")))
    sent = (0.0,) * 6
    load = serve(server, 3, 1.0, 1.0, sent)
    assert load is not None
    assert (load.concurrency, load.served) == (3, 6)
    assert modes == [True] * 9  # with one to begin of each


def test_an_error_of_a_worker_is_raised() -> None:
    left: list[Any] = [1, 2]

    def forward() -> None:
        left.pop()

    with pytest.raises(IndexError):
        serve(Server(forward), 2, 1.0, None)
