"""One run of a body's lines, on meta while building and tracing, on a device with real numbers.

:class:`Run` is the evaluator of expressions with tensors: it knows names, layers, functions and methods. What goes wrong in a line
becomes a Problem at its place; while building, the lines that do not depend on it still run, so that all problems are told at once.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fwdscope.layers import LAYERS, Layer, LayerError, settings
from fwdscope.layers.functions import CONSTANTS, DTYPES, FUNCTIONS
from fwdscope.layers.methods import ATTRIBUTES, METHODS
from fwdscope.layers.resolution import attribute, dtype_of, implementation, method
from fwdscope.layers.signature import Signature
from fwdscope.model import promises, shapes
from fwdscope.model.network import (
    POISON, Blueprint, Body, Maker, Origin, Part, Results, Scope, Step, one,
)  # fmt: skip
from fwdscope.model.templates import (
    TEMPLATES, BlockTemplate, ImportedTemplate, LayerTemplate, SeriesTemplate, Shared, Template, flat,
)  # fmt: skip
from fwdscope.spec import arithmetic, tree
from fwdscope.spec import expression as ex
from fwdscope.spec.arithmetic import ArithmeticProblem
from fwdscope.spec.calls import OWN_TENSORS, SERIES
from fwdscope.spec.evaluate import Evaluator, Located, assign
from fwdscope.spec.expression import Call, Expression, Name
from fwdscope.spec.names import suggestion
from fwdscope.spec.problems import Problem, Span, SpecError

MAX_ROUNDS = 1_000
_MISSING = object()


class Poisoned(Exception):
    """A line reads what failed before; it is left out in silence."""


class Frame:
    """Names of one scope: a body's, or a part's inside it."""

    def __init__(self, scope: Scope, names: dict[str, Any]) -> None:
        self.scope = scope
        self.names = names
        self.parts: dict[str, Frame] = {}
        self.origins: dict[str, Origin] = {}


class Run(Evaluator):
    """A run of one body."""

    PASSING: ClassVar[tuple[type[BaseException], ...]] = (Located, Poisoned, SpecError)

    def __init__(self, body: Scope) -> None:
        super().__init__()
        self.root = body
        self.blueprint: Blueprint = body.blueprint
        self.settings: dict[str, Any] = body.settings if isinstance(body, Body) else {}
        self.frames: list[Frame] = [Frame(body, {})]
        self.prev: Any = None
        self.prev_origin: Origin | None = None
        # The call whose layer the line's name names, and that name.
        self.naming: tuple[Span, str] | None = None
        self.reads: list[str] = []

    # -- bodies and lines -----------------------------------------------------------------------------------------------

    def body(self, inputs: Sequence[Any], keywords: dict[str, Any], entering: tuple[Origin | None, ...]) -> Any:
        """Run the lines on inputs; the last line's value is the result."""
        body = self.root
        assert isinstance(body, Body)
        names, frame = self.frames[0].names, self.frames[0]
        for i, parameter in enumerate(body.inputs):
            if i < len(inputs):
                names[parameter.name] = inputs[i]
                if i < len(entering) and (origin := entering[i]):
                    frame.origins[parameter.name] = origin
            elif parameter.name in keywords:
                names[parameter.name] = keywords[parameter.name]
            elif parameter.default is not None:
                names[parameter.name] = self.evaluate(parameter.default)
            else:
                raise ArithmeticProblem(f"{parameter.name} is missing", None, "type")
        if body.inputs and not self.blueprint.spec.graph:
            first = body.inputs[0].name
            self.prev, self.prev_origin = names[first], frame.origins.get(first)
        self.lines(body.lines)
        return self.prev

    def lines(self, lines: tuple[tree.Line, ...]) -> None:
        """Run lines in order."""
        for line in lines:
            match line:
                case tree.Statement():
                    self.statement(line)
                case tree.Part():
                    self.guarded(line, self.part)
                case tree.If():
                    self.guarded(line, self.branch)
                case tree.For():
                    self.guarded(line, self.for_loop)
                case tree.While():
                    self.guarded(line, self.while_loop)

    def guarded(self, line: Any, run: Any) -> None:
        """Run a line that nests others; what goes wrong in its head is told at its place."""
        try:
            run(line)
        except Poisoned:
            self.prev = POISON
        except Located as error:
            self.failed(error)
            self.prev = POISON

    def failed(self, error: Located) -> None:
        """Keep a problem while building; end the run with it otherwise."""
        problem = shapes.problem(self, error)
        if not self.blueprint.building:
            raise SpecError([problem]) from error
        self.blueprint.problems.append(problem)

    def statement(self, line: tree.Statement) -> None:
        """One line: its value, its names, its promise, the flow."""
        observer = self.blueprint.observer
        self.reads = []
        if observer:
            observer.line()
        try:
            value = self.own_tensor(line) if self.is_own_tensor(line) else self.line_value(line)
            promise = self.promise(line, value)
            self.give(line, value)
        except Poisoned:
            value, promise = self.fallback(line), None
            self.give_all(line, value)
        except Located as error:
            self.failed(error)
            value, promise = self.fallback(line), None
            self.give_all(line, value)
        if observer:
            label = _label(line.target)
            arguments = line.value.arguments if isinstance(line.value, Call) else ()
            texts = ", ".join(self.text(a) for a in arguments if not isinstance(a, Name))
            observer.line_end(self.path(label), label, line, value, texts, tuple(dict.fromkeys(self.reads)), promise)
        if line.span not in self.blueprint.checked.beside:
            self.prev = value
            self.prev_origin = Origin(_shown(line), line.span)

    def fallback(self, line: tree.Statement) -> Any:
        """What stands for the value of a line that failed: a tensor of the promised shape, where it says all sizes."""
        if line.promise is None or not self.blueprint.building:
            return POISON
        try:
            sizes = promises.sizes(line.promise.shape, self.evaluate)
        except (Located, Poisoned):
            return POISON
        return torch.empty(sizes, device="meta") if sizes is not None else POISON

    def give(self, line: tree.Statement, value: Any) -> None:
        """Bind a line's names."""
        if line.target is None:
            return
        try:
            assign(line.target, value, self.frame.names)
        except ArithmeticProblem as error:
            raise Located(line.value, error) from error
        for named in ex.targets(line.target):
            self.frame.origins[named.name] = Origin(_shown(line), line.span)

    def give_all(self, line: tree.Statement, value: Any) -> None:
        """Bind all names of a line that failed to what stands for its value."""
        for named in ex.targets(line.target):
            self.frame.names[named.name] = value if isinstance(line.target, ex.Named) else POISON
            self.frame.origins[named.name] = Origin(_shown(line), line.span)

    def line_value(self, line: tree.Statement) -> Any:
        """The value of a line; a layer runs on the line above."""
        node, label = line.value, _label(line.target)
        self.naming = (node.span, label) if label else None
        value = self.evaluate(node)
        if isinstance(value, TEMPLATES):
            if self.prev is POISON:
                raise Poisoned
            self.naming = (node.span, label) if label else None
            try:
                value = self.apply(node.span, value, (one(self.prev),), {}, (self.prev_origin,))
            except (Located, Poisoned, SpecError):
                raise
            except Exception as error:
                raise Located(node, error) from error
        self.naming = None
        if value is POISON:
            raise Poisoned
        return value

    def promise(self, line: tree.Statement, value: Any) -> Any:
        """Hold a promised shape against what came."""
        if line.promise is None or not self.blueprint.hold_promises:
            return None
        kept = promises.hold(line.promise, value, self.evaluate)
        if not kept.held and self.blueprint.building:
            message = f"promised {line.promise.text}, got {kept.got}"
            problem = Problem(self.blueprint.spec.source, line.promise.span, "promise", message)
            self.blueprint.broken.setdefault(line.span, problem)
        return kept

    # -- Parameters and Buffers -------------------------------------------------------------------------------------------

    def is_own_tensor(self, line: tree.Statement) -> bool:
        """Whether a line is ``name = Parameter(…)`` or ``name = Buffer(…)``."""
        call = line.value
        return (
            isinstance(call, Call)
            and isinstance(call.function, Name)
            and call.function.id in OWN_TENSORS
            and self.blueprint.spec.block(call.function.id) is None
        )

    def own_tensor(self, line: tree.Statement) -> Tensor:
        """A tensor of the body's own, made once."""
        assert isinstance(line.target, ex.Named) and isinstance(line.value, Call) and isinstance(line.value.function, Name)
        name, node, scope = line.target.name, line.value.arguments[0], self.scope
        tensor = scope._parameters.get(name)
        if tensor is None:
            tensor = scope._buffers.get(name)
        if tensor is None:
            made = self.evaluate(node)
            if not isinstance(made, Tensor):
                raise Located(node, ArithmeticProblem(f"{line.value.function.id} holds a tensor", "write `zeros(8)`", "type"))
            tensor = made.detach()
            if line.value.function.id == "Parameter":
                tensor = nn.Parameter(tensor, requires_grad=tensor.is_floating_point() or tensor.is_complex())
                scope._parameters[name] = tensor
            else:
                scope._buffers[name] = tensor
            scope.makers[name] = Maker(node, self.snapshot())
        if self.blueprint.observer:
            kind = line.value.function.id
            self.blueprint.observer.begin("parameter", self.path(name), kind, line.text, name, line.span, None, ())
            self.blueprint.observer.end(tensor)
        return tensor

    def snapshot(self) -> dict[str, Any]:
        """All names in scope now, near ones first."""
        names: dict[str, Any] = dict(self.settings)
        for frame in reversed(self.frames):
            names |= frame.names
        return names

    # -- parts, choices, loops --------------------------------------------------------------------------------------------

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
        return ".".join(filter(None, (prefix, name)))

    def local(self) -> dict[str, Any]:
        """Names of the nearest frame."""
        return self.frames[0].names

    def part(self, line: tree.Part) -> None:
        scope, blueprint = self.scope, self.blueprint
        part = scope._modules.get(line.name)
        if part is None:
            part = Part(blueprint, line.span)
            blueprint.register(scope, line.name, part, Shared(part, line.name), line.span)
            scope.named[line.name] = part
        assert isinstance(part, Part)
        if line.inputs:
            self.prev = self.evaluate(line.inputs[0])
            self.prev_origin = self.origin(line.inputs[0])
        if self.prev is POISON:
            raise Poisoned
        observer = blueprint.observer
        if observer:
            observer.begin("part", blueprint.paths[part], line.name, "", line.name, line.span, part, self.prev)
        frame = Frame(part, {})
        self.frames.insert(0, frame)
        try:
            self.lines(line.body)
        finally:
            self.frames.pop(0)
        if observer:
            observer.end(self.prev)
        self.frame.names[line.name] = self.prev
        self.frame.parts[line.name] = frame
        self.frame.origins[line.name] = Origin(f"{line.name}:", line.span)

    def branch(self, line: tree.If) -> None:
        self.lines(line.then if self.test(self.evaluate(line.test)) else line.orelse)

    def test(self, value: Any) -> bool:
        """A value as a choice. A tensor without data is none."""
        if value is POISON:
            raise Poisoned
        if isinstance(value, Tensor) and value.is_meta:
            help = "write `where(condition, a, b)`; what is chosen while building depends on vars, settings and shapes"
            raise ArithmeticProblem("this depends on data", help, "type")
        return bool(value)

    def for_loop(self, line: tree.For) -> None:
        turns = arithmetic.items(self.evaluate(line.iterable))
        if len(turns) > arithmetic.MAX_TURNS:
            error = ArithmeticProblem(f"{len(turns):,} rounds", f"at most {arithmetic.MAX_TURNS:,}", "limit")
            raise Located(line.iterable, error)
        observer = self.blueprint.observer
        if observer:
            observer.begin("loop", self.path(""), "for", line.text, "", line.span, None, self.prev)
        for turn in turns:
            assign(line.target, turn, self.frame.names)
            if observer:
                observer.turn()
            self.lines(line.body)
            if self.prev is POISON:
                break
        if observer:
            observer.end(self.prev)

    def while_loop(self, line: tree.While) -> None:
        limit = MAX_ROUNDS if line.limit is None else self.evaluate(line.limit)
        observer = self.blueprint.observer
        if observer:
            observer.begin("loop", self.path(""), "while", line.text, "", line.span, None, self.prev)
        if self.blueprint.device.type == "meta":
            self.one_round(line)
        else:
            rounds = 0
            while bool(self.evaluate(line.test)):
                rounds += 1
                if rounds > limit:
                    help = "the condition never came false; let the lines change what it reads, or raise `limit:`"
                    raise Located(line.test, ArithmeticProblem(f"the loop ran {limit:,} rounds, its limit", help, "limit"))
                if observer:
                    observer.turn()
                self.lines(line.body)
        if observer:
            observer.end(self.prev)

    def one_round(self, line: tree.While) -> None:
        """One round of a loop that the data decide; it has to leave the shapes as they were."""
        observer = self.blueprint.observer
        test = self.evaluate(line.test)
        note = "the data decide how often this runs; shown is one round"
        if not isinstance(test, Tensor):
            note = "how often this runs is decided while it runs; shown is one round"
        elif test.numel() != 1:
            message = f"the condition has {test.numel():,} values, of shape {tuple(test.shape)}"
            raise Located(line.test, ArithmeticProblem(message, "write `.any()` or `.all()` behind it", "type"))
        self.blueprint.data_dependent.setdefault(line.span, note)
        before = {**self.frame.names, "prev": self.prev}
        if observer:
            observer.turn()
            observer.note(note)
        self.lines(line.body)
        for name, value in {**self.frame.names, "prev": self.prev}.items():
            old = before.get(name)
            if isinstance(old, Tensor) and isinstance(value, Tensor) and old.shape != value.shape:
                message = f"a round changes the shape of {name} from {tuple(old.shape)} to {tuple(value.shape)}"
                help = "the number of rounds is not known while building, so each has to keep the shapes"
                raise Located(line.test, ArithmeticProblem(message, help, "shape"))

    # -- names ------------------------------------------------------------------------------------------------------------

    def find(self, name: str) -> Any:
        """The nearest value of a name, or _MISSING."""
        for frame in self.frames:
            if name in frame.names:
                return frame.names[name]
        if name in self.settings:
            return self.settings[name]
        return self.blueprint.checked.variables.get(name, _MISSING)

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
        if value is not _MISSING:
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
            elif isinstance(node, ex.Subscript) and names and isinstance(node.index, ex.Constant) and type(node.index.value) is int:
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
        """A value of a part, or a tensor or layer of a layer, by its path; _MISSING where it is an attribute of a tensor."""
        found = self.module_at(node)
        if found is None:
            return _MISSING
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
                return _MISSING
            home = home.scope
        if isinstance(home, Frame):
            return self.frames[0].names.get(base.id, _MISSING)
        if names and names[0] in (*ATTRIBUTES, *METHODS) and names[0] not in (*home._parameters, *home._modules, *home._buffers):
            return _MISSING
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
                known = [n for held in (here._parameters, here._buffers, here._modules) for n, t in held.items() if t is not None]
                path = ".".join(filter(None, (self.blueprint.paths.get(module), *names[:i])))
                message = f"{path} has no tensor {name}"
                raise ArithmeticProblem(message, suggestion(name, known, what=f"in {path}:") if known else "it has none", "name")
            if isinstance(here, Tensor) and i < len(names) - 1:
                return _MISSING
        if isinstance(here, Tensor):
            self.reads.append(".".join(filter(None, (self.blueprint.paths.get(module), *names))))
        return here

    def attribute(self, node: ex.Attribute) -> Any:
        """``value.name``"""
        value = self.inside(node)
        if value is not _MISSING:
            if isinstance(value, nn.Module):
                raise ArithmeticProblem("this is a layer", "call it, or name one of its tensors", "type")
            return value
        dotted = ex.spelled(node)
        if dotted and node.name[:1].isupper() and self.find(dotted.split(".")[0]) is _MISSING and node.name not in ATTRIBUTES:
            return self.imported(dotted, (), {})
        value = one(self.evaluate(node.value))
        if not isinstance(value, Tensor):
            raise ArithmeticProblem(f".{node.name} is of tensors, found {value!r}", None, "type")
        return attribute(ATTRIBUTES[node.name], value)

    def subscript(self, node: ex.Subscript) -> Any:
        """``value[index]``; several results are taken by their number."""
        value, index = self.evaluate(node.value), self.evaluate(node.index)
        if isinstance(value, Results) and type(index) is not int:
            names = ", ".join(f"r{i + 1}" for i in range(len(value)))
            text = self.text(node.value)
            message = f"{text} is the {len(value)} results of a layer, not one tensor"
            raise ArithmeticProblem(message, f"take them apart: `{names} = {text}`, then index the one that is meant", "type")
        if isinstance(value, tuple | list | str):
            try:
                return value[index]
            except (IndexError, TypeError) as error:
                raise ArithmeticProblem(f"{self.text(node)} has no value: {error}") from None
        if not isinstance(value, Tensor):
            raise ArithmeticProblem(f"{self.text(node.value)} is {value!r} and cannot be indexed", None, "type")
        return value[index]

    def root_inputs(self) -> list[Tensor]:
        """The tensors that came into this body."""
        inputs = self.root.inputs if isinstance(self.root, Body) else ()
        found = (self.frames[-1].names.get(p.name) for p in inputs)
        return [value for value in found if isinstance(value, Tensor)]

    def text(self, node: Expression) -> str:
        """An expression as the file has it."""
        return " ".join(self.blueprint.spec.source[node.span].split())

    # -- operators: where one tensor is wanted, the first of several is meant ---------------------------------------------

    def binary(self, node: ex.Binary) -> Any:
        """``left operator right``; a number times a layer is a stack."""
        left, right = one(self.evaluate(node.left)), one(self.evaluate(node.right))
        if isinstance(right, TEMPLATES) and node.operator == "*":
            return self.stack(node, left, right)
        for value in (left, right):
            if isinstance(value, TEMPLATES):
                raise ArithmeticProblem(f"{value.name} is not called on anything here", "call it on a value", "type")
        shapes.check_operands(node.operator, left, right)
        return arithmetic.binary(node.operator, left, right)

    def compare(self, node: ex.Compare) -> Any:
        """Comparisons, each value computed once."""
        if any(sign in ("in", "not in") for sign in node.operators) or len(node.operators) > 1:
            return super().compare(node)
        left, right = one(self.evaluate(node.left)), one(self.evaluate(node.rights[0]))
        return arithmetic.compare(node.operators[0], left, right)

    def stack(self, node: ex.Binary, times: Any, layer: Template) -> SeriesTemplate:
        """So many copies in series."""
        if not isinstance(times, int) or times < 0:
            raise ArithmeticProblem(f"a stack wants a whole number of copies, found {times!r}", None, "type")
        items = tuple(flat(layer))
        if times > arithmetic.MAX_TURNS or times * len(items) > arithmetic.MAX_ITEMS:
            raise ArithmeticProblem(f"a stack of {times:,} copies", f"at most {arithmetic.MAX_TURNS:,}", "limit")
        return SeriesTemplate(items * times, self.blueprint)

    # -- calls ------------------------------------------------------------------------------------------------------------

    def call(self, node: Call) -> Any:
        """A layer with settings, a layer called, a function, a method."""
        function = node.function
        if isinstance(function, Name):
            return self.call_name(node, function.id)
        if isinstance(function, ex.Attribute):
            return self.call_attribute(node, function)
        callee = self.evaluate(function)
        if not isinstance(callee, TEMPLATES):
            raise ArithmeticProblem(f"{self.text(function)} cannot be called", None, "type")
        return self.call_template(node, callee)

    def call_name(self, node: Call, name: str) -> Any:
        layer = self.find_layer(name)
        if layer is not None:
            return self.call_again(node, layer)
        value = self.find(name)
        if isinstance(value, TEMPLATES):
            return self.call_template(node, value)
        if value is POISON:
            raise Poisoned
        if value is not _MISSING:
            raise ArithmeticProblem(f"{name} is a value and cannot be called", None, "type")
        if name == SERIES:
            items = [item for value in self.setting_items(node.arguments) for item in flat(self.as_template(node, value))]
            return SeriesTemplate(tuple(items), self.blueprint)
        if self.blueprint.spec.block(name) or name in LAYERS:
            return self.template(node, name, node.arguments, node.keywords)
        function = FUNCTIONS[name]
        arguments, keywords = self.given(node)
        if function.makes:
            keywords["device"] = self.blueprint.device
        shapes.check_call(name, arguments, keywords)
        return self.logged(node, implementation(function)(*arguments, **keywords), arguments)

    def as_template(self, node: Call, value: Any) -> Template:
        if isinstance(value, TEMPLATES):
            return value
        raise ArithmeticProblem(f"Sequential holds layers, found {value!r}", None, "type")

    def call_attribute(self, node: Call, function: ex.Attribute) -> Any:
        inner = self.inside(function) if function.name not in METHODS or self.module_at(function) else _MISSING
        if isinstance(inner, nn.Module):
            return self.call_again(node, inner)
        found = self.module_at(function)
        if found is not None and isinstance(found[0], Frame) and (layer := self.layer_in(found[0], found[1])) is not None:
            return self.call_again(node, layer)
        dotted = ex.spelled(function)
        if dotted and function.name[:1].isupper() and self.find(dotted.split(".")[0]) is _MISSING:
            arguments, keywords = self.given(node)
            return self.imported(dotted, tuple(arguments), keywords)
        value = one(self.evaluate(function.value))
        arguments, keywords = self.given(node)
        if not isinstance(value, Tensor):
            raise ArithmeticProblem(f".{function.name} is a method of tensors, found {value!r}", None, "type")
        shapes.check_call(function.name, [value, *arguments], keywords)
        return self.logged(node, method(METHODS[function.name])(value, *arguments, **keywords), [value])

    def layer_in(self, frame: Frame, names: list[str]) -> nn.Module | None:
        """A layer of a part by its names."""
        module: nn.Module | None = frame.scope
        for name in names:
            module = module._modules.get(name) if module is not None else None
        return module

    def given(self, node: Call) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a call, of several results the first."""
        arguments = [_one_deep(value) for value in self.items(node.arguments)]
        keywords = {k.name: _one_deep(self.evaluate(k.value)) for k in node.keywords}
        return arguments, keywords

    def logged(self, node: Call, value: Any, arguments: Sequence[Any]) -> Any:
        """Keep what a function did to a shape, for messages about shapes further down."""
        if self.blueprint.building:
            log_step(self.blueprint, self.text(node), node.span, arguments, value)
        return value

    # -- layers -----------------------------------------------------------------------------------------------------------

    def setting_items(self, nodes: tuple[Expression, ...]) -> list[Any]:
        """Values of settings: the name of a layer is the layer itself, shared."""
        values: list[Any] = []
        for node in nodes:
            if isinstance(node, ex.Starred):
                values.extend(arithmetic.items(self.evaluate(node.value)))
            elif isinstance(node, ex.Comprehension) and node.kind == "generator":
                values.extend(self.evaluate(node))
            else:
                values.append(self.setting(node))
        return values

    def setting(self, node: Expression) -> Any:
        """The value of one setting."""
        layer = self.find_layer(node.id) if isinstance(node, Name) else None
        if layer is not None:
            assert isinstance(node, Name)
            return Shared(layer, node.id)
        return self.evaluate(node)

    def template(self, node: Expression, name: str, arguments: tuple[Expression, ...], keywords: tuple[ex.Keyword, ...]) -> Template:
        """A layer type or a block with its settings."""
        values = self.setting_items(arguments)
        named = {k.name: self.setting(k.value) for k in keywords}
        if block := self.blueprint.spec.block(name):
            return self.block_template(block, values, named)
        layer = LAYERS[name]
        positional = [s.name for s in settings(layer) if s.positional]
        if len(values) > len(positional):
            raise ArithmeticProblem(f"{name} takes {len(positional)} settings by position, found {len(values)}", None, "type")
        given = {**self.defaults(name), **dict(zip(positional, values, strict=False)), **named}
        return LayerTemplate(layer(**self.checked_settings(layer, given)))

    def checked_settings(self, layer: type[Layer], given: dict[str, Any]) -> dict[str, Any]:
        """Settings held against their types, once their values are known."""
        known = {s.name: s for s in settings(layer)}
        result = {}
        for name, value in given.items():
            value = value.layer if isinstance(value, LayerTemplate) else _frozen(value)
            if name not in known:
                raise ArithmeticProblem(f"{layer.__name__} has no setting {name}", None, "name")
            if expected := known[name].mismatch(value):
                shown = value.name if isinstance(value, TEMPLATES) else repr(value)
                raise ArithmeticProblem(f"{layer.__name__}: {name} is {shown}", f"expected {expected}", "type")
            result[name] = value
        missing = [s.name for s in known.values() if s.required and s.name not in result]
        if missing:
            raise ArithmeticProblem(f"{layer.__name__} wants {' and '.join(missing)}", None, "type")
        return result

    def defaults(self, name: str) -> dict[str, Any]:
        """The settings that the section ``defaults`` lays under a layer type; they see vars alone."""
        values: dict[str, Any] = {}
        for call in self.blueprint.spec.defaults:
            if isinstance(call.function, Name) and call.function.id == name:
                plain = Run(Scope(self.blueprint, Span(0, 0)))
                values |= {k.name: plain.evaluate(k.value) for k in call.keywords}
        return values

    def block_template(self, block: tree.Block, values: list[Any], named: dict[str, Any]) -> BlockTemplate:
        """A block with its settings; a default may use the settings before it."""
        if len(values) > len(block.settings):
            message = f"{block.name} takes {len(block.settings)} settings, found {len(values)}"
            raise ArithmeticProblem(message, None, "type")
        given = {**dict(zip((p.name for p in block.settings), values, strict=False)), **named}
        inner = Run(Scope(self.blueprint, Span(0, 0)))
        for parameter in block.settings:
            if parameter.name in given:
                inner.settings[parameter.name] = given[parameter.name]
            elif parameter.default is not None:
                inner.settings[parameter.name] = inner.evaluate(parameter.default)
            else:
                raise ArithmeticProblem(f"{block.name} wants {parameter.name}", None, "type")
        return BlockTemplate(block, tuple((n, _frozen(v)) for n, v in inner.settings.items()), self.blueprint)

    def imported(self, dotted: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> ImportedTemplate:
        """A class of the user's own."""
        module, _, name = dotted.rpartition(".")
        if not self.blueprint.checked.allow_import:
            raise ArithmeticProblem(f"{dotted} is not imported", "run with --allow-import", "name")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ArithmeticProblem(f"{dotted} cannot be imported: {error}", None, "name") from error
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise ArithmeticProblem(f"{dotted} is not a class of nn.Module", None, "type")
        return ImportedTemplate(found, arguments, tuple(keywords.items()))

    def inputs(self, node: Call) -> tuple[tuple[Any, ...], dict[str, Any], tuple[Origin | None, ...]]:
        """What a layer is called on. A state (``hx``) may be the several results of a cell."""
        arguments = [value if i and len(node.arguments) == 2 else one(value) for i, value in enumerate(self.items(node.arguments))]
        keywords = {k.name: value if k.name == "hx" else one(value) for k in node.keywords for value in [self.evaluate(k.value)]}
        if any(value is POISON for value in (*arguments, *keywords.values())):
            raise Poisoned
        return tuple(arguments), keywords, tuple(self.origin(a) for a in node.arguments)

    def call_template(self, node: Call, template: Template) -> Any:
        """A layer made here, called on values."""
        naming, self.naming = self.naming, None
        arguments, keywords, origins = self.inputs(node)
        self.naming = naming
        return self.apply(node.span, template, arguments, keywords, origins)

    def call_again(self, node: Call, layer: nn.Module) -> Any:
        """A layer by its name, once more."""
        if isinstance(layer, Part):
            raise ArithmeticProblem("a part runs where it stands and cannot be called again", "make it a block", "type")
        arguments, keywords, origins = self.inputs(node)
        self.blueprint.entering = origins
        template = self.blueprint.templates[layer]
        return call_layer(self.scope, node.span, template, layer, "", arguments, keywords)

    def apply(self, span: Span, template: Template, arguments: tuple[Any, ...], keywords: dict[str, Any], origins: tuple[Origin | None, ...]) -> Any:
        """The layer of a place in the text, made on the first run, called on values."""
        scope, key = self.scope, (span, self.turns)
        label = self.naming[1] if self.naming is not None and self.naming[0] == span else ""
        self.naming = None
        if isinstance(template, SeriesTemplate) and not template.items:
            return arguments[0]
        module, made = scope.sites.get(key, (None, template))
        if module is not None and made != template and self.blueprint.building:
            message = f"{template.name} changes between the rounds: {made.brief} became {template.brief}"
            help = "in a loop a line is one layer; for a layer of its own each round, use a stack or `Sequential(… for …)`"
            raise ArithmeticProblem(message, help, "shape")
        self.blueprint.entering = origins
        name = label or scope.free_name(template.name.lower())
        value = call_layer(scope, span, template, module, name, arguments, keywords)
        if module is None:
            module = template.module if isinstance(template, Shared) else scope._modules[name]
            scope.sites[key] = (module, template)
            if label and not label.isdigit():
                scope.named[label] = module
        return value

    def origin(self, node: Expression) -> Origin | None:
        """Which line made the value of an argument."""
        if isinstance(node, Name):
            if node.id == "prev":
                return self.prev_origin
            return next((f.origins[node.id] for f in self.frames if node.id in f.origins), None)
        return None


