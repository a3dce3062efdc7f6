"""This computer: the name of its processor, its memory and its load.

Linux has them in files (the limits of a container are those of its control group), macOS in ``sysctl`` and ``vm_stat``,
Windows in ``GlobalMemoryStatusEx``. What a system does not report is None.
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

from fwdscope.interrupt import run_command


@dataclass(frozen=True)
class HostMemory:
    """Bytes in all, and those that a program can still allocate without swapping."""

    total: int | None = None
    free: int | None = None


# Load per core above which other programs slow a measurement down.
_MAX_LOAD = 1.25

Ask = Callable[[Sequence[str]], str]


def _ask(command: Sequence[str]) -> str:
    try:
        pipe, ignored = subprocess.PIPE, subprocess.DEVNULL
        return run_command(list(command), timeout=5, stdout=pipe, stderr=ignored)[1].decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        return ""


def memory(system: str = sys.platform, root: Path = Path("/"), ask: Ask = _ask) -> HostMemory:
    """The memory of this computer, or of the container if that has less."""
    if system == "linux":
        return _linux(root)
    if system == "darwin":
        return _mac(ask)
    return _windows() if system == "win32" else HostMemory()


def processor(system: str = sys.platform, root: Path = Path("/"), ask: Ask = _ask) -> str:
    """The product name of the processor, or else its architecture."""
    if system == "linux":
        found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", _read(root / "proc/cpuinfo"), re.M)
        name = found[1] if found else ""
    else:
        name = ask(("sysctl", "-n", "machdep.cpu.brand_string")) if system == "darwin" else platform.processor()
    return " ".join(name.split()) or platform.machine() or "cpu"


def is_busy(load: Callable[[], tuple[float, float, float]] | None = None, cores: int | None = None) -> bool:
    """Whether other programs make measurements on this computer too slow, by its load over the last minute.

    A system that does not report its load counts as idle.
    """
    load, cores = load or getattr(os, "getloadavg", None), cores or os.cpu_count()
    try:
        return load is not None and cores is not None and load()[0] > _MAX_LOAD * cores
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
        # A group without a limit has one beyond any memory.
        if total is None or limit < total:
            total = limit
        left = max(0, limit - used)
        free = left if free is None else min(free, left)
    return HostMemory(total, free)


def _bounds(root: Path) -> Iterator[tuple[int, int]]:
    """The limit and usage in bytes of every control group of this process, its own and those around it."""
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
        limit, used, cached = names
        # In a container the path may be the host's, while the mounted group is the container's.
        for parent in (PurePosixPath(path), *PurePosixPath(path).parents):
            folder = mount / str(parent).lstrip("/")
            allowed, taken = _read(folder / limit).strip(), _read(folder / used).strip()
            if allowed.isdigit() and taken.isdigit():
                # The file cache is freed when memory is needed.
                files = re.search(rf"^{cached} (\d+)$", _read(folder / "memory.stat"), re.M)
                yield int(allowed), max(0, int(taken) - (int(files[1]) if files else 0))


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
    # Inactive and speculative pages are freed when memory is needed.
    idle = [counts[name] for name in ("free", "inactive", "speculative") if name in counts]
    return HostMemory(int(total) if total.isdigit() else None, int(size[1]) * sum(idle) if size and idle else None)


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of ``sysinfoapi.h``."""

    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("length", "load")),
        *((name, ctypes.c_uint64) for name in ("total", "available")),
        # Of the page file and the address space.
        ("others", ctypes.c_uint64 * 5),
    )


def _windows(load: Callable[[], object] = lambda: getattr(ctypes, "windll", None)) -> HostMemory:
    kernel = getattr(load(), "kernel32", None)
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    if kernel is None or not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        return HostMemory()
    return HostMemory(int(status.total), int(status.available))
