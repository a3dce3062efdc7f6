"""State of the whole process that real numbers need: torch's default dtype, its generators, Python's recursion limit.

Nothing here is used while a network is built or traced on meta, but for the recursion limit of blocks nested more than
a few deep. On a device torch has no other way: it promotes integers to its default dtype, and layers initialise their
weights from its default generators. One lock keeps two threads of fwdscope from changing these at once, and each change
is undone; threads of others see it meanwhile.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from fwdscope.limits import limit

_LOCK = threading.RLock()


@contextlib.contextmanager
def torch_default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set torch's default dtype, if it is another, and restore it."""
    if dtype == torch.get_default_dtype():
        yield
        return
    with _LOCK:
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


@contextlib.contextmanager
def preserve_generators(devices: Iterable[torch.device], lib: Any = torch) -> Iterator[None]:
    """Restore the generators of the CPU and, in torch or a test's ``lib``, of these devices; no other is started."""
    places = {place for place in devices if place.type in ("cuda", "mps")}
    with _LOCK:
        host = torch.get_rng_state()
        states = {place: getattr(lib, place.type).get_rng_state(place) for place in places}
        try:
            yield
        finally:
            torch.set_rng_state(host)
            for place, state in states.items():
                getattr(lib, place.type).set_rng_state(state, place)


@contextlib.contextmanager
def seed_generators(device: torch.device, seed: int, lib: Any = torch) -> Iterator[None]:
    """Seed the generators of the CPU and of a device, and restore them."""
    with preserve_generators([device], lib):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with lib.cuda.device(device):
                lib.cuda.manual_seed(seed)
        elif device.type == "mps":
            lib.mps.manual_seed(seed)
        yield


class _RecursionLimit:
    """Python's recursion limit, raised while any thread runs deeply nested blocks."""

    users = 0
    before = 0

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Make room for as many nested blocks as are allowed: each takes some 50 calls of Python."""
        with _LOCK:
            if not self.users:
                self.before = sys.getrecursionlimit()
                sys.setrecursionlimit(max(self.before, 200 * limit("blocks")))
            self.users += 1
        try:
            yield
        finally:
            with _LOCK:
                self.users -= 1
                if not self.users:
                    sys.setrecursionlimit(self.before)


RECURSION_LIMIT = _RecursionLimit()
