"""What the statistics of every layer's output cost beside a bare forward.

Run by hand: python tests/benchmarks/statistics_cost.py [SPEC [VAR=VALUE …]]; ResNet-18 at batch 8 without arguments.
A "module" is the spec exported to PyTorch, which is copied before it runs.

Every figure is a ratio of medians measured in turn in the same run, so that a machine which slows down slows both down.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.commands.export import to_python
from fwdscope.language import load
from fwdscope.language.check import Checked
from fwdscope.model import Network, build
from fwdscope.model.initialise import materialise
from fwdscope.run.observation import Observation
from fwdscope.run.statistics import Collector
from fwdscope.run.subject import ModuleSubject
from fwdscope.trace import trace

RUNS = 7
AIM = 1.5

Look = Callable[[int, Tensor], object]


# Begins a forward: what looks at a tensor, and what is left to do at the end.
Way = Callable[[], tuple[Look, Callable[[], object]]]


def collected() -> tuple[Look, Callable[[], object]]:
    """What fwdscope does: statistics of each output, fetched at the end."""
    collector = Collector()
    return lambda key, tensor: collector.add(key, [tensor]), collector.results


def one_by_one(look: Callable[[Tensor], object]) -> Way:
    """What a function of torch's costs on each output."""
    return lambda: (lambda _, tensor: look(tensor), lambda: None)


WAYS: dict[str, Way] = {
    "statistics": collected,
    "sum": one_by_one(torch.sum),
    "vector_norm": one_by_one(torch.linalg.vector_norm),
    "aminmax": one_by_one(torch.aminmax),
    "count_nonzero": one_by_one(torch.count_nonzero),
    "var_mean": one_by_one(torch.var_mean),
}


def observed(network: Network, inputs: dict[str, Tensor]) -> None:
    """What ``inspect`` runs where no data decide: every step's inputs and outputs looked at."""
    observation = Observation(Collector(), operators=False)
    trace(network, observation, inputs)
    observation.statistics()


def module_of(checked: Checked) -> nn.Module:
    """The spec as a module of PyTorch."""
    found: dict[str, Any] = {}
    exec(to_python(checked), found)
    return list(filter(lambda one: isinstance(one, type) and issubclass(one, nn.Module), found.values()))[-1]().eval()


def observed_module(subject: ModuleSubject) -> None:
    """What ``inspect`` runs of a module."""
    observation = Observation(Collector(batch=8), operators=False)
    with subject.placed(torch.device("cpu"), 0, {}, False) as call:
        subject.run(call, observation)
    observation.statistics()


def timed(run: Callable[[], object], layers: list[nn.Module], way: Way | None) -> float:
    """Seconds of a forward in which each layer's output is looked at; of the bare one without a way."""
    look, end = way() if way else (None, None)
    with ExitStack() as hooks:
        if look is not None:
            for key, layer in enumerate(layers):
                hooks.enter_context(layer.register_forward_hook(_hook(key, look)))
        before = time.perf_counter()
        run()
        if end is not None:
            end()
        return time.perf_counter() - before


def _hook(key: int, look: Look) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        for tensor in output if isinstance(output, tuple) else (output,):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                look(key, tensor)

    return hook


def main(spec: str = "specs/resnet18.yaml", *variables: str) -> None:
    """Print the cost of each way of looking, the bare forward being 1."""
    settings = dict(one.split("=", 1) for one in variables or ("B=8",))
    checked = load(Path(__file__).parents[2] / spec, variables=settings)
    network, module = materialise(build(checked), "cpu").eval(), module_of(checked)
    inputs = [torch.randn(x.shape) if x.is_floating_point() else torch.zeros_like(x, device="cpu")
              for x in network.example.values()]  # fmt: skip
    layers = [module for module in network.modules() if not any(module.children())]
    named = dict(zip(network.example, inputs, strict=True))
    names = ("bare", "observed run", "bare module", "observed module", *WAYS)
    times: dict[str, list[float]] = {name: [] for name in names}
    subject = ModuleSubject((module, inputs, {}))
    with torch.inference_mode():
        for run in range(RUNS + 1):
            for name, series in times.items():
                if name == "observed run":
                    seconds = timed(lambda: observed(network, named), layers, None)
                elif name == "observed module":
                    seconds = timed(lambda: observed_module(subject), layers, None)
                elif name == "bare module":
                    seconds = timed(lambda: module(*inputs), layers, None)
                else:
                    seconds = timed(lambda: network(*inputs), layers, WAYS.get(name))
                if run:  # the first warms up
                    series.append(seconds)
    print(f"{spec} {' '.join(f'{k}={v}' for k, v in settings.items())}, {torch.get_num_threads()} threads")
    for name, series in times.items():
        aim = f", aim {AIM:.2f}" if name in ("statistics", "observed run", "observed module") else ""
        # Of each run, since a machine that slows down slows both down.
        bare = times["bare module" if name.endswith("module") else "bare"]
        ratio = statistics.median(one / other for one, other in zip(series, bare, strict=True))
        print(f"{name:14} {statistics.median(series):6.3f} s   {ratio:5.2f} × the bare forward{aim}")


if __name__ == "__main__":
    main(*sys.argv[1:])
