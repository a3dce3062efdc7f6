"""What a benchmark measures besides the repeats, where an option asks for it: requests, transfers, energy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from fwdscope import units
from fwdscope.commands.bench.workload import Workload
from fwdscope.device.energy import Meter, find_meter
from fwdscope.report import Energy, Latency, Load, Transfers
from fwdscope.settings import BenchSettings
from fwdscope.timing.clock import Clock
from fwdscope.timing.load import Server, arrivals, on_own_stream, serve, wait_for_stream
from fwdscope.timing.sampling import Samples, time_repeats
from fwdscope.trace.duplicate import tensors_inside
from fwdscope.units import plural

Run = Callable[[], Any]
# Copies of which the median counts.
COPIES = 20
# Seconds of forwards over which energy is read: counters are written some ten times a second.
ENERGY_SECONDS = 2.0
# Turns on one thread and on all, which may take so many seconds; one is faster if it takes less than this share.
TURNS, TURNS_SECONDS, FASTER = 5, 0.5, 0.9
# Fewer requests have no 99th percentile worth the name.
ENOUGH = 100


def extras(
    workload: Workload, settings: BenchSettings, run: Run, clock: Clock, samples: Samples
) -> tuple[dict[str, Any], list[str]]:
    """Fields of the run that options ask for, and notes on them."""
    found: dict[str, Any] = {}
    notes: list[str] = []
    place = workload.ready.place
    if settings.rate or settings.concurrency > 1:
        settings.on_progress("serving requests")
        sent = arrivals(settings.rate, settings.budget, settings.seed) if settings.rate else ()
        server = Server(run, partial(on_own_stream, place), partial(wait_for_stream, place))
        found["load"] = load = serve(server, settings.concurrency, settings.budget, settings.rate, sent)
        notes += _on_load(load, torch.get_num_threads() if place.type == "cpu" else None) if load else ()
    if settings.transfers:
        settings.on_progress("timing transfers")
        found["transfers"] = time_transfers(workload.ready.call[1:], run(), place, clock.waiting())
    if settings.energy:
        settings.on_progress("reading energy")
        meter, reason = find_meter(workload.ready.device)
        if meter is not None:
            seconds = min(ENERGY_SECONDS, settings.budget)
            found["energy"] = measure_energy(run, clock, meter, seconds, samples.latency.median)
            reason = "" if found["energy"] else f"{meter.source}'s counter did not move in {seconds:g} s"
        notes += [f"energy is not known: {reason}"] * bool(reason)
    return found, notes


def _on_load(load: Load, threads: int | None) -> Iterator[str]:
    if load.served < load.sent:
        yield f"{load.sent - load.served:,} of {load.sent:,} requests were still queued at the end, and are not counted"
    elif load.rate is not None and load.sent < ENOUGH:
        yield f"p99 is of {plural(load.sent, 'request')}: raise --budget"
    if threads is not None and load.concurrency > 1 and threads > 1:
        yield f"each of {load.concurrency} workers has {threads} threads: --threads 1 shares the cores better"


def time_transfers(inputs: Any, outputs: Any, place: torch.device, clock: Clock) -> Transfers:
    """Copies of inputs to a device and of outputs back, each as a blocking copy of ordinary memory."""
    given, made = (list(tensors_inside([values])) for values in (inputs, outputs))
    host = [tensor.cpu() for tensor in given]

    def seconds(tensors: list[Tensor], to: torch.device) -> float:
        def copy() -> None:
            for tensor in tensors:
                tensor.to(to)

        return median(time_repeats(copy, clock, COPIES + 1, 1)[1:])

    def nbytes(tensors: list[Tensor]) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    return Transfers(nbytes(given), seconds(host, place), nbytes(made), seconds(made, torch.device("cpu")))


def measure_energy(run: Run, clock: Clock, meter: Meter, seconds: float, each: float) -> Energy | None:
    """Energy of forwards one behind another, for some seconds; None if the counter did not move meanwhile.

    ``each`` is about what one takes.
    """
    group = max(1, round(seconds / 20 / each))
    began, before, count = clock.now(), meter.read(), 0
    while (elapsed := clock.now() - began) < seconds or not count:
        time_repeats(run, clock, 1, group)
        count += group
    joules = meter.between(before, meter.read())
    return Energy(joules / count, joules / elapsed, meter.source) if joules > 0 else None


def on_one_thread(run: Run, clock: Clock, samples: Samples, threads: int | None) -> str | None:
    """A note where a forward is faster on one thread, since those of a team wait for one another; tried in turns."""
    if threads is None or threads < 2 or not samples.times or samples.interrupted:
        return None
    batch = max(samples.batch, int(1e-4 / samples.latency.median) or 1)
    if 2 * TURNS * batch * samples.latency.median > TURNS_SECONDS:
        return None
    times: dict[int, list[float]] = {1: [], threads: []}
    try:
        for number in (1, threads) * TURNS:
            torch.set_num_threads(number)
            run()
            times[number] += time_repeats(run, clock, 1, batch)
    finally:
        torch.set_num_threads(threads)
    one, all_of_them = Latency.of(times[1]).median, Latency.of(times[threads]).median
    if one > FASTER * all_of_them:
        return None
    return (
        f"threads wait for one another: in turn {units.seconds(one)} on one, {units.seconds(all_of_them)} on "
        f"{threads}: --threads 1"
    )
