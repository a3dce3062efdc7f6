"""How near the benchmark's figures are to plain loops in the same process.

Run by hand: python tests/benchmarks/bench_accuracy.py

Every figure is a ratio of medians taken in turn, on one thread, so that a machine which slows down slows both down: the
whole's latency over torch.utils.benchmark's of the same graph (aim: within 3 %), the graph over a module written by
hand (ResNet-50 of transformers), and the sum of the layers over the whole (aim: within 10 %).
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch
from torch.utils.benchmark import Timer

from fwdscope.language import load
from fwdscope.model import build
from fwdscope.model.build import example_inputs
from fwdscope.model.initialise import materialise
from fwdscope.timing.clock import HostClock
from fwdscope.timing.layers import latencies, straight_with_steps, with_latencies
from fwdscope.timing.sampling import SamplingPlan, measure
from fwdscope.trace import rows_with_nodes, trace

SPECS = Path(__file__).parents[2] / "specs"
ROUNDS = 7
NETWORKS: dict[str, dict[str, str]] = {
    "resnet50": {"B": "8"},
    "gpt2": {"T": "64"},
    "mlp_mnist": {"B": "8"},
}


def ours(run: Any, seconds: float = 1.0) -> float:
    """The median as the benchmark takes it."""
    return measure(run, HostClock(), SamplingPlan(budget=seconds)).latency.median


def theirs(run: Any, seconds: float = 1.0) -> float:
    """The median as torch.utils.benchmark takes it; it runs on one thread unless told otherwise."""
    timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
    return float(timer.blocked_autorange(min_run_time=seconds).median)


def by_hand(name: str) -> Any:
    """The same network written as a module, where transformers has it."""
    if name != "resnet50":
        return None
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(num_labels=1000, downsample_in_bottleneck=False)
    return ResNetForImageClassification(config).eval()


def accuracy(name: str, variables: dict[str, str]) -> None:
    """Print the ratios of one network."""
    checked = load(SPECS / f"{name}.yaml", variables=variables)
    network = build(checked)
    pairs = rows_with_nodes(trace(network))
    materialise(network, "cpu", seed=0)
    inputs = list(example_inputs(checked, "cpu").values())
    graph, written = straight_with_steps(network, inputs), by_hand(name)
    found: dict[str, list[float]] = {}

    def note(what: str, ratio: float) -> None:
        found.setdefault(what, []).append(ratio)

    with torch.inference_mode():
        for _ in range(ROUNDS):
            whole, bare = ours(lambda: graph(*inputs)), theirs(lambda: graph(*inputs))
            note("whole / torch.utils.benchmark (aim 1 ± 0.03)", whole / bare)
            note("reading the lines anew / plain calls", ours(lambda: network(*inputs)) / whole)
            if written is not None:
                note("plain calls / written by hand", whole / ours(lambda: written(*inputs)))
            _, layers = with_latencies(pairs, latencies(network, inputs, passes=5, budget=2.0, graph=graph))
            note("sum of layers / whole (aim 1 ± 0.10)", (layers or 0.0) / ours(lambda: graph(*inputs)))
    for what, ratios in found.items():
        middle = statistics.median(ratios)
        print(f"{name:10} {what:48} {middle:6.3f}   ({min(ratios):.3f} to {max(ratios):.3f})")


def main() -> None:
    """Print all ratios."""
    torch.set_num_threads(1)
    for name, variables in NETWORKS.items():
        accuracy(name, variables)


if __name__ == "__main__":
    main()
