"""How long a fault of ResNet-50's size takes to be told, beside ``import torch``, and a spec without one.

Run by hand: python tests/benchmarks/fault_speed.py
"""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

from alternating import FWDSCOPE, IMPORT_TORCH, measure_in_turn, print_ratio

SPEC = Path(__file__).parents[2] / "specs" / "resnet50.yaml"


def main() -> None:
    """Print the seconds that a fault takes beyond the import of torch, and the ratio of a spec without one."""
    with tempfile.TemporaryDirectory() as folder:
        faulty = Path(folder) / "resnet50.yaml"
        text = SPEC.read_text(encoding="utf-8")
        assert "conv3 = Conv2d(4 * width, 1)" in text
        faulty.write_text(text.replace("conv3 = Conv2d(4 * width, 1)", "conv3 = Conv2d(3 * width, 1)"), "utf-8")
        # A fault's exit code is 2, which a measured command may not have.
        told = ("sh", "-c", f"{shlex.join((*FWDSCOPE, 'inspect', str(faulty), '--device', 'meta'))} || test $? = 2")
        found = measure_in_turn(
            {
                "torch": IMPORT_TORCH,
                "right": (*FWDSCOPE, "inspect", str(SPEC), "--device", "meta", "--no-cache"),
                "faulty": told,
            }
        )
    torch = found["torch"].seconds
    print(f"import torch takes {torch:.2f} s")
    print_ratio("a fault in resnet50, beyond import torch", found["faulty"].seconds - torch, 1.0, "s")
    print_ratio("resnet50 without a fault", found["right"].seconds / torch, 1.0)


if __name__ == "__main__":
    main()
