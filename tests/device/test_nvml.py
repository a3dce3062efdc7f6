"""What NVIDIA's driver says of a GPU, with a library that a test makes."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from fwdscope.device.nvml import Nvml, device_state, nvml
from fwdscope.report import DeviceState

NUMBERS = {
    "nvmlDeviceGetClockInfo": 1755, "nvmlDeviceGetMaxClockInfo": 1980, "nvmlDeviceGetPowerUsage": 412_345,
    "nvmlDeviceGetEnforcedPowerLimit": 700_000, "nvmlDeviceGetTemperature": 61,
    # Software power cap, and hardware thermal slowdown; the GPU is idle besides, which slows nothing.
    "nvmlDeviceGetCurrentClocksThrottleReasons": 0x4 | 0x40 | 0x1,
    "nvmlDeviceGetTotalEnergyConsumption": 2_500_000,
}  # fmt: skip


class Library:
    """Functions as of nvml.h: they give a number by reference, and return 0, or 3 for what the GPU does not support."""

    def __init__(self, *unsupported: str) -> None:
        self.unsupported = unsupported
        self.arguments: dict[str, list[int]] = {}

    def nvmlSystemGetDriverVersion(self, text: Any, length: ctypes.c_uint) -> int:
        assert length.value == 80
        text.value = b"550.54.15"
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: ctypes.c_char_p, handle: Any) -> int:
        if uuid.value not in (b"GPU-1234", b"MIG-5678"):
            return 6
        handle._obj.value = 77
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        assert handle.value == 77
        memory._obj.total, memory._obj.free, memory._obj.used = 80, 50, 30
        return 0

    def __getattr__(self, name: str) -> Any:
        if name not in NUMBERS:
            raise AttributeError(name)

        def give(handle: Any, *arguments: Any) -> int:
            assert handle.value == 77
            *given, result = arguments
            self.arguments[name] = [one.value for one in given]
            if name in self.unsupported:
                return 3
            result._obj.value = NUMBERS[name]
            return 0

        return give


def test_a_gpu_tells_its_memory_clock_power_and_what_slows_it() -> None:
    library = Library()
    here = Nvml(library)
    for name in ("1234", "GPU-1234", "5678", "MIG-5678"):
        assert here.gpu(name) is not None
    gpu = here.gpu("1234")
    assert gpu is not None
    assert gpu.memory() == (80, 50)
    assert gpu.energy() == 2500.0
    assert device_state("1234", here) == DeviceState("550.54.15", 1755, 1980, 412.345, 700.0, 61, ("power cap", "heat"))
    # NVML_CLOCK_SM is 1, NVML_TEMPERATURE_GPU is 0.
    assert library.arguments["nvmlDeviceGetClockInfo"] == library.arguments["nvmlDeviceGetMaxClockInfo"] == [1]
    assert library.arguments["nvmlDeviceGetTemperature"] == [0]


def test_what_a_gpu_does_not_tell_is_not_known() -> None:
    here = Nvml(Library("nvmlDeviceGetPowerUsage", "nvmlDeviceGetTotalEnergyConsumption"))
    gpu = here.gpu("1234")
    assert gpu is not None
    assert (gpu.power(), gpu.energy()) == (None, None)
    assert device_state("9999", here) is None
    assert here.gpu("") is None


@pytest.mark.core
def test_without_nvidias_driver_nothing_is_known() -> None:
    assert device_state("") is None
    library = nvml()
    if library is not None:  # a machine with the driver
        assert library.driver
        assert library.gpu("no such GPU") is None
