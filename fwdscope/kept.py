"""Reports kept of earlier looks: a second look at a spec that has not changed needs no torch.

Shapes and costs are kept until something changes that decides them. What a run by default measured is kept for an hour;
a run on a device that was asked for is never kept.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

from fwdscope.cache import CacheEntry
from fwdscope.language.problems import SpecError
from fwdscope.report import Report
from fwdscope.settings import RunSettings
from fwdscope.targets import Target, find_spec

# Seconds for which a run is kept.
MAX_AGE = 3600.0
# Environment variables that decide how torch computes, by their beginnings.
_DECISIVE = ("ATEN_", "CUDA_", "DNNL_", "KMP_", "MKL_", "OMP_", "ONEDNN_", "PYTORCH_", "TORCH_")
_FILES = (".npy", ".npz", ".pt")


class Kept(NamedTuple):
    """A report, and how many seconds ago it was made."""

    report: Report
    age: float


def entry_of(target: Target, settings: RunSettings) -> CacheEntry | None:
    """Where the report of a target is kept; None if it is not to be. Raises InputError where there is no such spec."""
    is_asked_for = settings.device not in (None, "auto", "meta") or settings.weights or settings.show
    if is_asked_for or target.is_report or target.is_module or target.allow_import:
        return None
    if any(text.strip().endswith(_FILES) for text in target.inputs):
        return None
    try:
        source = target.read_spec()
    except SpecError:
        return None  # loading the spec reports it
    path = find_spec(target.text)
    where = str(path.absolute()) if path is not None else f"{Path.cwd()}: {target.text}"
    run = (settings.seed, settings.stats, settings.latency, platform.node()) if settings.device is None else ()
    step = settings.training and (astuple(settings.training), settings.alternatives)
    mode = (settings.train, step, target.past, target.stored, str(target.mesh), str(target.plan))
    name = (where, source.name, sorted(target.variables.items()), target.inputs, target.dtype, mode, run)
    decisive = sorted(item for item in os.environ.items() if item[0].startswith(_DECISIVE))
    return CacheEntry("inspect", name, (source.text, decisive, os.cpu_count()))


def find(entry: CacheEntry, settings: RunSettings) -> Kept | None:
    """The report of an earlier look; None if there is none."""
    kept = entry.read(lambda data: Kept(Report.from_json(data["report"]), time.time() - data["at"]))
    return None if kept and settings.device is None and not 0 <= kept.age < MAX_AGE else kept


def keep(entry: CacheEntry, report: Report) -> None:
    """Keep a report until it is asked for again."""
    entry.write({"at": time.time(), "report": report.to_json()})
