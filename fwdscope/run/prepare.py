"""The way of a subject to its device: the same steps for ``inspect`` and ``bench``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from fwdscope.device.local import LocalDevice, free_memory
from fwdscope.model.process_state import seed_generators
from fwdscope.report import LayerRow, Report
from fwdscope.report.throughput import batch_of
from fwdscope.run.context import out_of_memory_as_run_error
from fwdscope.run.memory_guard import check_memory, fits_on_host, needed
from fwdscope.run.placement import ModuleCall
from fwdscope.run.subject import SpecSubject, Subject
from fwdscope.run.weights import Weights, match_weights
from fwdscope.settings import DeviceSettings
from fwdscope.trace import Node, rows_with_nodes
from fwdscope.trace.duplicate import unwrapped

# The rows of a report, each with the nodes of the trace that it stands for.
RowNodes = tuple[tuple[LayerRow, tuple[Node, ...]], ...]


@dataclass(frozen=True)
class Prepared:
    """A subject with weights and inputs on its device."""

    subject: Subject
    # The report of the forward on meta, and its rows with the nodes of the trace.
    report: Report
    rows: RowNodes
    call: ModuleCall
    # With the memory that is free now that the weights are there.
    device: LocalDevice
    weights: Weights
    batch: int | None
    notes: tuple[str, ...] = ()

    @property
    def place(self) -> torch.device:
        """The device, as torch names it."""
        return torch.device(self.device.device)


@contextlib.contextmanager
def prepared(
    subject: Subject,
    report: Report,
    device: LocalDevice,
    settings: DeviceSettings,
    copied: bool,
    stats: bool = False,
    draw: int = 0,
) -> Iterator[Prepared]:
    """Take a subject to a device; torch's generators stay seeded inside.

    ``copied``: a module is to change, so that a copy of it is taken; ``stats``: statistics will be computed; ``draw``:
    which of several batches a spec's inputs are. Raises RunError where the weights of a file do not fit or the device
    has no room.
    """
    place = torch.device(device.device)
    module = unwrapped(subject.call.module)
    weights = match_weights(settings.weights, module, settings.partial) if settings.weights else Weights()
    batch = batch_of(report)
    need = needed(subject, report, place, copied or bool(weights.tensors), stats)
    note = check_memory(need, subject, report, device, batch)
    on_host = not subject.draws_weights or fits_on_host(place, report.totals)
    notes = [note] if note else []
    notes += (
        [] if on_host else [f"weights are drawn on {place}, since the CPU's memory is short: not the CPU's of a seed"]
    )
    # Before the network leaves meta, where torch separates tensors that are tied.
    rows = rows_with_nodes(subject.trace_every_copy())
    # The weights of a spec have the seed of their own; a module is made with its inputs.
    seed = settings.seed + (draw if isinstance(subject, SpecSubject) else 0)
    with seed_generators(place, seed), out_of_memory_as_run_error():
        settings.on_progress(f"making weights on {device.device}")
        with subject.placed(place, settings.seed, weights.tensors, copied, on_host) as call:
            device = replace(device, free=free_memory(place))
            settings.on_progress(f"running on {device.device}")
            yield Prepared(subject, report, rows, call, device, weights, batch, tuple(notes))
