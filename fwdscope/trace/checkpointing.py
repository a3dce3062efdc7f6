"""Activation checkpointing by torch's own: what a module computes between its ends is not kept, but computed again."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint

from fwdscope.torch_private import without_modes

# Entered around each run of a module: the first, and those in the backward.
Around = Callable[[], AbstractContextManager[Any]]


def checkpointed(module: nn.Module, first: Around, again: Callable[[], Around]) -> Callable[..., Any]:
    """The forward of a module under checkpointing. ``again`` is called when it begins."""
    forward = module.forward
    with without_modes():
        # Loads dynamo now, which checkpointing asks for, and not when the modes would see it.
        torch.compiler.disable(lambda: None)

    def run(*args: Any, **kwargs: Any) -> Any:
        ways, recompute = [first], again()

        def step(*args: Any, **kwargs: Any) -> Any:
            if ways:
                with ways.pop()():
                    return forward(*args, **kwargs)
            stopped = None
            with recompute(), _Stopping():
                try:
                    return forward(*args, **kwargs)
                except _StoppedEarly as error:
                    stopped = error.args[0]
            try:
                raise stopped
            finally:
                del stopped  # or error and frame would hold each other, and with them tensors

        # A GPU's generator has a state of 16 bytes on the host; here nothing is drawn.
        wrapped: Callable[..., Any] = inspect.unwrap(checkpoint.checkpoint)
        return wrapped(step, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return run


class _StoppedEarly(BaseException):
    """torch's own exception that ends a recomputation when all is there, past what catches any Exception."""


class _Stopping(TorchFunctionMode):
    def __torch_function__(self, func: Any, classes: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            return func(*args, **(kwargs or {}))
        except Exception as error:
            if type(error).__module__ == checkpoint.__name__:
                raise _StoppedEarly(error) from None
            raise
