"""What follows from a step of generation on a device: rates, the batch that is compute-bound, and what fits."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest

from fwdscope.inspection import inspect_target, with_generation
from fwdscope.report import GenerationEstimate, Peaks, Report
from fwdscope.report.roofline import estimate
from fwdscope.targets import Target

# Two layers of a llama in float32: 64 wide, 4 heads of 16, of which 2 have keys and values, 128 in the feed-forward.
SIZES = {"d": "64", "heads": "4", "kv_heads": "2", "depth": "2", "d_ff": "128", "vocab": "2000", "T": "1"}
WEIGHTS = 2 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 128) + 64 * 2000  # of products
KEPT = 2 * 2 * 2 * 16 * 4  # bytes a position


@functools.cache
def report_on(flops: float, bandwidth: float, memory: int, past: int = 100, name: str = "llama3_8b") -> Report:
    target = Target(name, {**SIZES, "B": "1"}, past=past)
    report = inspect_target(target)[0]
    one = estimate(report, Peaks("device", "float32", flops, bandwidth, memory, "table"))
    return with_generation(target, replace(report, estimates=(one,)))


def found_in(report: Report) -> GenerationEstimate:
    found = report.estimates[0].generation
    assert found is not None
    return found


def test_one_token_of_each_sequence_a_step() -> None:
    report = report_on(1e12, 1e9, 10**9)
    seconds = report.estimates[0].seconds
    assert seconds is not None
    # A step reads every weight of a product and what is kept, at a gigabyte a second.
    assert seconds >= (4 * WEIGHTS + 100 * KEPT) / 1e9
    assert found_in(report).rate == found_in(report).rate_of_all == 1 / seconds


def test_the_first_token_is_a_forward_over_the_prompt() -> None:
    report = report_on(1e12, 1e9, 10**9)
    prompt = inspect_target(Target("llama3_8b", {**SIZES, "B": "1", "T": "100"}))[0]
    assert found_in(report).prompt_seconds == estimate(prompt, report.estimates[0].peaks).seconds


@pytest.mark.parametrize(("past", "bandwidth"), [(100, 5.5e11), (300, 7e11)])
def test_the_batch_from_which_a_step_is_compute_bound(past: int, bandwidth: float) -> None:
    # Much bandwidth, so that arithmetic grows faster with each sequence than traffic does.
    report = report_on(1e12, bandwidth, 10**9, past)
    turns = found_in(report).compute_bound_from
    assert turns is not None
    assert turns > 1
    assert found_in(report).stays_memory_bound is False

    def gap(batch: int) -> float:
        at = inspect_target(Target("llama3_8b", {**SIZES, "B": str(batch)}, past=past))[0]
        one = estimate(at, report.estimates[0].peaks)
        assert one.compute_seconds is not None
        assert one.memory_seconds is not None
        return one.compute_seconds - one.memory_seconds

    assert gap(turns - 1) < 0 <= gap(turns)


def test_a_step_whose_cache_takes_longer_than_its_arithmetic_is_memory_bound_with_any_batch() -> None:
    # A sequence more reads 1,000 positions of 512 bytes: 5e-4 s at a gigabyte a second. It computes 2 · 86,784 for the
    # weights and 2 · 2 · 2 · 64 for each position: 7e-7 s.
    found = found_in(report_on(1e12, 1e9, 10**9, 1000))
    assert found.stays_memory_bound is True
    assert found.compute_bound_from is None


def test_the_most_that_fits_is_the_last_that_does() -> None:
    memory = 10_000_000
    found = found_in(report_on(1e12, 1e9, memory))

    def needed(batch: int, past: int) -> int:
        at = inspect_target(Target("llama3_8b", {**SIZES, "B": str(batch)}, past=past))[0]
        assert at.totals.peak_memory is not None
        return at.totals.peak_memory

    assert found.most_sequences is not None
    assert found.most_positions is not None
    assert needed(found.most_sequences, 100) <= memory < needed(found.most_sequences + 1, 100)
    assert needed(1, found.most_positions) <= memory < needed(1, found.most_positions + 1)
    assert math.isclose(found.most_positions * KEPT, memory, rel_tol=0.2)
