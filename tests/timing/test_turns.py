"""Two programs in turn: what is compared is exact on a clock of the test's own, and holds where a machine is busy."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator

import pytest
from fake_clocks import Time, taking

from fwdscope.report.speedup import in_turn
from fwdscope.timing.clock import HostClock
from fwdscope.timing.sampling import SamplingPlan
from fwdscope.timing.turns import Contender, Turns, measure_in_turn

PLAN = SamplingPlan(warmup=2, repeats=40, budget=None)


def turns(first: Iterator[float], second: Iterator[float], plan: SamplingPlan = PLAN) -> Turns:
    time = Time()
    pair = (Contender(taking(time, first)), Contender(taking(time, second)))
    return measure_in_turn(pair, HostClock(time), plan, random.Random(0))


@pytest.mark.core
def test_the_fastest_forward_of_each_turn_counts_and_the_first_is_not_timed() -> None:
    # Two warm-ups of 1 ms; then turns of an untimed forward of 9 ms and three timed ones of 4, 2 and 3 ms.
    slow = itertools.chain([0.001, 0.001], itertools.cycle([0.009, 0.004, 0.002, 0.003]))
    found = turns(slow, itertools.repeat(0.001))
    assert set(found.rounds) == {(0.002, 0.001)}
    assert (len(found.rounds), found.forwards, found.interrupted) == (40, (3, 3), False)


def test_a_turn_of_long_forwards_is_one_forward() -> None:
    found = turns(itertools.repeat(0.2), itertools.repeat(0.04))
    # 0.1 s has room for no forward of 0.2 s, and for two of 40 ms.
    assert found.forwards == (1, 2)


def test_both_come_first_about_as_often() -> None:
    time, order = Time(), list[str]()

    def program(name: str) -> Callable[[], None]:
        return lambda: (order.append(name), time.passes(0.2))[1]

    pair = Contender(program("A")), Contender(program("B"))
    measure_in_turn(pair, HostClock(time), SamplingPlan(warmup=1, repeats=100, budget=None), random.Random(0))
    rounds = list(zip(order[2::2], order[3::2], strict=True))
    assert set(map(frozenset, rounds)) == {frozenset("AB")}, "each round has one of both"
    # Of 100 throws of a coin, from 30 to 70 are heads but for 1 in 25,000.
    assert 30 <= rounds.count(("A", "B")) <= 70


def test_rounds_go_on_until_the_ratio_is_known_or_the_budget_is_spent() -> None:
    quick = SamplingPlan(budget=60.0)
    found = turns(itertools.repeat(0.03), itertools.repeat(0.03), quick)
    # Equal times are as precise as can be: ten rounds, of 2 turns of 1 + 3 forwards of 30 ms, take more than 0.5 s.
    assert (len(found.rounds), found.precise) == (10, True)
    noise = random.Random(1)
    wild = (noise.uniform(0.02, 0.2) for _ in itertools.count())
    found = turns(wild, itertools.repeat(0.03), SamplingPlan(budget=3.0))
    assert not found.precise
    assert found.rounds
    assert in_turn(found.rounds).answer != "faster"


def test_each_runs_with_its_own_settings() -> None:
    time, now = Time(), list[str]()

    @contextlib.contextmanager
    def during(name: str) -> Iterator[None]:
        now.append(name)
        yield
        now.pop()

    def run(name: str) -> None:
        assert now == [name]
        time.passes(0.2)

    pair = tuple(Contender(lambda n=name: run(n), lambda n=name: during(n)) for name in "AB")
    measure_in_turn((pair[0], pair[1]), HostClock(time), PLAN, random.Random(0))


def test_ctrl_c_keeps_whole_rounds() -> None:
    def stopping() -> Iterator[float]:
        yield from itertools.repeat(0.2, 7)
        raise KeyboardInterrupt

    found = turns(stopping(), itertools.repeat(0.2))
    # Two warm-ups and five turns: the sixth round has no time of the first, whichever came first.
    assert found.rounds == ((0.2, 0.2),) * 5
    assert found.interrupted


def busy_machine(seconds: float, seed: int) -> Iterator[float]:
    """A forward on a machine that is slower by up to a fifth for a while, and stops half of all forwards for 4 ms."""
    generator = random.Random(seed)
    for i in itertools.count():
        phase = 1.0 + 0.1 * (1 + (-1) ** (i // 400))
        stop = 0.004 * generator.random() if generator.random() < 0.5 else 0.0
        yield seconds * phase * generator.uniform(1.0, 1.05) + stop


def test_on_a_busy_machine_the_same_is_not_different_and_a_tenth_is_found() -> None:
    same, slower = [], []
    for seed in range(20):
        one, other = busy_machine(0.002, 2 * seed), busy_machine(0.002, 2 * seed + 1)
        same.append(in_turn(turns(one, other).rounds).answer)
        slower.append(in_turn(turns(one, busy_machine(0.0022, seed + 99)).rounds).answer)
    assert same.count("cannot tell") >= 19
    assert slower.count("slower") >= 18
    assert "faster" not in slower
