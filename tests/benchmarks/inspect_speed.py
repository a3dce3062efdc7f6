"""How fast a whole ``fwdscope inspect`` is beside the import of torch, its floor.

Run by hand: python tests/benchmarks/inspect_speed.py

Every figure is a ratio of medians measured in turn in the same run, so that a machine which slows down slows both down.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 7
FLOOR = [sys.executable, "-c", "import torch"]


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds of a whole process, and the mebibytes it held at most."""
    before = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    return time.perf_counter() - before, usage.ru_maxrss / 1024


def beside_the_import(label: str, command: list[str], aim: float) -> None:
    """Print the ratio of a command to the import of torch, the two in turn."""
    floor, whole = [], []
    for run in range(RUNS + 1):
        pair = timed(FLOOR), timed(command)
        if run:  # the first warms the disk
            floor.append(pair[0])
            whole.append(pair[1])
    seconds = [statistics.median(t for t, _ in series) for series in (floor, whole)]
    memory = [statistics.median(m for _, m in series) for series in (floor, whole)]
    ratio, more = seconds[1] / seconds[0], memory[1] / memory[0]
    print(
        f"{label:32} {seconds[1]:5.2f} s   {ratio:5.2f} × import torch, aim {aim:.2f}   memory {more:5.2f} ×, aim 1.30"
    )


def chain(length: int) -> None:
    """A chain of different layers: microseconds an operator beyond the import."""
    lines = "\n".join(f"  - fc{i} = Linear({8 + i % 97})" for i in range(length))
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "chain.yaml"
        spec.write_text(f"inputs:\n  x: randn(1, 8)\nlayers:\n{lines}\n")
        import torch  # noqa: F401  # paid before the clock starts

        from fwdscope.inspection import inspect_spec
        from fwdscope.spec import load

        before = time.perf_counter()
        checked = load(spec)
        read = time.perf_counter()
        inspect_spec(checked)
        done = time.perf_counter()
    print(
        f"a chain of {length:,} layers: {(done - read) / length * 1e6:.0f} µs a layer, aim 20 an operator; "
        f"reading the file {(read - before) / length * 1e6:.0f} µs a line"
    )


def main() -> None:
    """Print all ratios, with bytecode at hand as it is where the package is installed."""
    package = Path(__file__).parents[2] / "fwdscope"
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(package)], check=True)
    whole = [sys.executable, "-m", "fwdscope", "inspect"]
    beside_the_import("fwdscope --help", [sys.executable, "-m", "fwdscope", "--help"], 0.15)
    beside_the_import("fwdscope inspect resnet50", [*whole, "resnet50"], 1.15)
    beside_the_import("fwdscope inspect llama3_405b", [*whole, "llama3_405b"], 1.25)
    chain(4_000)
    print(f"this process held {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most")


if __name__ == "__main__":
    main()
