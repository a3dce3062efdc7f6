"""How often ``bench --vs`` calls a network different from itself, and how often it finds a tenth more work.

Run by hand, best while other programs run: python tests/benchmarks/telling_apart.py [PAIRS] [SECONDS]

A network of 20 equal layers is measured in turn with itself and with one of 22, which is 10 % more work; each pair is
built anew, with other places in memory, on one thread. Beside it is what ``--against`` answers of two benchmarks of one
process each, taken one after the other. Aims, of 20 pairs: at most 1 A/A called different, at least 18 A/B found, no
wrong sign.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from fwdscope.commands.bench.request import BenchRequest, run_benchmark, run_in_turn, second_of
from fwdscope.report.speedup import Speedup, against
from fwdscope.settings import BenchSettings
from fwdscope.targets import Target

SPEC = "vars: {depth: 20, d: 256}\ninputs: {x: 'randn(64, d)'}\nlayers:\n  - depth * Linear(d)\n"


def in_turn(one: BenchRequest, depth: str) -> Speedup | None:
    """The answer of ``--vs-set depth=…``."""
    values = [("depth", depth)]
    return run_in_turn(one, second_of(one, one.target, values), values).speedup


def one_after_the_other(one: BenchRequest, depth: str) -> Speedup | None:
    """The answer of ``--against`` the first."""
    return against(run_benchmark(one).report, run_benchmark(one.at([("depth", depth)])).report)


def main() -> None:
    """Print the table."""
    pairs, seconds = (float(text) for text in [*sys.argv[1:], *("20", "2")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "layers.yaml")
        file.write_text(SPEC)
        settings = BenchSettings(device="cpu", threads=1, budget=seconds, layers=False)
        request = BenchRequest(Target(str(file)), settings)
        ways: dict[str, Callable[[BenchRequest, str], Speedup | None]] = {
            "--vs": in_turn, "--against, single processes": one_after_the_other,
        }  # fmt: skip
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {seconds:g} s a pair, one thread")
        print(f"{'':30} {'work':>6} {'slower':>7} {'faster':>7} {'cannot tell':>12}   ratio, median (least to most)")
        for name, compare in ways.items():
            for work, depth in (("same", "20"), ("+10 %", "22")):
                began, found = time.perf_counter(), []
                for _ in range(int(pairs)):
                    if (one := compare(request, depth)) is not None:
                        found.append(one)
                counts = Counter(one.answer for one in found)
                ratios = [one.ratio for one in found]
                words = (("slower", 7), ("faster", 7), ("cannot tell", 12))
                cells = " ".join(f"{counts[word]:{width}}" for word, width in words)
                spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
                print(f"{name:30} {work:>6} {cells}   {spread}, {time.perf_counter() - began:.0f} s", flush=True)
        print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
