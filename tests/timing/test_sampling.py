"""Repeats: warm-up, batches, the interval of the median, budgets, Ctrl-C; exact, on a clock of the test's own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from fake_clocks import Cuda, Time, taking
from hypothesis import given
from hypothesis import strategies as st

from fwdscope.report import median_interval
from fwdscope.timing.clock import EventClock, HostClock
from fwdscope.timing.sampling import Samples, SamplingPlan, drift, measure, relative_half_width


def measured(seconds: Iterator[float], plan: SamplingPlan) -> Samples:
    time = Time()
    return measure(taking(time, seconds), HostClock(time), plan)


def test_a_steady_forward_needs_ten_repeats() -> None:
    samples = measured(itertools.repeat(0.25), SamplingPlan(settling=0.0, budget=None))
    # Two in a row agreed, and so were the warm-up.
    assert samples.warmups == 2
    assert samples.times == (0.25,) * 10
    assert samples.interval == (0.25, 0.25)
    assert (samples.precise, samples.interrupted, samples.batch) == (True, False, 1)
    assert samples.elapsed == 12 * 0.25


@pytest.mark.core
def test_warm_up_goes_on_until_two_in_a_row_agree() -> None:
    # 8 → 4 → 2 → 1 → 1.02: the last two are within 5 %.
    samples = measured(itertools.chain([8.0, 4.0, 2.0, 1.0, 1.02], itertools.repeat(1.0)), SamplingPlan(budget=None))
    assert samples.warmups == 5
    assert set(samples.times) == {1.0}


def test_warm_up_goes_on_while_each_forward_is_a_little_faster() -> None:
    # Each 3 % faster than the one before, which two in a row within 5 % do not show, down to 0.7 in the 12th.
    rising = (max(0.7, 1.0 * 0.97**i) for i in itertools.count())
    samples = measured(rising, SamplingPlan(budget=None))
    # 0.97 ** 11 = 0.715; the 13th and 14th are equal.
    assert samples.warmups == 14
    assert set(samples.times) == {0.7}


def test_a_gpu_warms_up_under_load_until_its_clock_no_longer_rises() -> None:
    # A kernel of 2 ms at the highest clock, 8 at the lowest; the clock rises over 0.5 s of work.
    cuda = Cuda(Time())
    done = 0.0

    def kernel() -> None:
        nonlocal done
        seconds = 0.008 - 0.006 * min(1.0, done / 0.5)
        cuda.launch(seconds)
        done += seconds

    samples = measure(kernel, EventClock(torch.device("cuda:0"), cuda, cuda.time), SamplingPlan(budget=None))
    assert done > 0.5
    assert samples.times == pytest.approx([0.002] * len(samples.times))
    # Groups of 50 ms are waited for, not each kernel.
    assert cuda.synchronisations < 30


def test_a_gpu_is_worked_for_a_while_though_two_forwards_agree() -> None:
    cuda = Cuda(Time())
    samples = measure(
        lambda: cuda.launch(0.001), EventClock(torch.device("cuda:0"), cuda, cuda.time), SamplingPlan(repeats=5)
    )
    # 0.3 s of a millisecond each, in groups of about 50 after two.
    assert 295 <= samples.warmups <= 350


def test_a_drift_is_that_of_the_last_third() -> None:
    assert drift([1.0] * 30) == 0
    assert drift([1.0] * 20 + [1.3] * 10) == pytest.approx(0.3)
    assert drift([1.0] * 20 + [1.3] * 9) == 0  # too few to tell


def test_warm_up_takes_a_quarter_of_the_budget_at_most() -> None:
    # 2, 1, 2, 1, …: never two alike. After 2 + 1 seconds more than a quarter of 8 is spent.
    samples = measured(itertools.cycle([2.0, 1.0]), SamplingPlan(budget=8.0))
    assert samples.warmups == 2


def test_as_many_warm_ups_and_repeats_as_are_asked_for() -> None:
    samples = measured(itertools.count(1.0), SamplingPlan(warmup=3, repeats=4, budget=None))
    assert samples.warmups == 3
    assert samples.times == (4.0, 5.0, 6.0, 7.0)


def test_a_budget_that_runs_out_is_told() -> None:
    # Times between 1 and 2 that never settle; 2 warm-ups, and repeats until 10 seconds are over.
    samples = measured(itertools.cycle([1.0, 2.0]), SamplingPlan(warmup=0, budget=10.0))
    # 1 2 1 2 1 2 1: ten seconds.
    assert samples.times == (1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0)
    assert not samples.precise
    assert samples.elapsed == samples.budget == 10.0


def test_a_budget_leaves_three_repeats_in_any_case() -> None:
    samples = measured(itertools.repeat(60.0), SamplingPlan(budget=1.0))
    assert samples.times == (60.0,) * 3
    assert samples.interval is None
    assert not samples.precise


@pytest.mark.core
def test_repeats_go_on_until_the_median_is_known() -> None:
    noise = itertools.cycle([1.0, 1.1, 0.9, 1.05, 0.95])
    samples = measured(noise, SamplingPlan(precision=0.06, budget=None, settling=0.0))
    loose, tight = (
        samples,
        measured(itertools.cycle([1.0, 1.1, 0.9, 1.05, 0.95]), SamplingPlan(budget=None, precision=0.03)),
    )
    assert loose.precise
    assert tight.precise
    assert len(loose.times) < len(tight.times)
    assert (relative_half_width(tight.times) or 1) <= 0.03


def test_a_burst_of_short_repeats_goes_on_for_a_while() -> None:
    samples = measured(itertools.repeat(0.001), SamplingPlan(budget=None, settling=0.5))
    assert samples.elapsed >= 0.5
    assert len(samples.times) < 600


def test_what_is_shorter_than_the_clock_can_tell_is_timed_in_batches() -> None:
    # A microsecond: the clock tells 0.1 µs apart and wants 200 of those, so 20 forwards at once.
    samples = measured(itertools.repeat(1e-6), SamplingPlan(repeats=5, budget=None))
    assert samples.batch == 20
    assert samples.times == pytest.approx((1e-6,) * 5)


def test_ctrl_c_leaves_what_was_measured() -> None:
    def forwards() -> Iterator[float]:
        yield from (1.0,) * 6
        raise KeyboardInterrupt

    samples = measured(forwards(), SamplingPlan(budget=None))
    assert samples.interrupted
    assert samples.times == (1.0,) * 4
    assert samples.warmups == 2


def test_ctrl_c_while_warming_up_leaves_nothing() -> None:
    def forwards() -> Iterator[float]:
        yield 1.0
        raise KeyboardInterrupt

    samples = measured(forwards(), SamplingPlan(budget=None))
    assert samples.interrupted
    assert samples.times == ()


def test_an_error_of_the_forward_is_not_swallowed() -> None:
    def forwards() -> Iterator[float]:
        yield 1.0
        raise ValueError("from the forward")

    with pytest.raises(ValueError, match="from the forward"):
        measured(forwards(), SamplingPlan(budget=None))


def test_a_gpu_is_waited_for_once_a_group() -> None:
    time = Time()
    cuda = Cuda(time)
    clock = EventClock(torch.device("cuda:0"), cuda, time)
    samples = measure(lambda: cuda.launch(0.001), clock, SamplingPlan(warmup=2, repeats=100, budget=None))
    assert samples.times == pytest.approx((0.001,) * 100)
    # Two warm-ups, each waited for; then groups of 0.05 s, which are 50 forwards each.
    assert cuda.synchronisations == 2 + 2


def test_progress_is_told_of_each_look() -> None:
    time, told = Time(), []
    measure(taking(time, itertools.repeat(1.0)), HostClock(time), SamplingPlan(repeats=7, budget=None),
            lambda repeats, width: told.append((repeats, width)))  # fmt: skip
    assert told[:6] == [(1, None), (2, None), (3, None), (4, None), (5, None), (6, 0.0)]


def test_the_interval_of_six_is_their_extremes() -> None:
    # P(all on one side of the median) = 2 / 2^6 = 3.1 %: six are enough for 95 %, five (6.3 %) are not.
    assert median_interval([5, 3, 1, 6, 2, 4]) == (1, 6)
    assert median_interval([5, 3, 1, 2, 4]) is None
    # Of ten, the second and the ninth: 2 · (1 + 10) / 2^10 = 2.1 %; the third and eighth would be 10.9 %.
    assert median_interval(list(range(10))) == (1, 8)


@given(st.integers(6, 1_000))
def test_the_interval_is_the_narrowest_that_holds_95_percent(n: int) -> None:
    low, high = median_interval(list(range(n))) or (0, 0)
    assert low + high == n - 1

    def outside(rank: int) -> float:
        return 2 * sum(math.comb(n, k) for k in range(int(rank) + 1)) / 2**n

    assert outside(low) <= 0.05 < outside(low + 1)


def test_many_repeats_take_the_normal_limit_which_is_nearly_the_same() -> None:
    low, _ = median_interval(list(range(1_001))) or (0, 0)
    exact, _ = median_interval(list(range(1_000))) or (0, 0)
    assert abs(low - exact) <= 2
