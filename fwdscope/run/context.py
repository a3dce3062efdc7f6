"""Contexts that a forward runs in: its mode, and errors about memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

from fwdscope.errors import is_out_of_memory
from fwdscope.language.problems import SpecError
from fwdscope.settings import RunError


@contextlib.contextmanager
def out_of_memory_as_run_error() -> Iterator[None]:
    """Turn a device's out-of-memory error into a RunError, also where it was reported as a mistake of the spec."""
    try:
        yield
    except (SpecError, RuntimeError) as error:
        reason: BaseException | None = error
        while reason is not None:
            if is_out_of_memory(reason):
                from fwdscope.trace.failure import out_of_memory

                raise RunError(out_of_memory(reason)) from error
            reason = reason.__cause__
        raise


@contextlib.contextmanager
def in_mode(module: nn.Module, training: bool) -> Iterator[None]:
    """A module in training or evaluation mode, restored afterwards."""
    modes = [(inner, inner.training) for inner in module.modules()]
    try:
        module.train(training)
        yield
    finally:
        for inner, mode in modes:
            inner.__dict__["training"] = mode
