"""What a module without others inside is called by, in place of hooks: a row for each call, by a shorter way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.language.problems import Span
from fwdscope.layers import describe_module
from fwdscope.model.duplicates import CALLED_BY
from fwdscope.model.network import Beginning, Observer
from fwdscope.trace.alike import Forms, is_torchs_own
from fwdscope.trace.forms import Form
from fwdscope.trace.record import Node, Recorder

# The hooks that torch runs before every module's own.
_BEFORE_ALL = nn.modules.module._global_forward_pre_hooks


class Calls:
    """What a module without others inside is called by, in place of hooks, which take twice as long.

    It stands where ``module.compile()`` puts what it compiled, which torch calls first: all of the module's own hooks
    run inside it. So it fits only where none of them would have run before that of
    :class:`fwdscope.trace.record.Hooks`. With ``forms``, a layer like one that ran is not called.
    """

    __slots__ = ("forms", "label", "module", "path", "recorder", "span")

    def __init__(
        self,
        module: nn.Module,
        path: str,
        label: str,
        recorder: Observer,
        forms: Forms | None = None,
        span: Span | None = None,
    ) -> None:
        self.module = module
        self.path = path
        self.label = label
        self.recorder = recorder
        self.forms = forms
        self.span = span
        module.__dict__[CALLED_BY] = self

    @staticmethod
    def fit(module: nn.Module) -> bool:
        """Whether a module is called by torch's own way and has nothing that runs before."""
        kind, held = type(module), module.__dict__
        own = kind._call_impl is nn.Module._call_impl and kind._compiled_call_impl is None
        alone = not held["_modules"] and not held["_forward_pre_hooks"] and CALLED_BY not in held
        return own and alone and not _BEFORE_ALL and not isinstance(module, torch.jit.ScriptModule)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module is called, and gives its output."""
        forms = self.forms
        if forms is None or len(args) != 1 or kwargs:
            return self.called(args, kwargs)
        x = args[0]
        with torch._C.DisableTorchFunction():  # who watches functions need not hear of each look at a tensor
            key = forms.key(self.module, x)
            form = None if key is None else forms.find(key, self.module, x)
            if form is not None:
                return self.repeated(forms, form, x)
        if key is None or key in forms.known:
            return self.called(args, kwargs)
        before, peak = forms.before(), 0
        try:
            output = self.called(args, kwargs)
        finally:
            peak = forms.after(before)
        forms.learn(key, self.node(forms.recorder), x, output, before, peak)
        return output

    def called(self, args: Any, kwargs: Any) -> Any:
        """The module is called, and tells."""
        name, module = self.module._get_name(), self.module
        text, label = describe_module(module), self.label or name
        said = Beginning("layer", self.path, name, text, label, self.span, module)
        self.recorder.begin(said, (args, kwargs) if kwargs else args)
        output = module._call_impl(*args, **kwargs)
        self.recorder.end(output)
        return output

    def node(self, recorder: Recorder) -> Node:
        """Its node, after it was called."""
        return recorder.parent()[-1]

    def repeated(self, forms: Forms, form: Form, x: Tensor) -> Tensor:
        """The module is not called, and gives its output; in the record there is what the call would have told."""
        recorder, module = forms.recorder, self.module
        mark, maker = recorder.met[id(x)]
        number = recorder.calls[module] = recorder.calls.get(module, 0) + 1
        node: Node = object.__new__(Node)
        # As Node(…), which sets its fields one by one and takes twice as long.
        node.__dict__ = {
            "kind": "layer", "path": self.path, "type": form.type, "text": form.text, "label": self.label or form.type,
            "span": self.span, "module": module, "inputs": (mark,), "outputs": (), "children": [], "ops": form.ops,
            "step": recorder.begun, "sources": () if maker is None else (maker,), "call": number,
        }  # fmt: skip
        recorder.begun += 1
        recorder.parent().append(node)
        return forms.fill(form, node, module, x)

    def remove(self) -> None:
        """Take it away."""
        held = self.module.__dict__
        if held.get(CALLED_BY) is self:
            del held[CALLED_BY]


class Announced(Calls):
    """What a layer of a spec is called by. The network itself tells when it begins and ends."""

    __slots__ = ()

    def __init__(self, module: nn.Module, forms: Forms) -> None:
        super().__init__(module, "", "", forms.recorder, forms)

    @staticmethod
    def fit(module: nn.Module) -> bool:
        """Whether a module may be like another."""
        return is_torchs_own(type(module)) and Calls.fit(module)

    def called(self, args: Any, kwargs: Any) -> Any:
        """The module is called."""
        return self.module._call_impl(*args, **kwargs)

    def node(self, recorder: Recorder) -> Node:
        """Its node."""
        node = recorder.stack[-1]
        assert isinstance(node, Node)
        assert node.module is self.module
        return node

    def repeated(self, forms: Forms, form: Form, x: Tensor) -> Tensor:
        """The module is not called, and gives its output."""
        return forms.fill(form, self.node(forms.recorder), self.module, x)
