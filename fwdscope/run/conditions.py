"""Under which conditions a forward is timed: with cold caches, or as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fwdscope import disk
from fwdscope.settings import RunError

# Bytes of the last cache where it is not known.
CACHE = 64 * 2**20
# Forwards before one is captured, which make what libraries keep.
BEFORE_CAPTURE = 3


def last_cache(place: torch.device, cuda: Any = torch.cuda, root: Path = Path("/")) -> int | None:
    """Bytes of the last cache before a device's memory; None where neither torch nor Linux says."""
    if place.type == "cuda":
        return int(getattr(cuda.get_device_properties(place), "L2_cache_size", 0)) or None
    found = []
    for file in (root / "sys/devices/system/cpu/cpu0/cache").glob("index*/size") if place.type == "cpu" else ():
        text = disk.read_text(file).strip()
        unit = {"K": 2**10, "M": 2**20}.get(text[-1:])
        found += [int(text[:-1]) * unit] if unit and text[:-1].isdigit() else []
    return max(found, default=None)


def flusher(place: torch.device) -> Callable[[], object]:
    """A function that fills the last cache with other data: it writes twice as much as that holds."""
    other = torch.empty(2 * (last_cache(place) or CACHE), dtype=torch.uint8, device=place)
    return other.zero_


def captured(run: Callable[[], object], device: torch.device, cuda: Any = torch.cuda) -> Callable[[], object]:
    """A function that replays a forward as a CUDA graph. Raises RunError where it cannot be captured.

    As in the documentation of ``torch.cuda.CUDAGraph``: some forwards on a side stream first, then the capture.
    """
    try:
        with cuda.device(device):
            side = cuda.Stream()
            side.wait_stream(cuda.current_stream())
            with cuda.stream(side):
                for _ in range(BEFORE_CAPTURE):
                    run()
            cuda.current_stream().wait_stream(side)
            graph = cuda.CUDAGraph()
            with cuda.graph(graph):
                kept = run()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise RunError(
            f"--graph: the forward cannot be captured as a CUDA graph, since a call waits: {reason}"
        ) from error

    def replay(outputs: object = kept) -> object:
        graph.replay()
        return outputs

    return replay
