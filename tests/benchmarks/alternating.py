"""Measure whole processes in turn: a machine that slows down slows all of them down, and their ratios stay."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

RUNS = 9
IMPORT_TORCH = (sys.executable, "-c", "import torch")
FWDSCOPE = (sys.executable, "-m", "fwdscope")
ROOT = Path(__file__).parents[2]


class Usage(NamedTuple):
    """The median of a command's runs: seconds of wall clock, MiB at most."""

    seconds: float
    memory: float


def measure_in_turn(commands: Mapping[str, tuple[str, ...]], runs: int = RUNS, **environment: str) -> dict[str, Usage]:
    """The usage of each command, all of them run in turn; a first round that fills caches is left out."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(ROOT / "fwdscope")], check=True)
    found: dict[str, list[Usage]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            usage = _run(command, {**os.environ, "PYTHONPATH": str(ROOT), **environment})
            if turn:
                found[name].append(usage)
    return {name: Usage(*map(statistics.median, zip(*usages, strict=True))) for name, usages in found.items()}


def print_ratio(what: str, value: float, aim: float, unit: str = "×") -> None:
    """A line: what was measured, the value, the aim, and whether it is met."""
    print(f"{what:44} {value:8.2f} {unit:4} aim {aim:6.2f}   {'met' if value <= aim else 'NOT MET'}")


def _run(command: tuple[str, ...], environment: Mapping[str, str]) -> Usage:
    before = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return Usage(time.perf_counter() - before, usage.ru_maxrss / 1024)
