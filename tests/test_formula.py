"""Formulas: computed exactly from the text that is shown."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from fwdscope.formula import Size, count_windows, divisors, evaluate, regroup, span_windows, window_count, window_span


@pytest.mark.core
def test_a_formula_is_shown_in_symbols_with_numbers_and_with_its_value() -> None:
    numbers = {"H": 224, "padding": 3, "kernel_size": 7, "stride": 2}
    size = Size("H", "⌊(H + 2·padding − kernel_size) / stride⌋ + 1", numbers)
    # ⌊223 / 2⌋ + 1
    assert size.value == 112
    assert size.text == "⌊(H + 2·padding − kernel_size) / stride⌋ + 1 = ⌊(224 + 2·3 − 7) / 2⌋ + 1 = 112"


def test_rounding_is_down_and_up_and_division_is_exact() -> None:
    assert Size("a", "⌊7 / 2⌋").value == 3
    assert Size("a", "⌈7 / 2⌉").value == 4
    assert Size("a", "⌊0 − 7 / 2⌋").value == -4
    # As a float this would be off by one.
    assert Size("a", "n / 3", {"n": 3 * (2**60 + 1)}).value == 2**60 + 1
    with pytest.raises(ValueError, match="no whole number"):
        _ = Size("a", "7 / 2").value


def test_a_number_below_zero_stands_in_parentheses_and_a_large_one_has_its_commas() -> None:
    assert Size("H", "H + before", {"H": 4096, "before": -1}).text == "H + before = 4,096 + (−1) = 4,095"
    assert Size("rows", "12·1,024").text == "12·1,024 = 12,288"


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.data())
def test_a_view_is_explained_whatever_it_merges_and_cuts(factors: list[int], data: st.DataObject) -> None:
    def grouped() -> list[int]:
        cuts = sorted(data.draw(st.sets(st.integers(1, max(len(factors) - 1, 1)))))
        edges = [0, *(c for c in cuts if c < len(factors)), len(factors)]
        ones = data.draw(st.integers(0, 2))
        return [math.prod(factors[a:b]) for a, b in itertools.pairwise(edges)] + [1] * ones

    before, after = grouped(), grouped()
    assert [Size("", text).value for text in regroup(before, after)] == after


def test_a_view_says_what_it_merges_and_what_it_cuts() -> None:
    assert regroup((1, 1024, 12, 64), (1, 1024, 768)) == ["1", "1,024", "12·64"]
    assert regroup((1, 1024, 2304), (1, 1024, 3, 12, 64)) == ["1", "1,024", "3", "12", "2,304 / (3·12)"]


def test_round_rounds_what_an_exact_division_gives() -> None:
    # 2·4³/3 = 42⅔, 4³/3 = 21⅓
    assert (evaluate("round(2·n·n·n/3)", {"n": 4}), evaluate("round(n·n·n/3)", {"n": 4})) == (43, 21)
    assert evaluate("R·round(n·log2(n))", {"R": 2, "n": 0}) == 0


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_windows_are_as_many_as_torch_makes_and_as_their_formula_says(kernel: int) -> None:
    settings = itertools.product(range(3, 9), (1, 2, 3), range(kernel // 2 + 1), (1, 2), (False, True))
    for size, stride, padding, dilation, ceil_mode in settings:
        if size + 2 * padding <= dilation * (kernel - 1):
            continue
        made = F.max_pool1d(torch.zeros(1, size), kernel, stride, padding, dilation, ceil_mode).shape[-1]
        assert window_count(size, kernel, stride, padding, dilation, ceil_mode=ceil_mode) == made
        assert count_windows("L", size, kernel, stride, padding, dilation, ceil_mode=ceil_mode).value == made


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_windows_span_what_torch_makes_and_their_formula_says(kernel: int) -> None:
    weight = torch.zeros(1, 1, kernel)
    for size, stride, padding, dilation, extra in itertools.product((3, 5), (1, 2, 3), (0, 1), (1, 2), (0, 1)):
        if extra < max(stride, dilation):
            settings = (stride, padding, extra, 1, dilation)
            made = F.conv_transpose1d(torch.zeros(1, 1, size), weight, None, *settings).shape[-1]
            assert window_span(size, kernel, stride, padding, dilation, extra) == made
            assert span_windows("L", size, kernel, stride, padding, dilation, extra).value == made


def test_divisors_of_large_numbers_cost_little() -> None:
    for number in (1, 2, 12, 36, 97, 1024):
        assert list(divisors(number)) == [d for d in range(1, number + 1) if number % d == 0]
    assert divisors(83_250_029) == (1, 383, 217_363, 83_250_029)  # 383 · 217,363
    assert divisors(2**62)[:3] == (1, 2, 4)
