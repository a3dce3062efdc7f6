"""A training step as a whole command, beside the forward's and beside ``import torch``.

Run by hand: python tests/benchmarks/training_speed.py
"""

from __future__ import annotations

from alternating import FWDSCOPE, IMPORT_TORCH, measure_in_turn, print_ratio

META = ("--device", "meta", "--no-cache")


def main() -> None:
    """Print the ratios of seconds."""
    found = measure_in_turn(
        {
            "torch": IMPORT_TORCH,
            "forward": (*FWDSCOPE, "inspect", "resnet50", *META),
            "step": (*FWDSCOPE, "inspect", "resnet50", *META, "--training"),
            "llama3_405b": (*FWDSCOPE, "inspect", "llama3_405b", *META, "--training"),
        }
    )
    torch, forward = found["torch"].seconds, found["forward"].seconds
    print(f"import torch takes {torch:.2f} s, inspect resnet50 {forward:.2f} s")
    print_ratio("inspect resnet50 --training, of its forward", found["step"].seconds / forward, 1.8)
    print_ratio("inspect llama3_405b --training, of torch", found["llama3_405b"].seconds / torch, 2.0)


if __name__ == "__main__":
    main()
