"""A sweep measures one network after the other: the one before makes room for the next."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from fwdscope.commands.bench.request import BenchRequest, run_sweep
from fwdscope.report.sweep import parse
from fwdscope.settings import BenchSettings, RunError
from fwdscope.targets import Target


class Weights:
    """Refers to itself, as a network does."""

    def __init__(self) -> None:
        self.own = self


def test_the_weights_of_one_point_are_gone_before_the_next() -> None:
    made: list[weakref.ref[Weights]] = []
    alive: list[int] = []

    def measure(_: BenchRequest) -> Any:
        alive.append(sum(one() is not None for one in made))
        weights = Weights()
        made.append(weakref.ref(weights))
        raise RunError("the device ran out of memory")

    # The command line runs without garbage collection.
    gc.disable()
    try:
        run_sweep(BenchRequest(Target("spec.yaml"), BenchSettings()), (parse("B=1,2,3"),), measure)
    finally:
        gc.enable()
    assert alive == [0, 0, 0]
