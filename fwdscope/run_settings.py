"""How a forward is to be run: where, on which weights, in which mode. Plain data, known before torch is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Seconds that a forward may take, by estimate, where nobody asked for a device.
BUDGET = 2.0


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
