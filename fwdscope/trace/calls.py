"""A row for each call of a module without others inside, by a shorter way than hooks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fwdscope.model.network import Observer
from fwdscope.trace.record import Said

# The hooks that torch runs before every module's own.
_BEFORE_ALL = nn.modules.module._global_forward_pre_hooks


class Calls:
    """What a module without others inside is called by, in place of hooks, which take twice as long.

    It stands where ``module.compile()`` puts what it compiled, which torch calls first: all of the module's own hooks
    run inside it. So it fits only where none of them would have run before that of
    :class:`fwdscope.trace.record.Hooks`.
    """

    __slots__ = ("module", "recorder", "said")

    def __init__(self, module: nn.Module, recorder: Observer, said: Said) -> None:
        self.module = module
        self.recorder = recorder
        self.said = said
        vars(module)["_compiled_call_impl"] = self

    @staticmethod
    def fit(module: nn.Module) -> bool:
        """Whether a module is called by torch's own way and has nothing that runs before."""
        kind = type(module)
        own = kind._call_impl is nn.Module._call_impl and kind._compiled_call_impl is None
        alone = not module._modules and not module._forward_pre_hooks and "_compiled_call_impl" not in vars(module)
        return own and alone and not _BEFORE_ALL and not isinstance(module, torch.jit.ScriptModule)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module is called, and gives its output."""
        self.recorder.begin(*self.said, (args, kwargs) if kwargs else args)
        output = self.module._call_impl(*args, **kwargs)
        self.recorder.end(output)
        return output

    def remove(self) -> None:
        """Take it away."""
        if vars(self.module).get("_compiled_call_impl") is self:
            del vars(self.module)["_compiled_call_impl"]
