"""torch's generators, seeded for a while or merely used, and then as they were.

``torch.manual_seed`` seeds the generators of all devices, and ``torch.random.fork_rng`` without a list of devices
starts CUDA on each of them; here no device is touched but those that are named.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch


@contextlib.contextmanager
def preserved(devices: Iterable[torch.device]) -> Iterator[None]:
    """Whatever is drawn inside, the generators of the CPU and of these devices are left as they were."""
    places = {place for place in devices if place.type in ("cuda", "mps")}
    host = torch.get_rng_state()
    states = {place: _module(place).get_rng_state(place) for place in places}
    try:
        yield
    finally:
        torch.set_rng_state(host)
        for place, state in states.items():
            _module(place).set_rng_state(state, place)


@contextlib.contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """The generators of the CPU and of a device seeded for a while."""
    with preserved([device]):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif device.type == "mps":
            torch.mps.manual_seed(seed)
        yield


def _module(place: torch.device) -> Any:
    return torch.cuda if place.type == "cuda" else torch.mps
