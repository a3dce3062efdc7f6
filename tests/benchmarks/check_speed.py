"""``fwdscope check`` on 200 copies of ResNet-50, fresh and unchanged.

Run by hand: python tests/benchmarks/check_speed.py
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from alternating import FWDSCOPE, IMPORT_TORCH, ROOT, measure_in_turn, print_ratio

COPIES = 200
# Each round takes about 20 seconds.
RUNS = 3


def main() -> None:
    """Print the milliseconds a spec beyond the import of torch, and the time of a run that finds nothing changed."""
    with tempfile.TemporaryDirectory() as folder:
        specs = Path(folder, "specs")
        specs.mkdir()
        for number in range(COPIES):
            shutil.copy(ROOT / "specs" / "resnet50.yaml", specs / f"{number:03}.yaml")
        commands = {
            "torch": IMPORT_TORCH,
            "fresh": (*FWDSCOPE, "check", "--no-cache", str(specs)),
            "unchanged": (*FWDSCOPE, "check", str(specs)),
        }
        found = measure_in_turn(commands, RUNS, XDG_CACHE_HOME=folder)
    each = (found["fresh"].seconds - found["torch"].seconds) / COPIES
    print_ratio(f"check of {COPIES} specs, a spec beyond the import", 1000 * each, 40, "ms")
    print_ratio("the same unchanged, to import torch", found["unchanged"].seconds / found["torch"].seconds, 1.0)


if __name__ == "__main__":
    main()
