"""The memory of this computer, as each operating system reports it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from fwdscope.device import host
from fwdscope.device.host import HostMemory, memory, processor

GIB = 1024**3
MEMINFO = "MemTotal:       16777216 kB\nMemFree:         1048576 kB\nMemAvailable:    8388608 kB\nSwapTotal: 5 kB\n"


def files(root: Path, texts: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": MEMINFO, **texts}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_linux_without_control_groups_has_the_memory_of_meminfo(tmp_path: Path) -> None:
    assert memory("linux", files(tmp_path, {})) == HostMemory(16 * GIB, 8 * GIB)


def test_a_containers_bound_is_less_than_the_computers_memory(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": f"{4 * GIB}\n",
            "sys/fs/cgroup/memory.current": f"{3 * GIB}\n",
            # Files that were read are no hindrance: 3 GiB are taken, but 1 GiB of that may go.
            "sys/fs/cgroup/memory.stat": f"anon 7\nactive_file 11\ninactive_file {GIB}\n",
        },
    )
    assert memory("linux", root) == HostMemory(4 * GIB, 2 * GIB)


def test_the_tightest_of_the_groups_around_a_process_counts(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice/job\n",
            "sys/fs/cgroup/user.slice/memory.max": str(6 * GIB),
            "sys/fs/cgroup/user.slice/memory.current": str(5 * GIB),
            "sys/fs/cgroup/user.slice/job/memory.max": "max\n",
            "sys/fs/cgroup/user.slice/job/memory.current": str(GIB),
        },
    )
    assert memory("linux", root) == HostMemory(6 * GIB, 1 * GIB)


def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        {
            # The path is the host's; in the container its own group is what is mounted.
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/1f\n4:memory:/docker/1f\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2 * GIB),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(3 * GIB),
            "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {2 * GIB}\n",
        },
    )
    assert memory("linux", root) == HostMemory(2 * GIB, 1 * GIB)


def test_a_group_without_a_bound_does_not_make_memory_larger(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/\n",
            # What the kernel writes for "no limit": LONG_MAX rounded down to a page.
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB),
        },
    )
    assert memory("linux", root) == HostMemory(16 * GIB, 8 * GIB)


def test_a_linux_without_readable_files_has_unknown_memory(tmp_path: Path) -> None:
    assert memory("linux", tmp_path) == HostMemory(None, None)


def test_a_mac_counts_pages_that_it_would_give_up() -> None:
    answers = {
        "sysctl": "17179869184\n",
        "vm_stat": (
            "Mach Virtual HostMemory Statistics: (page size of 16384 bytes)\n"
            "Pages free:                               10000.\n"
            "Pages active:                            500000.\n"
            "Pages inactive:                           20000.\n"
            "Pages speculative:                         3000.\n"
            "Translation faults:                   123456789.\n"
        ),
    }
    assert memory("darwin", ask=lambda command: answers[command[0]]) == HostMemory(16 * GIB, 33000 * 16384)
    assert memory("darwin", ask=lambda command: "") == HostMemory(None, None)


def test_windows_is_asked_through_its_own_call() -> None:
    class Kernel:
        @staticmethod
        def GlobalMemoryStatusEx(pointer: object) -> int:
            status = pointer._obj  # type: ignore[attr-defined]
            # sizeof(MEMORYSTATUSEX): two DWORDs of 4 bytes and seven DWORDLONGs of 8.
            assert status.length == 64
            status.total, status.available = 16 * GIB, 5 * GIB
            return 1

    class Windll:
        kernel32 = Kernel

    assert host._windows(lambda: Windll) == HostMemory(16 * GIB, 5 * GIB)
    assert host._windows(lambda: None) == HostMemory(None, None)


def test_a_system_of_another_kind_is_not_known() -> None:
    assert memory("plan9") == HostMemory(None, None)


def test_the_processor_is_called_what_its_maker_calls_it(tmp_path: Path) -> None:
    root = files(tmp_path, {"proc/cpuinfo": "processor\t: 0\nmodel name\t: Some  CPU @ 3 GHz\nflags\t: a b\n"})
    assert processor("linux", root) == "Some CPU @ 3 GHz"

    def ask(command: Sequence[str]) -> str:
        assert command[-1] == "machdep.cpu.brand_string"
        return "Apple M3 Max\n"

    assert processor("darwin", ask=ask) == "Apple M3 Max"


def test_a_processor_without_a_name_is_its_architecture(tmp_path: Path) -> None:
    assert processor("linux", tmp_path)


def test_a_missing_command_gives_no_output() -> None:
    assert host._ask(("fwdscope-no-such-command",)) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's own files")
def test_this_computer_has_memory() -> None:
    found = memory()
    assert found.total is not None
    assert found.free is not None
    assert 0 < found.free <= found.total


@pytest.mark.core
@pytest.mark.parametrize(("load", "is_busy"), [(0.5, False), (4.9, False), (5.1, True)])
def test_more_programs_than_cores_keep_a_computer_busy(load: float, is_busy: bool) -> None:
    assert host.is_busy(lambda: (load, 0.0, 0.0), cores=4) is is_busy


def test_a_computer_with_unknown_load_counts_as_idle() -> None:
    def unknown() -> tuple[float, float, float]:
        raise OSError

    assert not host.is_busy(unknown, cores=4)
