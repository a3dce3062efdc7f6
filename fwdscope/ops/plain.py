"""Whether a run on meta is the plainest one, where what torch would do is known without asking it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, is_grad_enabled, is_inference_mode_enabled
from torch._C import _dispatch_keys, _get_tracing_state, _len_torch_dispatch_stack
from torch._C._functorch import peek_interpreter_stack
from torch.nn import Parameter

from .dispatch import META

# The dispatch keys of a tensor that is on meta and nothing else.
with torch.inference_mode(mode=False):
    _PLAIN_KEYS = _dispatch_keys(torch.empty(0, device=META)).raw_repr()


def is_plain(tensor: Any) -> bool:
    """Whether it is a tensor on meta and nothing else.

    That is: not sparse, conjugated, named or wrapped by a transform, nor made in inference mode, where torch leaves the
    whole as it is.
    """
    kind = type(tensor)
    return (kind is Tensor or kind is Parameter) and _dispatch_keys(tensor).raw_repr() == _PLAIN_KEYS


def runs_plainly() -> bool:
    """Whether what runs now runs under one mode that sees operators, without gradients, and under nothing else."""
    if is_grad_enabled() or is_inference_mode_enabled() or _get_tracing_state():
        return False
    return _len_torch_dispatch_stack() == 1 and peek_interpreter_stack() is None
