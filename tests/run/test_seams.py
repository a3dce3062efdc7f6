"""The calls of torch that a run makes on a device that is not here."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.problems import Source
from fwdscope.model import build, process_state
from fwdscope.model.initialise import materialise
from fwdscope.run.context import out_of_memory_as_run_error
from fwdscope.run.placement import ModuleCall, is_on, move, moved_call, real_inputs
from fwdscope.run.statistics import Collector
from fwdscope.run.subject import ModuleSubject
from fwdscope.settings import RunError

# --- statistics ------------------------------------------------------------------------------------------------------


class Seen(TorchDispatchMode):
    """The operators that ran."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(8, 64, 56, 56),
        lambda: torch.empty(8, 128, 56, 56)[:, :64],
        lambda: torch.empty(8, 64, 56, 56, dtype=torch.bfloat16).mT,
        lambda: torch.empty(5, dtype=torch.bool),
        lambda: torch.empty(5, 6, dtype=torch.complex64),
        lambda: torch.empty((), dtype=torch.int64),
        lambda: torch.empty(5, 6, dtype=torch.float8_e4m3fn),
        lambda: torch.empty(2, 1).expand(2, 9),
    ],
    ids=["plain", "with gaps", "transposed", "bool", "complex", "scalar", "float8", "expanded"],
)
def test_statistics_neither_wait_for_the_device_nor_copy_to_it(make: Callable[[], Tensor]) -> None:
    # A fake tensor has no numbers: asking for one, as waiting does, raises.
    with FakeTensorMode():
        tensor = make()
        with Seen() as seen:
            Collector(fewer_passes=False).add("x", [tensor])
    assert "scatter_add_" in seen.names
    # lift: Python numbers become tensors, which are then copied to the device.
    assert not [name for name in seen.names if "lift" in name or name in ("nonzero", "_local_scalar_dense")]


# --- random numbers --------------------------------------------------------------------------------------------------


class Generators:
    """As torch.cuda or torch.mps: a generator for each device, whose state is a number."""

    def __init__(self) -> None:
        self.states: dict[str, int] = {}
        self.here = "cuda:0"

    def get_rng_state(self, place: torch.device) -> int:
        return self.states.setdefault(str(place), 7)

    def set_rng_state(self, state: int, place: torch.device) -> None:
        self.states[str(place)] = state

    def manual_seed(self, seed: int) -> None:
        self.states[self.here] = seed

    def device(self, place: torch.device) -> Any:
        generators = self

        class There:
            def __enter__(self) -> None:
                generators.here = str(place)

            def __exit__(self, *_: object) -> None:
                generators.here = "cuda:0"

        return There()


def test_seeding_touches_the_cpu_and_the_device_alone() -> None:
    cuda = Generators()
    cuda.states["cuda:0"] = 5
    before = torch.get_rng_state()
    with process_state.seed_generators(torch.device("cuda:1"), 3, SimpleNamespace(cuda=cuda)):
        assert cuda.states == {"cuda:0": 5, "cuda:1": 3}
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(3)))
    assert cuda.states == {"cuda:0": 5, "cuda:1": 7}
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_on_the_cpu_leaves_a_gpus_random_numbers_alone() -> None:
    # Calling anything of it would initialise CUDA.
    lib = SimpleNamespace(cuda=SimpleNamespace())
    with process_state.seed_generators(torch.device("cpu"), 3, lib), pytest.raises(KeyError):
        raise KeyError


def test_apples_gpu_is_seeded_and_left_as_it_was() -> None:
    mps = Generators()
    mps.here = "mps"
    with process_state.seed_generators(torch.device("mps"), 3, SimpleNamespace(mps=mps)):
        assert mps.states == {"mps": 3}
    assert mps.states == {"mps": 7}


