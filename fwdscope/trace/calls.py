"""A row for each call of a module without others inside, by a shorter way than hooks."""

from __future__ import annotations

from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch._C import _len_torch_function_stack

from fwdscope.model.network import Beginning, Observer
from fwdscope.ops.linear import Linear, linear
from fwdscope.trace.memory import Mark
from fwdscope.trace.receptive import Flow
from fwdscope.trace.record import Node, Recorder

# The hooks that torch runs before every module's own.
_BEFORE_ALL = nn.modules.module._global_forward_pre_hooks


class Calls:
    """What a module without others inside is called by, in place of hooks, which take twice as long.

    It stands where ``module.compile()`` puts what it compiled, which torch calls first: all of the module's own hooks
    run inside it. So it fits only where none of them would have run before that of
    :class:`fwdscope.trace.record.Hooks`.
    """

    __slots__ = ("module", "recorder", "said")

    def __init__(self, module: nn.Module, recorder: Observer, said: Beginning) -> None:
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
        self.recorder.begin(self.said, (args, kwargs) if kwargs else args)
        output = self.module._call_impl(*args, **kwargs)
        self.recorder.end(output)
        return output

    def remove(self) -> None:
        """Take it away."""
        if vars(self.module).get("_compiled_call_impl") is self:
            del vars(self.module)["_compiled_call_impl"]


def calls(module: nn.Module, recorder: Observer, said: Beginning) -> Calls | None:
    """What a module may be called by; None where only hooks see all of its calls."""
    if not Calls.fit(module):
        return None
    kind = LinearCalls if LinearCalls.fit_too(module) and type(recorder) is Recorder else Calls
    return kind(module, recorder, said)


# As torch has them: who puts others in their place wants those to be called.
_FORWARD, _LINEAR = nn.Linear.forward, nn.functional.linear
# The hooks that torch runs behind every module's own.
_AFTER_ALL = nn.modules.module._global_forward_hooks


class _Absent:
    """Stands for the transpose of a weight, which nobody meets. Nothing depends on the inputs through it."""

    def __call__(self) -> None:
        """As a weak reference to a tensor that is gone."""


_TRANSPOSED = _Absent()


class LinearCalls(Calls):
    """A linear layer's. Where its operators are known by rule it is recorded whole, and not called at all.

    They are most of the layers of most networks. On the way through the module, torch's function and the dispatcher
    there is nobody else to be told: no hook, no other mode, no other class.
    """

    __slots__ = ()

    @staticmethod
    def fit_too(module: nn.Module) -> bool:
        """Whether a module is torch's linear layer, as it is."""
        own = type(module) is nn.Linear and "forward" not in vars(module)
        return own and nn.Linear.forward is _FORWARD and nn.functional.linear is _LINEAR

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The layer is called, and gives its output."""
        if len(args) == 1 and not kwargs and not self.module._forward_hooks and not _AFTER_ALL:
            with torch._C.DisableTorchFunction():
                made = self.by_rule(args[0])
            if made is not None:
                return made
        return super().__call__(*args, **kwargs)

    def by_rule(self, x: Any) -> Tensor | None:
        """Record the layer, and give its output; None where it has to be called."""
        recorder, held = self.recorder, self.module._parameters
        assert isinstance(recorder, Recorder)
        weight, bias = held.get("weight"), held.get("bias", self)
        own, met = recorder.weights.get(id(weight)), recorder.met.get(id(x))
        alive: Any = None if met is None else met[0][3]()
        if own is None or met is None or alive is not x or _len_torch_function_stack() != 1:
            return None
        if not recorder.memory.follows(x):
            return None  # it may lie in a weight, which is then read
        offset = None if bias is None else recorder.weights.get(id(bias))
        if offset is None and bias is not None:
            return None
        made = linear(x, weight, bias, turned=False)
        if made is None:
            return None
        return self.recorded(recorder, met, own[1] if offset is None else own[1] + offset[1], made)

    def recorded(
        self,
        recorder: Recorder,
        met: tuple[Mark, Node | None],
        read: tuple[int, ...],
        made: Linear,
    ) -> Tensor:
        """What :meth:`Recorder.begin`, ``op`` and ``end`` would have written, at once."""
        transpose, _, product, result = made
        records = recorder.records
        turned = records.get(id(transpose)) or recorder.recorded(transpose, (), ())
        record = records.get(id(product)) or recorder.recorded(product, (), (result,))
        one: Mark = tuple.__new__(Mark, (*record.results[0], ref(result)))
        module = self.module
        call = recorder.calls[module] = recorder.calls.get(module, 0) + 1
        kind, path, type_, text, label, span, _ = self.said
        node: Node = object.__new__(Node)
        # As Node(…), which sets its fields one by one and takes twice as long.
        node.__dict__ = {
            "kind": kind, "path": path, "type": type_, "text": text, "label": label, "span": span, "module": module,
            "inputs": (met[0],), "outputs": (one,), "children": [], "ops": [turned, record], "step": recorder.begun,
            "sources": () if met[1] is None else (met[1],), "call": call,
        }  # fmt: skip
        recorder.begun += 1
        recorder.parent().append(node)
        recorder.read.update(read)
        weight, bias = module._parameters["weight"], module._parameters["bias"]
        taken = (met[0][3], _TRANSPOSED) if bias is None else (ref(bias), met[0][3], _TRANSPOSED)
        # As Flow(…), which is a function of Python's that does this.
        recorder.flows.append(tuple.__new__(Flow, (transpose, (ref(weight),), (_TRANSPOSED,))))
        recorder.flows.append(tuple.__new__(Flow, (product, taken, (one[3],))))
        recorder.memory.meet(result)
        recorder.met[id(result)] = one, node
        return result
