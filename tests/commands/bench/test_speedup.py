"""Two runs held against each other: the ratio, its interval, what else was not the same."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from reports_of_runs import report

from fwdscope.commands.bench.speedup import against, compare
from fwdscope.report import Latency


def around(median: float, n: int = 101, spread: float = 0.05, seed: int = 1) -> Latency:
    generator = random.Random(seed)
    return Latency.of([median * (1 + spread * (2 * generator.random() - 1)) for _ in range(n)])


def test_a_run_beside_itself_is_no_faster() -> None:
    one = around(1.0)
    found = compare(one, one)
    assert found.ratio == 1.0
    assert found.interval is not None
    assert found.interval[0] <= 1.0 <= found.interval[1]
    assert not found.certain


@pytest.mark.core
def test_half_the_time_is_more_than_noise() -> None:
    found = compare(around(1.0), around(0.5, seed=2))
    assert found.ratio == pytest.approx(0.5, rel=0.02)
    assert found.certain


def test_a_small_change_is_lost_in_noise_and_found_without() -> None:
    assert not compare(around(1.0, spread=0.5), around(0.99, spread=0.5, seed=2)).certain
    assert compare(around(1.0, spread=0.005), around(0.99, spread=0.005, seed=2)).certain


def test_the_same_numbers_give_the_same_interval() -> None:
    assert compare(around(1.0), around(0.9, seed=2)) == compare(around(1.0), around(0.9, seed=2))


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    # 200 pairs of runs of one program: an interval of 95 % leaves 1 out in 10 of them, with a deviation of 3.
    runs = [(around(1.0, 41, seed=2 * i), around(1.0, 41, seed=2 * i + 1)) for i in range(200)]
    wrong = sum(compare(one, other).certain for one, other in runs)
    assert 2 <= wrong <= 22


def test_two_repeats_say_nothing_about_noise() -> None:
    found = compare(Latency.of([1.0, 1.0]), around(0.5))
    assert found.interval is None
    assert not found.certain


def test_what_else_differs_is_said() -> None:
    before, now = report([1.0] * 10), report([0.5] * 10)
    assert now.run is not None
    now = replace(now, run=replace(now.run, threads=4, dtype="bfloat16", compiled=True))
    found = against(before, now)
    assert found is not None
    assert found.differs == (
        "dtype float32 then, bfloat16 now", "threads 1 then, 4 now", "compiled False then, True now",
    )  # fmt: skip
    assert against(replace(before, run=None), now) is None
