"""Statistics of tensors, computed on the device where the tensors are.

A device works through a queue, so nothing here waits for it: the figures of each tensor stay there until all are
fetched at once. On the CPU there is nothing to wait for, and a tensor of finite values needs fewer passes.

The figures are those of the finite values; of complex numbers, those of the magnitudes. A histogram of more values
than :data:`~fwdscope.run.histograms.SAMPLE` is estimated from that many of them, spread evenly, and scaled up.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fwdscope.report import ActivationStats, Histogram
from fwdscope.run.histograms import BINS, as_real, counts_of, histogram_of, merge_histograms, sample_of

# Elements of a slice, so that its float64 copies stay in the cache of a CPU, and small in the memory of a device.
_CPU_SLICE = 1 << 18
_DEVICE_SLICE = 1 << 22
# Figures of a slice: elements, finite ones, NaNs, zeros, min, max, scale, mean / scale, variance / scale².
_FIGURES = 9
# Places of an item, and items, that the difference of items is estimated from.
_PLACES, _ITEMS = 1024, 64


class Collector:
    """Computes the statistics of tensors, and keeps them until all are asked for.

    The tensors are not kept, so later in-place changes do no harm. The operators that run here are visible to torch's
    dispatch modes. Without ``fewer_passes``, tensors on the CPU are treated like those on other devices. Tensors whose
    first size is ``batch`` hold items, which are compared.
    """

    def __init__(self, fewer_passes: bool = True, batch: int | None = None) -> None:
        self.fewer_passes = fewer_passes
        self.batch = batch or 0
        self._done: dict[Hashable, list[ActivationStats]] = {}
        # Figures on a device, how often each value occurs, where their statistics go (a list and a place in it); how
        # many of the last figures are of items and of slices.
        self._pending: list[tuple[Tensor, int, list[ActivationStats], int, int, int]] = []

    def add(self, key: Hashable, tensors: Sequence[Tensor], slices: bool = False) -> None:
        """Look at tensors; those with the same key count as one. Raises ValueError for a tensor on meta.

        ``slices`` counts the indices of each dimension that hold only zeros, of tensors without negative values.
        """
        with torch.inference_mode():
            for tensor in tensors:
                self._add(self._done.setdefault(key, []), tensor, slices)

    def results(self) -> dict[Hashable, ActivationStats]:
        """The statistics by key, in the order of the first ``add`` of each; one fetch from each device."""
        for device in {figures.device for figures, *_ in self._pending}:
            here = [pending for pending in self._pending if pending[0].device == device]
            values = torch.cat([figures for figures, *_ in here]).tolist()
            for figures, weight, target, index, items, slices in here:
                size = figures.numel()
                end = size - items - slices
                stats = _stats_from(values[:end], weight)
                item_std = math.sqrt(values[end]) if items and math.isfinite(values[end]) else None
                zero_slices = tuple(map(int, values[end + items : size]))
                target[index] = replace(stats, item_std=item_std, zero_slices=zero_slices)
                del values[:size]
        self._pending.clear()
        return {key: merge(found) for key, found in self._done.items()}

    def _add(self, found: list[ActivationStats], tensor: Tensor, slices: bool) -> None:
        values, weight = _distinct(_strided(tensor))
        if (absent := tensor.numel() - values.numel() * weight) > 0:
            found.append(ActivationStats(absent, 0.0, 0.0, 0.0, 0.0, absent, histogram=Histogram(0.0, 0.0, (absent,))))
        if not values.numel():
            found.append(ActivationStats(0, None, None, None, None, 0))
            return
        figures = _finite_figures(values) if values.device.type == "cpu" and self.fewer_passes else None
        if figures is None:
            figures = _any_figures(values, _CPU_SLICE if values.device.type == "cpu" else _DEVICE_SLICE)
        of_items = _item_variance(tensor, values, self.batch)
        is_plain = tensor.layout == torch.strided and not tensor.is_quantized
        of_slices = _zero_slices(tensor) if slices and tensor.dim() > 1 and is_plain else []
        figures = torch.cat([figures, *(one.reshape(1).to(figures) for one in (*of_items, *of_slices))])
        self._pending.append((figures, weight, found, len(found), len(of_items), len(of_slices)))
        found.append(ActivationStats(0, None, None, None, None, 0))  # until it is fetched


# --- the values of a tensor ------------------------------------------------------------------------------------------


def _strided(tensor: Tensor) -> Tensor:
    """The values that a tensor stores, as an ordinary strided tensor."""
    if tensor.is_meta:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} on meta has no values: take it on a device")
    if (waited := getattr(tensor, "trigger_wait", None)) is not None:
        return _strided(waited())  # of a collective that still runs
    if tensor.is_nested:
        return torch.cat([part.reshape(-1) for part in tensor.unbind()])
    if tensor.is_quantized:
        return tensor.dequantize()
    if tensor.layout == torch.sparse_coo:
        return tensor.coalesce().values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc):
        return tensor.values()
    return tensor if tensor.layout == torch.strided else tensor.to_dense()


def _distinct(tensor: Tensor) -> tuple[Tensor, int]:
    """The values of a tensor in memory order, and how often each occurs: expanded dimensions are not copied.

    The result is flat where the memory has no gaps.
    """
    if tensor.is_contiguous():
        return tensor.view(-1), 1
    weight = 1
    strides = tensor.stride()
    for dim, size in enumerate(tensor.shape):
        if strides[dim] == 0 and size > 1:
            tensor = tensor.narrow(dim, 0, 1)
            weight *= size
    by_stride = sorted(range(tensor.dim()), key=strides.__getitem__, reverse=True)
    tensor = tensor.permute(by_stride)
    return (tensor.view(-1) if tensor.is_contiguous() else tensor), weight


def _pieces(tensor: Tensor, size: int) -> Iterator[Tensor]:
    """Views of a tensor, of at most ``size`` elements each."""
    if tensor.numel() <= size:
        yield tensor
        return
    inner = tensor.numel() // tensor.shape[0]
    for part in tensor.split(max(1, size // inner)):
        if inner > size:
            yield from _pieces(part[0], size)
        else:
            yield part


def _item_variance(tensor: Tensor, values: Tensor, batch: int) -> list[Tensor]:
    """The variance over the items of a batch, mean over places; nothing of a tensor that holds no items."""
    if batch < 2 or tensor.shape[:1] != (batch,) or tensor.is_nested or tensor.layout != torch.strided:
        return []
    if values.dim() == 1 and values.numel() == tensor.numel() and tensor.stride(0) == values.numel() // batch:
        items = values.view(batch, -1)  # in memory one item after another
    elif values.numel() == tensor.numel():
        items = tensor.reshape(batch, -1)
    else:
        return []
    items = items[:_ITEMS, :: max(1, items.shape[1] // _PLACES)]
    dtype = torch.float32 if tensor.device.type == "mps" else torch.float64
    return [as_real(items, dtype).var(0, correction=0).mean()]


def _zero_slices(tensor: Tensor) -> list[Tensor]:
    """For each dimension but the first, how many of its indices hold only zeros. No value may be negative."""
    live = tensor.sum(0) != 0  # several times as fast as comparing every element
    others = [[other for other in range(live.dim()) if other != dim] for dim in range(live.dim())]
    return [live.shape[dim] - (live.sum(rest) if rest else live).count_nonzero() for dim, rest in enumerate(others)]


# --- figures ---------------------------------------------------------------------------------------------------------


def _finite_figures(tensor: Tensor) -> Tensor | None:
    """The figures of a tensor on the CPU, as :func:`_any_figures` gives them, in fewer passes.

    None where a value is not finite, or where squares overflow or vanish.
    """
    slices = []
    for piece in _pieces(tensor, _CPU_SLICE):
        values = as_real(piece, torch.float64)
        low, high, mean = values.amin(), values.amax(), values.mean()
        # A mask of numbers: bools take several times as long to add up.
        zeros = torch.eq(values, 0, out=torch.empty_like(values)).sum()
        variance = (values - mean).square_().mean()
        if not math.isfinite(variance) or (not variance and low != high):
            return None
        count = torch.tensor(float(values.numel()), dtype=torch.float64)
        nothing, one = torch.zeros_like(count), torch.ones_like(count)
        slices.append(torch.stack([count, count, nothing, zeros, low, high, one, mean, variance]))
    return _with_histogram(torch.stack(slices), as_real(sample_of(tensor), torch.float64))


def _any_figures(tensor: Tensor, size: int) -> Tensor:
    """The figures of each slice of a tensor, then the counts of its histogram, without waiting for the device."""
    # Apple's devices have no float64.
    dtype = torch.float32 if tensor.device.type == "mps" else torch.float64
    slices = torch.stack([_slice_figures(as_real(piece, dtype)) for piece in _pieces(tensor, size)])
    return _with_histogram(slices, as_real(sample_of(tensor), dtype))


def _with_histogram(slices: Tensor, sample: Tensor) -> Tensor:
    return torch.cat([slices.flatten(), counts_of(sample, slices[:, 4].amin(), slices[:, 5].amax())])


def _slice_figures(values: Tensor) -> Tensor:
    """The figures of values that may not be finite; scaled, so that no square overflows or vanishes."""
    # Masks of numbers: on a CPU, bools take five times as long to count.
    mask = torch.empty_like(values)
    nans = torch.ne(values, values, out=mask).sum()
    zeros = torch.eq(values, 0, out=mask).sum()
    finite = torch.eq(values - values, 0, out=mask)
    count = finite.sum()
    low = values.nan_to_num(math.inf, math.inf, math.inf).amin()
    high = values.nan_to_num(-math.inf, -math.inf, -math.inf).amax()
    largest = torch.maximum(-low, high)
    scale = torch.where((count > 0) & (largest > 0), largest, 1.0)
    scaled = values.nan_to_num(0.0, 0.0, 0.0).div_(scale)
    divisor = count.clamp(min=1)
    near = scaled.sum() / divisor
    apart = scaled.sub_(near).mul_(finite)
    offset = apart.sum() / divisor
    variance = (apart.square_().sum() / divisor - offset * offset).clamp(min=0)
    elements = torch.full_like(count, values.numel())
    return torch.stack([elements, count, nans, zeros, low, high, scale, near + offset, variance])


def _stats_from(figures: list[float], weight: int) -> ActivationStats:
    """Statistics from the figures of a tensor whose values each occur ``weight`` times."""
    slices = []
    for i in range(0, len(figures) - BINS, _FIGURES):
        elements, finite, nans, zeros = map(int, figures[i : i + 4])
        low, high, scale, mean, variance = figures[i + 4 : i + _FIGURES]
        one = ActivationStats(elements, None, None, None, None, 0, nans, elements - finite - nans)
        if finite:
            mean, std = scale * mean, scale * math.sqrt(variance)
            one = replace(one, mean=mean, std=std, min=low, max=high, zeros=zeros)
        slices.append(one)
    stats = merge(slices)
    if stats.min is not None and stats.max is not None:
        finite = stats.elements - stats.nans - stats.infs
        stats = replace(stats, histogram=histogram_of(figures[-BINS:], stats.min, stats.max, finite))
    if weight == 1:
        return stats
    histogram = stats.histogram
    if histogram is not None:
        histogram = replace(histogram, counts=tuple(count * weight for count in histogram.counts))
    elements, zeros, nans, infs = (n * weight for n in (stats.elements, stats.zeros, stats.nans, stats.infs))
    return replace(stats, elements=elements, zeros=zeros, nans=nans, infs=infs, histogram=histogram)


def stats_of_number(number: float) -> ActivationStats:
    """A number of Python's as a tensor of one value."""
    if not math.isfinite(number):
        return ActivationStats(1, None, None, None, None, 0, int(math.isnan(number)), int(math.isinf(number)))
    value = float(number)
    return ActivationStats(1, value, 0.0, value, value, int(value == 0))


