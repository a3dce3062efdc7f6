"""Histograms of tensors: of a sample of their values, counted where the tensors are; and several as one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from fwdscope.report import ActivationStats, Histogram

BINS = 24
SAMPLE = 8192
# Samples that are counted at once, so that they stay in the cache.
_TOGETHER = 16


def as_real(piece: Tensor, dtype: torch.dtype) -> Tensor:
    """A piece as numbers of a dtype; magnitudes of complex ones."""
    if piece.is_complex():
        return piece.to(dtype.to_complex()).abs()
    return piece.to(dtype)


def sample_of(tensor: Tensor) -> Tensor:
    """At most :data:`SAMPLE` values at even distances in the order of memory."""
    count = tensor.numel()
    step = -(-count // SAMPLE)
    # A step that divides a dimension would meet the same few channels again and again.
    while math.gcd(step, count) > 1:
        step += 1
    if tensor.dim() == 1 or step == 1:
        return tensor.reshape(-1)[::step]
    # torch.unravel_index makes tensors of the sizes, and to copy them to a device the host waits for it.
    places = torch.arange(0, count, step, device=tensor.device)
    index: list[Tensor] = []
    for size in reversed(tensor.shape):
        index.insert(0, places % size)
        places = places // size
    return tensor[tuple(index)]


def counts_of(sample: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """How many of a sample lie in each of the bins between two numbers, which may be on the device."""
    # Halves, because the distance between two numbers may be more than the dtype holds.
    place = ((sample / 2 - low / 2) / (high / 2 - low / 2) * BINS).floor()
    # What is not finite goes beyond the last bin; where all are equal there is a single bin and no place.
    place = torch.where(sample.isfinite(), place.nan_to_num(0.0).clamp(0, BINS - 1), BINS).long()
    counts = torch.zeros(BINS + 1, dtype=sample.dtype, device=sample.device)
    return counts.scatter_add_(0, place, torch.ones_like(sample))[:BINS]


def histograms(found: Sequence[tuple[ActivationStats, Tensor]]) -> list[Histogram]:
    """The histograms of tensors on the CPU that are finite, by their statistics and samples of them."""
    ends = [_ends(stats) for stats, _ in found]
    counts: dict[int, list[float]] = {}
    apart = [i for i, (low, high) in enumerate(ends) if 0 < high - low < math.inf]
    for first in range(0, len(apart), _TOGETHER):
        chosen = apart[first : first + _TOGETHER]
        rows = _rows_of_counts([found[i][1] for i in chosen], [ends[i] for i in chosen])
        counts |= zip(chosen, rows, strict=True)
    for i, (low, high) in enumerate(ends):
        if low < high and i not in counts:  # further apart than a float holds
            counts[i] = counts_of(as_real(found[i][1], torch.float64), low, high).tolist()
    return [histogram_of(counts.get(i, []), *ends[i], stats.elements) for i, (stats, _) in enumerate(found)]


def _rows_of_counts(samples: Sequence[Tensor], ends: Sequence[tuple[float, float]]) -> Iterator[list[float]]:
    """How many of each sample lie in each of the bins between its two ends, beyond which nothing lies."""
    size = max(sample.numel() for sample in samples)
    values = torch.empty(len(samples), size, dtype=torch.float64)
    for row, sample, (low, _) in zip(values, samples, ends, strict=True):
        row[: sample.numel()].copy_(as_real(sample, torch.float64) if sample.is_complex() else sample)
        row[sample.numel() :] = low
    lows = torch.tensor([[low] for low, _ in ends], dtype=torch.float64)
    widths = torch.tensor([[high - low] for low, high in ends], dtype=torch.float64)
    starts = torch.arange(0, len(samples) * (BINS + 1), BINS + 1, dtype=torch.float64).unsqueeze(1)
    place = values.sub_(lows).div_(widths).mul_(BINS).floor_().add_(starts)
    table = torch.bincount(place.view(-1).int(), minlength=len(samples) * (BINS + 1)).view(-1, BINS + 1)
    for sample, (lowest, *inner, highest, end) in zip(samples, table.tolist(), strict=True):
        # What fills a short row stands at its low end; the highest value itself would begin one bin more.
        yield [lowest - (size - sample.numel()), *inner, highest + end]


def _ends(stats: ActivationStats) -> tuple[float, float]:
    assert stats.min is not None
    assert stats.max is not None
    return stats.min, stats.max


def histogram_of(counts: Sequence[float], low: float, high: float, finite: int) -> Histogram:
    """The histogram of ``finite`` values, by how many of a sample lie in each bin."""
    if low == high:
        return Histogram(low, high, (finite,))
    # The sample may have met none of a few finite values: then nothing is known of where they lie.
    return Histogram(low, high, _shared(counts if sum(counts) else [1.0] * BINS, finite))


def _shared(parts: Sequence[float], total: int) -> tuple[int, ...]:
    """A whole number split as the parts are, by the largest remainders: nothing is lost and nothing made."""
    whole = math.fsum(parts)
    exact = [part / whole * total for part in parts]
    counts = [int(one) for one in exact]
    by_remainder = sorted(range(len(parts)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return tuple(counts)


def merged(histograms: Sequence[Histogram], low: float, high: float) -> Histogram | None:
    """Histograms on common bins."""
    if not histograms:
        return None
    total = sum(sum(one.counts) for one in histograms)
    if low == high:
        return Histogram(low, high, (total,))
    shares = [0.0] * BINS
    for one in histograms:
        for (left, right), count in zip(pairwise(_edges(one, low, high)), one.counts, strict=True):
            _share_out(shares, left, right, count)
    return Histogram(low, high, _shared(shares, total))


def _edges(histogram: Histogram, low: float, high: float) -> list[float]:
    """The edges of a histogram's bins, counted in the bins between ``low`` and ``high``."""
    bins = len(histogram.counts)
    # Halves, as above: the distance of the ends may be more than a float holds.
    first, last = ((end / 2 - low / 2) / (high / 2 - low / 2) * BINS for end in (histogram.low, histogram.high))
    return [first + (last - first) * i / bins for i in range(bins + 1)]


def _share_out(shares: list[float], left: float, right: float, count: int) -> None:
    """Add the count of a bin from ``left`` to ``right`` to the bins that it lies in, by overlap."""
    start = min(int(left), BINS - 1)
    if right <= left or right <= start + 1:
        shares[start] += count
        return
    for i in range(start, min(BINS, math.ceil(right))):
        shares[i] += count * max(0.0, min(right, i + 1) - max(left, i)) / (right - left)
