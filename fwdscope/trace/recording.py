"""Records whatever runs inside a ``with``: any modules, called from any code, on any device."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from fwdscope.ops.nested import named, tensors
from fwdscope.trace.module import named_arguments, step_starts
from fwdscope.trace.parameters import named_modules
from fwdscope.trace.record import Node, Recorder, Trace


class Recording:
    """The modules called in this thread while it is open, and all operators: those of no module are rows of their own.

    A module that no other one calls is at its type in lower case, ``linear``, ``linear_2``; what is inside it at its
    own paths, which are the whole path where only one such module was called. Gradients are left as they are.
    """

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.module = nn.Module()
        # A name without a module marks it as one with others inside, whose own operators are rows.
        self.module._modules[""] = None
        self.recorder.root.module = self.module
        self.steps: dict[nn.Module, Any] = {}
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self._open = contextlib.ExitStack()
        self._thread = 0

    def __enter__(self) -> Recording:
        """Start recording."""
        self._thread = threading.get_ident()
        before = register_module_forward_pre_hook(self._begin)
        after = register_module_forward_hook(self._end, with_kwargs=True)
        self._open.callback(before.remove)
        self._open.callback(after.remove)
        self._open.enter_context(self.recorder.watch())
        return self

    def __exit__(self, *raised: object) -> None:
        """End it; what is open after an exception ends where it is."""
        self._open.close()
        while len(self.recorder.stack) > 1:
            self.recorder.end(())
        if self.recorder.root.own is not None:
            self.recorder.end_own_work(self.recorder.root, ())

    def _begin(self, module: nn.Module, args: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        if module not in self.steps:
            self._enter(module)
        if len(self.recorder.stack) == 1 and not self.inputs:
            self._excluded(args)
        self.recorder.begin(self.steps[module], args)

    def _end(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        node = self.recorder.stack[-1]
        if kwargs and isinstance(node, Node):  # which torch does not show before the call
            node.inputs, node.sources = self.recorder.known(tensors([args, kwargs]))
        self.recorder.end(output)
        if len(self.recorder.stack) == 1:
            self.inputs = self.inputs or named_arguments(module, args, kwargs)
            self.outputs = named(output)

    def _excluded(self, args: Any) -> None:
        for tensor in tensors(args):
            self.recorder.memory.exclude(tensor)

    def _enter(self, module: nn.Module) -> None:
        """Give a module that no known one contains a name, and all inside it their paths."""
        kind = name = type(module).__name__.lower()
        number = 1
        while name in self.module._modules:
            number += 1
            name = f"{kind}_{number}"
        self.module._modules[name] = module
        for what in step_starts(named_modules(module)):
            path = f"{name}.{what.path}".rstrip(".")
            assert what.module is not None
            self.steps.setdefault(what.module, what._replace(path=path, label=what.label if what.path else name))
        self.recorder.add_weights([*module.parameters(), *module.buffers()])

    def trace(self) -> Trace:
        """What ran."""
        root, calls = self.recorder.root, [node for node in self.recorder.root.children if node.module is not None]
        if len(root.children) == 1 and len(calls) == 1:
            root = calls[0]
            before = f"{root.path}."
            for node in root.nodes():
                node.path = "" if node is root else node.path.removeprefix(before)
            if not root.children:
                root, self.recorder.root.children = self.recorder.root, [root]
        outputs = tuple(self.outputs.items())
        makers, fields = tuple([self.recorder.maker(one) for _, one in outputs]), self.recorder.fields()
        fused = self.recorder.fused([tensor for _, tensor in outputs])
        return Trace(
            root, outputs, None, self.recorder.memory.peak, makers, fields=fields, module=self.whole, fused=fused
        )

    @property
    def whole(self) -> nn.Module:
        """The only module called, or all of them in one."""
        called = [module for module in self.module._modules.values() if module is not None]
        return called[0] if len(called) == 1 else self.module
