"""The benchmark that a GPU is asked by, where there is none: what of it runs on a CPU, and that parts fail alone."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fwdscope.device.local import LocalDevice, find

FILE = Path(__file__).parents[1] / "benchmarks" / "on_gpu.py"


@pytest.fixture(scope="module")
def on_gpu() -> Any:
    spec = importlib.util.spec_from_file_location("on_gpu", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["on_gpu"] = module  # dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_in_a_sentence(on_gpu: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert on_gpu.main([]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("on_gpu.py measures on a GPU: there is no cuda here")
    assert found.err.count("\n") == 1


@pytest.mark.parametrize("name", ["device", "launching", "delays", "precision"])
def test_a_part_runs_on_a_cpu(on_gpu: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert on_gpu.run_part(name, find("cpu")) == 0
    assert capsys.readouterr().out


def test_an_aim_that_is_missed_is_said_and_is_the_exit_code(on_gpu: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def misses(_: LocalDevice) -> Iterator[Any]:
        yield on_gpu.aim("a ratio", 1.2, 0.9, 1.1)
        yield on_gpu.aim("another", 1.0, 0.9)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(on_gpu.ON_CPU, "seeds", (misses, 1.0))
        assert on_gpu.run_part("seeds", find("cpu")) == 1
    assert capsys.readouterr().out.splitlines() == [
        "FAILS  a ratio: 1.200 (aim: 0.9 to 1.1)", "holds  another: 1.000 (aim: at least 0.9)",
    ]  # fmt: skip


def test_a_part_that_fails_or_has_no_time_left_is_one_of_several(
    on_gpu: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    nowhere = LocalDevice("cuda:9", "a GPU", None, None)
    # The first fails, since its process finds no such device; the others go on.
    assert on_gpu.run_all(["device"], nowhere, seconds=100.0) == 1
    assert "0 of 1 parts hold" in capfd.readouterr().out
    assert on_gpu.run_all(["device", "compile-1"], nowhere, seconds=0.0) == 1
    found = capfd.readouterr().out
    assert found.count("left out: 0 s are left of 0") == 2
    assert found.endswith("not these: device, compile-1\n")
