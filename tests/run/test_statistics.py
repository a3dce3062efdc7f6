"""Statistics of tensors against numpy's, on the same values in float64."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray
from torch import Tensor

from fwdscope.report import ActivationStats, Histogram
from fwdscope.run.histograms import BINS, SAMPLE
from fwdscope.run.statistics import Collector, merge

SMALL = 200
# More than two slices of the CPU.
LARGE = (1 << 19) + 517


def stats_of(*tensors: Tensor, fewer_passes: bool = True) -> ActivationStats:
    collector = Collector(fewer_passes)
    collector.add("x", tensors)
    return collector.results()["x"]


def values_of(tensor: Tensor) -> NDArray[np.float64]:
    if tensor.is_complex():
        return np.abs(tensor.to(torch.complex128).resolve_conj().numpy()).ravel()
    return tensor.to(torch.float64).numpy().ravel()


def agrees(stats: ActivationStats, values: NDArray[np.float64]) -> None:
    """Check statistics against numpy's: mean and std to a relative 1e-5, all else exactly."""
    finite = values[np.isfinite(values)]
    assert stats.elements == values.size
    assert stats.zeros == np.count_nonzero(values == 0)
    assert stats.nans == np.isnan(values).sum()
    assert stats.infs == np.isinf(values).sum()
    if not finite.size:
        assert (stats.mean, stats.std, stats.min, stats.max, stats.histogram) == (None,) * 5
        return
    assert stats.mean is not None
    assert stats.std is not None
    assert (stats.min, stats.max) == (finite.min(), finite.max())
    # In units of the largest value, so that numpy's own squares stay finite.
    unit = np.abs(finite).max() or 1.0
    mean, std = (finite / unit).mean() * unit, (finite / unit).std() * unit
    assert stats.mean == pytest.approx(mean, rel=1e-5, abs=1e-5 * std)
    assert stats.std == pytest.approx(std, rel=1e-5, abs=1e-14 * unit)
    assert stats.histogram is not None
    assert (stats.histogram.low, stats.histogram.high) == (stats.min, stats.max)
    assert sum(stats.histogram.counts) == finite.size


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn,
          torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool, torch.complex64]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("fewer_passes", [True, False])
def test_every_dtype_agrees_with_numpy(dtype: torch.dtype, fewer_passes: bool) -> None:
    for size in (1, 2, LARGE):
        check_dtype(dtype, size, fewer_passes)


def check_dtype(dtype: torch.dtype, size: int, fewer_passes: bool) -> None:
    tensor = (randn(size) * 3).abs() if dtype == torch.uint8 else randn(size) * 3
    tensor = tensor.to(dtype)
    agrees(stats_of(tensor, fewer_passes=fewer_passes), values_of(tensor))


