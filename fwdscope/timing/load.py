"""Serve requests with forwards, as they arrive: what a client sees, queueing included.

The time of a request begins when it is sent, whether or not a worker is free then; a benchmark that sends the next
one only when the last is done leaves out what the others would have waited.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch

from fwdscope.garbage_collection import without_garbage_collection
from fwdscope.report import Latency, Load

# Requests of one measurement.
MOST = 20_000
# What is left of a wait is waited for awake, since the system wakes a thread that late.
AWAKE = 5e-4
# A worker that waits for a request looks so often whether it is to end.
DOZE = 0.2
# Requests are taken for so many times the time that they arrive in; then those that still queue are left.
PATIENCE = 2.0


def arrivals(rate: float, seconds: float, seed: int) -> tuple[float, ...]:
    """When requests arrive, from 0 on: a Poisson process, whose gaps are exponential; at least one."""
    draw, at = random.Random(seed), 0.0
    found = [at := min(seconds, draw.expovariate(rate))]
    while len(found) < MOST and (at := at + draw.expovariate(rate)) < seconds:
        found.append(at)
    return tuple(found)


@dataclass(frozen=True)
class Server:
    """A forward, the context that each of its workers runs in, and what waits for the end of one's work."""

    run: Callable[[], object]
    during: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
    finish: Callable[[], object] = lambda: None
    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], object] = time.sleep


@dataclass
class _Served:
    """When requests were sent, begun and done; the first error of a worker."""

    times: list[tuple[float, float, float]] = field(default_factory=list)
    taken: int = 0
    began: float = 0.0
    error: BaseException | None = None


def serve(server: Server, workers: int, seconds: float, rate: float | None, sent: Sequence[float] = ()) -> Load | None:
    """Serve the requests that were ``sent`` at these times with some workers; without any, one after the other.

    Ctrl-C ends it early; None if nothing was served by then. Raises what a forward raises.
    """
    found, ends, lock = _Served(), threading.Event(), threading.Lock()
    until = PATIENCE * seconds if rate else seconds

    def begin() -> None:
        found.began = server.now()

    # All begin when the last one is ready: a new thread's first forward makes its threads and streams.
    ready = threading.Barrier(workers, begin)

    def work() -> None:
        try:
            with server.during():
                server.run()
                server.finish()
                ready.wait()
                while (at := _take(server, found, lock, ends, sent, until)) is not None:
                    begun = server.now()
                    server.run()
                    server.finish()
                    found.times.append((begun if at < 0 else at, begun, server.now()))
        except BaseException as error:  # raised again in the thread that waits for this one
            found.error = found.error or error
            ready.abort()
            ends.set()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    with without_garbage_collection():
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            ends.set()
            ready.abort()
            for thread in threads:
                thread.join()
    if found.error is not None and not isinstance(found.error, threading.BrokenBarrierError):
        raise found.error
    if not found.times:
        return None
    service = sum(end - begun for _, begun, end in found.times) / len(found.times)
    return Load(
        concurrency=workers,
        rate=rate,
        sent=len(sent) or len(found.times),
        served=len(found.times),
        throughput=len(found.times) / (max(end for *_, end in found.times) - found.began),
        capacity=workers / service,
        latency=Latency.of([end - at for at, _, end in sorted(found.times)]),
        service=service,
    )


def _take(
    server: Server, found: _Served, lock: threading.Lock, ends: threading.Event, sent: Sequence[float], until: float
) -> float | None:
    """When the next request was sent, once it is; negative if there is always one, None if there is none left."""
    with lock:
        number = found.taken
        found.taken += 1
    if ends.is_set() or server.now() - found.began > until or number >= (len(sent) or MOST):
        return None
    if not sent:
        return -1.0
    at = found.began + sent[number]
    while (left := at - server.now()) > 0 and not ends.is_set():
        server.sleep(min(DOZE, max(0.0, left - AWAKE)))
    return None if ends.is_set() else at


@contextlib.contextmanager
def on_own_stream(place: torch.device):  # type: ignore[no-untyped-def]
    """A thread without gradients, on a CUDA stream of its own."""
    with torch.inference_mode(), contextlib.ExitStack() as stack:
        if place.type == "cuda":
            stack.enter_context(torch.cuda.stream(torch.cuda.Stream(place)))
        yield


def wait_for_stream(place: torch.device) -> None:
    """Wait for the work of this thread's stream, or of the device."""
    if place.type == "cuda":
        torch.cuda.current_stream(place).synchronize()
    elif place.type == "mps":
        torch.mps.synchronize()
