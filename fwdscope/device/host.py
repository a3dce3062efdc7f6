"""This computer: what its processor is called, and how much memory programs may use.

Linux says it in files (a container's bounds are those of its control group), macOS through ``sysctl`` and ``vm_stat``,
Windows through ``GlobalMemoryStatusEx``. What a system does not say is None.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class HostMemory:
    """Bytes: all there are, and those that a program could still take without swapping."""

    total: int | None = None
    free: int | None = None


# So many programs that want to run on each core are too many.
_CROWDED = 1.25

Ask = Callable[[Sequence[str]], str]


def _ask(command: Sequence[str]) -> str:
    """What a system's command prints; nothing where it is not there or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def memory(system: str = sys.platform, root: Path = Path("/"), ask: Ask = _ask) -> HostMemory:
    """The memory of this computer, or of the container this runs in where that has less."""
    if system == "linux":
        return _linux(root)
    if system == "darwin":
        return _mac(ask)
    return _windows() if system == "win32" else HostMemory()


def processor(system: str = sys.platform, root: Path = Path("/"), ask: Ask = _ask) -> str:
    """The processor as its maker calls it, else its architecture."""
    if system == "linux":
        found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", _read(root / "proc/cpuinfo"), re.M)
        name = found[1] if found else ""
    else:
        name = ask(("sysctl", "-n", "machdep.cpu.brand_string")) if system == "darwin" else platform.processor()
    return " ".join(name.split()) or platform.machine() or "cpu"


def is_busy(load: Callable[[], tuple[float, float, float]] | None = None, cores: int | None = None) -> bool:
    """Whether programs want more of this computer than it has, so that what is measured on it is too slow.

    Over the last minute more wanted to run than there are cores, beside what a measurement itself takes. A system that
    does not say is taken for idle.
    """
    load, cores = load or getattr(os, "getloadavg", None), cores or os.cpu_count()
    try:
        return load is not None and cores is not None and load()[0] > _CROWDED * cores
    except OSError:
        return False


# --- Linux -----------------------------------------------------------------------------------------------------------


def _linux(root: Path) -> HostMemory:
    sizes = {
        name: int(kibibytes) * 1024
        for name, kibibytes in re.findall(r"^(\w+):\s+(\d+) kB$", _read(root / "proc/meminfo"), re.M)
    }
    total, free = sizes.get("MemTotal"), sizes.get("MemAvailable")
    for limit, used in _bounds(root):
        # A group without a bound has one beyond any memory.
        if total is None or limit < total:
            total = limit
        left = max(0, limit - used)
        free = left if free is None else min(free, left)
    return HostMemory(total, free)


def _bounds(root: Path) -> Iterator[tuple[int, int]]:
    """Bytes allowed and used of every control group that this process is in, its own and those around it."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # Inside a container the path may be the host's, and what is mounted is the container's own group.
        for parent in (PurePosixPath(path), *PurePosixPath(path).parents):
            bound = _bound(mount / str(parent).lstrip("/"), *names)
            if bound is not None:
                yield bound


def _bound(folder: Path, limit: str, used: str, cached: str) -> tuple[int, int] | None:
    allowed, taken = _read(folder / limit).strip(), _read(folder / used).strip()
    if not allowed.isdigit() or not taken.isdigit():
        return None
    # Files that were read stay in memory until it is wanted for something else.
    files = re.search(rf"^{cached} (\d+)$", _read(folder / "memory.stat"), re.M)
    return int(allowed), max(0, int(taken) - (int(files[1]) if files else 0))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# --- macOS, Windows --------------------------------------------------------------------------------------------------


def _mac(ask: Ask) -> HostMemory:
    total, pages = ask(("sysctl", "-n", "hw.memsize")).strip(), ask(("vm_stat",))
    size = re.search(r"page size of (\d+) bytes", pages)
    counts = {name: int(n) for name, n in re.findall(r"^Pages ([\w ]+):\s+(\d+)\.$", pages, re.M)}
    # Inactive and speculative pages are given up when memory is wanted.
    idle = [counts[name] for name in ("free", "inactive", "speculative") if name in counts]
    return HostMemory(int(total) if total.isdigit() else None, int(size[1]) * sum(idle) if size and idle else None)


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of ``sysinfoapi.h``."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("total_page_file", ctypes.c_uint64),
        ("available_page_file", ctypes.c_uint64),
        ("total_virtual", ctypes.c_uint64),
        ("available_virtual", ctypes.c_uint64),
        ("available_extended_virtual", ctypes.c_uint64),
    )


def _windows(load: Callable[[], object] = lambda: getattr(ctypes, "windll", None)) -> HostMemory:
    kernel = getattr(load(), "kernel32", None)
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    if kernel is None or not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        return HostMemory()
    return HostMemory(int(status.total), int(status.available))
