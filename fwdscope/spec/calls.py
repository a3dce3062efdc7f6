"""Expressions, checked from the text: what each name is, which settings and keywords a call takes, what has to be called.

:class:`Expressions` walks an expression and says what its value is as far as the text tells (:class:`~fwdscope.spec.scope.Value`),
marks what it reads, and collects problems; it goes on after each, so that one line may have several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fwdscope.layers import LAYERS, Layer, LayerError, settings
from fwdscope.layers.functions import CONSTANTS, DTYPES, FUNCTIONS
from fwdscope.layers.methods import ATTRIBUTES, METHODS
from fwdscope.layers.refusals import EXCLUDED
from fwdscope.layers.signature import Signature, closest
from fwdscope.layers.vocabulary import Function
from fwdscope.spec import arithmetic
from fwdscope.spec import expression as ex
from fwdscope.spec.arithmetic import ArithmeticProblem
from fwdscope.spec.evaluate import number_function
from fwdscope.spec.expression import Call, Expression, Name
from fwdscope.spec.names import OTHER_FUNCTIONS, OTHER_LAYERS, OTHER_SETTINGS, listed, nearest, suggestion
from fwdscope.spec.problems import Cause, Problem, Span
from fwdscope.spec.scope import (
    NOTHING, PLAIN, UNKNOWN, Binding, State, Template, Value, block_signature, merged, settings_signature, tensor,
)  # fmt: skip
from fwdscope.spec.tree import ModelSpec

# Makers of a block's own tensors; not layers, not functions: a line of their own with a name.
OWN_TENSORS = ("Parameter", "Buffer")
SERIES = "Sequential"
_PREFIXES = ("nn", "F", "torch", "self", "np", "functional")
_BOOLEANS = {
    "yes": "True",
    "no": "False",
    "on": "True",
    "off": "False",
    "TRUE": "True",
    "FALSE": "False",
    "NULL": "None",
}
_SHAPE_METHODS = ("size", "dim", "numel", "ndimension", "nelement")
_SHAPE_ATTRIBUTES = ("shape", "ndim", "dtype")


class Expressions:
    """Checks expressions of one file. ``state`` is the point of the body it stands at."""

    def __init__(self, spec: ModelSpec, allow_import: bool = False) -> None:
        self.spec = spec
        self.allow_import = allow_import
        self.problems: list[Problem] = []
        self.blocks = {block.name: block for block in spec.blocks}
        self.state = State([{}])
        # Lines further down, for the message of a use before the line; the line now being read.
        self.later: dict[str, Span] = {}
        self.in_graph = False
        self.shape_only = 0
        # How deep inside a choice (`if`, `a if c else b`) the walk is, and which blocks are mentioned outside any.
        self.choices = 0
        self.always_used: set[str] = set()
        self.default_paths: dict[str, Span] = {}

    def problem(
        self, span: Span, message: str, help: str | None = None, code: str = "name", causes: tuple[Cause, ...] = ()
    ) -> Value:
        """Collect a problem; the value of what has one is not known."""
        self.problems.append(Problem(self.spec.source, span, code, message, help, causes))
        return NOTHING

    def text(self, node: Expression) -> str:
        """An expression as the file has it, on one line."""
        return " ".join(self.spec.source[node.span].split())

    # -- walking ------------------------------------------------------------------------------------------------------

    def visit(self, node: Expression) -> Value:
        """What an expression is; a template may be the answer."""
        match node:
            case ex.Constant(value=value):
                return Value("plain", constant=value)
            case Name():
                return self.name(node)
            case ex.Attribute():
                return self.attribute(node)
            case ex.Subscript():
                return self.subscript(node)
            case Call():
                return self.call(node)
            case ex.Unary(operator=sign, operand=operand):
                return self.computed([self.operand(operand)], lambda a: arithmetic.unary(sign, a), node)
            case ex.Binary():
                return self.binary(node)
            case ex.Compare():
                return self.compare(node)
            case ex.Boolean(values=values):
                return self.boolean(node, [self.operand(v) for v in values])
            case ex.Conditional():
                return self.conditional(node)
            case ex.Sequence():
                return self.sequence(node)
            case ex.Starred(value=value):
                return self.operand(value)
            case ex.Comprehension():
                return self.comprehension(node)
            case ex.Slice():
                for part in ex.children(node):
                    self.operand(part)
        return PLAIN

    def operand(self, node: Expression) -> Value:
        """What an expression is where a value is wanted: a layer not yet called is a problem."""
        value = self.visit(node)
        if value.kind != "template":
            return value
        shown = self.text(node)
        call = shown if shown.endswith(")") else f"{shown}()"
        name = value.template.name if value.template else "this"
        return self.problem(node.span, f"{name} is not called on anything here", f"call it: `{call}(x)`", "type")

    def computed(self, values: list[Value], function: Any, node: Expression) -> Value:
        """The result of an operation on values: its value where the text tells all of them."""
        if any(v.kind == "tensor" for v in values):
            return tensor(any(v.reached for v in values))
        if any(v.kind == "unknown" for v in values):
            return NOTHING
        if not all(v.known for v in values):
            return PLAIN
        try:
            return Value("plain", constant=function(*(v.constant for v in values)))
        except ArithmeticProblem as error:
            return self.problem(node.span, error.message, error.help, error.code)

    def binary(self, node: ex.Binary) -> Value:
        if node.operator != "*":
            left, right = self.operand(node.left), self.operand(node.right)
            return self.computed([left, right], lambda a, b: arithmetic.binary(node.operator, a, b), node)
        left, right = self.visit(node.left), self.visit(node.right)
        if left.kind == "template":
            shown = f"{self.text(node.right)} * {self.text(node.left)}"
            return self.problem(node.span, "the number of a stack stands on its left", f"write `{shown}`", "type")
        if right.kind == "template":
            return self.stack(node, left, right)
        if (
            left.kind == "plain"
            and self.is_fresh_result(node.right)
            and (type(left.constant) is int or isinstance(node.left, Name))
        ):
            if left.known and type(left.constant) is not int:
                return right
            call = node.right
            assert isinstance(call, Call)
            times, layer = self.text(node.left), self.text(call.function)
            inputs = self.text(call)[len(layer) :]
            message = "a whole number stands before the result of one layer"
            help = f"a stack of {times}: `({times} * {layer}){inputs}`; one layer's result, scaled: `{self.text(call)} * {times}`"
            return self.problem(node.span, message, help, "type")
        return self.computed([left, right], lambda a, b: arithmetic.binary("*", a, b), node)

    def is_fresh_result(self, node: Expression) -> bool:
        """Whether an expression is ``Layer(settings)(inputs)``, a layer made and called."""
        if not (isinstance(node, Call) and isinstance(node.function, Call)):
            return False
        name = ex.spelled(node.function.function)
        return name is not None and name.rpartition(".")[2][:1].isupper()

    def stack(self, node: ex.Binary, times: Value, layer: Value) -> Value:
        if times.kind == "tensor" or (times.known and (not isinstance(times.constant, int) or times.constant < 0)):
            found = "a tensor" if times.kind == "tensor" else repr(times.constant)
            return self.problem(node.left.span, f"a stack wants a whole number of copies, found {found}", None, "type")
        if times.known and times.constant > arithmetic.MAX_TURNS:
            most = f"{arithmetic.MAX_TURNS:,}"
            return self.problem(node.left.span, f"a stack of {times.constant:,} copies", f"at most {most}", "limit")
        template = layer.template
        signature = template.signature if template else None
        return Value(
            "template", template=Template(template.name if template else "stack", signature=signature, series=True)
        )

    def compare(self, node: ex.Compare) -> Value:
        signs = node.operators
        values = [self.operand(node.left), *(self.operand(right) for right in node.rights)]
        if any(sign in ("is", "is not", "in", "not in") for sign in signs):
            return PLAIN if not all(v.known for v in values) else self._folded_comparison(node, values)
        if any(v.kind == "tensor" for v in values):
            if len(signs) > 1:
                return self.problem(node.span, "a chain of comparisons of tensors", "write `(a < x) & (x < b)`", "type")
            return tensor(any(v.reached for v in values))
        return self._folded_comparison(node, values) if all(v.known for v in values) else PLAIN

    def _folded_comparison(self, node: ex.Compare, values: list[Value]) -> Value:
        def fold(*constants: Any) -> bool:
            pairs = zip(node.operators, constants, constants[1:], strict=False)
            return all(arithmetic.compare(sign, a, b) for sign, a, b in pairs)

        return self.computed(values, fold, node)

    def boolean(self, node: ex.Boolean, values: list[Value]) -> Value:
        if any(v.kind == "tensor" for v in values):
            sign = {"and": "&", "or": "|"}[node.operator]
            return self.problem(
                node.span, f"`{node.operator}` of tensors depends on their data", f"write {sign} for masks", "type"
            )
        if not all(v.known for v in values):
            return PLAIN
        result = values[0].constant
        for value in values[1:]:
            result = (result and value.constant) if node.operator == "and" else (result or value.constant)
        return Value("plain", constant=result)

    def conditional(self, node: ex.Conditional) -> Value:
        test = self.operand(node.test)
        self.refuse_data(test, node.test, "`a if c else b`")
        self.choices += 1
        body, orelse = self.visit(node.body), self.visit(node.orelse)
        self.choices -= 1
        if test.known:
            return body if test.constant else orelse
        return merged(body, orelse)

    def refuse_data(self, test: Value, node: Expression, what: str) -> None:
        """A choice made while building cannot depend on data."""
        if test.kind == "tensor":
            help = "write `where(condition, a, b)`; what is chosen while building depends on vars, settings and shapes"
            self.problem(node.span, f"{what} would depend on data", help, "type")

    def sequence(self, node: ex.Sequence) -> Value:
        values = [self.visit(item) for item in node.items]
        if any(v.kind == "tensor" for v in values):
            return tensor(any(v.reached for v in values))
        if all(v.kind == "plain" and v.known for v in values) and not any(
            isinstance(i, ex.Starred) for i in node.items
        ):
            constants = [v.constant for v in values]
            return Value("plain", constant=tuple(constants) if node.kind == "tuple" else constants)
        return NOTHING if any(v.kind == "unknown" for v in values) else PLAIN

    def comprehension(self, node: ex.Comprehension) -> Value:
        outer = self.state
        self.state = outer.copy()
        self.state.frames.insert(0, {})
        known: list[Any] | None = []
        for clause in node.clauses:
            iterable = self.operand(clause.iterable)
            if iterable.kind == "tensor" and not isinstance(
                clause.iterable, ex.Sequence | ex.Comprehension | Call | Name | ex.Subscript
            ):
                self.problem(clause.iterable.span, "a tensor cannot be gone through", "write `unbind(x)`", "type")
            known = None
            self.bind_turns(clause.target, iterable)
            for condition in clause.conditions:
                self.refuse_data(self.operand(condition), condition, "the condition of a comprehension")
        element = self.visit(node.element)
        self.state = outer
        if element.kind == "plain":
            return PLAIN if known is None else element
        return Value(element.kind, element.reached, template=element.template)

    def bind_turns(self, target: ex.Target, iterable: Value) -> None:
        """Names that go through the items of something."""
        for named in ex.targets(target):
            value = PLAIN if iterable.kind == "plain" else Value(iterable.kind, iterable.reached)
            self.state.frames[0][named.name] = Binding("turn", named.span, value)

    # -- names --------------------------------------------------------------------------------------------------------

    def name(self, node: Name) -> Value:
        if node.id == "prev":
            return self.previous(node.span)
        binding = self.state.find(node.id)
        if binding is not None:
            self.read(binding.definitions)
            return binding.value
        if node.id in self.blocks or node.id in LAYERS:
            return self.template(node.id, node, (), (), False)
        if node.id in CONSTANTS:
            return Value("plain", constant=CONSTANTS[node.id])
        if node.id in DTYPES:
            return PLAIN
        if node.id in FUNCTIONS:
            signature = FUNCTIONS[node.id].signatures[0]
            return self.problem(node.span, f"{node.id} is a function", f"call it: `{node.id}{signature}`", "type")
        if node.id in (*OWN_TENSORS, SERIES):
            form = "Sequential(Linear(8), ReLU)" if node.id == SERIES else f"name = {node.id}(zeros(8))"
            return self.problem(node.span, f"{node.id} wants something in parentheses", f"write `{form}`", "type")
        return self.unknown(node.id, node.span)

    def previous(self, span: Span) -> Value:
        if self.in_graph:
            return self.problem(
                span, "a graph has no line above, so no prev", "use the name of the line that is meant", "flow"
            )
        if self.state.prev is None:
            return self.problem(span, "there is no line above", "begin with a line that reads an input by name", "flow")
        self.read(self.state.flow)
        return self.state.prev

    def read(self, definitions: Iterable[Any]) -> None:
        """Mark definitions as read, or as read for their shape alone."""
        for definition in definitions:
            if self.shape_only:
                definition.shape_read = True
            else:
                definition.read = True

    def unknown(self, name: str, span: Span, called: bool = False) -> Value:
        """A name that means nothing here."""
        if name in _BOOLEANS:
            return self.problem(span, f"{name} is not part of the language", f"write {_BOOLEANS[name]}", "syntax")
        if name in self.later:
            line = self.spec.source.place(self.later[name].start)[0]
            help = "move the line up, or use `graph:`, where order does not matter"
            return self.problem(
                span,
                f"{name} is made further down, at line {line}",
                help,
                "name",
                (Cause("made here", self.later[name]),),
            )
        if name in self.default_paths and not called:
            help = f"give the layer a name: `{name}_1 = …`; a default path is for reading"
            cause = Cause("the layer that has this default path", self.default_paths[name])
            return self.problem(span, f"unknown name {name}", help, "name", (cause,))
        if name in EXCLUDED and called:
            return self.problem(span, f"{name} is not part of the language", EXCLUDED[name])
        known = [*self.state.names, "prev", *self.blocks, *LAYERS, *FUNCTIONS, *CONSTANTS]
        if name[:1].isupper():
            known = [*self.blocks, *LAYERS, SERIES, *OWN_TENSORS, *(n for n in self.state.names if n[:1].isupper())]
        what = "layer or block" if name[:1].isupper() else "function" if called else "name"
        words: dict[str, str | tuple[str, ...]] = {**OTHER_LAYERS, **OTHER_FUNCTIONS}
        meant = nearest(name, known, words)
        if meant in ("+", "*"):
            help = f"write `a {meant} b`"
        elif meant:
            help = f"write {meant}"
        elif name[:1].isupper():
            help = "`fwdscope layers` lists the layers; a block of your own stands under `blocks:`"
        elif called:
            help = "`fwdscope layers` lists the functions"
        else:
            help = (
                f"names here: {listed(self.state.names)}" if self.state.names else "no names are made before this line"
            )
        return self.problem(span, f"unknown {what} {name}", help)

    # -- attributes and subscripts --------------------------------------------------------------------------------------

    def attribute(self, node: ex.Attribute) -> Value:
        if (inside := self.inside(node)) is not None:
            return inside
        if node.name in _SHAPE_ATTRIBUTES:
            self.shape_only += 1
        value = self.operand(node.value)
        if node.name in _SHAPE_ATTRIBUTES:
            self.shape_only -= 1
        attribute = ATTRIBUTES.get(node.name)
        if attribute is None:
            return NOTHING if value.kind == "unknown" else self.no_attribute(node)
        return tensor(value.reached) if attribute.gives == "tensor" else PLAIN

    def no_attribute(self, node: ex.Attribute) -> Value:
        name = node.name
        if name in EXCLUDED or name.endswith("_"):
            help = EXCLUDED.get(name, "in place changes what a skip holds")
            return self.problem(node.name_span, f".{name} is not part of the language", help)
        if name in METHODS:
            return self.problem(
                node.name_span, f".{name} is a method", f"call it: `.{name}{METHODS[name].signatures[0]}`", "type"
            )
        help = suggestion(name, ATTRIBUTES, what="of tensors")
        return self.problem(node.name_span, f"unknown attribute .{name}", help)

    def inside(self, node: Expression) -> Value | None:
        """A name inside a part, or a tensor or layer inside a layer: ``stem.conv1``, ``wte.weight``, ``h[0].attn.weight``."""
        path = self.path(node)
        if path is None:
            dotted = ex.spelled(node)
            base = dotted.split(".")[0] if dotted else None
            if (
                isinstance(node, ex.Attribute)
                and base
                and self.state.find(base) is None
                and base not in (*self.blocks, *LAYERS, "prev")
            ):
                assert dotted is not None
                return self.dotted(node, dotted, base)
            return None
        binding, names = path
        for i, (name, span) in enumerate(names):
            if binding.inner is not None and name in binding.inner:
                binding = binding.inner[name]
                continue
            if name in ATTRIBUTES or name in METHODS:
                return None
            if binding.inner is not None and binding.layer is None:
                help = suggestion(name, binding.inner, what="in this part:")
                return self.problem(span, f"unknown name {name} in the part", help)
            if binding.layer is None:
                return None
            return self.weight(binding.layer, names[i:])
        self.read(binding.definitions)
        return binding.value

    def path(self, node: Expression) -> tuple[Binding, list[tuple[str, Span]]] | None:
        """``stem.conv1.weight`` as the binding of ``stem`` and the names behind it; copies of a stack are ``h[0]``."""
        names: list[tuple[str, Span]] = []
        while not isinstance(node, Name):
            if isinstance(node, ex.Attribute):
                names.insert(0, (node.name, node.name_span))
                node = node.value
            elif (
                isinstance(node, ex.Subscript)
                and names
                and isinstance(node.index, ex.Constant)
                and type(node.index.value) is int
            ):
                node = node.value
            else:
                return None
        binding = self.state.find(node.id)
        return (binding, names) if binding is not None and names else None

    def weight(self, layer: Template, names: list[tuple[str, Span]]) -> Value:
        """A tensor of a layer by its name. Which tensors a layer has is known for blocks alone; the model checks the rest."""
        name, span = names[0]
        if name.endswith("_") or name in EXCLUDED:
            return self.problem(
                span, f".{name} is not part of the language", EXCLUDED.get(name, "in place changes what a skip holds")
            )
        return tensor(False)

    def dotted(self, node: ex.Attribute, dotted: str, base: str) -> Value:
        last = node.name
        if base in _PREFIXES or base in ("keras", "tf", "jax"):
            known = [*LAYERS, *FUNCTIONS, *METHODS, *CONSTANTS, SERIES]
            help = suggestion(last, known, {**OTHER_LAYERS, **OTHER_FUNCTIONS})
            return self.problem(
                node.span,
                f"{dotted}: names stand without `{dotted[: -len(last)]}`",
                help if last not in known else f"write {last}",
            )
        if last[:1].isupper():
            if self.allow_import:
                return Value("template", template=Template(last))
            help = f"run with --allow-import if you trust {dotted}: importing runs its code"
            return self.problem(node.span, f"{dotted} is a class of your own", help)
        return self.unknown(base, Span(node.span.start, node.span.start + len(base)))

    def subscript(self, node: ex.Subscript) -> Value:
        value = self.operand(node.value)
        index = self.operand(node.index)
        if value.known and index.known and not isinstance(node.index, ex.Slice):

            def pick(a: Any, i: Any) -> Any:
                try:
                    return a[i]
                except (IndexError, KeyError, TypeError) as error:
                    raise ArithmeticProblem(f"{self.text(node)} has no value: {error}") from None

            return self.computed([value, index], pick, node)
        if value.kind == "tensor":
            return tensor(value.reached)
        return value if value.kind == "unknown" else PLAIN

    # -- calls --------------------------------------------------------------------------------------------------------

    def call(self, node: Call) -> Value:
        function = node.function
        if isinstance(function, Name):
            return self.call_name(node, function)
        if isinstance(function, ex.Attribute):
            return self.call_attribute(node, function)
        callee = self.visit(function)
        return self.apply(node, callee)

    def call_name(self, node: Call, function: Name) -> Value:
        name = function.id
        binding = self.state.find(name)
        if binding is not None:
            return self.call_binding(node, function, binding)
        if name in OWN_TENSORS:
            self.arguments(node)
            return self.problem(
                node.span,
                f"{name} stands on a line of its own",
                f"write `table = {self.text(node)}` on a line above",
                "type",
            )
        if name == SERIES:
            return self.series(node)
        if name in self.blocks or name in LAYERS:
            return self.template(name, function, node.arguments, node.keywords, True, node)
        if name in FUNCTIONS:
            return self.call_function(node, function, FUNCTIONS[name])
        self.arguments(node)
        return self.unknown(name, function.span, called=True)

    def call_binding(self, node: Call, function: Name, binding: Binding) -> Value:
        name = function.id
        if binding.layer is not None or binding.kind == "part":
            return self.apply(node, Value("template", template=binding.layer or Template(name)))
        values = self.arguments(node)
        if binding.value.kind == "template":
            self.read(binding.definitions)
            if not node.arguments and not node.keywords:
                help = f"write `{name}` alone for a line, or `{name}(x)`"
                return self.problem(node.span, f"{name} is complete already: its parentheses take inputs", help, "type")
            return tensor(any(v.reached for v in values))
        if binding.value.kind == "unknown":
            self.read(binding.definitions)
            return tensor(any(v.reached for v in values)) if any(v.kind == "tensor" for v in values) else NOTHING
        what = "a tensor" if binding.value.kind == "tensor" else "a value"
        hidden = f"; it hides the function {name}" if name in FUNCTIONS else ""
        cause = (Cause(f"{name} is made here", binding.span),)
        help = (
            "a layer is called by the name of its line: `fc = Linear(8)`, then `fc(y)`"
            if not hidden
            else "give the line another name"
        )
        return self.problem(function.span, f"{name} is {what}, not a layer{hidden}", help, "type", cause)

    def call_attribute(self, node: Call, function: ex.Attribute) -> Value:
        name = function.name
        inner = self.path(function)
        if inner is not None and inner[0].inner is not None and name not in METHODS:
            target = self.inside(function)
            path_binding = inner[0].inner.get(inner[1][0][0]) if inner[0].inner else None
            if path_binding is not None and target is not None:
                return self.apply(node, Value("template", template=path_binding.layer or Template(name)))
        dotted = ex.spelled(function)
        base = dotted.split(".")[0] if dotted else ""
        if dotted and self.state.find(base) is None and base not in ("prev", *self.blocks, *LAYERS):
            value = self.dotted(function, dotted, base)
            self.arguments(node)
            return value
        if name in _SHAPE_METHODS:
            self.shape_only += 1
        value = self.operand(function.value)
        if name in _SHAPE_METHODS:
            self.shape_only -= 1
        method = METHODS.get(name)
        if method is None:
            self.arguments(node)
            if value.kind == "unknown":
                return NOTHING
            return self.unknown_method(function, value)
        if value.kind == "plain" and not isinstance(value.constant, str):
            self.arguments(node)
            return self.problem(
                function.name_span, f".{name} is a method of tensors; {self.text(function.value)} is none", None, "type"
            )
        return self.checked_call(node, f".{name}", method, [value])

    def unknown_method(self, function: ex.Attribute, value: Value) -> Value:
        name = function.name
        if name in EXCLUDED:
            self.problem(function.name_span, f".{name}() is not part of the language", EXCLUDED[name])
        elif name.endswith("_"):
            plain = name.rstrip("_")
            help = (
                f"in place changes what a skip holds: write `.{plain}(…)`"
                if plain in METHODS
                else "nothing acts in place here"
            )
            self.problem(function.name_span, f".{name}() is not part of the language", help)
        elif name in FUNCTIONS:
            shown = self.text(function.value)
            self.problem(function.name_span, f"{name} is a function, not a method here", f"write `{name}({shown}, …)`")
        else:
            help = suggestion(name, METHODS, OTHER_FUNCTIONS, "methods of tensors:")
            self.problem(function.name_span, f"unknown method .{name}()", help)
        return tensor(value.reached)

    def arguments(self, node: Call) -> list[Value]:
        """The values of all arguments, a layer not yet called among them refused."""
        return [self.operand(a) for a in (*node.arguments, *(k.value for k in node.keywords))]

    def call_function(self, node: Call, function: Name, known: Function) -> Value:
        value = self.checked_call(node, known.name, known, [])
        return value

    def checked_call(self, node: Call, shown: str, known: Function, before: list[Value]) -> Value:
        """A call of a listed function or method: its arguments' number and names, and what it gives."""
        if known.name == "len":
            self.shape_only += 1
        values = [*before, *self.arguments(node)]
        if known.name == "len":
            self.shape_only -= 1
        signature = self.bind(node, shown, known.overloads, known.keywords)
        reached = any(v.reached for v in values)
        has_tensor = any(v.kind == "tensor" for v in values)
        if known.gives == "tensor" or (
            known.gives in ("like", "other") and has_tensor and known.name not in ("range",)
        ):
            return tensor(reached)
        if any(v.kind == "unknown" for v in values):
            return NOTHING
        if signature and not node.starred and all(v.known for v in values) and not before:
            return self.folded(node, known, values)
        return PLAIN

    def folded(self, node: Call, known: Function, values: list[Value]) -> Value:
        """A function of numbers, computed where the text tells them."""
        function = number_function(known.name)
        if function is None:
            return PLAIN
        positional = [v.constant for v in values[: len(node.arguments)]]
        keywords = {k.name: v.constant for k, v in zip(node.keywords, values[len(node.arguments) :], strict=True)}
        try:
            result = function(*positional, **keywords)
        except LayerError as error:
            return self.problem(node.span, f"{self.text(node)}: {error.message}", error.help, "value")
        except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
            return self.problem(node.span, f"{self.text(node)} has no value: {error}", None, "value")
        if isinstance(result, int | float | str | bool | tuple | list | range):
            try:
                return Value("plain", constant=arithmetic.within(result))
            except ArithmeticProblem as error:
                return self.problem(node.span, error.message, error.help, error.code)
        return PLAIN

    def bind(
        self, node: Call, shown: str, overloads: tuple[Signature, ...], keywords: Iterable[str]
    ) -> Signature | None:
        """Hold a call against its signatures; the one that fits, or None with its problems told."""
        given = [k.name for k in node.keywords]
        fit = closest(overloads, len(node.arguments), given, node.starred)
        for mismatch in fit.mismatches:
            span, help = node.span, f"it is `{shown}{fit.signature}`"
            if mismatch.keyword is not None:
                keyword = next(k for k in reversed(node.keywords) if k.name == mismatch.keyword)
                span = keyword.span
                if keyword.name not in keywords:
                    meant = nearest(keyword.name, keywords, OTHER_SETTINGS)
                    help = f"write {meant}" if meant else help
                if keyword.name == "inplace":
                    help = "nothing acts in place here: leave it out"
            elif mismatch.argument is not None:
                span = node.arguments[mismatch.argument].span.to(node.arguments[-1].span)
            self.problem(
                span,
                f"{shown} {mismatch.message}" if " is " not in mismatch.message else f"{shown}: {mismatch.message}",
                help,
                "type",
            )
        return None if fit.mismatches else fit.signature

    # -- layers -------------------------------------------------------------------------------------------------------

    def apply(self, node: Call, callee: Value) -> Value:
        """A layer called on values."""
        values = []
        for argument in (*node.arguments, *(k.value for k in node.keywords)):
            values.append(self.operand(argument))
        reached = any(v.reached for v in values)
        if callee.kind == "tensor":
            return self.problem(
                node.function.span,
                "this is a tensor and cannot be called",
                "a layer's first parentheses hold settings, its second inputs",
                "type",
            )
        if callee.kind == "plain":
            return self.problem(node.function.span, "this is a value and cannot be called", None, "type")
        template = callee.template
        if template is not None and template.signature is not None and not (template.series and not node.arguments):
            self.bind(node, template.name, (template.signature,), template.signature.keywords)
        elif template is not None and not node.arguments:
            self.problem(
                node.span, f"{template.name} is called on nothing", "put its input between the parentheses", "type"
            )
        return tensor(reached)

    def template(
        self,
        name: str,
        function: Name,
        arguments: tuple[Expression, ...],
        keywords: tuple[ex.Keyword, ...],
        called: bool,
        node: Call | None = None,
    ) -> Value:
        """A layer type or a block with its settings. Without parentheses, the settings are those of the defaults."""
        block = self.blocks.get(name)
        call = node or Call(function.span, function, arguments, keywords)
        if block is not None:
            if not self.choices:
                self.always_used.add(name)
            self.block_settings(call, name)
            return Value("template", template=Template(name, block=block, signature=block_signature(block)))
        layer = LAYERS[name]
        self.layer_settings(call, layer)
        return Value("template", template=Template(name, layer=layer, signature=Signature.parse(layer.forward)))

    def setting_values(self, call: Call) -> list[Value]:
        """Values of settings; a tensor among them is a sure mistake, since settings never are."""
        values = []
        for argument in (*call.arguments, *(k.value for k in call.keywords)):
            value = self.visit_setting(argument)
            if value.kind == "tensor":
                name = self.text(call.function)
                inputs = ", ".join(self.text(a) for a in call.arguments)
                help = (
                    f"inputs go in second parentheses: `{name}(…)({inputs})`"
                    if call.arguments
                    else "inputs go in second parentheses"
                )
                self.problem(
                    argument.span, f"{self.text(argument)} is a tensor, and these are {name}'s settings", help, "type"
                )
                value = NOTHING
            values.append(value)
        return values

    def visit_setting(self, argument: Expression) -> Value:
        """A setting. The name of a layer hands the layer itself on, shared."""
        if isinstance(argument, Name):
            binding = self.state.find(argument.id)
            if binding is not None and (binding.layer is not None or binding.kind == "part"):
                self.read(binding.definitions)
                return Value("template", template=binding.layer or Template(argument.id))
        value = self.visit(argument)
        if (
            value.kind == "tensor"
            and isinstance(argument, ex.Attribute)
            and (path := self.path(argument))
            and path[0].layer
        ):
            return NOTHING
        return value

    def block_settings(self, call: Call, name: str) -> None:
        block = self.blocks[name]
        self.setting_values(call)
        signature = settings_signature(block)
        if not block.settings and call.arguments:
            shown = ", ".join(self.text(a) for a in call.arguments)
            self.problem(
                call.span, f"{name} has no settings", f"inputs go in second parentheses: `{name}()({shown})`", "type"
            )
            return
        self.bind(call, name, (signature,), signature.keywords)

    def layer_settings(self, call: Call, layer: type[Layer]) -> None:
        known = {s.name: s for s in settings(layer)}
        values = self.setting_values(call)
        positional = [s for s in known.values() if s.positional]
        surplus = call.arguments[len(positional) :]
        if surplus and not call.starred:
            self.too_many_settings(call, layer, surplus)
        given: dict[str, Any] = {}
        pairs: Iterator[tuple[str, Value, Expression]] = iter(())
        if not call.starred:
            pairs = ((s.name, v, a) for s, v, a in zip(positional, values, call.arguments, strict=False))
        keyword_values = zip(call.keywords, values[len(call.arguments) :], strict=True)
        for name, value, argument in [*pairs, *((k.name, v, k.value) for k, v in keyword_values)]:
            setting = known.get(name)
            keyword = next((k for k in call.keywords if k.value is argument), None)
            if setting is None:
                assert keyword is not None
                self.unknown_setting(keyword, layer, known)
            elif name in given:
                self.problem(
                    keyword.span if keyword else argument.span, f"{layer.__name__}: {name} is given twice", None, "type"
                )
            else:
                given[name] = value
                constant = value.template if value.kind == "template" else value.constant
                if constant is not UNKNOWN and (expected := setting.mismatch(constant)):
                    found = self.text(argument)
                    self.problem(argument.span, f"{layer.__name__}: {name} is {found}", f"expected {expected}", "type")
        defaults = self.defaults_of(layer.__name__)
        missing = [s.name for s in known.values() if s.required and s.name not in given and s.name not in defaults]
        if missing and not call.starred and not surplus:
            self.missing_settings(call, layer, missing)

    def too_many_settings(self, call: Call, layer: type[Layer], surplus: tuple[Expression, ...]) -> None:
        name = layer.__name__
        known = settings(layer)
        positional = [s for s in known if s.positional]
        inferred = [s.name for s in known if s.inferred]
        span = surplus[0].span.to(surplus[-1].span)
        takes = f"{name} takes {'no setting' if not positional else ', '.join(s.name for s in positional)} by position"
        shown = [self.text(a) for a in call.arguments]
        help = None
        if name == "LayerNorm":
            help = f"write `LayerNorm(normalized_shape={shown[0]})`, or leave it out: it is inferred"
        elif inferred and len(surplus) == 1:
            rest = [*shown[1:], *(self.text(k.value) for k in ())]
            keywords = [f"{k.name}={self.text(k.value)}" for k in call.keywords]
            settings_text = ", ".join([*rest, *keywords])
            help = f"{' and '.join(inferred)} {'is' if len(inferred) == 1 else 'are'} inferred: write `{name}{f'({settings_text})' if settings_text else ''}`"
            help += "; every other setting goes by keyword" if positional else ""
        elif inferred:
            help = f"{' and '.join(inferred)} {'is' if len(inferred) == 1 else 'are'} inferred; every other setting goes by keyword"
        self.problem(span, f"{takes}, found {len(call.arguments)}", help, "type")

    def unknown_setting(self, keyword: ex.Keyword, layer: type[Layer], known: dict[str, Any]) -> None:
        name = layer.__name__
        if keyword.name == "inplace":
            help = "nothing acts in place here: leave it out"
        elif keyword.name in ("device", "dtype"):
            help = f"leave it out: --{keyword.name} says it for the whole network"
        else:
            help = (
                suggestion(keyword.name, known, OTHER_SETTINGS, f"in {name}:") if known else f"{name} has no settings"
            )
        self.problem(keyword.span, f"{name} has no setting {keyword.name}", help)

    def missing_settings(self, call: Call, layer: type[Layer], missing: list[str]) -> None:
        name = layer.__name__
        required = [s.name for s in settings(layer) if s.required]
        span = call.span
        message = f"{name} wants {' and '.join(missing)}"
        self.problem(span, message, f"write `{name}({', '.join(required)})` with numbers for the names", "type")

    def defaults_of(self, name: str) -> dict[str, Expression]:
        """The settings that the section ``defaults`` lays under a layer type."""
        found: dict[str, Expression] = {}
        for call in self.spec.defaults:
            if isinstance(call.function, Name) and call.function.id == name:
                found.update({k.name: k.value for k in call.keywords})
        return found

    def series(self, node: Call) -> Value:
        """``Sequential(…)``: layers, stacks, and generators of such."""
        for keyword in node.keywords:
            self.problem(
                keyword.span,
                f"Sequential has no setting {keyword.name}",
                "it holds layers: `Sequential(Linear(8), ReLU)`",
            )
        if not node.arguments:
            self.problem(node.span, "Sequential holds no layers", "write `Sequential(Linear(8), ReLU)`", "type")
        signature = None
        for i, argument in enumerate(node.arguments):
            value = self.visit_setting(argument)
            template = value.template
            if i == 0 and template is not None and len(node.arguments) >= 1:
                signature = template.signature
            if value.kind not in ("template", "unknown") and not isinstance(argument, ex.Starred):
                found = "a tensor" if value.kind == "tensor" else self.text(argument)
                self.problem(
                    argument.span,
                    f"Sequential holds layers, found {found}",
                    "inputs go in second parentheses: `Sequential(…)(x)`",
                    "type",
                )
        return Value("template", template=Template(SERIES, signature=signature, series=True))
