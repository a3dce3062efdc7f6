"""How much longer ``fwdscope inspect transformers:llama`` takes than the least script that runs the same model on meta.

Run by hand: python tests/benchmarks/library_speed.py [--runs N]

The script imports the class, builds it on meta and runs it once. Both are whole processes, taken in turn, and the ratio
is of the medians of user and system time, which other programs disturb less than the clock. The aim is at most 1.1.

On two cores with torch 2.13 and transformers 5.24 it is 0.74 (3.5 s to 4.7 s): the script pays for the parts of torch
that its kernels on meta import.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

SCRIPT = """
import torch
from transformers import LlamaConfig, LlamaModel
with torch.device("meta"):
    model = LlamaModel(LlamaConfig()).eval()
    ids = torch.zeros(1, 32, dtype=torch.int64)
with torch.no_grad():
    model(input_ids=ids)
"""
COMMANDS = {
    "script": [sys.executable, "-c", SCRIPT],
    "fwdscope inspect": [sys.executable, "-m", "fwdscope", "inspect", "transformers:llama"],
}


def seconds(command: list[str]) -> float:
    """User and system time of a command."""
    before = os.times()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    return (after.children_user - before.children_user) + (after.children_system - before.children_system)


def main() -> None:
    """Print the medians and their ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs + 1):  # the first fills caches of files
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    medians = {name: statistics.median(found[1:]) for name, found in times.items()}
    for name, median in medians.items():
        print(f"{name:<18} {median:.2f} s  ({min(times[name][1:]):.2f} to {max(times[name][1:]):.2f})")
    print(f"ratio {medians['fwdscope inspect'] / medians['script']:.3f}")


if __name__ == "__main__":
    main()
