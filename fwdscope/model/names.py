"""Names in the lines of a body: values, layers, parts, and the tensors inside them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from fwdscope.functions.methods import ATTRIBUTES, METHODS
from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.expression import Expression, Name
from fwdscope.language.names import suggestion
from fwdscope.language.problems import Cause
from fwdscope.model.blueprint import Blueprint
from fwdscope.model.modules import Body, Scope, inner_module, layer_at
from fwdscope.model.values import FAILED, MISSING, Origin, UpstreamFailed

Evaluate = Callable[[Expression], Any]


class Frame:
    """The names of one scope: of a body, or of a part in it."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.names: dict[str, Any] = {}
        self.parts: dict[str, Frame] = {}
        self.origins: dict[str, Origin] = {}

    def release(self, name: str) -> None:
        """Forget a name, here and in the parts inside."""
        self.names.pop(name, None)
        for part in self.parts.values():
            part.release(name)


class BodyNames:
    """The names of a body while its lines run, from the nearest scope to the vars, and the value of the line above."""

    def __init__(self, scope: Scope, settings: dict[str, Any] | None = None) -> None:
        self.root = scope
        self.blueprint: Blueprint = scope.blueprint
        self.settings: dict[str, Any] = settings or {}
        self.frames: list[Frame] = [Frame(scope)]
        # The module that gets the layers that lines make now, and the rounds of loops that run in it.
        self.scope: Scope = scope
        self.rounds: tuple[int, ...] = ()
        self.prev: Any = None
        self.prev_origin: Origin | None = None
        # Paths of the tensors of other layers that the line reads.
        self.reads: list[str] = []
        # The branches taken and the rounds of loops that are running, while building.
        self.choices: list[Cause] = []

    @contextlib.contextmanager
    def choice(self, taken: Cause) -> Iterator[None]:
        """A branch or a round of a loop runs inside."""
        self.choices.append(taken)
        try:
            yield
        finally:
            self.choices.pop()

    @contextlib.contextmanager
    def making(self, scope: Scope, rounds: tuple[int, ...]) -> Iterator[None]:
        """Layers are made in another module inside, or in another round."""
        before, self.scope, self.rounds = (self.scope, self.rounds), scope, rounds
        try:
            yield
        finally:
            self.scope, self.rounds = before

    @property
    def frame(self) -> Frame:
        """The nearest frame."""
        return self.frames[0]

    def path(self, name: str) -> str:
        """Return the path of a name in the scope."""
        return self.blueprint.path(self.scope, name)

    def find(self, name: str) -> Any:
        """Return the nearest value of a name, or MISSING."""
        for frame in self.frames:
            if name in frame.names:
                return frame.names[name]
        if name in self.settings:
            return self.settings[name]
        return self.blueprint.checked.variables.get(name, MISSING)

    def find_layer(self, name: str) -> nn.Module | None:
        """Return the layer with this name, if it is nearer than any value with it."""
        for frame in self.frames:
            if name in frame.scope.named:
                return frame.scope.named[name]
            if name in frame.names:
                return None
        return None

    def snapshot(self) -> dict[str, Any]:
        """Return all names and their values now."""
        names: dict[str, Any] = dict(self.settings)
        for frame in reversed(self.frames):
            names |= frame.names
        return names

    def unknown(self, name: str) -> ArithmeticProblem:
        """Return the problem of a name without a value, which a line in a branch not taken may make."""
        for line in tree.statements(self.root.lines if isinstance(self.root, Body) else ()):
            for named in ex.targets(line.target) if isinstance(line, tree.Statement) else ():
                if named.name == name:
                    number = self.blueprint.spec.source.place(named.span.start)[0]
                    message = f"{name} is made in a branch that was not taken, at line {number}"
                    return ArithmeticProblem(message, "make it in both branches, or before the `if:`", "name")
        return ArithmeticProblem(f"unknown name {name}", None, "name")

    def origin(self, node: Expression) -> Origin | None:
        """Return the line that made the value of an argument, if the argument is a name."""
        if not isinstance(node, Name):
            return None
        if node.id == "prev":
            return self.prev_origin
        return next((f.origins[node.id] for f in self.frames if node.id in f.origins), None)

    # -- paths: stem.conv1.weight, h[0].attn.weight -------------------------------------------------------------------

    def module_at(
        self, node: Expression, evaluate: Evaluate, item: bool = False
    ) -> tuple[nn.Module | Frame, list[str], Name] | None:
        """Return the layer or part that a path begins with, and the names after it; None if it begins with a value.

        ``h[3]`` alone is an ``item`` of a stack only where a layer is wanted, else of the stack's value.
        """
        steps: list[str | Expression] = []
        while not isinstance(node, Name):
            match node:
                case ex.Attribute(value=value, name=name):
                    steps.insert(0, name)
                case ex.Subscript(value=value, index=index) if steps or item:
                    steps.insert(0, index)
                case _:
                    return None
            node = value
        for frame in self.frames:
            home = frame.parts.get(node.id) or frame.scope.named.get(node.id)
            if home is not None:
                names = [one if isinstance(one, str) else _number(one, evaluate) for one in steps]
                return (home, [one for one in names if one is not None], node) if None not in names else None
            if node.id in frame.names:
                return None
        return None

    def layer(self, node: Expression, evaluate: Evaluate) -> nn.Module | None:
        """Return the layer that a name or path names, ``fc``, ``stem.conv1``, ``h[3].attn``, or None."""
        if isinstance(node, Name):
            return self.find_layer(node.id)
        found = self.module_at(node, evaluate, item=True) if isinstance(node, ex.Attribute | ex.Subscript) else None
        if found is None:
            return None
        home, names, _ = found
        while isinstance(home, Frame) and names:
            inner = home.parts.get(names[0]) or home.scope.named.get(names[0]) or home.scope
            names = names if inner is home.scope else names[1:]
            home = inner
        return home.scope if isinstance(home, Frame) else layer_at(home, names)

    def inside(self, node: ex.Attribute, evaluate: Evaluate) -> Any:
        """Return the value, tensor or layer at a path in a part or layer; MISSING for an attribute of a tensor."""
        found = self.module_at(node, evaluate)
        if found is None:
            return MISSING
        home, names, base = found
        while isinstance(home, Frame) and names:
            if names[0] in home.parts:
                home = home.parts[names.pop(0)]
                continue
            if names[0] in home.names and (len(names) == 1 or names[0] not in home.scope.named):
                value = home.names[names[0]]
                if value is FAILED:
                    raise UpstreamFailed
                return value if len(names) == 1 else MISSING
            home = home.scope
        if isinstance(home, Frame):
            return self.frames[0].names.get(base.id, MISSING)
        own = names and any(names[0] in group for group in _contents(home))
        if names and names[0] in (*ATTRIBUTES, *METHODS) and not own:
            return MISSING
        return self.tensor_of(home, names)

    def tensor_of(self, module: nn.Module, names: list[str]) -> Any:
        """Return the tensor or layer at a path in a layer."""
        here: Any = module
        for i, name in enumerate(names):
            inner = next((group[name] for group in _contents(here) if group.get(name) is not None), None)
            inner = inner_module(here, name) if inner is None else inner
            if inner is None:
                known = [n for group in _contents(here) for n, t in group.items() if t is not None]
                path = self.blueprint.path(module, *names[:i])
                help = suggestion(name, known, what=f"in {path}:") if known else "it has none"
                raise ArithmeticProblem(f"{path} has no tensor {name}", help, "name")
            here = inner
            if isinstance(here, Tensor) and i < len(names) - 1:
                return MISSING
        if isinstance(here, Tensor):
            self.reads.append(self.blueprint.path(module, *names))
        return here


def _number(index: Expression, evaluate: Evaluate) -> str | None:
    """Return an index in a path as a name; None if it is no whole number."""
    if any(isinstance(one, ex.Call | ex.Slice) for one in ex.walk(index)):
        return None
    number = evaluate(index)
    return str(number) if type(number) is int else None


def _contents(module: nn.Module) -> tuple[dict[str, Any], ...]:
    return module._parameters, module._buffers, module._modules
