"""How fast ``fwdscope check`` is on 200 specs of ResNet-50's size, beside the import of torch.

Run by hand: python tests/benchmarks/check_speed.py

The aim: 1.3 × the import and 30 ms a spec; a second run, which loads no torch, a fraction of the import. Import
and runs are measured in turn, so that a machine which slows down slows both down.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COPIES = 200
RUNS = 3
FLOOR = [sys.executable, "-c", "import torch"]
CHECK = [sys.executable, "-m", "fwdscope", "check"]
ROOT = Path(__file__).parents[2]


def timed(command: list[str], cache: Path) -> float:
    """Seconds of a whole process, which has to succeed."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    before = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)
    return time.perf_counter() - before


def main() -> None:
    """Print all ratios, with bytecode at hand as it is where the package is installed."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(ROOT / "fwdscope")], check=True)
    with tempfile.TemporaryDirectory() as folder:
        specs, cache = Path(folder, "specs"), Path(folder, "cache")
        specs.mkdir()
        for number in range(COPIES):
            shutil.copy(ROOT / "specs" / "resnet50.yaml", specs / f"{number:03}.yaml")
        one = str(specs / "000.yaml")
        floor, alone, fresh, again, jobs = [], [], [], [], []
        for _ in range(RUNS):
            floor.append(timed(FLOOR, cache))
            alone.append(timed([*CHECK, "--no-cache", one], cache))
            fresh.append(timed([*CHECK, "--no-cache", str(specs)], cache))
            jobs.append(timed([*CHECK, "--no-cache", "--jobs", "2", str(specs)], cache))
            timed([*CHECK, str(specs)], cache)
            again.append(timed([*CHECK, str(specs)], cache))
    imported, whole = statistics.median(floor), statistics.median(fresh)
    each = (whole - statistics.median(alone)) / (COPIES - 1)
    print(f"import torch                  {imported:6.2f} s")
    print(
        f"1 spec                        {statistics.median(alone):6.2f} s   {statistics.median(alone) / imported:.2f} ×"
    )
    aim = 1.3 * imported + 0.030 * COPIES
    print(
        f"{COPIES} specs                     {whole:6.2f} s   {whole / aim:.2f} of the aim, {1000 * each:.0f} ms a spec"
    )
    print(f"{COPIES} specs, --jobs 2           {statistics.median(jobs):6.2f} s")
    second = statistics.median(again)
    print(f"{COPIES} specs, unchanged          {second:6.2f} s   {second / imported:.2f} × import torch")


if __name__ == "__main__":
    main()
