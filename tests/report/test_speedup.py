"""Two runs held against each other: the ratio, its interval, what else was not the same."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports_of_runs import report

from fwdscope.report import Latency
from fwdscope.report.speedup import against, against_limit, compare, in_turn, judge


def around(median: float, n: int = 101, spread: float = 0.05, seed: int = 1) -> Latency:
    generator = random.Random(seed)
    return Latency.of([median * (1 + spread * (2 * generator.random() - 1)) for _ in range(n)])


def test_a_run_beside_itself_is_no_faster() -> None:
    one = around(1.0)
    found = compare(one, one)
    assert found.ratio == 1.0
    assert found.interval is not None
    assert found.interval[0] <= 1.0 <= found.interval[1]
    assert found.answer == "cannot tell"


@pytest.mark.core
def test_half_the_time_is_more_than_noise() -> None:
    found = compare(around(1.0), around(0.5, seed=2))
    assert found.ratio == pytest.approx(0.5, rel=0.02)
    assert found.answer == "faster"


@pytest.mark.parametrize(
    ("interval", "floor", "answer"),
    [
        ((1.01, 1.2), 0.0, "slower"),
        ((0.8, 0.99), 0.0, "faster"),
        ((0.99, 1.01), 0.0, "cannot tell"),
        # A tenth slower at least, or a tenth faster: 1 / 1.1 is 0.909.
        ((1.09, 1.2), 0.1, "cannot tell"),
        ((1.11, 1.2), 0.1, "slower"),
        ((0.8, 0.92), 0.1, "cannot tell"),
        ((0.8, 0.90), 0.1, "faster"),
        (None, 0.0, "cannot tell"),
    ],
)
def test_an_answer_needs_an_interval_beyond_the_floor(
    interval: tuple[float, float] | None, floor: float, answer: str
) -> None:
    assert judge(interval, floor) == answer


def test_single_processes_do_not_tell_a_fifth() -> None:
    assert compare(around(1.0), around(0.82, seed=2)).answer == "cannot tell"
    assert compare(around(1.0), around(0.82, seed=2)).of == "repeats"


def test_the_fastest_tenth_is_compared() -> None:
    # Half of all forwards were stopped for 9 seconds, which moves the median and not the 10th percentile.
    quiet, disturbed = Latency.of([1.0] * 100), Latency.of([1.0] * 45 + [10.0] * 55)
    assert (compare(quiet, disturbed).ratio, compare(quiet, disturbed).answer) == (1.0, "cannot tell")


def test_processes_have_the_interval_of_mann_and_whitney() -> None:
    one = around(1.0)
    before, now = [1.00, 1.01, 1.02, 1.03, 1.04], [1.20, 1.21, 1.22, 1.23, 1.24]
    found = compare(one, one, (), (before, now))
    # Of 5 and 5, 1 order in 252 has all of one kind first: 0.4 % at each end, so the interval ends at the extremes.
    assert found.interval == (1.20 / 1.04, 1.24 / 1.00)
    assert (found.of, found.answer) == ("processes", "slower")
    # Of 4 and 4 it is 1 in 70, which is more than 0.5 %.
    assert compare(one, one, (), (before[:4], now[:4])).interval is None
    # Of 8 and 8 there are 12,870 orders, of which 0.5 % are 64. As many have up to u pairs turned round as there are
    # partitions of numbers up to u: 1, 2, 4, 7, 12, 19, 30, 45, 67 (with at most 8 parts of at most 8). So 8 ratios
    # of both ends lie beyond, of which the eighth is the end.
    eight = [1.0 + i / 100 for i in range(8)]
    ratios = sorted(a / b for a in eight for b in eight)
    assert compare(one, one, (), (eight, eight)).interval == (ratios[7], ratios[-8])


def test_a_limit_is_exceeded_where_its_repeats_say_so_beyond_the_floor() -> None:
    assert against_limit([2.0, 2.1, 2.2], 1.0).answer == "slower"
    assert against_limit([1.1, 1.1, 1.2], 1.0).answer == "cannot tell"
    assert against_limit([0.5, 0.5], 1.0).interval is None


@given(st.lists(st.tuples(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3)), min_size=1, max_size=40))
def test_the_answer_of_rounds_turns_round_with_them(rounds: list[tuple[float, float]]) -> None:
    answer = in_turn(rounds).answer
    turned = in_turn([(second, first) for first, second in rounds]).answer
    assert (answer, turned) in {("faster", "slower"), ("slower", "faster"), ("cannot tell", "cannot tell")}


def test_the_same_numbers_give_the_same_interval() -> None:
    assert compare(around(1.0), around(0.9, seed=2)) == compare(around(1.0), around(0.9, seed=2))


def test_the_interval_of_rounds_holds_the_truth_about_as_often_as_it_says() -> None:
    # 400 pairs of one program: an interval of 99 % leaves 1 out in 4 of them at most, with a deviation of 2.
    generator = random.Random(3)
    pairs = [
        [(generator.lognormvariate(0, 0.2), generator.lognormvariate(0, 0.2)) for _ in range(41)] for _ in range(400)
    ]
    intervals = [in_turn(rounds).interval or (1.0, 1.0) for rounds in pairs]
    assert sum(not low <= 1.0 <= high for low, high in intervals) <= 11


def test_two_repeats_say_nothing_about_noise() -> None:
    found = compare(Latency.of([1.0, 1.0]), around(0.5))
    assert found.interval is None
    assert found.answer == "cannot tell"


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
