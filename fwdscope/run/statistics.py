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

# Elements of a slice, so that its copies stay in the cache of a CPU, and small in the memory of a device.
_CPU_SLICE = 1 << 18
_DEVICE_SLICE = 1 << 22
# Arrays of a slice that are there at once: the values in float64, a mask of them, and a result.
_ARRAYS = 3
# Figures of a slice: elements, finite ones, NaNs, zeros, min, max, scale, shift, (mean - shift) / scale, variance /
# scale². The shift is that of all slices of a tensor.
_FIGURES = 10
# Places of an item, and items, that the difference of items is estimated from.
_PLACES, _ITEMS = 1024, 64


def scratch_bytes(elements: int, on_cpu: bool) -> int:
    """Bytes that the figures of a tensor take while they are computed."""
    return _ARRAYS * torch.float64.itemsize * min(elements, _CPU_SLICE if on_cpu else _DEVICE_SLICE)


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
        # Two slices that are used again, since memory that the system gives anew costs more than the sums.
        self._scratch: dict[torch.dtype, Tensor] = {}
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
        figures = None
        if values.device.type == "cpu" and self.fewer_passes:
            is_short = values.is_floating_point() and values.element_size() <= 4
            kind = torch.float32 if is_short else torch.float64
            if kind not in self._scratch:
                self._scratch[kind] = torch.empty(2, _CPU_SLICE, dtype=kind)
            figures = _finite_figures(values, self._scratch[kind])
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
    items = as_real(items, dtype)
    return [(items - items.mean(0)).square_().mean()]  # in a sixth of the time of torch.var


def _zero_slices(tensor: Tensor) -> list[Tensor]:
    """For each dimension but the first, how many of its indices hold only zeros. No value may be negative."""
    live = tensor.sum(0)  # several times as fast as comparing every element
    others = [[other for other in range(live.dim()) if other != dim] for dim in range(live.dim())]
    return [live.shape[dim] - (live.sum(rest) if rest else live).count_nonzero() for dim, rest in enumerate(others)]


# --- figures ---------------------------------------------------------------------------------------------------------


def _finite_figures(tensor: Tensor, scratch: Tensor) -> Tensor | None:
    """The figures of a tensor on the CPU, as :func:`_any_figures` gives them, in fewer passes.

    None where a value is not finite, or where squares overflow or vanish. ``scratch`` has room for two slices in the
    dtype to compute in: of float32 too, since torch adds in pairs, and values are taken from their mean first.
    """
    figures: list[list[float]] = []
    least = 2.0**30 * torch.finfo(scratch.dtype).tiny
    for piece in _pieces(tensor, _CPU_SLICE):
        values, other = (room[: piece.numel()].view(piece.shape) for room in scratch)
        if piece.dtype == scratch.dtype:
            values = piece
        else:
            values.copy_(as_real(piece, scratch.dtype))
        low, high, near = values.amin(), values.amax(), values.mean()
        apart = torch.sub(values, near, out=other).sum()
        squares = other.square_().sum()
        # A mask of numbers: bools take several times as long to add up.
        zeros = torch.eq(values, 0, out=other).sum()
        found: list[float] = torch.stack([low, high, near, apart, squares, zeros]).tolist()
        count = float(piece.numel())
        apart_mean = found[3] / count
        variance = found[4] / count - apart_mean**2 if found[0] != found[1] else 0.0
        if not math.isfinite(found[4]) or (variance < least and found[0] != found[1]):
            return None
        shift = figures[0][7] if figures else found[2]
        figures.append([count, count, 0.0, found[5], *found[:2], 1.0, shift, found[2] - shift + apart_mean, variance])
    return _with_histogram(torch.tensor(figures, dtype=torch.float64), as_real(sample_of(tensor), torch.float64))


def _any_figures(tensor: Tensor, size: int) -> Tensor:
    """The figures of each slice of a tensor, then the counts of its histogram, without waiting for the device."""
    # Apple's devices have no float64.
    dtype = torch.float32 if tensor.device.type == "mps" else torch.float64
    slices: list[Tensor] = []
    for piece in _pieces(tensor, size):
        slices.append(_slice_figures(as_real(piece, dtype), slices[0][7] if slices else None))
    return _with_histogram(torch.stack(slices), as_real(sample_of(tensor), dtype))


