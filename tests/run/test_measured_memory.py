"""The peak of memory that a run on a CPU measures, beside the predicted one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import fwdscope


class Wide(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.repeat(64, 1) * 2).sum()


def test_the_measured_peak_stands_beside_the_predicted() -> None:
    report = fwdscope.inspect(Wide(), torch.randn(256, 1024), device="cpu", stats=False)
    assert report.run is not None
    # The repeated tensor and its double, 64 · 256 · 1,024 floats of 4 bytes each, and the input of 256 · 1,024.
    predicted = 2 * 64 * 256 * 1024 * 4 + 256 * 1024 * 4
    assert report.totals.peak_memory is not None
    assert abs(report.totals.peak_memory - predicted) < 1024
    # The allocator gives out that and the sum's 4 bytes, each rounded up to 64.
    assert predicted <= report.run.peak_memory <= predicted + 128


def test_a_profiler_of_the_callers_own_is_left_alone() -> None:
    with torch.profiler.profile(profile_memory=True) as profiled:
        report = fwdscope.inspect(Wide(), torch.randn(2, 4), device="cpu", stats=False)
    assert report.run is not None
    assert report.run.peak_memory is None
    assert profiled.events()


def test_without_times_nothing_is_measured() -> None:
    report = fwdscope.inspect(Wide(), torch.randn(2, 4), device="cpu", stats=False, latency=False)
    assert report.run is not None
    assert report.run.peak_memory is None
