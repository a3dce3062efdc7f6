"""A second look at a spec that has not changed, beside ``import torch``, which it goes without.

Run by hand: python tests/benchmarks/second_look.py
"""

from __future__ import annotations

import tempfile

from alternating import FWDSCOPE, IMPORT_TORCH, measure_in_turn, print_ratio

LOOKS = {
    "inspect resnet50": ("inspect", "resnet50"),
    "--depth 1": ("inspect", "resnet50", "--depth", "1"),
    "--columns": ("inspect", "resnet50", "--columns", "layer,output,macs,memory"),
    "--sort latency --top 5": ("inspect", "resnet50", "--sort", "latency", "--top", "5"),
    "--format json": ("inspect", "resnet50", "--format", "json"),
    "--format csv": ("inspect", "resnet50", "--format", "csv"),
    "--on H100": ("inspect", "resnet50", "--on", "H100"),
    "inspect densenet121": ("inspect", "densenet121"),
    "inspect swin_t --depth 9": ("inspect", "swin_t", "--depth", "9"),
    "diff resnet50 wide_resnet50_2": ("diff", "resnet50", "wide_resnet50_2"),
}


def main() -> None:
    """Print the ratio of each, whose first round, that is not counted, is the first look."""
    with tempfile.TemporaryDirectory() as folder:
        commands = {name: (*FWDSCOPE, *arguments) for name, arguments in LOOKS.items()}
        found = measure_in_turn({"torch": IMPORT_TORCH, **commands}, XDG_CACHE_HOME=folder)
    print(f"import torch takes {found['torch'].seconds:.2f} s")
    for name in LOOKS:
        print_ratio(name, found[name].seconds / found["torch"].seconds, 0.25)


if __name__ == "__main__":
    main()