@pytest.mark.parametrize(
    ("scale", "shift"),
    [(1e-3, 1e3), (0.5, 1e6), (0.0, 1e6), (0.0, 0.1), (1e30, 0.0), (1e-30, 0.0), (1e37, 1e38)],
)
def test_float32_agrees_where_sums_of_squares_would_not(scale: float, shift: float) -> None:
    tensor = randn(SMALL) * scale + shift
    agrees(stats_of(tensor), values_of(tensor))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_the_ends_of_a_dtype_do_not_overflow(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    tensor = torch.full((LARGE - 1,), largest, dtype=dtype)  # an even number
    tensor[::2] = -largest
    stats = stats_of(tensor)
    assert (stats.min, stats.max, stats.mean) == (-largest, largest, 0.0)
    assert stats.std == pytest.approx(largest)
    assert stats.histogram is not None
    ends = stats.histogram.counts[0], stats.histogram.counts[-1]
    assert sum(ends) == LARGE - 1
    assert min(ends) > 0.4 * LARGE


@pytest.mark.parametrize("bad", [[math.nan], [-math.inf], [math.nan, math.inf, -math.inf, 0.0]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.complex64], ids=str)
def test_values_that_are_not_finite_are_counted_and_left_out(dtype: torch.dtype, bad: list[float]) -> None:
    tensor = randn(LARGE)
    for i, value in enumerate(bad):
        tensor[i * 7 :: 31] = value
    tensor = tensor.to(dtype)
    agrees(stats_of(tensor), values_of(tensor))


@pytest.mark.core
def test_a_tensor_of_nothing_finite_has_no_figures_but_counts() -> None:
    stats = stats_of(torch.tensor([math.nan, math.inf, -math.inf, math.nan]))
    assert stats == ActivationStats(4, None, None, None, None, 0, 2, 2)


def test_an_empty_tensor_has_no_figures() -> None:
    assert stats_of(torch.empty(0, 3)) == ActivationStats(0, None, None, None, None, 0)


def test_a_tensor_without_dimensions_is_one_value() -> None:
    assert stats_of(torch.tensor(-2.5)) == ActivationStats(
        1, -2.5, 0.0, -2.5, -2.5, 0, histogram=Histogram(-2.5, -2.5, (1,))
    )


LAYOUTS: dict[str, Any] = {
    "transposed": lambda x: x.transpose(0, 2),
    "channels last": lambda x: x[None].to(memory_format=torch.channels_last),
    "a slice": lambda x: x[:, 3:19, ::2],
    "a large slice": lambda x: x[:, :, :-1],
    "steps": lambda x: x[..., ::3],
    "expanded": lambda x: x[:, :1].expand(-1, 57, -1),
    "expanded from one": lambda x: x[0, 0, 0].expand(300, 200),
    "windows": lambda x: x.flatten()[:5000].unfold(0, 64, 8),
    "conjugate": lambda x: torch.complex(x, x * 2).conj(),
    "imaginary part of a conjugate": lambda x: torch.complex(x, x * 2).conj().imag,
    "no gradient wanted": lambda x: x.clone().requires_grad_(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bad", [False, True])
def test_any_layout_agrees(layout: str, bad: bool) -> None:
    base = randn(60, 50, 70)
    if bad:
        base[::7, ::3] = math.inf
    tensor = LAYOUTS[layout](base)
    agrees(stats_of(tensor), values_of(tensor.detach().resolve_conj().resolve_neg().contiguous()))


def test_expanded_values_are_not_copied() -> None:
    # 4 TB if it were copied
    stats = stats_of(torch.tensor([1.0, 3.0]).expand(500_000_000_000, 2))
    assert (stats.elements, stats.mean, stats.min, stats.max) == (10**12, 2.0, 1.0, 3.0)
    assert stats.std == pytest.approx(1.0)


def test_inference_tensors_work_in_and_outside_inference_mode() -> None:
    collector = Collector()
    with torch.inference_mode():
        tensor = randn(LARGE)
        collector.add(1, [tensor])
    collector.add(2, [tensor])
    collector.add(3, [randn(LARGE)])
    first, second, third = collector.results().values()
    assert first == second == third


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, about its kinds of tensors
def test_sparse_and_quantised_tensors_count_all_of_their_elements() -> None:
    dense = torch.zeros(30, 40)
    dense[3, 5:9] = torch.tensor([1.0, -2.0, 0.0, 4.0])
    for tensor in (dense.to_sparse(), dense.to_sparse_csr()):
        agrees(stats_of(tensor), values_of(dense))
    whole = torch.quantize_per_tensor(dense, 0.5, 10, torch.quint8)
    agrees(stats_of(whole), values_of(whole.dequantize()))
    nested = torch.nested.nested_tensor([dense[:2], dense[:5]])
    agrees(stats_of(nested), values_of(torch.cat([dense[:2], dense[:5]])))


def test_meta_tensors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a tensor of shape \(2, 3\) on meta has no values"):
        Collector().add("x", [torch.empty(2, 3, device="meta")])


def test_later_changes_of_a_tensor_do_not_matter() -> None:
    collector, tensor = Collector(), torch.ones(5)
    collector.add("x", [tensor])
    tensor.zero_()
    assert collector.results()["x"].mean == 1.0


def test_keys_keep_their_order_and_their_tensors_count_as_one() -> None:
    collector = Collector()
    parts = randn(LARGE), randn(SMALL) + 5, torch.empty(0)
    collector.add("b", [parts[0]])
    collector.add("a", [torch.ones(3)])
    collector.add("b", parts[1:])
    results = collector.results()
    assert list(results) == ["b", "a"]
    agrees(results["b"], values_of(torch.cat(parts)))


# --- as on a device ---------------------------------------------------------------------------------------------------


def test_slices_without_a_finite_value_only_add_to_the_counts() -> None:
    size = 1 << 18  # of a slice on the CPU
    tensor = torch.cat([torch.full((size,), math.nan), randn(size), torch.zeros(size), torch.full((999,), math.inf)])
    agrees(stats_of(tensor, fewer_passes=False), values_of(tensor))


def test_squares_that_vanish_in_float64_still_give_a_std() -> None:
    tensor = randn(SMALL).double() * 1e-200
    agrees(stats_of(tensor), values_of(tensor))


@pytest.mark.parametrize("fewer_passes", [True, False])
def test_float64_far_from_zero_keeps_its_std(fewer_passes: bool) -> None:
    # Around 1e15 neighbours are 0.125 apart: the values are exact, and numpy's std of what is left without 1e15 is too.
    values = (randn(LARGE).double() * 64).round() / 8
    expected = values.numpy().std()
    stats = stats_of(values + 1e15, fewer_passes=fewer_passes)
    assert stats.std == pytest.approx(expected, rel=1e-12)
    assert stats.mean == pytest.approx(1e15 + values.numpy().mean(), abs=0.125)


def test_a_slice_far_from_the_others_leaves_the_std_exact() -> None:
    tensor = randn(5 * (1 << 18))
    tensor[: 1 << 18] += 1000
    agrees(stats_of(tensor), values_of(tensor))


@pytest.mark.core
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(width=32) | st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf]), max_size=40),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_any_values_agree(values: list[float], dtype: torch.dtype) -> None:
    tensor = torch.tensor(values, dtype=dtype)
    agrees(stats_of(tensor), values_of(tensor))