class Drawn(TorchDispatchMode):
    """The devices and dtypes of what is drawn at random, and of all results."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: set[str] = set()
        self.made: set[tuple[str, torch.dtype]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.made.add((result.device.type, result.dtype))
            if func.overloadpacket.__name__ in ("uniform_", "normal_", "randn", "randint"):
                self.drawn.add(result.device.type)
        return result


def test_a_seed_gives_the_cpus_weights_and_inputs_on_every_device() -> None:
    text = (
        "inputs: {x: 'randn(4, 8)'}\ninit:\n  fc.weight: normal(std=0.1)\nlayers:\n  - fc = Linear(8)\n"
        "  - scale = Parameter(randn(8))\n  - fc * scale\n"
    )
    networks = [build(check(parse(Source("spec.yaml", text)))) for _ in range(2)]
    other = torch.device("meta")  # stands for a device that is not here
    with Drawn() as seen:
        materialise(networks[0], other, seed=3)
        with process_state.seed_generators(other, 3):
            inputs = real_inputs(networks[0], {}, other)
    assert seen.drawn == {"cpu"}
    assert {t.device.type for t in (*networks[0].parameters(), *inputs.values())} == {"meta"}
    assert networks[0].blueprint.device == other
    materialise(networks[1], "cpu", seed=3)
    assert float(networks[1].get_parameter("fc.weight").detach().std()) == pytest.approx(0.1, rel=0.5)


def test_where_the_cpu_has_no_room_weights_are_drawn_on_the_device() -> None:
    network = build(check(parse(Source("spec.yaml", "inputs: {x: 'randn(4, 8)'}\nlayers:\n  - fc = Linear(8)\n"))))
    with Drawn() as seen:
        materialise(network, "meta", on_host=False)
    assert seen.drawn == {"meta"}


def test_weights_come_to_a_device_in_the_dtype_that_they_are_cast_to() -> None:
    call = ModuleCall(nn.Linear(64, 64), (torch.zeros(2, 64),), {})
    with Drawn() as seen:
        moved = move(call, torch.device("meta"), torch.bfloat16)
    assert {t.dtype for t in moved.tensors()} == {torch.bfloat16}
    # Never in float32 there, which would take twice the memory for a while.
    assert ("meta", torch.float32) not in seen.made


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GiB, max allowed: 9.07 GiB)."),
    ],
    ids=["allocator", "driver", "cublas", "cudnn", "mps"],
)
def test_out_of_memory_is_reported_whichever_library_raised_it(error: RuntimeError) -> None:
    with pytest.raises(RunError, match="the device ran out of memory"), out_of_memory_as_run_error():
        raise error


def test_other_failures_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="an illegal memory access"), out_of_memory_as_run_error():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_weights_on_the_device_need_no_memory_unless_they_are_copied() -> None:
    subject = ModuleSubject((nn.Linear(10, 10, bias=False), (torch.zeros(5, 10),), {}))
    # 400 bytes of weights, 200 of the input and 200 of the output; on the CPU only the output is new.
    assert subject.memory_to_allocate(torch.device("cuda"), copied=False) == 800
    assert subject.memory_to_allocate(torch.device("cpu"), copied=False) == 200
    assert subject.memory_to_allocate(torch.device("cpu"), copied=True) == 600


def test_a_module_that_was_made_for_the_run_is_not_copied() -> None:
    made = ModuleCall(nn.Linear(2, 2), (torch.zeros(1, 2),), {})
    on_meta = ModuleCall(nn.Linear(2, 2, device="meta"), (torch.zeros(1, 2),), {})
    with moved_call(on_meta, lambda: made, torch.device("cpu"), True) as moved:
        assert moved.module is made.module
    with moved_call(made, None, torch.device("cpu"), True) as moved:
        assert moved.module is not made.module


def test_apples_gpu_is_the_same_with_its_index_and_without() -> None:
    assert torch.device("mps:0") != torch.device("mps")
    assert is_on(SimpleNamespace(device=torch.device("mps:0")), torch.device("mps"))  # type: ignore[arg-type]
    assert not is_on(SimpleNamespace(device=torch.device("cuda:1")), torch.device("cuda:0"))  # type: ignore[arg-type]
    assert not is_on(torch.empty(1), torch.device("mps"))
