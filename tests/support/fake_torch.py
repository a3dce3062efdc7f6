"""What fwdscope asks of torch about devices, without any."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

GIB = 1024**3


@dataclass
class FakeCuda:
    """GPUs by name, with total and free bytes each."""

    gpus: list[tuple[str, int, int]] = field(default_factory=list)
    current: int = 0
    # Bytes that torch keeps for itself, and those of them in use.
    reserved: int = 0
    allocated: int = 0
    # Devices that no context can be made on.
    taken: tuple[int, ...] = ()
    asked: list[int] = field(default_factory=list)
    # What torch warns of when it looks for devices, and what it says when CUDA cannot be started.
    warning: str | None = None
    broken: str | None = None

    def init(self) -> None:
        if self.broken or not self.gpus:
            raise RuntimeError(self.broken or "No CUDA GPUs are available")

    def is_available(self) -> bool:
        if self.warning:
            warnings.warn(self.warning, stacklevel=2)
        return bool(self.gpus)

    def device_count(self) -> int:
        return len(self.gpus)

    def current_device(self) -> int:
        return self.current

    def get_device_properties(self, index: int) -> Any:
        self.init()
        name, total, _ = self.gpus[index]
        return SimpleNamespace(
            name=name, total_memory=total, uuid=f"GPU-{index}", multi_processor_count=100 + index, major=9, minor=0
        )

    def mem_get_info(self, index: int) -> tuple[int, int]:
        self.asked.append(index)
        if index in self.taken:
            raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable")
        _, total, free = self.gpus[index]
        return free, total

    def memory_reserved(self, index: int) -> int:
        return self.reserved

    def memory_allocated(self, index: int) -> int:
        return self.allocated


def fake_torch(
    *gpus: tuple[str, int, int], cuda: str | None = "13.0", mps: tuple[int, int] | None = None, **fields: Any
) -> Any:
    """A torch with these GPUs; ``mps`` gives the bytes that Metal recommends to use at most and those taken."""
    limit, taken = mps or (0, 0)
    return SimpleNamespace(
        __version__="2.13.0",
        cuda=FakeCuda(list(gpus), **fields),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps is not None)),
        mps=SimpleNamespace(recommended_max_memory=lambda: limit, driver_allocated_memory=lambda: taken),
        version=SimpleNamespace(cuda=cuda, hip=None),
    )