def check_one_fetch(device: str, tensors: dict[str, list[Tensor]]) -> None:
    at_once, later = Collector(), Collector(fewer_passes=False)
    for key, values in tensors.items():
        at_once.add(key, values)
        later.add(key, [value.to(device) for value in values])
    expected, found = at_once.results(), later.results()
    assert list(found) == list(expected)
    for key, values in tensors.items():
        agrees(found[key], np.concatenate([values_of(value) for value in values]))
        assert found[key].histogram == expected[key].histogram
    assert later.results() == found


SEVERAL = {
    "plain": [randn(LARGE)],
    "several": [randn(70, 60) + 3, torch.empty(0), randn(SAMPLE + 5).relu()],
    "nothing": [torch.empty(0)],
    "nothing finite": [torch.tensor([math.nan, math.inf])],
    "expanded": [randn(30, 1).expand(30, 40)],
    "gaps": [randn(90, 200)[:, 1:150]],
    "whole numbers": [torch.arange(-50, 3000)],
    "half": [randn(LARGE).half()],
    "complex": [torch.complex(randn(500), randn(500) + 1)],
}


def test_one_fetch_at_the_end_gives_the_same() -> None:
    check_one_fetch("cpu", SEVERAL)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_cuda_device_gives_the_same_without_synchronizing() -> None:
    check_one_fetch("cuda", SEVERAL)
    collector, tensors = Collector(), [value.cuda() for values in SEVERAL.values() for value in values]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        collector.add("x", tensors)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no MPS device here")
def test_an_mps_device_gives_the_same() -> None:
    check_one_fetch("mps", {key: values for key, values in SEVERAL.items() if key != "complex"})


# --- histograms ------------------------------------------------------------------------------------------------------


def test_the_histogram_of_a_small_tensor_equals_numpys() -> None:
    tensor = randn(SAMPLE)
    stats = stats_of(tensor)
    assert stats.histogram is not None
    edges = np.linspace(stats.histogram.low, stats.histogram.high, BINS + 1)
    assert list(stats.histogram.counts) == list(np.histogram(values_of(tensor), edges)[0])


@pytest.mark.parametrize("shape", [(1024, 512), (8, 64, 56, 56), (4096, 129)])
def test_a_sample_of_a_large_tensor_has_values_of_every_channel(shape: tuple[int, ...]) -> None:
    # Each column has its own value, so a sample of only some columns would leave bins empty.
    tensor = torch.arange(shape[-1]).float().expand(shape).contiguous()
    stats = stats_of(tensor)
    assert stats.histogram is not None
    expected, _ = np.histogram(values_of(tensor), BINS)
    assert np.abs(np.array(stats.histogram.counts) - expected).max() < 0.03 * tensor.numel()
    assert sum(stats.histogram.counts) == tensor.numel()


def test_a_constant_has_one_bin() -> None:
    assert stats_of(torch.full((LARGE,), 0.1, dtype=torch.float64)).histogram == Histogram(0.1, 0.1, (LARGE,))


# --- merging ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=20), min_size=1, max_size=6))
def test_merged_statistics_are_those_of_all_values(lists: list[list[float]]) -> None:
    tensors = [torch.tensor(values, dtype=torch.float64) for values in lists]
    agrees(merge([stats_of(tensor) for tensor in tensors]), values_of(torch.cat(tensors)))


def test_merging_keeps_numbers_at_the_end_of_floats() -> None:
    merged = merge([stats_of(torch.tensor([x], dtype=torch.float64)) for x in (1.7e308, -1.7e308)])
    assert merged.mean == 0.0
    assert merged.std == pytest.approx(1.7e308)


def test_merged_histograms_lie_where_the_values_were() -> None:
    low = ActivationStats(100, 0.5, 0.3, 0.0, 1.0, 0, histogram=Histogram(0.0, 1.0, (100,)))
    high = ActivationStats(60, 3.5, 0.3, 3.0, 4.0, 0, histogram=Histogram(3.0, 4.0, (30, 30)))
    histogram = merge([low, high]).histogram
    # 24 bins from 0 to 4: the first 6 share 100, the last 6 share 60, and between them is nothing.
    assert histogram is not None
    assert (histogram.low, histogram.high) == (0.0, 4.0)
    assert histogram.counts == (17, 17, 17, 17, 16, 16, *[0] * 12, *[10] * 6)


def test_merging_one_returns_it() -> None:
    stats = stats_of(randn(10))
    assert merge([stats]) is stats
