"""Contexts that a forward runs in: its mode, and errors about memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from fwdscope.language.problems import SpecError
from fwdscope.settings import RunError

# Out-of-memory messages of allocators other than torch's own: the CPU's, Metal's, the driver's, cuBLAS's and cuDNN's.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")


@contextlib.contextmanager
def out_of_memory_as_run_error() -> Iterator[None]:
    """Turn a device's out-of-memory error into a RunError, also where it was reported as a mistake of the spec."""
    try:
        yield
    except (SpecError, RuntimeError) as error:
        reason: BaseException | None = error
        while reason is not None:
            if isinstance(reason, torch.OutOfMemoryError) or any(words in str(reason) for words in _OUT_OF_MEMORY):
                message = f"the device ran out of memory: {str(reason).strip().splitlines()[0]}"
                raise RunError(message) from error
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
