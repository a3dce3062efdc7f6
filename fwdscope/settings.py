"""How a forward is run and how it is measured. Plain data, known before torch is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Seconds that a forward may take, by estimate, where nobody asked for a device.
RUN_BUDGET = 2.0

# The half width of the median's interval of 95 %, relative to the median, and the seconds it may take to get there.
PRECISION = 0.02
MEASURE_BUDGET = 5.0


class RunError(ValueError):
    """A forward that cannot be run as asked: no such device, no room, weights that do not fit."""


def _nobody(stage: str) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class RunSettings:
    """How a forward is to be run. With ``device`` meta it is not run at all: shapes and costs are all there is."""

    # ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ``meta``; None chooses.
    device: str | None = "meta"
    seed: int = 0
    weights: Path | None = None
    # Whether tensors that the file of weights lacks stay as they were initialised.
    partial: bool = False
    train: bool = False
    stats: bool = True
    latency: bool = True
    # Whether the device's peaks, to hold the times against, may be measured where nobody published them.
    peaks: bool = False
    # The output to be looked at: ``layer1.0.conv1[0, 3]``, ``attn.weights``.
    show: str | None = None
    # Told in a few words what is being done now.
    on_progress: Callable[[str], None] = _nobody


META = RunSettings()


@dataclass(frozen=True)
class BenchSettings:
    """How to measure a forward.

    ``warmup`` and ``repeats`` are found out where they are None; ``budget`` is the seconds that the repeats of the
    whole may take, and the passes over the layers again.
    """

    # ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None chooses.
    device: str | None = None
    dtype: str = "float32"
    # Weights stay float32, and torch casts operator by operator.
    autocast: bool = False
    compiled: bool = False
    channels_last: bool = False
    # Threads of the CPU; None leaves torch's own number.
    threads: int | None = None
    seed: int = 0
    weights: Path | None = None
    warmup: int | None = None
    repeats: int | None = None
    precision: float = PRECISION
    budget: float = MEASURE_BUDGET
    # Whether the layers are timed too.
    layers: bool = True
    # Told in a few words what is being done now.
    on_progress: Callable[[str], None] = _nobody
