"""How near the benchmark's figures are, on a GPU, to other ways of measuring the same forward there.

Run by hand: python tests/benchmarks/bench_on_gpu.py [DEVICE]; cuda without one.

For ResNet-50, GPT-2 and one large product of matrices: the whole's latency beside triton's ``do_bench`` (where triton
is there; it empties the L2 cache before each repeat, which the benchmark does not) and beside the replay of a CUDA
graph of the same calls, which is what the device takes where the host launches nothing; and the sum of the layers over
that replay. Aims: the whole within 3 % of the replay where the device is never idle (large batches), the layers within
5 %.
With small batches the whole is the host's launching, and above the replay; the layers are not.

Every figure is a median of medians taken in turn, so that a device which heats up slows all of them down.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fwdscope.commands.bench.workload import Workload, make_workload
from fwdscope.device.local import DeviceError, LocalDevice, find
from fwdscope.language import load
from fwdscope.model.process_state import torch_default_dtype
from fwdscope.run.subject import SpecSubject
from fwdscope.settings import BenchSettings
from fwdscope.targets import find_spec
from fwdscope.timing.clock import EventClock
from fwdscope.timing.layers import latencies, with_latencies
from fwdscope.timing.sampling import SamplingPlan, measure

ROUNDS = 5
REPLAYS = 50

PRODUCT = """\
name: product
vars: {n: 8192}
inputs: {a: 'randn(n, n)'}
layers:
  - Linear(n, bias=False)
"""


@dataclass(frozen=True)
class Case:
    """A network, at a size and in a dtype."""

    spec: str
    variables: dict[str, str]
    dtype: str

    def __str__(self) -> str:
        sizes = " ".join(f"{name}={value}" for name, value in self.variables.items())
        return f"{self.spec} {sizes} {self.dtype}".replace("  ", " ")


CASES = (
    Case("resnet50", {"B": "1"}, "float32"),
    Case("resnet50", {"B": "64"}, "float32"),
    Case("resnet50", {"B": "64"}, "bfloat16"),
    Case("gpt2", {"T": "64"}, "bfloat16"),
    Case("gpt2", {"B": "8"}, "bfloat16"),
    Case("product", {}, "bfloat16"),
    Case("product", {}, "float32"),
)

Ways = dict[str, Callable[[], float]]


def workload(case: Case, device: LocalDevice, folder: Path) -> Workload:
    """The network of a case on the device, with its inputs."""
    own = folder / "product.yaml"
    own.write_text(PRODUCT)
    path = own if case.spec == "product" else find_spec(case.spec)
    assert path is not None, f"{case.spec} does not ship with fwdscope"
    settings = BenchSettings(device=device.device, dtype=case.dtype)
    return make_workload(SpecSubject(load(path, variables=case.variables), {}, case.dtype), settings)


def ways(workload: Workload, place: torch.device) -> Ways:
    """The ways to measure a forward, each giving seconds; capturing a graph comes last, since it warms all up."""
    graph, (module, args, _) = workload.graph, workload.ready.call
    assert graph is not None, "its lines are plain calls"
    clock = EventClock(place)

    def forward() -> Any:
        return graph(*args)

    def layers() -> float:
        times = latencies(module, args, passes=10, clock=clock, graph=graph)
        together = with_latencies(workload.rows, times)[1]
        assert together is not None
        return together

    found: Ways = {
        "bench": lambda: measure(forward, clock, SamplingPlan(budget=2.0)).latency.median,
        "layers": layers,
        "replay": replay(forward, place),
    }
    try:
        from triton.testing import do_bench  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return found
    return found | {"do_bench": lambda: do_bench(forward, warmup=50, rep=500, return_mode="median") / 1e3}


def replay(forward: Callable[[], Any], place: torch.device) -> Callable[[], float]:
    """What gives the median seconds of a replay of a CUDA graph of the forward."""
    aside = torch.cuda.Stream(place)
    aside.wait_stream(torch.cuda.current_stream(place))
    with torch.cuda.stream(aside):
        for _ in range(3):
            forward()
    torch.cuda.current_stream(place).wait_stream(aside)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        forward()

    def seconds() -> float:
        spans = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(REPLAYS)]
        for begin, end in spans:
            begin.record()
            captured.replay()
            end.record()
        torch.cuda.synchronize(place)
        return float(statistics.median(begin.elapsed_time(end) for begin, end in spans)) / 1e3

    return seconds


def compared(case: Case, device: LocalDevice, folder: Path) -> str:
    """A line of figures: milliseconds each way, and the ratios that matter."""
    place = torch.device(device.device)
    measured = workload(case, device, folder)
    with torch.inference_mode(), torch_default_dtype(measured.ready.subject.default_dtype):
        every = ways(measured, place)
        rounds = [{name: way() for name, way in every.items()} for _ in range(ROUNDS)]
    found = {name: statistics.median(one[name] for one in rounds) for name in every}
    times = "  ".join(f"{name} {seconds * 1e3:9.4f} ms" for name, seconds in found.items())
    ratios = [f"bench/replay {found['bench'] / found['replay']:.3f}"]
    ratios.append(f"layers/replay {found['layers'] / found['replay']:.3f}")
    ratios.append(f"bench/do_bench {found['bench'] / found['do_bench']:.3f}" if "do_bench" in found else "no triton")
    return f"{case!s:32} {times}   {'  '.join(ratios)}"


def main(arguments: list[str]) -> int:
    """Print the figures; 2 where there is no CUDA device to take them on."""
    wanted = arguments[0] if arguments else "cuda"
    try:
        device = find(wanted)
    except DeviceError as error:
        print(f"bench_on_gpu.py measures on a CUDA device: {error}", file=sys.stderr)
        return 2
    if device.kind != "cuda":
        print(f"bench_on_gpu.py measures on a CUDA device: {wanted} is none", file=sys.stderr)
        return 2
    torch.cuda.set_device(device.device)
    print(f"{device.name}, torch {torch.__version__}, CUDA {torch.version.cuda}; medians of {ROUNDS} rounds")
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            print(compared(case, device, Path(folder)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
