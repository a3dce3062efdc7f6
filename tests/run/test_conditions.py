"""Cold caches and CUDA graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_clocks import Time

from fwdscope.run.conditions import captured, flusher, last_cache
from fwdscope.settings import RunError
from fwdscope.timing.clock import HostClock
from fwdscope.timing.sampling import SamplingPlan, measure

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


def test_the_last_cache_is_the_largest_that_the_system_lists(tmp_path: Path) -> None:
    for index, size in enumerate(("48K", "32K", "1024K", "32768K")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu0/cache/index{index}"
        folder.mkdir(parents=True)
        (folder / "size").write_text(f"{size}\n")
    assert last_cache(CPU, root=tmp_path) == 32 * 2**20
    assert last_cache(CPU, root=tmp_path / "nowhere") is None
    properties: Any = SimpleNamespace(get_device_properties=lambda _: SimpleNamespace(L2_cache_size=50 * 2**20))
    assert last_cache(CUDA, properties) == 50 * 2**20
    assert last_cache(CUDA, SimpleNamespace(get_device_properties=lambda _: None)) is None


def test_flushing_writes_more_than_the_cache_holds() -> None:
    written = flusher(CPU)()
    assert isinstance(written, torch.Tensor)
    assert written.nbytes >= 2 * (last_cache(CPU) or 1)


def test_what_is_done_before_each_forward_is_not_timed() -> None:
    time, order = Time(), list[str]()

    def flush() -> None:
        order.append("flush")
        time.passes(5.0)

    def forward() -> None:
        order.append("forward")
        time.passes(1e-9)  # for which several would be timed together

    samples = measure(forward, HostClock(time), SamplingPlan(repeats=4, warmup=1, budget=None, before=flush))
    assert samples.times == (1e-9,) * 4
    assert (samples.batch, order) == (1, ["flush", "forward"] * 5)


class Graphs:
    """As torch.cuda, as far as it captures: what is done on which stream, and what a graph has."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.here = "main"
        self.capturing: CapturedGraph | None = None

    def current_stream(self) -> Any:
        return SimpleNamespace(wait_stream=lambda _: self.log.append(f"{self.here} waits"), name=self.here)

    def Stream(self) -> Any:
        return SimpleNamespace(wait_stream=lambda _: self.log.append("side waits"), name="side")

    @contextlib.contextmanager
    def device(self, _: object) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.here = stream.name
        yield
        self.here = "main"

    def CUDAGraph(self) -> CapturedGraph:
        return CapturedGraph(self)

    @contextlib.contextmanager
    def graph(self, graph: CapturedGraph) -> Iterator[None]:
        self.capturing = graph
        yield
        self.capturing = None

    def launch(self, kernel: str) -> str:
        if self.capturing is not None:
            self.capturing.kernels.append(kernel)
        else:
            self.log.append(f"{kernel} on {self.here}")
        return "outputs"


class CapturedGraph:
    def __init__(self, cuda: Graphs) -> None:
        self.cuda = cuda
        self.kernels: list[str] = []

    def replay(self) -> None:
        self.cuda.log += [f"{kernel} again" for kernel in self.kernels]


def test_a_graph_is_captured_behind_forwards_on_a_side_stream_and_replayed() -> None:
    cuda = Graphs()
    replay = captured(lambda: cuda.launch("conv"), CUDA, cuda)
    assert cuda.log == ["side waits", *["conv on side"] * 3, "main waits"]
    assert (replay(), replay()) == ("outputs", "outputs")
    assert cuda.log[5:] == ["conv again"] * 2


def test_a_forward_that_waits_cannot_be_captured() -> None:
    cuda = Graphs()

    def forward() -> None:
        if cuda.capturing is not None:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCompile with …")

    with pytest.raises(RunError, match=r"--graph: .* since a call waits: CUDA error: .* capturing$"):
        captured(forward, CUDA, cuda)
