"""What names mean in a run: values, layers, parts, and the tensors inside them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fwdscope.functions.functions import CONSTANTS, DTYPES
from fwdscope.functions.methods import ATTRIBUTES, METHODS
from fwdscope.functions.resolution import attribute, dtype_of
from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.evaluate import evaluate, pattern
from fwdscope.language.expression import Expression, Name
from fwdscope.language.names import suggestion
from fwdscope.language.problems import SpecError
from fwdscope.layers import LAYERS
from fwdscope.model.network import POISON, Blueprint, Body, Origin, Results, Scope, one
from fwdscope.model.templates import ImportedTemplate, Template

MISSING = object()


class Poisoned(Exception):  # noqa: N818  # no error: what is wrong was told already
    """A line reads what failed before; it is left out in silence."""


class Frame:
    """Names of one scope: a body's, or a part's inside it."""

    def __init__(self, scope: Scope, names: dict[str, Any]) -> None:
        self.scope = scope
        self.names = names
        self.parts: dict[str, Frame] = {}
        self.origins: dict[str, Origin] = {}

    def release(self, name: str) -> None:
        """Forget a name, here and in the parts inside."""
        self.names.pop(name, None)
        for part in self.parts.values():
            part.release(name)


class Names:
    """The context of expressions in a body: its frames from near to far, and the value that flows."""

    def __init__(self, body: Scope) -> None:
        self.turns: tuple[int, ...] = ()
        self.values: dict[int, Any] | None = None
        self.passing: tuple[type[Exception], ...] = (Poisoned, SpecError)
        self.root = body
        self.blueprint: Blueprint = body.blueprint
        self.settings: dict[str, Any] = body.settings if isinstance(body, Body) else {}
        self.frames: list[Frame] = [Frame(body, {})]
        self.prev: Any = None
        self.prev_origin: Origin | None = None
        self.reads: list[str] = []

    def evaluate(self, node: Expression) -> Any:
        """The value of an expression here. Raises EvaluationError."""
        return evaluate(node, self)

    @property
    def frame(self) -> Frame:
        """The nearest frame."""
        return self.frames[0]

    @property
    def scope(self) -> Scope:
        """The module whose line is running."""
        return self.frames[0].scope

    def path(self, name: str) -> str:
        """The path of something in the scope."""
        prefix = self.blueprint.paths.get(self.scope, "")
        return f"{prefix}.{name}" if prefix and name else prefix or name

    def local_names(self) -> dict[str, Any]:
        """Names of the nearest frame."""
        return self.frames[0].names

    def is_true(self, value: Any) -> bool:
        """A value as a choice. A tensor without data is none."""
        if value is POISON:
            raise Poisoned
        if isinstance(value, Tensor) and value.is_meta:
            help = "write `where(condition, a, b)`; what is chosen while building depends on vars, settings and shapes"
            raise ArithmeticProblem("this depends on data", help, "type")
        return bool(value)

    def template(
        self, node: Expression, name: str, arguments: tuple[Expression, ...], keywords: tuple[ex.Keyword, ...]
    ) -> Template:
        """A layer type or a block with its settings."""
        raise NotImplementedError

    def imported(self, dotted: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> ImportedTemplate:
        """A class of the user's own."""
        raise NotImplementedError

    def call(self, node: ex.Call) -> Any:
        """The value of a call."""
        raise NotImplementedError

    def binary(self, node: ex.Binary, left: Any, right: Any) -> Any:
        """``left operator right``"""
        raise NotImplementedError

    def compare(self, sign: str, left: Any, right: Any) -> Any:
        """``left sign right``"""
        raise NotImplementedError

    # -- names --------------------------------------------------------------------------------------------------------

    def find(self, name: str) -> Any:
        """The nearest value of a name, or MISSING."""
        for frame in self.frames:
            if name in frame.names:
                return frame.names[name]
        if name in self.settings:
            return self.settings[name]
        return self.blueprint.checked.variables.get(name, MISSING)

    def find_layer(self, name: str) -> nn.Module | None:
        """The layer that a name names, if the nearest thing of that name is one."""
        for frame in self.frames:
            if name in frame.scope.named:
                return frame.scope.named[name]
            if name in frame.names:
                return None
        return None

    def name(self, node: Name) -> Any:
        """The value of a name."""
        if node.id == "prev":
            value = self.prev
        else:
            value = self.find(node.id)
        if value is POISON:
            raise Poisoned
        if value is not MISSING:
            return value
        if self.blueprint.spec.block(node.id) or node.id in LAYERS:
            return self.template(node, node.id, (), ())
        if node.id in CONSTANTS:
            return CONSTANTS[node.id]
        if node.id in DTYPES:
            return dtype_of(node.id)
        raise self.unmade(node)

    def unmade(self, node: Name) -> Exception:
        """A name of the file that this run did not make: it stands in the branch that was not taken."""
        for line in tree.statements(self.root.lines if isinstance(self.root, Body) else ()):
            for named in ex.targets(line.target) if isinstance(line, tree.Statement) else ():
                if named.name == node.id:
                    number = self.blueprint.spec.source.place(named.span.start)[0]
                    message = f"{node.id} is made in a branch that was not taken, at line {number}"
                    return ArithmeticProblem(message, "make it in both branches, or before the `if:`", "name")
        return ArithmeticProblem(f"unknown name {node.id}", None, "name")

    def module_at(self, node: Expression) -> tuple[nn.Module | Frame, list[str], Any] | None:
        """``stem.conv1.weight`` or ``h[0].attn.weight`` as the layer or part of ``stem`` and the names behind it."""
        names: list[str] = []
        while not isinstance(node, Name):
            if isinstance(node, ex.Attribute):
                names.insert(0, node.name)
                node = node.value
            elif (
                isinstance(node, ex.Subscript)
                and names
                and isinstance(node.index, ex.Constant)
                and type(node.index.value) is int
            ):
                names.insert(0, str(node.index.value))
                node = node.value
            else:
                return None
        for frame in self.frames:
            if node.id in frame.parts:
                return frame.parts[node.id], names, node
            if node.id in frame.scope.named:
                return frame.scope.named[node.id], names, node
            if node.id in frame.names:
                return None
        return None

    def inside(self, node: ex.Attribute) -> Any:
        """A value of a part, or a tensor or layer of a layer, by its path; MISSING where it is a tensor's attribute."""
        found = self.module_at(node)
        if found is None:
            return MISSING
        home, names, base = found
        while isinstance(home, Frame) and names:
            if names[0] in home.parts:
                home = home.parts[names.pop(0)]
                continue
            if names[0] in home.names and (len(names) == 1 or names[0] not in home.scope.named):
                value = home.names[names[0]]
                if value is POISON:
                    raise Poisoned
                if len(names) == 1:
                    return value
                return MISSING
            home = home.scope
        if isinstance(home, Frame):
            return self.frames[0].names.get(base.id, MISSING)
        if (
            names
            and names[0] in (*ATTRIBUTES, *METHODS)
            and names[0] not in (*home._parameters, *home._modules, *home._buffers)
        ):
            return MISSING
        return self.tensor_of(home, names)

    def tensor_of(self, module: nn.Module, names: list[str]) -> Any:
        """A tensor or layer by its path from a layer."""
        here: Any = module
        for i, name in enumerate(names):
            for held in (here._parameters, here._buffers, here._modules):
                if held.get(name) is not None:
                    here = held[name]
                    break
            else:
                known = [
                    n
                    for held in (here._parameters, here._buffers, here._modules)
                    for n, t in held.items()
                    if t is not None
                ]
                path = ".".join(filter(None, (self.blueprint.paths.get(module), *names[:i])))
                message = f"{path} has no tensor {name}"
                raise ArithmeticProblem(
                    message, suggestion(name, known, what=f"in {path}:") if known else "it has none", "name"
                )
            if isinstance(here, Tensor) and i < len(names) - 1:
                return MISSING
        if isinstance(here, Tensor):
            self.reads.append(".".join(filter(None, (self.blueprint.paths.get(module), *names))))
        return here

    def attribute(self, node: ex.Attribute) -> Any:
        """``value.name``"""
        value = self.inside(node)
        if value is not MISSING:
            if isinstance(value, nn.Module):
                raise ArithmeticProblem("this is a layer", "call it, or name one of its tensors", "type")
            return value
        dotted = ex.spelled(node)
        if (
            dotted
            and node.name[:1].isupper()
            and self.find(dotted.split(".")[0]) is MISSING
            and node.name not in ATTRIBUTES
        ):
            return self.imported(dotted, (), {})
        value = one(self.evaluate(node.value))
        if not isinstance(value, Tensor):
            raise ArithmeticProblem(f".{node.name} is of tensors, found {value!r}", None, "type")
        return attribute(ATTRIBUTES[node.name], value)

    def subscript(self, node: ex.Subscript, value: Any, index: Any) -> Any:
        """``value[index]``; several results are taken by their number."""
        if isinstance(value, Results) and type(index) is not int:
            text = self.text(node.value)
            message = f"{text} is the {len(value)} results of a layer, not one tensor"
            help = f"take them apart: `{pattern(value)} = {text}`, then `a{self.text(node)[len(text) :]}`"
            raise ArithmeticProblem(message, help, "type")
        if isinstance(value, tuple | list | str):
            try:
                return value[index]
            except (IndexError, TypeError) as error:
                raise ArithmeticProblem(f"{self.text(node)} has no value: {error}") from None
        if not isinstance(value, Tensor):
            raise ArithmeticProblem(f"{self.text(node.value)} is {value!r} and cannot be indexed", None, "type")
        return value[index]

    def text(self, node: Expression) -> str:
        """An expression as the file has it."""
        return " ".join(self.blueprint.spec.source[node.span].split())

    def origin(self, node: Expression) -> Origin | None:
        """Which line made the value of an argument."""
        if isinstance(node, Name):
            if node.id == "prev":
                return self.prev_origin
            return next((f.origins[node.id] for f in self.frames if node.id in f.origins), None)
        return None
