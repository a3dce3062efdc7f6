"""Counters of energy: RAPL's files and NVML's, as far as they can be had without either."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_clocks import Time

from fwdscope.commands.bench.extras import measure_energy
from fwdscope.device.energy import find_meter
from fwdscope.device.local import LocalDevice
from fwdscope.timing.clock import HostClock

CPU = LocalDevice("cpu", "EPYC", None, None)


def zone(root: Path, name: str, kind: str, joules: float, most: float = 262_143.0) -> Path:
    folder = root / "sys/class/powercap" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in (
        ("name", kind),
        ("energy_uj", f"{joules * 1e6:.0f}"),
        ("max_energy_range_uj", f"{most * 1e6:.0f}"),
    ):
        (folder / file).write_text(f"{text}\n")
    return folder


def test_rapl_adds_up_packages_and_counts_on_behind_their_end(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 100.0)
    zone(tmp_path, "intel-rapl:0:0", "dram", 7.0)  # in its package
    zone(tmp_path, "intel-rapl:1", "package-1", 262_140.0)
    zone(tmp_path, "intel-rapl:2", "psys", 5.0)  # of all of the computer
    meter, _ = find_meter(CPU, tmp_path)
    assert meter is not None
    before = meter.read()
    zone(tmp_path, "intel-rapl:0", "package-0", 110.0)
    zone(tmp_path, "intel-rapl:1", "package-1", 2.0)
    # 10, and 262,143 - 262,140 + 2.
    assert meter.between(before, meter.read()) == pytest.approx(15.0)
    assert meter.source == "RAPL"


def test_a_reason_is_given_where_there_is_no_counter(tmp_path: Path) -> None:
    assert find_meter(CPU, tmp_path) == (None, "there are no counters of RAPL in /sys/class/powercap")
    (zone(tmp_path, "intel-rapl:0", "package-0", 1.0) / "energy_uj").unlink()
    assert "cannot be read" in find_meter(CPU, tmp_path)[1]
    assert find_meter(LocalDevice("mps", "M3", None, None))[1] == "mps has no counter that is read here"
    silent: Any = SimpleNamespace(gpu=lambda _: SimpleNamespace(energy=lambda: None))
    assert (
        find_meter(LocalDevice("cuda:0", "P100", None, None), library=silent)[1]
        == "NVML has no energy counter of cuda:0"
    )


def test_energy_is_that_of_a_forward_and_power_that_of_the_time() -> None:
    time, used = Time(), [1000.0]

    def forward() -> None:
        time.passes(0.01)
        used[0] += 0.5

    library: Any = SimpleNamespace(gpu=lambda _: SimpleNamespace(energy=lambda: used[0]))
    meter, _ = find_meter(LocalDevice("cuda:0", "H100", None, None), library=library)
    assert meter is not None
    energy = measure_energy(forward, HostClock(time), meter, 2.0, 0.01)
    assert energy is not None
    # Half a joule in each hundredth of a second.
    assert (energy.joules, energy.watts, energy.source) == (pytest.approx(0.5), pytest.approx(50.0), "NVML")
    # A counter that does not move says nothing.
    assert measure_energy(lambda: time.passes(0.01), HostClock(time), meter, 2.0, 0.01) is None
