"""The devices of this computer and their free memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from fwdscope import disk
from fwdscope.device import host
from fwdscope.device.nvml import nvml
from fwdscope.errors import InputError


class DeviceError(InputError, ValueError):
    """A device that this computer does not have; the message lists those it has."""


@dataclass(frozen=True)
class LocalDevice:
    """A device of this computer."""

    # Its name in torch: ``cpu``, ``cuda:0``, ``mps``.
    device: str
    # Its product name: ``NVIDIA H100 80GB HBM3``.
    name: str
    # Bytes in all, and free now (on the CPU: without swapping). None if not known.
    memory: int | None
    free: int | None
    # What its driver calls it, and what it is besides its name: multiprocessors and compute capability. CUDA alone.
    uuid: str = ""
    form: str = ""

    @property
    def kind(self) -> str:
        """``cpu``, ``cuda`` or ``mps``."""
        return self.device.partition(":")[0]


class Torch(Protocol):
    """The parts of torch that are used here; tests pass a fake."""

    cuda: Any
    backends: Any
    mps: Any
    version: Any
    __version__: str


@dataclass(frozen=True)
class Computer:
    """What is asked about devices: this computer, or that of a test."""

    lib: Torch = torch  # type: ignore[assignment]
    memory: Callable[[], host.HostMemory] = host.memory
    processor: Callable[[], str] = host.processor
    # Bytes in all and free on a GPU, by torch's properties of it, as its driver says without a context.
    driver: Callable[[Any], tuple[int, int] | None] = lambda one: _driver_memory(one)


THIS = Computer()


def devices(computer: Computer = THIS, free: bool = True) -> tuple[LocalDevice, ...]:
    """All devices of this computer, the CPU first, then GPUs in torch's order.

    What is free on a CUDA device is what its driver says, since torch would create a context on it to know that.
    """
    memory, name = computer.memory(), computer.processor()
    found = [LocalDevice("cpu", name, memory.total, memory.free), *_cuda(computer, free)]
    if computer.lib.backends.mps.is_available():
        # Unified memory, as far as Metal recommends to use it.
        found.append(LocalDevice("mps", name, memory.total, _mps_free(computer)))
    return tuple(found)


def find(text: str, computer: Computer = THIS) -> LocalDevice:
    """The device that ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` means. Raises DeviceError if there is none."""
    wanted = text.strip().lower()
    here, lib = devices(computer, free=False), computer.lib
    if wanted == "cuda" and any(one.kind == "cuda" for one in here):
        # torch's current device, which `torch.cuda.set_device` may have changed.
        wanted = f"cuda:{lib.cuda.current_device()}"
    for one in here:
        if wanted in (one.device, f"{one.device}:0"):
            return replace(one, free=free_memory(one.device, computer))
    names = [one.device if one.kind == "cpu" else f"{one.device} ({one.name})" for one in here]
    there = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else f"{names[0]} alone"
    kind = wanted.partition(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"there is no device {text!r}: write cpu, cuda, cuda:1 or mps; here is {there}")
    why = ""
    if kind not in {one.kind for one in here}:
        why = _why_no_cuda(lib) if kind == "cuda" else " (mps is Apple's GPU)"
    raise DeviceError(f"there is no {text} here{why}; here is {there}")


def free_memory(device: str | torch.device, computer: Computer = THIS) -> int | None:
    """Bytes that a program can still allocate on a device; None if not known."""
    kind, _, index = str(device).partition(":")
    if kind == "cpu":
        return computer.memory().free
    if kind == "cuda":
        return _cuda_free(computer.lib, int(index) if index else computer.lib.cuda.current_device())
    return _mps_free(computer) if kind == "mps" else None


def preferred(computer: Computer = THIS) -> LocalDevice:
    """The fastest kind of device here: a CUDA GPU (torch's current one), else Apple's GPU, else the CPU."""
    kinds = {one.kind for one in devices(computer, free=False)}
    return find(next(kind for kind in ("cuda", "mps", "cpu") if kind in kinds), computer)


def _cuda(computer: Computer, free: bool) -> list[LocalDevice]:
    """Each CUDA GPU; none if CUDA cannot be initialised, since the CPU still works."""
    cuda = computer.lib.cuda
    try:
        count = cuda.device_count() if cuda.is_available() else 0
        properties = [cuda.get_device_properties(index) for index in range(count)]
    except RuntimeError:
        return []
    return [
        LocalDevice(
            f"cuda:{i}",
            str(one.name),
            int(one.total_memory),
            _free_by_driver(computer, one) if free else None,
            str(getattr(one, "uuid", "")),
            f"{one.multi_processor_count} SMs, {one.major}.{one.minor}",
        )
        for i, one in enumerate(properties)
    ]


def _free_by_driver(computer: Computer, properties: Any) -> int | None:
    """What the driver says is free; None if it has another total than torch, as for a GPU that is split."""
    known = computer.driver(properties)
    return known[1] if known and abs(known[0] / properties.total_memory - 1) < _SAME_MEMORY else None


# The share by which the driver's and torch's figures of a GPU's memory differ.
_SAME_MEMORY = 0.05


def _driver_memory(properties: Any, root: Path = Path("/")) -> tuple[int, int] | None:
    """From NVML for NVIDIA, from files of Linux for AMD."""
    gpu = library.gpu(str(getattr(properties, "uuid", ""))) if (library := nvml()) else None
    if gpu is not None:
        return gpu.memory()
    bus = getattr(properties, "pci_bus_id", None)
    if bus is None:
        return None
    place = f"{properties.pci_domain_id:04x}:{bus:02x}:{properties.pci_device_id:02x}.0"
    folder = root / "sys/bus/pci/devices" / place
    try:
        total, used = (int(disk.read_text(folder / f"mem_info_vram_{name}")) for name in ("total", "used"))
    except (OSError, ValueError):
        return None
    return total, total - used


def _cuda_free(lib: Torch, index: int) -> int | None:
    """The free memory of the driver, and the unused memory of torch's allocator."""
    try:
        free, _ = lib.cuda.mem_get_info(index)
    except RuntimeError:
        # No context can be created: the device is used exclusively, or its memory is full.
        return None
    kept = lib.cuda.memory_reserved(index) - lib.cuda.memory_allocated(index)
    return int(free) + max(0, int(kept))


def _mps_free(computer: Computer) -> int | None:
    limit = computer.lib.mps.recommended_max_memory() - computer.lib.mps.driver_allocated_memory()
    free = computer.memory().free
    return max(0, int(limit) if free is None else min(int(limit), free))


def _why_no_cuda(lib: Torch) -> str:
    if lib.version.cuda is None and getattr(lib.version, "hip", None) is None:
        return f" (torch {lib.__version__} is built without CUDA)"
    try:
        lib.cuda.init()
    except RuntimeError as error:
        # "The NVIDIA driver on your system is too old (found version 11040). Please update …"
        reason = str(error).strip().splitlines()[0].split(". ")[0].rstrip(".")
        return f" (torch {lib.__version__} says: {reason})"
    return f" (torch {lib.__version__} finds no GPU)"
