"""A chain of Linear modules beside torch's ``FlopCounterMode``, both on meta and in turn in one process.

Run by hand: python tests/benchmarks/chain_speed.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from alternating import RUNS, print_ratio
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fwdscope.inspection import inspect_module

LAYERS = 5_000
WIDTHS = [64, 96, 128, 192, 256, 384, 512, 768]


def measure(run: Callable[[], object]) -> float:
    """Seconds of one run."""
    before = time.perf_counter()
    run()
    return time.perf_counter() - before


def main() -> None:
    """Print the ratio to FlopCounterMode, and the microseconds a layer."""
    sizes = [WIDTHS[i % len(WIDTHS)] for i in range(LAYERS + 1)]
    with torch.device("meta"):
        chain = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(sizes)))
        x = torch.empty(1, sizes[0])

    def count_with_torch() -> None:
        with FlopCounterMode(display=False):
            chain(x)

    ours, theirs = [], []
    for turn in range(RUNS + 1):
        pair = measure(lambda: inspect_module(chain, (x,))), measure(count_with_torch)
        if turn:
            ours.append(pair[0])
            theirs.append(pair[1])
    seconds = statistics.median(ours)
    print_ratio(
        f"{LAYERS:,} Linear of {len(WIDTHS)} widths, to FlopCounterMode", seconds / statistics.median(theirs), 0.3
    )
    print_ratio("the same, a layer", seconds / LAYERS * 1e6, 120, "µs")


if __name__ == "__main__":
    main()
