"""Histograms of tensors, counted on their device from a sample of the values; merging histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from fwdscope.report import Histogram

BINS = 24
SAMPLE = 8192


def as_real(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in a real dtype; complex numbers become their magnitudes."""
    return tensor.to(dtype.to_complex()).abs() if tensor.is_complex() else tensor.to(dtype)


def sample_of(tensor: Tensor) -> Tensor:
    """At most :data:`SAMPLE` values, evenly spaced in memory."""
    count = tensor.numel()
    step = -(-count // SAMPLE)
    # A step with a common factor would sample only some of the channels.
    while math.gcd(step, count) > 1:
        step += 1
    if tensor.dim() == 1 or step == 1:
        return tensor.reshape(-1)[::step]
    # torch.unravel_index copies the sizes to the device, which waits for it.
    places = torch.arange(0, count, step, device=tensor.device)
    index: list[Tensor] = []
    for size in reversed(tensor.shape):
        index.insert(0, places % size)
        places = places // size
    return tensor[tuple(index)]


def counts_of(sample: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """How many values of a sample fall into each bin between two numbers, which may be tensors on the device."""
    # Halves, since the difference of two numbers may overflow.
    place = ((sample / 2 - low / 2) / (high / 2 - low / 2) * BINS).floor()
    # Values that are not finite go into an extra bin. Where all values are equal, the division gives NaN.
    place = torch.where(sample.isfinite(), place.nan_to_num(0.0).clamp(0, BINS - 1), BINS).long()
    counts = torch.zeros(BINS + 1, dtype=sample.dtype, device=sample.device)
    return counts.scatter_add_(0, place, torch.ones_like(sample))[:BINS]


def histogram_of(counts: Sequence[float], low: float, high: float, finite: int) -> Histogram:
    """The histogram of ``finite`` values, scaled up from the counts of a sample."""
    if low == high:
        return Histogram(low, high, (finite,))
    # A sample without any finite value does not say where the few finite ones lie: spread them evenly.
    return Histogram(low, high, _split(counts if sum(counts) else [1.0] * BINS, finite))


def _split(parts: Sequence[float], total: int) -> tuple[int, ...]:
    """An integer split in proportion to the parts, by largest remainders, so that the sum is kept."""
    whole = math.fsum(parts)
    exact = [part / whole * total for part in parts]
    counts = [int(one) for one in exact]
    by_remainder = sorted(range(len(parts)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return tuple(counts)


def merge_histograms(histograms: Sequence[Histogram], low: float, high: float) -> Histogram | None:
    """One histogram of all values; None without histograms."""
    if not histograms:
        return None
    total = sum(sum(one.counts) for one in histograms)
    if low == high:
        return Histogram(low, high, (total,))
    shares = [0.0] * BINS
    for one in histograms:
        bins = len(one.counts)
        # The ends in units of the new bins. Halves, as in counts_of.
        first, last = ((end / 2 - low / 2) / (high / 2 - low / 2) * BINS for end in (one.low, one.high))
        edges = [first + (last - first) * i / bins for i in range(bins + 1)]
        for (left, right), count in zip(pairwise(edges), one.counts, strict=True):
            start = min(int(left), BINS - 1)
            if right <= left or right <= start + 1:
                shares[start] += count
                continue
            # To all bins that it overlaps, in proportion.
            for i in range(start, min(BINS, math.ceil(right))):
                shares[i] += count * max(0.0, min(right, i + 1) - max(left, i)) / (right - left)
    return Histogram(low, high, _split(shares, total))
