"""Notes beside the times: noise, batches, why the layers' sum is not the whole."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_clocks import Time

from fwdscope.commands.bench.extras import on_one_thread
from fwdscope.commands.bench.notes import notes_on
from fwdscope.report import median_interval
from fwdscope.settings import BenchSettings
from fwdscope.timing.clock import HostClock
from fwdscope.timing.sampling import Samples

CPU = HostClock()
GPU: Any = SimpleNamespace(asynchronous=True, resolution=5e-7)


def samples(*times: float, precise: bool = True, batch: int = 1, interrupted: bool = False) -> Samples:
    return Samples(times, median_interval(times), batch, 2, precise, interrupted, sum(times), 5.0)


def notes(
    taken: Samples,
    layers: float | None = None,
    clock: Any = CPU,
    graph: Any = True,
    busy: bool = False,
    alone: str | None = None,
    **settings: Any,
) -> list[str]:
    workload: Any = SimpleNamespace(graph=graph, notes=())
    return list(notes_on(workload, BenchSettings(**settings), taken, layers, clock, busy, alone))


def test_a_steady_run_whose_layers_are_the_whole_has_no_notes() -> None:
    assert notes(samples(*[1.0] * 10), layers=0.95) == []


@pytest.mark.core
def test_all_signs_of_noise_are_one_note() -> None:
    # The middle half lies from 0.9 to 1.1, 20 % of the median; the interval from 0.8 to 1.2 is ±20 %.
    noisy = samples(0.8, 0.9, 0.9, 1.0, 1.0, 1.1, 1.1, 1.2, precise=False)
    assert notes(noisy, busy=True) == ["noisy times (IQR 20 %, median ±20.0 %, other programs running): raise --budget"]


def test_one_thread_is_advised_where_it_was_measured_to_be_faster() -> None:
    time = Time()
    team = torch.get_num_threads()

    def advice(one: float, several: float, threads: int | None = 2) -> str | None:
        def forward() -> None:
            time.passes(one if torch.get_num_threads() == 1 else several)

        return on_one_thread(forward, HostClock(time), samples(several, several), threads)

    waits = "threads wait for one another: in turn 2.00 ms on one, 40.0 ms on 2: --threads 1"
    assert advice(2e-3, 40e-3) == waits
    # 5 % are no reason, one thread has no team, and turns of a second are not worth it.
    assert advice(1.9e-3, 2e-3) is None
    assert advice(2e-3, 40e-3, threads=1) is None
    assert advice(0.5, 1.0) is None
    torch.set_num_threads(team)
    assert notes(samples(*[1.0] * 10), alone=waits) == [waits]


def test_an_imprecise_median_is_a_note_unless_so_few_repeats_were_asked_for() -> None:
    # Six repeats: from 1 to 1.4, half of that is 20 %.
    assert notes(samples(1.0, 1.0, 1.0, 1.0, 1.0, 1.4, precise=False)) == [
        "noisy times (median ±20.0 %): raise --budget"
    ]
    assert notes(samples(1.0, 1.0, 1.0, precise=False)) == ["noisy times (too few repeats): raise --budget"]
    assert notes(samples(1.0, 1.0, 1.0, precise=False), repeats=3) == []


def test_forwards_timed_together_are_a_note() -> None:
    (note,) = notes(samples(*[1e-6] * 10, batch=20))
    assert note.startswith("each time is the mean of 20 forwards")


@pytest.mark.parametrize(
    ("layers", "clock", "graph", "expected"),
    [
        (0.7, CPU, True, "30 % less than the whole: the rest is calls between the layers"),
        (0.7, CPU, None, "30 % less than the whole: the rest is evaluating the spec's lines"),
        (1.3, CPU, True, "30 % more than the whole: timed one by one"),
        (
            0.7,
            GPU,
            True,
            "launch-bound: the device waits 300 ms or more a forward: --graph",
        ),
    ],
)
def test_why_the_sum_of_the_layers_is_not_the_whole(layers: float, clock: Any, graph: Any, expected: str) -> None:
    assert expected in notes(samples(*[1.0] * 10), layers, clock, graph)[0]


def test_of_forwards_that_are_waited_for_the_gap_is_launching_and_waiting() -> None:
    (note, _) = notes(samples(*[1.0] * 10), 0.7, GPU, latency=True)
    assert note == "300 ms or more of a forward are launching and waiting for its end, not the device's work"


def test_a_device_that_gets_slower_as_it_heats_up_is_a_note() -> None:
    # The last ten of thirty take 8 % longer, which is within the IQR that needs no note.
    heated = samples(*[1.0] * 20, *[1.08] * 10)
    assert "the last third of the repeats is 8 % slower than the first: its clock changes" in notes(heated, clock=GPU)
    assert notes(heated) == []


def test_a_gap_within_the_noise_is_no_note() -> None:
    noisy = samples(*[0.8] * 5, *[1.0] * 2, *[1.3] * 5)
    assert [note for note in notes(noisy, layers=0.7) if "less than the whole" in note] == []


def test_layers_of_a_compiled_network_are_timed_as_written() -> None:
    assert notes(samples(*[1.0] * 10), layers=3.0, compiled=True) == [
        "the layers are timed without compiling, which fuses them"
    ]


def test_interruption_autocast_and_caches_are_notes() -> None:
    assert notes(samples(1.0, 1.0, interrupted=True, precise=False)) == ["interrupted after 2 repeats"]
    assert "bytes are counted as float32" in notes(samples(*[1.0] * 9), autocast=True, dtype="bfloat16")[0]
    assert "L2 cache: --flush-l2" in notes(samples(*[1.0] * 9), clock=GPU)[0]
    assert notes(samples(*[1.0] * 9), 0.5, GPU, flush_l2=True) == ["the layers are timed with warm caches"]


def test_every_note_fits_on_a_line_of_100_columns() -> None:
    noisy = samples(*[0.8] * 4, *[1.0] * 2, *[1.3] * 4, precise=False, batch=1_000)
    every = [
        *notes(noisy, 1.9, busy=True),
        *notes(samples(*[1.0] * 9), 0.5, clock=GPU, autocast=True, dtype="bfloat16"),
        *notes(samples(*[1.0] * 9), 0.5, graph=None),
        *notes(samples(*[1.0] * 9), 2.0, graph=None),
        *notes(samples(*[1.0] * 9), 2.0, compiled=True),
    ]
    # A space and "note: " come before it.
    assert max(map(len, every)) <= 100 - 7
