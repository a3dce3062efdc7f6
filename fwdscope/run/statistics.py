"""Statistics of tensors, taken where the tensors are, in few passes.

A tensor on the CPU takes the quick way: sum, norm and extremes of pieces that stay in the cache, zeros where the
extremes say that there may be some. Where those figures cannot be trusted it is looked at again: about its mean where
the mean dwarfs the spread, value by value where there are NaNs, infinities or squares beyond the dtype. Waiting for a
device at each tensor would cost more than looking value by value, so elsewhere that is what is done, and the results
stay on the device until all are fetched at once.

The figures are those of the finite values; of complex numbers, those of the magnitudes. A histogram of more values
than :data:`~fwdscope.run.histograms.SAMPLE` is estimated from so many of them, spread evenly, and scaled to the whole.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fwdscope.report import ActivationStats, Histogram
from fwdscope.run.histograms import BINS, as_real, counts_of, histogram_of, histograms, merged, sample_of

# float32 adds of a norm go along rows of this length: each loses at most 64 roundings (16 lanes), 4e-6 of the sum.
_ROW = 1024
# torch hands operators on 32,768 elements and more to several threads. A piece is below that, or gives each thread up
# to so many that sharing it out is worth the waiting for each other at the end, and its share stays in its cache: see
# _Pace. (To ask torch for one thread instead clears its cache of convolutions, which then take far longer.)
_NARROW = 31 * _ROW
_SHARE = 512 * _ROW
# The slower of two ways is tried again when the quicker one took so many times as long as the last try.
_TRIES = 50
# Samples that wait to be counted together.
_SAMPLES = 64
# Value by value on a device: so many elements at a time, so that what is made on the way stays small.
_SLICE = 1 << 22
# Figures of a slice: elements, finite ones, NaNs, zeros, min, max, scale, mean / scale, variance / scale².
_FIGURES = 9
# Where mean² is more than so many times the variance, what their difference loses is too much.
_DWARFS = 8.0
# The largest magnitude below which squares vanish in the dtype that they are summed in.
_VANISHING = {torch.float32: 1e-10, torch.float64: 1e-100}


class Collector:
    """Takes the statistics of tensors and holds them until all are asked for.

    The tensors are not kept: what happens to them later does no harm. Operators that run here are seen by torch's
    modes, as any. Without ``quick``, tensors on the CPU are treated like those on other devices.
    """

    def __init__(self, quick: bool = True) -> None:
        self.quick = quick
        self._done: dict[Hashable, list[ActivationStats]] = {}
        self._pending: list[_Pending] = []
        self._sampled: list[_Sampled] = []
        self._pace = _Pace(min(torch.get_num_threads(), 32) * _SHARE)
        self._scratch: dict[torch.dtype, Tensor] = {}
        if quick:
            # Made amid a forward's activations, they would keep the memory around them from being used again.
            self._room(torch.float32)
            self._room(torch.bool)

    def add(self, key: Hashable, tensors: Sequence[Tensor]) -> None:
        """Look at tensors; those of one key are taken together. Raises ValueError for a tensor without values."""
        with torch.inference_mode():
            for tensor in tensors:
                self._look(self._done.setdefault(key, []), tensor)

    def results(self) -> dict[Hashable, ActivationStats]:
        """The statistics by key, in the order in which keys first came; one fetch from each device."""
        for device in {pending.figures.device for pending in self._pending}:
            here = [pending for pending in self._pending if pending.figures.device == device]
            values = torch.cat([pending.figures for pending in here]).tolist()
            for pending in here:
                size = pending.figures.numel()
                pending.slot[pending.place] = _read(values[:size], pending.weight)
                del values[:size]
        self._pending.clear()
        self._count_samples()
        return {key: merge(found) for key, found in self._done.items()}

    def _look(self, found: list[ActivationStats], tensor: Tensor) -> None:
        values, weight = _distinct(_plain(tensor))
        if (absent := tensor.numel() - values.numel() * weight) > 0:
            found.append(ActivationStats(absent, 0.0, 0.0, 0.0, 0.0, absent, histogram=Histogram(0.0, 0.0, (absent,))))
        if not values.numel():
            found.append(ActivationStats(0, None, None, None, None, 0))
        elif values.device.type == "cpu" and self.quick:
            self._on_cpu(found, values, weight)
        else:
            self._pending.append(_Pending(found, len(found), weight, _careful(values, _SLICE)))
            found.append(ActivationStats(0, None, None, None, None, 0))  # until it is fetched

    def _on_cpu(self, found: list[ActivationStats], values: Tensor, weight: int) -> None:
        # float32 holds what these are made of exactly, float64 the rest; what is small can have it for nothing.
        narrow = values.dtype in (torch.float32, torch.bfloat16, torch.float16) and values.numel() > _NARROW
        summed = torch.float32 if narrow else torch.float64
        stats = _quick(values, self._room(summed), self._room(torch.bool), self._pace)
        if stats is None:
            found.append(_read(_careful(values, _NARROW).tolist(), weight))
            return
        # Many histograms at once take a fraction of the time that each takes while the forward has filled the cache.
        self._sampled.append(_Sampled(found, len(found), weight, stats, sample_of(values).clone()))
        found.append(stats)  # until its sample is counted
        if len(self._sampled) >= _SAMPLES:
            self._count_samples()

    def _count_samples(self) -> None:
        """Histograms for what was looked at since the last time."""
        for one, histogram in zip(
            self._sampled, histograms([(one.stats, one.sample) for one in self._sampled]), strict=True
        ):
            one.slot[one.place] = _weighted(replace(one.stats, histogram=histogram), one.weight)
        self._sampled.clear()

    def _room(self, dtype: torch.dtype) -> Tensor:
        if dtype not in self._scratch:
            self._scratch[dtype] = torch.empty(self._pace.wide, dtype=dtype, device="cpu")
        return self._scratch[dtype]


class _Pace:
    """How large pieces should be: for one thread or for all, by what either took so far.

    Threads are worth it on most machines. But where there are few, or others want them too, they may wait for each
    other for milliseconds, and nothing tells beforehand. The figures are the same either way.
    """

    def __init__(self, wide: int) -> None:
        self.wide = wide
        self.quicker, self.slower = wide, _NARROW
        # Seconds an element of the last few stretches, by size of the pieces.
        self.seconds: dict[int, deque[float]] = {size: deque(maxlen=5) for size in (wide, _NARROW)}
        # Seconds that the last stretch took, by size, and those that the quicker one took since the other was tried.
        self.last = dict.fromkeys(self.seconds, 0.0)
        self.since = 0.0

    def size(self, elements: int) -> int:
        """Elements that a piece of a stretch of so many should have."""
        if elements < 2 * _NARROW:
            return _NARROW
        # The slower one gets another chance now and then, which may cost a little of the whole.
        return self.slower if self.since > _TRIES * self.last[self.slower] else self.quicker

    def took(self, size: int, elements: int, seconds: float) -> None:
        """Remember what a stretch took."""
        if elements < 2 * _NARROW:
            return
        if size == self.slower:
            # What it took when it was tried before is long ago.
            self.seconds[size].clear()
            self.since = 0.0
        else:
            self.since += seconds
        self.last[size] = seconds
        self.seconds[size].append(seconds / elements)
        if all(self.seconds.values()):
            self.quicker, self.slower = sorted(self.seconds, key=lambda size: _middle(self.seconds[size]))


def _middle(values: Collection[float]) -> float:
    """One in the middle, of an even number the greater of two: in a third of the time of ``statistics.median``."""
    return sorted(values)[len(values) // 2]


@dataclass(frozen=True)
class _Pending:
    """Figures still on a device, and where they go once they are fetched."""

    slot: list[ActivationStats]
    place: int
    weight: int
    figures: Tensor


@dataclass(frozen=True)
class _Sampled:
    """The statistics of a tensor on the CPU but for its histogram, the sample for that, and where they go."""

    slot: list[ActivationStats]
    place: int
    weight: int
    stats: ActivationStats
    sample: Tensor


# --- what a tensor is made of ----------------------------------------------------------------------------------------


def _plain(tensor: Tensor) -> Tensor:
    """The values that a tensor holds, as one of the ordinary kind."""
    if tensor.is_meta:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} on meta has no values: take it on a device")
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
    """The values of a tensor in the order of its memory, and how often it repeats them: an expanded one is not copied.

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
    """A tensor in pieces of at most so many elements, none of them copied."""
    if tensor.numel() <= size:
        yield tensor
        return
    inner = tensor.numel() // tensor.shape[0]
    for part in tensor.split(max(1, size // inner)):
        if inner > size:
            yield from _pieces(part[0], size)
        else:
            yield part


def _weighted(stats: ActivationStats, weight: int) -> ActivationStats:
    """The statistics of values that stand there ``weight`` times."""
    if weight == 1:
        return stats
    histogram = stats.histogram
    if histogram is not None:
        histogram = replace(histogram, counts=tuple(count * weight for count in histogram.counts))
    elements, zeros, nans, infs = (n * weight for n in (stats.elements, stats.zeros, stats.nans, stats.infs))
    return replace(stats, elements=elements, zeros=zeros, nans=nans, infs=infs, histogram=histogram)


# --- the quick way, on the CPU ---------------------------------------------------------------------------------------


def _quick(tensor: Tensor, scratch: Tensor, flags: Tensor, pace: _Pace) -> ActivationStats | None:
    """The statistics by sums, but for the histogram; None where a value is not finite, or squares leave the dtype that
    they are summed in."""
    sums, norms, lows, highs, zeros = [], [], [], [], 0
    for values in _summable(tensor, scratch, pace):
        for block in _blocks(values):
            sums.append(block.sum(1))
            norms.append(torch.linalg.vector_norm(block, 2, 1))
        # One after the other they take two thirds of the time of aminmax.
        low, high = float(values.amin()), float(values.amax())
        if not math.isfinite(low) or not math.isfinite(high):
            return None
        lows.append(low)
        highs.append(high)
        if low <= 0 <= high:
            zeros += _zeros(values, flags)
    low, high, count = min(lows), max(highs), tensor.numel()
    mean = float(torch.cat(sums).sum(dtype=torch.float64)) / count
    rows = torch.cat(norms).double()
    square = float(rows.dot(rows)) / count
    largest = max(-low, high)
    if not math.isfinite(mean) or not math.isfinite(square) or 0 < largest < _VANISHING[scratch.dtype]:
        return None
    variance = square - mean * mean
    if mean * mean > _DWARFS * variance:
        mean, variance = _about(mean, tensor)
    return ActivationStats(count, mean, math.sqrt(max(0.0, variance)), low, high, zeros)


def _zeros(values: Tensor, flags: Tensor) -> int:
    """How many of flat values are zero.

    What is not is a true flag, a byte of 1, and eight of them are a word: as words they are added eight at a time, in
    rows so short that no byte of a sum runs over. To compare and add up takes twice as long, to count bools ten times.
    """
    count = values.numel()
    whole = count - count % _ROW
    filled = int(values[whole:].count_nonzero()) if whole < count else 0
    if whole:
        words = flags[:whole].copy_(values[:whole]).view(torch.int64).view(-1, _ROW // 8)
        filled += int(words.sum(1).view(torch.uint8).sum())
    return count - filled


def _summable(tensor: Tensor, scratch: Tensor, pace: _Pace) -> Iterator[Tensor]:
    """A tensor in flat pieces of the dtype that it is summed in: as they are where that does, else copied to scratch.

    A piece that is copied may be written over by what is computed of it last.
    """
    # The figures must not hang on the size: pieces of what has gaps in memory are no whole rows.
    for piece in _at_pace(tensor, pace) if tensor.dim() == 1 else _pieces(tensor, _NARROW):
        if piece.dim() == 1 and piece.dtype == scratch.dtype and piece.is_contiguous():
            yield piece
        else:
            room = scratch[: piece.numel()]
            room.view(piece.shape).copy_(piece.to(torch.complex128).abs() if piece.is_complex() else piece)
            yield room


def _at_pace(flat: Tensor, pace: _Pace) -> Iterator[Tensor]:
    """Flat values in pieces of the quicker size; what is done with each, until the next is asked for, is timed."""
    for stretch in _cut(flat, pace.wide):
        size = pace.size(stretch.numel())
        before = time.perf_counter()
        yield from _cut(stretch, size)
        pace.took(size, stretch.numel(), time.perf_counter() - before)


def _cut(flat: Tensor, size: int) -> tuple[Tensor, ...]:
    return (flat,) if flat.numel() <= size else flat.split(size)


def _blocks(values: Tensor) -> Iterator[Tensor]:
    """Flat values as rows to be summed, and what is left of them as one short row."""
    left = values.numel() % _ROW
    if not left:
        yield values.view(-1, _ROW)
        return
    if left < values.numel():
        yield values[:-left].view(-1, _ROW)
    yield values[-left:].view(1, -1)


def _about(near: float, tensor: Tensor) -> tuple[float, float]:
    """Mean and variance by distances in float64 from a number near the mean."""
    total = squares = 0.0
    for piece in _pieces(tensor, _NARROW):
        apart = as_real(piece, torch.float64) - near
        total += float(apart.sum())
        squares += float(apart.square_().sum())
    offset = total / tensor.numel()
    return near + offset, squares / tensor.numel() - offset * offset


# --- value by value, on any device -----------------------------------------------------------------------------------


def _careful(tensor: Tensor, size: int) -> Tensor:
    """The figures of each slice, then the histogram of the whole: numbers on the device, for which nothing waited."""
    # Apple's devices know no float64.
    dtype = torch.float32 if tensor.device.type == "mps" else torch.float64
    slices = torch.stack([_slice_figures(as_real(piece, dtype)) for piece in _pieces(tensor, size)])
    sample = as_real(sample_of(tensor), dtype)
    return torch.cat([slices.flatten(), counts_of(sample, slices[:, 4].amin(), slices[:, 5].amax())])


def _slice_figures(values: Tensor) -> Tensor:
    """The figures of values, finite and not; scaled, so that no square leaves the dtype."""
    # Masks are numbers, 0 and 1: on a CPU bools take five times as long to count.
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


def _read(figures: list[float], weight: int) -> ActivationStats:
    """The statistics that figures fetched from a device stand for."""
    slices = (_read_slice(figures[i : i + _FIGURES]) for i in range(0, len(figures) - BINS, _FIGURES))
    stats = merge(list(slices))
    if stats.min is not None and stats.max is not None:
        finite = stats.elements - stats.nans - stats.infs
        stats = replace(stats, histogram=histogram_of(figures[-BINS:], stats.min, stats.max, finite))
    return _weighted(stats, weight)


def _read_slice(figures: list[float]) -> ActivationStats:
    elements, finite, nans, zeros = map(int, figures[:4])
    low, high, scale, mean, variance = figures[4:]
    infs = elements - finite - nans
    if not finite:
        return ActivationStats(elements, None, None, None, None, 0, nans, infs)
    return ActivationStats(elements, scale * mean, scale * math.sqrt(variance), low, high, zeros, nans, infs)


# --- several as one --------------------------------------------------------------------------------------------------


def merge(stats: Sequence[ActivationStats]) -> ActivationStats:
    """The statistics of all values of several together.

    All but the histogram are what one look at all values would give. The histogram has bins over the whole range; a
    bin that falls into several of them is shared out by overlap, so that no value is lost and none is made.
    """
    if len(stats) == 1:
        return stats[0]
    elements, zeros, nans, infs = (
        sum(getattr(s, name) for s in stats) for name in ("elements", "zeros", "nans", "infs")
    )
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
    histogram = merged([s.histogram for s in stats if s.histogram], low, high)
    return ActivationStats(elements, mean, std, low, high, zeros, nans, infs, histogram)
