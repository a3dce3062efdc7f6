"""Operators without a rule that torch's own FLOP counter knows, and those that only a profiler needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry, register_flop_formula

import fwdscope

NAMES = ("fwdscope_tests::gemm", "fwdscope_tests::raw", "fwdscope_tests::unknown")


def _gemm(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty((a.shape[0], b.shape[1]))


@pytest.fixture(autouse=True, scope="module")
def _operators() -> Iterator[None]:
    """Three custom operators: one with a formula of shapes, one with a formula of tensors, one without."""
    library = torch.library.Library("fwdscope_tests", "DEF")
    for name in NAMES:
        library.define(f"{name.partition('::')[2]}(Tensor a, Tensor b) -> Tensor")
        torch.library.impl(name, "CPU", _gemm, lib=library)
        torch.library.register_fake(name, _gemm, lib=library)
    before = set(flop_registry)
    of = torch.ops.fwdscope_tests
    register_flop_formula(of.gemm)(lambda a, b, out_shape=None, **_: 2 * a[0] * a[1] * b[1])
    register_flop_formula(of.raw, get_raw=True)(lambda a, b, out_val=None, **_: 2 * a.numel() * out_val.shape[1])
    yield
    for packet in set(flop_registry) - before:
        del flop_registry[packet]
    library._destroy()


class Custom(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.weight = nn.Parameter(torch.randn(8, 16))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(getattr(torch.ops.fwdscope_tests, self.name)(x, self.weight))


@pytest.mark.parametrize("name", ["gemm", "raw"])
def test_an_operator_with_a_registered_formula_is_counted_and_noted(name: str) -> None:
    module, x = Custom(name), torch.randn(4, 8)
    report = fwdscope.inspect(module, x)
    # 4·8·16 products, and a relu for each of 4·16 results
    assert (report.totals.macs, report.totals.flops) == (4 * 8 * 16, 2 * 4 * 8 * 16 + 4 * 16)
    with FlopCounterMode(display=False) as counter:
        module(x)
    assert counter.get_total_flops() == 2 * (report.totals.macs or 0)
    assert report.uncounted == ()
    assert [note.partition(":")[0] for note in report.notes] == [f"fwdscope_tests.{name}"]
    # x and weight are read and the product is written, as of any operator.
    assert report.layers[-1].bytes_read == 4 * (4 * 8 + 8 * 16) + 4 * 4 * 16


def test_an_operator_without_any_formula_stays_uncounted() -> None:
    report = fwdscope.inspect(Custom("unknown"), torch.randn(4, 8))
    assert (report.uncounted, report.notes) == (("fwdscope_tests.unknown",), ())


def test_a_network_of_known_operators_does_not_load_torchs_counter() -> None:
    script = """
import sys, torch, fwdscope
fwdscope.inspect(torch.nn.Linear(2, 3), torch.randn(1, 2))
sys.exit("torch.utils.flop_counter" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


class Marked(nn.Module):
    """Marks a step for the profiler, which computes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        with torch.profiler.record_function("step"):
            return torch.as_tensor(self.layer(x))


@pytest.mark.core
def test_a_mark_for_the_profiler_computes_nothing() -> None:
    report = fwdscope.inspect(Marked(), torch.randn(4, 8))
    # 4·8·8 products, and 4·8 sums with the bias
    assert (report.totals.macs, report.totals.flops, report.uncounted) == (256, 2 * 256 + 32, ())