def call_layer(
    scope: Scope, span: Span, template: Template, module: nn.Module | None, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    """Call a layer, made and registered in ``scope`` where it is not there yet. Several results come back as Results."""
    blueprint = scope.blueprint
    layer = template.layer if isinstance(template, LayerTemplate) else None
    if blueprint.building and layer is not None:
        inputs = _in_order(layer, arguments, keywords)
        layer.check(*inputs)
        _check_sizes(blueprint, layer, module, inputs)
    if module is None:
        with torch.device("meta"), shapes.without_initialisation():
            module = template.build(*(_in_order(layer, arguments, keywords) if layer else arguments))
        if not isinstance(template, Shared):
            blueprint.register(scope, name, module, template, span)
            module.train(scope.training)
            if layer is not None:
                blueprint.sizes[module] = layer.sizes(*_in_order(layer, arguments, keywords))
    observer = blueprint.observer
    if observer:
        kind = "stack" if isinstance(template, SeriesTemplate) else "block" if isinstance(template, BlockTemplate) else "layer"
        path = blueprint.paths.get(module, name)
        observer.begin(kind, path, template.name, template.brief, path.rpartition(".")[2], span, module, (arguments, keywords))
    with blueprint.deeper(span):
        value = _called(blueprint, layer, module, arguments, keywords)
    if value is POISON:
        raise Poisoned
    if observer:
        observer.end(value)
    if blueprint.building:
        log_step(blueprint, template.brief, span, arguments, value)
    return Results(value) if isinstance(value, tuple) and not isinstance(template, BlockTemplate | SeriesTemplate) else value


def _called(
    blueprint: Blueprint, layer: Layer | None, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    """Run a module. One that its data decide cannot run on meta, and says why."""
    try:
        return module(*arguments, **keywords)
    except (RuntimeError, NotImplementedError) as error:
        if layer is None or layer.decides is None or blueprint.device.type != "meta":
            raise
        message = f"{type(layer).__name__} cannot run without data, which decide {layer.decides}"
        raise ArithmeticProblem(message, "leave it out of what is inspected on meta", "shape") from error


def _check_sizes(blueprint: Blueprint, layer: Layer, module: nn.Module | None, inputs: list[Any]) -> None:
    """A layer called again has the sizes of its first call."""
    sizes = layer.sizes(*inputs)
    if module is None:
        return
    for name, size in blueprint.sizes.setdefault(module, sizes).items():
        if size != sizes.get(name):
            message = f"{type(layer).__name__} was built with {name}={size}, and this input has {sizes.get(name)}"
            help = "one layer has one size; write another layer, or bring the input to that size"
            raise LayerError(message, help)


def _in_order(layer: Layer, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> list[Any]:
    """The inputs of a call in the order of the layer's signature, as far as they are given."""
    values = list(arguments)
    if keywords:
        parameters = Signature.parse(layer.forward).parameters
        last = max((i for i, p in enumerate(parameters) if p.name in keywords), default=-1)
        for parameter in parameters[len(values) : last + 1]:
            default = {"True": True, "False": False}.get(parameter.default or "")
            values.append(keywords.get(parameter.name, default))
    return values


def log_step(blueprint: Blueprint, text: str, span: Span, arguments: Sequence[Any], value: Any) -> None:
    """Keep what a call did to a shape."""
    before = next((a for a in arguments if isinstance(a, Tensor)), None)
    after = one(value)
    if before is not None and isinstance(after, Tensor) and len(blueprint.steps) < 100_000:
        blueprint.steps.append(Step(text, span, tuple(before.shape), tuple(after.shape)))


def _one_deep(value: Any) -> Any:
    value = one(value)
    if value is POISON:
        raise Poisoned
    if type(value) in (list, tuple):
        return type(value)(_one_deep(item) for item in value)
    return value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


def _label(target: ex.Target | None) -> str:
    """The name that a line gives a layer."""
    if isinstance(target, ex.Named):
        return target.name
    return str(target.number) if isinstance(target, ex.Indexed) else ""


def _shown(line: tree.Statement) -> str:
    label = _label(line.target)
    text = f"{label} = {line.text}" if label else line.text
    return text if len(text) <= 60 else text[:59] + "…"
