"""The devices that are here, with a fake torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_torch import GIB, fake_torch

from fwdscope.device.host import HostMemory
from fwdscope.device.local import Computer, DeviceError, _driver_memory, devices, find, free_memory, preferred

H100 = ("NVIDIA H100 80GB HBM3", 79 * GIB, 70 * GIB)
T4 = ("Tesla T4", 15 * GIB, 9 * GIB)
WITH_THIS_TORCH = Computer(memory=lambda: HostMemory(32 * GIB, 20 * GIB), processor=lambda: "Some CPU")


def computer(*gpus: tuple[str, int, int], **fields: Any) -> Computer:
    """A computer of 32 GiB with these GPUs, whose driver tells a little more memory than torch, as NVIDIA's does."""
    known = {f"GPU-{i}": (total + GIB // 2, free) for i, (_, total, free) in enumerate(gpus)}
    return replace(
        WITH_THIS_TORCH, lib=fake_torch(*gpus, **fields), driver=lambda properties: known.get(properties.uuid)
    )


@pytest.mark.core
def test_a_computer_without_a_gpu_has_its_cpu() -> None:
    (cpu,) = devices(computer())
    assert (cpu.device, cpu.kind, cpu.name, cpu.memory, cpu.free) == ("cpu", "cpu", "Some CPU", 32 * GIB, 20 * GIB)


def test_gpus_follow_the_cpu_in_torchs_order() -> None:
    _, first, second = devices(computer(H100, T4))
    assert (first.device, first.name, first.memory, first.free) == ("cuda:0", *H100)
    assert (second.device, second.kind, second.name) == ("cuda:1", "cuda", "Tesla T4")
    assert (second.uuid, second.form) == ("GPU-1", "101 SMs, 9.0")


def test_listing_gpus_makes_no_context_on_any() -> None:
    here = computer(H100, T4)
    assert [one.free for one in devices(here)] == [20 * GIB, 70 * GIB, 9 * GIB]
    assert here.lib.cuda.asked == []


def test_of_a_gpu_that_is_split_the_driver_may_tell_the_wholes_memory() -> None:
    # A slice of 10 GiB, of a GPU with 80.
    here = replace(computer(("NVIDIA A100 MIG 1g.10gb", 10 * GIB, 9 * GIB)), driver=lambda _: (80 * GIB, 60 * GIB))
    assert devices(here)[1].free is None
    assert find("cuda:0", here).free == 9 * GIB


def test_amds_driver_tells_what_is_free_in_files(tmp_path: Path) -> None:
    folder = tmp_path / "sys/bus/pci/devices/0000:c1:00.0"
    folder.mkdir(parents=True)
    here = SimpleNamespace(pci_domain_id=0, pci_bus_id=0xC1, pci_device_id=0)
    assert _driver_memory(here, tmp_path) is None
    (folder / "mem_info_vram_total").write_text("1000\n")
    (folder / "mem_info_vram_used").write_text("300\n")
    assert _driver_memory(here, tmp_path) == (1000, 700)
    assert _driver_memory(SimpleNamespace(), tmp_path) is None


def test_memory_that_torch_keeps_unused_is_free() -> None:
    # The driver has 70 GiB left; of the 5 that torch took, 2 are in use.
    here = computer(H100, reserved=5 * GIB, allocated=2 * GIB)
    assert find("cuda:0", here).free == free_memory("cuda:0", here) == 73 * GIB


def test_what_is_free_on_a_gpu_that_another_program_has_for_itself_is_not_known() -> None:
    here = computer(H100, T4, taken=(0,))
    assert (find("cuda:0", here).memory, find("cuda:0", here).free) == (79 * GIB, None)
    assert find("cuda:1", here).free == 9 * GIB


def test_looking_for_one_gpu_makes_no_context_on_another() -> None:
    here = computer(H100, T4)
    assert find("cuda:1", here).name == "Tesla T4"
    assert here.lib.cuda.asked == [1]


def test_cuda_without_a_number_is_the_device_torch_would_take() -> None:
    assert find("cuda", computer(H100, T4)).device == "cuda:0"
    assert find(" CUDA ", computer(H100, T4, current=1)).device == "cuda:1"
    assert free_memory("cuda", computer(H100, T4, current=1)) == 9 * GIB


def test_apples_gpu_has_what_metal_would_take_of_the_computers_memory() -> None:
    here = computer(mps=(24 * GIB, 1 * GIB))
    found = find("mps", here)
    # 24 − 1 GiB are left by Metal's advice, but the computer has only 20 GiB to give.
    assert (found.device, found.memory, found.free) == ("mps", 32 * GIB, 20 * GIB)
    assert find("mps", computer(mps=(24 * GIB, 10 * GIB))).free == 14 * GIB


def test_the_cpu_answers_to_its_number_too() -> None:
    assert find("cpu:0", computer()).device == find("cpu", computer()).device == "cpu"


@pytest.mark.parametrize(
    ("asked", "here", "words"),
    [
        ("cuda", computer(cuda=None), ("no cuda here", "built without CUDA", "here is cpu alone")),
        ("cuda", computer(), ("no cuda here", "says: No CUDA GPUs are available", "here is cpu alone")),
        ("cuda:2", computer(H100, T4), ("no cuda:2", "cpu, cuda:0 (NVIDIA H100 80GB HBM3) and cuda:1 (Tesla T4)")),
        ("mps", computer(H100), ("no mps here", "Apple's GPU", "cpu and cuda:0")),
        ("gpu", computer(H100), ("no device 'gpu'", "write cpu, cuda, cuda:1 or mps", "cuda:0 (NVIDIA")),
        ("", computer(), ("no device ''", "write cpu")),
    ],
    ids=["cpu build", "no gpu", "number", "mps", "word", "nothing"],
)
def test_a_missing_device_is_refused_with_those_that_are_here(
    asked: str, here: Computer, words: tuple[str, ...]
) -> None:
    with pytest.raises(DeviceError) as error:
        find(asked, here)
    for word in words:
        assert word in str(error.value)


def test_the_fastest_kind_of_device_is_preferred() -> None:
    assert preferred(computer(H100, T4, current=1)).device == "cuda:1"
    assert preferred(computer(mps=(GIB, 0))).device == "mps"
    assert preferred(computer()).device == "cpu"


def test_free_memory_is_not_known_of_a_device_that_is_none() -> None:
    assert free_memory("meta", computer()) is None
    assert free_memory(torch.device("cpu"), computer()) == 20 * GIB


def test_this_torch_has_what_is_asked_of_it() -> None:
    assert devices(WITH_THIS_TORCH)[0].device == "cpu"
    assert find("cpu", WITH_THIS_TORCH).free == 20 * GIB


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_that_is_here_has_a_name_and_memory() -> None:
    found = find("cuda")
    assert found.name
    assert found.memory
    assert found.free
    assert found.free <= found.memory


def test_a_gpu_that_cannot_be_started_leaves_the_cpu_usable() -> None:
    here = computer(H100, broken="CUDA unknown error - this may be due to an incorrectly set up environment. Try again")
    assert [one.device for one in devices(here)] == ["cpu"]
    assert preferred(here).device == "cpu"
    with pytest.raises(
        DeviceError, match=r"says: CUDA unknown error - this may be due to an incorrectly set up env\w+\)"
    ):
        find("cuda", here)


def test_whoever_asks_for_cuda_reads_that_the_driver_is_too_old() -> None:
    old = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by …"
    here = computer(warning=f"CUDA initialization: {old}", broken=old)
    # torch warns of it by itself, whatever is looked for; warning filters are the whole process's and stay as they are.
    with pytest.warns(UserWarning, match="too old"):
        assert find("cpu", here).device == "cpu"
    with (
        pytest.warns(UserWarning, match="too old"),
        pytest.raises(DeviceError, match=r"is too old \(found version 11040\)\); here is cpu alone"),
    ):
        find("cuda:0", here)
