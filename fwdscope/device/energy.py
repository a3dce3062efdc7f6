"""Counters of the energy that a device uses: NVML's of an NVIDIA GPU, RAPL's of an x86 processor under Linux."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from fwdscope import disk
from fwdscope.device.local import LocalDevice
from fwdscope.device.nvml import Nvml, nvml

_ZONES = Path("sys/class/powercap")


class Meter(NamedTuple):
    """Counters in joules, and the joules at which each begins anew; None is never."""

    source: Literal["NVML", "RAPL"]
    read: Callable[[], list[float]]
    ranges: tuple[float | None, ...]

    def between(self, before: list[float], after: list[float]) -> float:
        """Joules between two readings."""
        pairs = zip(before, after, self.ranges, strict=True)
        return sum(b - a if most is None else (b - a) % most for a, b, most in pairs)


def find_meter(device: LocalDevice, root: Path = Path("/"), library: Nvml | None = None) -> tuple[Meter | None, str]:
    """The meter of a device; None, with the reason, where there is none."""
    if device.kind == "cuda":
        library = library or nvml()
        gpu = library.gpu(device.uuid) if library else None
        if gpu is None or gpu.energy() is None:
            return None, f"NVML has no energy counter of {device.device}"
        return Meter("NVML", lambda: [gpu.energy() or 0.0], (None,)), ""
    if device.kind != "cpu":
        return None, f"{device.device} has no counter that is read here"
    # Packages are the zones of one number; those of two are parts of them, and psys has all of the computer.
    zones = sorted((root / _ZONES).glob("intel-rapl:*"))
    try:
        zones = [zone for zone in zones if zone.name.count(":") == 1 and _text(zone, "name").startswith("package")]
        meter = Meter(
            "RAPL",
            lambda: [int(_text(zone, "energy_uj")) / 1e6 for zone in zones],
            tuple(int(_text(zone, "max_energy_range_uj")) / 1e6 for zone in zones),
        )
        meter.read()
    except PermissionError:
        return None, f"only root may read RAPL's counters in /{_ZONES}"
    except (OSError, ValueError):
        return None, f"RAPL's counters in /{_ZONES} cannot be read"
    return (meter, "") if zones else (None, f"there are no counters of RAPL in /{_ZONES}")


def _text(zone: Path, name: str) -> str:
    return disk.read_text(zone / name).strip()
