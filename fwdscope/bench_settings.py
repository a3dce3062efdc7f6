"""How a benchmark is to be run. Plain data, known before torch is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# The half width of the median's interval of 95 %, relative to the median, and the seconds it may take to get there.
PRECISION = 0.02
BUDGET = 5.0


def _nobody(stage: str) -> None:
    """Nobody is told."""


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
    budget: float = BUDGET
    # Whether the layers are timed too.
    layers: bool = True
    # Told in a few words what is being done now.
    on_progress: Callable[[str], None] = _nobody
