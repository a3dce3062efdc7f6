"""The default dtype of a network: the dtype of its weights and of tensors made without one.

torch's own default dtype belongs to the whole process, so it is not touched while a network is built or traced on meta.
:func:`default_dtype` takes its place there, for the current thread alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_dtype: ContextVar[torch.dtype | None] = ContextVar("default_dtype", default=None)


def default_dtype() -> torch.dtype:
    """Return the default dtype of the network that this thread builds or runs, else torch's."""
    if (dtype := _dtype.get()) is not None:
        return dtype
    import torch

    return torch.get_default_dtype()


@contextlib.contextmanager
def use_default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make a dtype the default in this thread; torch's own stays as it is."""
    token = _dtype.set(dtype)
    try:
        yield
    finally:
        _dtype.reset(token)
