"""The memory that a forward needs on a device that is not here, against what is free there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fwdscope.device.local import LocalDevice
from fwdscope.run.choose import choose_device
from fwdscope.run.memory_guard import Needed, check_memory, fits_on_host, needed, reserved
from fwdscope.run.statistics import _CPU_SLICE, Collector, scratch_bytes
from fwdscope.run.subject import ModuleSubject
from fwdscope.settings import RunError, RunSettings
from fwdscope.trace.memory import Memory

MIB = 2**20
GPU = LocalDevice("cuda:0", "NVIDIA H100 80GB HBM3", 80 * 2**30, 80 * 2**30)
CUDA = torch.device("cuda:0")


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], 0),
        ([1], 2 * MIB),  # a block of 512 bytes in a segment of 2 MiB
        ([512] * 4096, 2 * MIB),
        ([513] * 2049, 4 * MIB),  # 1,024 bytes each: 2,048 of them are a segment
        ([MIB + 1], 20 * MIB),
        ([9 * MIB] * 2, 20 * MIB),
        ([10 * MIB], 10 * MIB),  # its own, a multiple of 2 MiB
        ([11 * MIB], 12 * MIB),
        ([1, 2 * MIB, 11 * MIB], (2 + 20 + 12) * MIB),
    ],
)
def test_the_allocator_reserves_whole_segments(sizes: list[int], expected: int) -> None:
    assert reserved(sizes) == expected


class Allocations(TorchDispatchMode):
    """The bytes of results that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, tuple | list) else [result]:
            if isinstance(one, Tensor):
                self.memory.add(one)
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
@pytest.mark.parametrize("elements", [1 << 15, 3 * _CPU_SLICE])
def test_statistics_take_no_more_than_is_reckoned(dtype: torch.dtype, elements: int) -> None:
    # As on other devices, in slices of the CPU's size.
    x = torch.ones(elements, dtype=dtype)
    seen = Allocations()
    seen.memory.exclude(x)
    with seen:
        Collector(fewer_passes=False).add("x", [x])
    reckoned = scratch_bytes(elements, on_cpu=True)
    # The figures and the histogram's sample are small beside it.
    assert reckoned / 2 < seen.memory.peak < reckoned + 3 * MIB


class Two(nn.Module):
    """A convolution and a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv(x))


def subject_of(batch: int = 2) -> ModuleSubject:
    return ModuleSubject((Two(), (torch.zeros(batch, 3, 256, 256),), {}))


def test_a_run_needs_what_is_counted_and_what_it_does_not_show() -> None:
    subject = subject_of()
    report = subject.report()
    found = needed(subject, report, CUDA, copied=False, stats=True)
    # Weights of 6,912 bytes, an input of 1.5 MiB, and at the peak both results of 2 · 64 · 256² floats, 32 MiB each.
    assert found.counted == report.totals.peak_memory == 6912 + 3 * MIB // 2 + 64 * MIB
    # A slice of 2²² float64, a mask and a result; a result has 2²³ elements.
    assert found.statistics == 3 * 8 * 2**22
    # The weights' segment of 2 MiB and the input's of 20.
    assert found.rounding == 22 * MIB - 6912 - 3 * MIB // 2
    # cuBLAS's workspace, the convolution's operands again, and a tenth of the activations.
    operands = 6912 + 3 * MIB // 2 + 32 * MIB
    assert found.perhaps == 32 * MIB + operands + int(0.1 * 64 * MIB)
    assert needed(subject, report, CUDA, copied=False, stats=False).statistics == 0
    there = needed(subject, report, torch.device("cpu"), copied=True, stats=True)
    assert (there.rounding, there.perhaps) == (0, 0)
    # On a CPU slices are smaller, and more than that is the sum of the ReLU's items: 64 · 256² floats.
    assert there.statistics == 16 * MIB


def test_a_run_is_refused_noted_or_neither_by_what_is_free() -> None:
    subject, need = subject_of(), Needed(100 * MIB, statistics=10 * MIB, rounding=5 * MIB, perhaps=20 * MIB)
    report = subject.report()

    def at(free: int | None) -> str | None:
        return check_memory(need, subject, report, replace(GPU, free=free), 2)

    assert at(None) is None
    assert at(135 * MIB) is None
    assert at(135 * MIB - 1) == (
        "memory is short: 100 MiB are counted, and up to 35.0 MiB more for kernels' workspaces and between tensors, "
        "of 135 MiB free"
    )
    assert at(115 * MIB) is not None
    with pytest.raises(RunError, match=r"needs 115 MiB .*statistics 10.0 MiB, the allocator's rounding 5.00 MiB.*has"):
        at(115 * MIB - 1)


def test_the_largest_batch_leaves_room_for_what_is_not_counted() -> None:
    subject = subject_of(8)
    report = subject.report()
    peak = subject.peak_by_batch(8)
    assert peak is not None
    need = Needed(peak(8), statistics=96 * MIB, rounding=20 * MIB)
    # Of 300 MiB 184 are left, and an item takes 32.75: 5 fit.
    with pytest.raises(RunError, match="the largest batch that fits is 5, not 8"):
        check_memory(need, subject, report, replace(GPU, free=300 * MIB), 8)


def test_weights_are_made_on_the_cpu_if_it_has_room() -> None:
    totals = subject_of().report().totals
    room = {6911: False, 6912: True, None: True}  # the weights' bytes
    assert {free: fits_on_host(CUDA, totals, lambda _, free=free: free) for free in room} == room
    assert fits_on_host(torch.device("cpu"), totals, lambda _: 0)


@pytest.mark.parametrize(
    ("free", "note"),
    [
        # 65.5 MiB are counted; a fifth of that and 128 MiB more are left free where no device is asked for.
        (210 * MIB, ""),
        (190 * MIB, "not run: it needs 65.5 MiB and some room, and cuda:0 has 190 MiB free; --device cuda runs it"),
        (60 * MIB, "not run: it needs 65.5 MiB, more than cuda:0 has free; --device cuda shows both"),
    ],
)
def test_a_run_that_was_not_asked_for_leaves_room(free: int, note: str) -> None:
    subject = subject_of()
    settings = RunSettings(device=None, stats=False, latency=False)
    device, found = choose_device(settings, subject.report(), subject.trace.root, lambda: replace(GPU, free=free))
    assert found.startswith(note)
    assert (device is None) == bool(note)