def _with_histogram(slices: Tensor, sample: Tensor) -> Tensor:
    return torch.cat([slices.flatten(), counts_of(sample, slices[:, 4].amin(), slices[:, 5].amax())])


def _slice_figures(values: Tensor, shift: Tensor | None) -> Tensor:
    """The figures of values that may not be finite; scaled, so that no square overflows or vanishes.

    A shift of None is the mean. The scale is a power of 2, so that dividing by it rounds nothing.
    """
    # Masks of numbers: on a CPU, bools take five times as long to count.
    mask = torch.empty_like(values)
    nans = torch.ne(values, values, out=mask).sum()
    zeros = torch.eq(values, 0, out=mask).sum()
    finite = torch.eq(values - values, 0, out=mask)
    count = finite.sum()
    low = values.nan_to_num(math.inf, math.inf, math.inf).amin()
    high = values.nan_to_num(-math.inf, -math.inf, -math.inf).amax()
    largest = torch.where(count > 0, torch.maximum(-low, high), 0.0)
    if shift is not None:
        largest = torch.maximum(largest, shift.abs())
    ends = torch.finfo(values.dtype)
    scale = torch.where(largest > 0, largest.clamp(ends.tiny, ends.max / 2).log2().floor().exp2(), 1.0)
    scaled = values.nan_to_num(0.0, 0.0, 0.0).div_(scale)
    divisor = count.clamp(min=1)
    near = scaled.sum() / divisor if shift is None else shift / scale
    apart = scaled.sub_(near).mul_(finite)
    offset = apart.sum() / divisor
    variance = (apart.square_().sum() / divisor - offset * offset).clamp(min=0)
    elements = torch.full_like(count, values.numel())
    return torch.stack([elements, count, nans, zeros, low, high, scale, near * scale, offset, variance])


def _stats_from(figures: list[float], weight: int) -> ActivationStats:
    """Statistics from the figures of a tensor whose values each occur ``weight`` times."""
    slices = [figures[i : i + _FIGURES] for i in range(0, len(figures) - BINS, _FIGURES)]
    elements, finite, nans, zeros = (int(sum(column)) for column in list(zip(*slices, strict=True))[:4])
    stats = ActivationStats(elements, None, None, None, None, zeros, nans, elements - finite - nans)
    if filled := [one for one in slices if one[1]]:
        _, counts, _, _, lows, highs, scales, (shift, *_), means, variances = zip(*filled, strict=True)
        unit = max(scales)
        apart = [scale / unit * mean for scale, mean in zip(scales, means, strict=True)]
        stds = [scale / unit * math.sqrt(variance) for scale, variance in zip(scales, variances, strict=True)]
        mean, std = _together(apart, stds, [count / finite for count in counts])
        mean = unit * (shift / unit + mean)
        stats = replace(stats, mean=mean, std=unit * std, min=min(lows), max=max(highs))
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


def _together(means: Sequence[float], stds: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    """The mean and std of parts together, with their shares of all values."""
    # Chan, Golub, LeVeque: Updating formulae for computing sample variances (1979), eq. 2.1; hypot squares without
    # leaving the range of floats.
    mean = math.fsum(map(float.__mul__, means, weights))
    std = math.hypot(
        *(math.sqrt(w) * s for w, s in zip(weights, stds, strict=True)),
        *(math.sqrt(w) * (m - mean) for w, m in zip(weights, means, strict=True)),
    )
    return mean, std


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
    mean, std = _together(means, stds, weights)
    low = min(s.min for s in stats if s.min is not None)
    high = max(s.max for s in stats if s.max is not None)
    histogram = merge_histograms([s.histogram for s in stats if s.histogram], low, high)
    item_stds = [s.item_std for s in stats if s.item_std is not None and s.elements]
    item_std = None
    if len(item_stds) == len(stats):
        item_std = math.hypot(*(math.sqrt(s.elements / elements) * x for s, x in zip(stats, item_stds, strict=True)))
    return ActivationStats(elements, mean, std, low, high, zeros, nans, infs, histogram, item_std, zero_slices)
