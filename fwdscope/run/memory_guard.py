"""Comparing the memory that a forward needs with what a device has free, before anything is allocated.

To what is counted, a run adds what the slices of statistics take, and on CUDA what the allocator loses to rounding.
Workspaces of libraries and fragmentation are only estimated: where just these do not fit, the run is tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

from fwdscope.device.local import LocalDevice, free_memory
from fwdscope.report import RELUS, Report, Totals
from fwdscope.run.batch import largest_batch
from fwdscope.run.statistics import scratch_bytes
from fwdscope.run.subject import Subject
from fwdscope.settings import RunError
from fwdscope.units import byte_size

_MIB = 2**20
# Bytes that cuBLAS takes by torch's default on compute capability 9 (CUBLAS_WORKSPACE_CONFIG).
_CUBLAS = 32 * _MIB
# Share of the activations that is lost between them.
_FRAGMENTS = 0.1


@dataclass(frozen=True)
class Needed:
    """Bytes that a run needs on a device, and those that it may need besides."""

    counted: int
    statistics: int = 0
    rounding: int = 0
    perhaps: int = 0

    @property
    def more(self) -> int:
        """What is needed beyond what is counted."""
        return self.statistics + self.rounding


def needed(subject: Subject, report: Report, place: torch.device, copied: bool, stats: bool) -> Needed:
    """What a forward of a subject needs. ``copied``: its weights are copied; ``stats``: with statistics."""
    counted, totals, batch = subject.memory_to_allocate(place, copied), report.totals, report.inputs[:1]
    statistics = rounding = perhaps = 0
    if stats:
        outputs = [math.prod(shape) for row in report.layers for shape in row.output_shapes]
        # Channels of a ReLU that are zero in all items are found in the sum over the items.
        items = max(1, batch[0].shape[0] if batch and batch[0].shape else 1)
        sums = [(row.output_bytes or 0) // items for row in report.layers if row.type in RELUS]
        statistics = max(scratch_bytes(max(outputs, default=0), place.type == "cpu"), *sums, 0)
    if place.type == "cuda":
        if counted == totals.peak_memory:  # nothing of it is there yet
            sizes = [t.numel() * t.element_size() for t in subject.call.tensors() if not nn.parameter.is_lazy(t)]
            rounding = reserved(sizes) - sum(sizes)
        records = [record for record in subject.trace.root.records() if record.figures[0]]
        # cuDNN may convert what a convolution reads and writes to another layout.
        convolved = [read + made for *_, read, made in (r.figures for r in records if "convolution" in r.op.name)]
        perhaps = (_CUBLAS if records else 0) + max(convolved, default=0)
        perhaps += int(_FRAGMENTS * (totals.peak_activations or 0))
    return Needed(counted, statistics, rounding, perhaps)


def reserved(sizes: Iterable[int]) -> int:
    """Bytes that torch's allocator reserves for tensors that stay (c10/cuda/CUDACachingAllocator.cpp).

    Sizes are multiples of 512. Those up to 1 MiB share segments of 2, those below 10 MiB segments of 20; larger ones
    have their own, a multiple of 2 MiB.
    """
    small = middle = large = 0
    for size in (-(-size // 512) * 512 for size in sizes):
        if size <= _MIB:
            small += size
        elif size < 10 * _MIB:
            middle += size
        else:
            large += -(-size // (2 * _MIB)) * 2 * _MIB
    return -(-small // (2 * _MIB)) * 2 * _MIB + -(-middle // (20 * _MIB)) * 20 * _MIB + large


def fits_on_host(place: torch.device, totals: Totals, free: Callable[[str], int | None] = free_memory) -> bool:
    """Whether weights can be made on the CPU before they go to a device, as they are where a spec has no others."""
    room = free("cpu") if place.type != "cpu" else None
    return room is None or totals.param_bytes + totals.buffer_bytes <= room


def check_memory(need: Needed, subject: Subject, report: Report, device: LocalDevice, batch: int | None) -> str | None:
    """Refuse a forward that needs more memory than a device has free; a note where it may not fit.

    Raises RunError with both numbers and the largest batch that fits.
    """
    memory, totals = need.counted + need.more, report.totals
    if device.free is None or memory <= device.free:
        if device.free is None or memory + need.perhaps <= device.free:
            return None
        most = f"{byte_size(need.counted)} are counted, and up to {byte_size(need.more + need.perhaps)} more"
        return f"memory is short: {most} for kernels' workspaces and between tensors, of {byte_size(device.free)} free"
    parts = [f"weights {byte_size(totals.param_bytes + totals.buffer_bytes)}"]
    parts += [f"cache {byte_size(totals.kv_cache)}"] if totals.kv_cache else []
    parts.append(f"inputs {byte_size(totals.input_bytes or 0)}")
    parts.append(f"activations {byte_size(totals.peak_activations or 0)} at the peak")
    parts += [f"statistics {byte_size(need.statistics)}"] if need.statistics > _MIB else []
    parts += [f"the allocator's rounding {byte_size(need.rounding)}"] if need.rounding else []
    message = (
        f"the forward needs {byte_size(memory)} ({', '.join(parts)}), "
        f"and {device.device} ({device.name}) has {byte_size(device.free)} free"
    )
    peak = subject.peak_by_batch(batch)
    if peak is None or batch is None or batch < 2:
        help = f"use a smaller dtype or {'fewer earlier positions' if totals.kv_cache else 'smaller inputs'}"
    elif largest := largest_batch(max(0, device.free - need.more), peak, 1, batch):
        help = f"the largest batch that fits is {largest:,}, not {batch:,}"
    else:
        help = "not even a batch of 1 fits"
    raise RunError(f"{message}\n  {help}; --device meta shows shapes and costs without running it")
