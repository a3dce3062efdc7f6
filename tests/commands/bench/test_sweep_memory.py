"""A sweep measures one network after the other: the one before makes room for the next."""

from __future__ import annotations

import gc
import importlib
import weakref
from typing import Any

import pytest

from fwdscope.commands.bench.sweep import parse
from fwdscope.settings import BenchSettings, RunError

# The package's name of the same name is the command itself.
command = importlib.import_module("fwdscope.cli.bench")


class Weights:
    """Refers to itself, as a network does."""

    def __init__(self) -> None:
        self.own = self


def test_the_weights_of_one_point_are_gone_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Weights]] = []
    alive: list[int] = []

    def measured(*_: Any) -> Any:
        alive.append(sum(one() is not None for one in made))
        weights = Weights()
        made.append(weakref.ref(weights))
        raise RunError("the device ran out of memory")

    monkeypatch.setattr(command, "_measured", measured)
    wanted = command._Wanted("spec.yaml", (), (), None, False)
    # The program runs without collection.
    gc.disable()
    try:
        command._swept(wanted, (parse("B=1,2,3"),), BenchSettings())
    finally:
        gc.enable()
    assert alive == [0, 0, 0]
