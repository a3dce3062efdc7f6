"""A build keeps its state to itself: other threads see torch as it was, and build at the same time."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable

import pytest
import torch

import fwdscope
from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.source import Source
from fwdscope.model import build
from fwdscope.trace import trace

SPEC = """\
inputs:
  x: randn(2, 3, 16, 16)
  n: arange(4)
blocks:
  Block(c):
    - Conv2d(c, 3, padding=1)
    - BatchNorm2d
    - x + prev
layers:
  - Conv2d(8, 3)
  - 4 * Block(8)
  - norm = GroupNorm(2)
  - scaled = n / 2 + where(n > 1, 1.0, 0.0)
  - norm.mean() + scaled
"""


def run_in_threads(*works: Callable[[], None]) -> None:
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def dtypes(dtype: torch.dtype) -> set[torch.dtype]:
    """The floating-point dtypes in a network of this dtype and in its trace."""
    network = build(check(parse(Source("net.yaml", SPEC))), dtype=dtype)
    traced = trace(network)
    results = {operand.dtype for record in traced.root.records() for operand in record.op.outputs}
    found = {getattr(torch, name) for name in results} | {t.dtype for t in network.state_dict().values()}
    return {one for one in found if one.is_floating_point}


@pytest.mark.core
def test_two_threads_build_networks_of_their_own_dtypes_at_once() -> None:
    def works(dtype: torch.dtype) -> Callable[[], None]:
        def work() -> None:
            for _ in range(2):
                assert dtypes(dtype) == {dtype}

        return work

    run_in_threads(works(torch.float64), works(torch.float32), works(torch.bfloat16))


def test_a_build_leaves_the_state_of_the_process_as_it_is_while_it_runs() -> None:
    def state() -> tuple[object, ...]:
        fast = torch.backends.mha.get_fastpath_enabled()
        filters = tuple(warnings.filters)
        return torch.get_default_dtype(), torch.initial_seed(), fast, sys.getrecursionlimit(), filters

    before, seen, done = state(), set(), threading.Event()

    def inspect() -> None:
        try:
            fwdscope.inspect("resnet18", dtype="float64")
        finally:
            done.set()

    def watch() -> None:
        while not done.is_set():
            seen.add(state())

    run_in_threads(inspect, watch)
    assert seen == {before}


def test_the_recursion_limit_is_raised_for_deeply_nested_blocks_alone() -> None:
    text = (
        "inputs:\n  x: randn(2, 8)\nblocks:\n  Deep(n):\n    - Linear(8)\n"
        "    - if: n > 0\n      then: [Deep(n - 1)]\nlayers:\n  - Deep(40)\n"
    )
    before = sys.getrecursionlimit()
    network = build(check(parse(Source("deep.yaml", text))))
    assert sum("weight" in name for name in network.state_dict()) == 41
    assert sys.getrecursionlimit() == before
