"""The estimate that chooses whether a network runs by default, beside the time that its run takes.

Run by hand: python tests/benchmarks/run_estimates.py [SPEC …]. A machine that does other work at the same time slows
runs on several threads down many times: there, set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import gc
import sys
import time

from alternating import print_ratio

from fwdscope.device.local import find
from fwdscope.inspection import make_subject
from fwdscope.run.duration import Work, estimate_run, measure_speeds
from fwdscope.run.runner import run_on_device
from fwdscope.settings import RunSettings
from fwdscope.targets import Target

# Of all kinds: products, convolutions dense and depthwise, many small operators, memory-bound, recurrent, experts.
SPECS = (
    "alexnet", "resnet18", "resnet50", "mobilenet_v2", "densenet121", "googlenet", "convnext_tiny", "swin_t",
    "vit_b_16", "transformer_base", "bert_base", "unet", "moe_small", "simple_rnn", "mnist_cnn", "gpt2",
)  # fmt: skip


def main() -> None:
    """Print each ratio of estimate and time; at most 2, and at least 0.5."""
    gc.disable()
    device = find("cpu")
    began = time.perf_counter()
    speeds = measure_speeds(device, "float32")
    print(f"measuring the device took {time.perf_counter() - began:.3f} s: {speeds}")
    for name in sys.argv[1:] or SPECS:
        subject = make_subject(Target(name))
        estimate = estimate_run(Work.of(subject.trace.root), subject.report().totals, speeds, "cpu", RunSettings())
        began = time.perf_counter()
        run_on_device(subject, RunSettings("cpu"))
        took = time.perf_counter() - began
        print_ratio(f"{name}: {estimate:.2f} s estimated, {took:.2f} s taken", estimate / took, 2.0)


if __name__ == "__main__":
    main()
