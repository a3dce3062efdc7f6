"""Modules around one layer or one function. Tracing looks through the globals of a module's file, so here are few."""

from __future__ import annotations

from typing import Any

from function_examples import CallExample, call
from torch import Tensor, nn


class Around(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Any) -> Any:
        return self.layer(*inputs)


class Calls(nn.Module):
    def __init__(self, example: CallExample) -> None:
        super().__init__()
        vars(self)["call"] = example

    def forward(self, *given: Tensor) -> Any:
        replaced = iter(given)

        def same(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return type(value)(map(same, value))
            return next(replaced) if isinstance(value, Tensor) else value

        args, kwargs = self.call.arguments("cpu")
        return call(self.call.entry, "cpu")(*same(args), **{name: same(value) for name, value in kwargs.items()})