# --- merging ---------------------------------------------------------------------------------------------------------


def merge(stats: Sequence[ActivationStats]) -> ActivationStats:
    """The statistics of all values together.

    All figures but the histogram are exact. The histogram has bins over the whole range; the count of an old bin that
    spans several new ones is split by overlap, and the total stays the same.
    """
    if len(stats) == 1:
        return stats[0]
    elements, zeros, nans, infs = (
        sum(getattr(s, name) for s in stats) for name in ("elements", "zeros", "nans", "infs")
    )
    alike = len({len(s.zero_slices) for s in stats}) == 1
    zero_slices = tuple(map(sum, zip(*(s.zero_slices for s in stats), strict=True))) if alike else ()
    means, weights, stds = [], [], []
    finite = elements - nans - infs
    for one in stats:
        if one.mean is not None and one.std is not None:
            means.append(one.mean)
            stds.append(one.std)
            weights.append((one.elements - one.nans - one.infs) / finite)
    if not means:
        return ActivationStats(elements, None, None, None, None, zeros, nans, infs)
    # Chan, Golub, LeVeque: Updating formulae for computing sample variances (1979), eq. 2.1; hypot squares without
    # leaving the range of floats.
    mean = math.fsum(map(float.__mul__, means, weights))
    std = math.hypot(
        *(math.sqrt(w) * s for w, s in zip(weights, stds, strict=True)),
        *(math.sqrt(w) * (m - mean) for w, m in zip(weights, means, strict=True)),
    )
    low = min(s.min for s in stats if s.min is not None)
    high = max(s.max for s in stats if s.max is not None)
    histogram = merge_histograms([s.histogram for s in stats if s.histogram], low, high)
    item_stds = [s.item_std for s in stats if s.item_std is not None and s.elements]
    item_std = None
    if len(item_stds) == len(stats):
        item_std = math.hypot(*(math.sqrt(s.elements / elements) * x for s, x in zip(stats, item_stds, strict=True)))
    return ActivationStats(elements, mean, std, low, high, zeros, nans, infs, histogram, item_std, zero_slices)
