"""What is said beside the times: noise, budgets, batches, why the layers' sum is not the whole."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from reports_of_runs import report

from fwdscope.commands.bench.notes import notes_on
from fwdscope.settings import BenchSettings
from fwdscope.timing import HostClock, Samples, median_interval

CPU = HostClock()
GPU: Any = SimpleNamespace(asynchronous=True, resolution=5e-7)


def samples(*times: float, precise: bool = True, batch: int = 1, interrupted: bool = False) -> Samples:
    return Samples(times, median_interval(times), batch, 2, precise, interrupted, sum(times), 5.0)


def said(taken: Samples, layers: float | None = None, clock: Any = CPU, graph: Any = True, **settings: Any) -> str:
    workload: Any = SimpleNamespace(graph=graph, notes=(), report=report([1.0]))
    return "\n".join(notes_on(workload, BenchSettings(**settings), taken, layers, clock))


def test_a_steady_run_whose_layers_are_the_whole_needs_no_words() -> None:
    assert said(samples(*[1.0] * 10), layers=0.95) == ""


@pytest.mark.core
def test_noise_is_said_not_hidden() -> None:
    # The middle half lies from 0.9 to 1.1: a fifth of the median.
    assert "spreads over 20 % of the median" in said(samples(0.8, 0.9, 0.9, 1.0, 1.0, 1.0, 1.1, 1.1, 1.2))
    assert "noise" not in said(samples(*[1.0] * 9))


def test_a_budget_that_ran_out_says_how_well_the_median_is_known() -> None:
    text = said(samples(1.0, 1.0, 1.0, 1.0, 1.0, 1.4, precise=False))
    # Six repeats: from 1 to 1.4, half of that is 20 %.
    assert "the budget of 5 s ran out after 6 repeats: the median is known to ±20.0 %, not to ±2 %" in text
    assert "too few repeats" in said(samples(1.0, 1.0, 1.0, precise=False))
    # Who asks for three repeats gets three.
    assert "budget" not in said(samples(1.0, 1.0, 1.0, precise=False), repeats=3)


def test_forwards_timed_together_are_said() -> None:
    assert "20 were timed at once" in said(samples(*[1e-6] * 10, batch=20))


@pytest.mark.parametrize(
    ("layers", "clock", "graph", "expected"),
    [
        (0.7, CPU, True, "the layers take 30 % less than the whole; the rest is calls between the layers"),
        (0.7, CPU, None, "the layers take 30 % less than the whole; the rest is the Python of the spec's lines"),
        (1.3, CPU, True, "the layers take 30 % more than the whole"),
        (0.7, GPU, True, "the device waits for the host 30 % of the time"),
    ],
)
def test_why_the_sum_of_the_layers_is_not_the_whole(layers: float, clock: Any, graph: Any, expected: str) -> None:
    assert expected in said(samples(*[1.0] * 10), layers, clock, graph)


def test_layers_of_compiled_code_are_those_as_written() -> None:
    text = said(samples(*[1.0] * 10), layers=3.0, compiled=True)
    assert "compiled code fuses them" in text
    assert "more than the whole" not in text


def test_interruption_and_autocast_and_caches_are_said() -> None:
    assert "interrupted after 2 repeats" in said(samples(1.0, 1.0, interrupted=True, precise=False))
    assert "bytes are counted as float32" in said(samples(*[1.0] * 9), autocast=True, dtype="bfloat16")
    assert "L2 cache" in said(samples(*[1.0] * 9), clock=GPU)
