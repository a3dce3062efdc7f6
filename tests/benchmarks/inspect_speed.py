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
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

RUNS = 7
# Layers in a chain.
CHAIN = 20_000
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


def microseconds(length: int, *runs: Callable[[], object]) -> float:
    """Microseconds for each of so many layers, the least of the runs: what else runs can only add."""
    seconds = []
    for run in runs:
        before = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - before)
    return min(seconds) / length * 1e6


def spec_of(folder: str, layers: str) -> Path:
    """A spec of these lines."""
    path = Path(folder) / "chain.yaml"
    path.write_text(f"inputs:\n  x: randn(1, 64)\nlayers:\n{layers}\n")
    return path


def chains() -> None:
    """Chains of different layers, beyond the import: of modules, of a comprehension, and of lines written out."""
    from fwdscope.inspection import inspect_spec
    from fwdscope.language import load

    chains_of_modules()
    with tempfile.TemporaryDirectory() as folder:
        series = load(spec_of(folder, f"  - Sequential(Linear(64 + i % 512) for i in range({CHAIN // 4}))"))
        each = microseconds(CHAIN // 4, *3 * [lambda: inspect_spec(series)])
        print(f"a spec of {CHAIN // 4:,} layers in a series: {each:.0f} µs a layer, built and traced")
        path = spec_of(folder, "\n".join(f"  - fc{i} = Linear({64 + i % 512})" for i in range(CHAIN // 5)))
        reading = microseconds(CHAIN // 5, *3 * [lambda: load(path)])
        written = load(path)
        each = microseconds(CHAIN // 5, *3 * [lambda: inspect_spec(written)])
        print(
            f"a spec of {CHAIN // 5:,} lines: {each:.0f} µs a layer, built and traced; {reading:.0f} µs to read a line"
        )


def chains_of_modules() -> None:
    """Chains of modules beside torch's FlopCounterMode: at most 0.3 of its time, and 120 µs a layer."""
    import torch
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

    from fwdscope.inspection import inspect_module

    def compare(what: str, modules: list[nn.Module], *shape: int) -> None:
        x, chain = torch.empty(shape, device="meta"), nn.Sequential(*modules)

        def count() -> None:
            with FlopCounterMode(display=False):
                chain(x)

        each = microseconds(len(modules), *3 * [lambda: inspect_module(chain, (x,))])
        ratio = each / microseconds(len(modules), *3 * [count])
        print(
            f"a chain of {len(modules):,} {what}: {each:.0f} µs a layer, aim 120; "
            f"{ratio:.2f} × FlopCounterMode, aim 0.30"
        )

    with torch.device("meta"):
        few = [64 + i % 8 for i in range(CHAIN // 4 + 1)]
        compare("Linear of 8 widths", [nn.Linear(a, b) for a, b in pairwise(few)], 1, 64)
        many = [64 + i for i in range(CHAIN // 4 + 1)]
        compare("Linear of widths all different", [nn.Linear(a, b) for a, b in pairwise(many)], 1, 64)
        kinds = nn.ReLU, nn.GELU, nn.Tanh, nn.Sigmoid
        compare("activations", [kinds[i % 4]() for i in range(CHAIN // 4)], 1, 64)
        mixed: list[nn.Module] = []
        for a, b in pairwise(16 + i % 200 for i in range(CHAIN // 16 + 1)):
            mixed += [nn.Conv2d(a, b, 1), nn.BatchNorm2d(b), nn.ReLU(), nn.LayerNorm(8)]
        compare("convolutions, norms and activations", mixed, 1, 16, 8, 8)


def main() -> None:
    """Print all ratios, with bytecode at hand as it is where the package is installed."""
    package = Path(__file__).parents[2] / "fwdscope"
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(package)], check=True)
    whole = [sys.executable, "-m", "fwdscope", "inspect"]
    beside_the_import("fwdscope --help", [sys.executable, "-m", "fwdscope", "--help"], 0.15)
    beside_the_import("inspect resnet50 --device meta", [*whole, "resnet50", "--device", "meta"], 1.00)
    beside_the_import("inspect llama3_405b --device meta", [*whole, "llama3_405b", "--device", "meta"], 1.05)
    chains()
    print(f"this process held {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most")


if __name__ == "__main__":
    main()
