"""Whole commands beside ``import torch``, which is the floor of all that build a network.

Run by hand: python tests/benchmarks/startup_speed.py
"""

from __future__ import annotations

import sys

from alternating import FWDSCOPE, IMPORT_TORCH, measure_in_turn, print_ratio

IMPORTS = "import typer, yaml, fwdscope.cli.inspect, fwdscope.render, fwdscope.language.check, fwdscope.language.parser"


def main() -> None:
    """Print the ratios of seconds and memory, and the milliseconds of our own imports without torch."""
    found = measure_in_turn(
        {
            "torch": IMPORT_TORCH,
            "resnet50": (*FWDSCOPE, "inspect", "resnet50", "--device", "meta", "--no-cache"),
            "llama3_405b": (*FWDSCOPE, "inspect", "llama3_405b", "--device", "meta", "--no-cache"),
            "help": (*FWDSCOPE, "--help"),
            "python": (sys.executable, "-c", "pass"),
            "imports": (sys.executable, "-c", IMPORTS),
        }
    )
    torch = found["torch"]
    print(f"import torch takes {torch.seconds:.2f} s and {torch.memory:.0f} MiB")
    print_ratio("inspect resnet50 --device meta", found["resnet50"].seconds / torch.seconds, 1.0)
    print_ratio("inspect llama3_405b --device meta", found["llama3_405b"].seconds / torch.seconds, 1.05)
    print_ratio("--help", found["help"].seconds / torch.seconds, 0.08)
    print_ratio("memory of inspect resnet50", found["resnet50"].memory / torch.memory, 1.15)
    print_ratio("own imports, without torch", 1000 * (found["imports"].seconds - found["python"].seconds), 110, "ms")


if __name__ == "__main__":
    main()
