"""What NVIDIA's driver says of a GPU, by its library NVML: memory, clocks, power. No CUDA context is made.

The library comes with the driver. Functions are those of the NVML API reference; what a GPU does not tell is None.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import byref, c_char_p, c_uint, c_ulonglong, c_void_p, create_string_buffer
from functools import cache
from typing import Any

from fwdscope.report import DeviceState

_SM_CLOCK, _GPU_SENSOR = 1, 0
# Bits of nvmlClocksThrottleReasons that slow a GPU down which works.
_SLOWED = {0x2: "application clocks", 0x4: "power cap", 0x8: "hardware", 0x60: "heat", 0x80: "power brake"}


class _Memory(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = (("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong))


class Nvml:
    """The library, initialised; ``library`` has its functions, or is a fake in tests."""

    def __init__(self, library: Any) -> None:
        self.library = library
        version = create_string_buffer(80)
        known = library.nvmlSystemGetDriverVersion(version, c_uint(80)) == 0
        self.driver = version.value.decode("ascii", "replace") if known else None

    def gpu(self, uuid: str) -> Gpu | None:
        """The GPU, or the slice of one, with this UUID; None if the library does not know it."""
        handle = c_void_p()
        for name in (uuid,) if uuid.startswith(("GPU-", "MIG-")) else (f"MIG-{uuid}", f"GPU-{uuid}"):
            if uuid and self.library.nvmlDeviceGetHandleByUUID(c_char_p(name.encode()), byref(handle)) == 0:
                return Gpu(self.library, handle)
        return None


class Gpu:
    """A GPU as the driver sees it now."""

    def __init__(self, library: Any, handle: Any) -> None:
        self.library, self.handle = library, handle

    def _ask(self, function: str, *arguments: int, kind: Any = c_uint) -> int | None:
        value, call = kind(), getattr(self.library, function, None)
        asked = call is not None and call(self.handle, *map(c_uint, arguments), byref(value)) == 0
        return int(value.value) if asked else None

    def memory(self) -> tuple[int, int] | None:
        """Bytes in all and free."""
        value = _Memory()
        asked = self.library.nvmlDeviceGetMemoryInfo(self.handle, byref(value)) == 0
        return (int(value.total), int(value.free)) if asked else None

    def clock(self) -> int | None:
        """The clock of the multiprocessors, in MHz."""
        return self._ask("nvmlDeviceGetClockInfo", _SM_CLOCK)

    def power(self) -> float | None:
        """Watts that are drawn."""
        drawn = self._ask("nvmlDeviceGetPowerUsage")
        return None if drawn is None else drawn / 1e3

    def energy(self) -> float | None:
        """Joules since the driver was loaded; GPUs before Volta do not tell."""
        used = self._ask("nvmlDeviceGetTotalEnergyConsumption", kind=c_ulonglong)
        return None if used is None else used / 1e3

    def state(self, driver: str | None) -> DeviceState:
        """Its clock, power and temperature, each with its limit."""
        bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", kind=c_ulonglong) or 0
        limit = self._ask("nvmlDeviceGetEnforcedPowerLimit")
        return DeviceState(
            driver=driver,
            clock=self.clock(),
            max_clock=self._ask("nvmlDeviceGetMaxClockInfo", _SM_CLOCK),
            power=self.power(),
            power_limit=None if limit is None else limit / 1e3,
            temperature=self._ask("nvmlDeviceGetTemperature", _GPU_SENSOR),
            slowed_by=tuple(word for bit, word in _SLOWED.items() if bits & bit),
        )


@cache
def nvml() -> Nvml | None:
    """NVML of this computer; None without NVIDIA's driver."""
    try:
        library = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
        return Nvml(library) if library.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None


def device_state(uuid: str, library: Nvml | None = None) -> DeviceState | None:
    """The state of the GPU with a UUID now; None without a driver."""
    library = library or (nvml() if uuid else None)
    gpu = library.gpu(uuid) if library else None
    return gpu.state(library.driver) if library and gpu else None
