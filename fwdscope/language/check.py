"""A spec's names, types and flow, checked from the text: the second stage, before torch is loaded.

:func:`check` says what every later stage needs to know of a file (values of vars, lines in running order, what stands
beside the flow), or raises SpecError with all that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fwdscope.language import arithmetic, tree
from fwdscope.language import expression as ex
from fwdscope.language.evaluate import evaluate_plain
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.flow import Body
from fwdscope.language.graph import Graphs
from fwdscope.language.names import nearest, suggestion
from fwdscope.language.order import sorted_by_use
from fwdscope.language.problems import Cause, Span, SpecError
from fwdscope.language.scope import NOTHING, PLAIN, Binding, Definition, State, Template, Value, tensor
from fwdscope.layers import LAYERS

# torch.nn.init's functions without the underscore, and the settings each takes by keyword or position.
INITIALISERS: dict[str, tuple[str, ...]] = {
    "uniform": ("a", "b"),
    "normal": ("mean", "std"),
    "trunc_normal": ("mean", "std", "a", "b"),
    "constant": ("val",),
    "ones": (),
    "zeros": (),
    "eye": (),
    "dirac": ("groups",),
    "xavier_uniform": ("gain",),
    "xavier_normal": ("gain",),
    "kaiming_uniform": ("a", "mode", "nonlinearity"),
    "kaiming_normal": ("a", "mode", "nonlinearity"),
    "orthogonal": ("gain",),
    "sparse": ("sparsity", "std"),
}


@dataclass(frozen=True)
class Note:
    """Something right but worth knowing: a block that hides torch's layer."""

    span: Span
    text: str


@dataclass(frozen=True)
class Checked:
    """A spec whose text holds no mistake, and what reading it showed."""

    spec: tree.ModelSpec
    # The values of vars, in the file's order.
    variables: Mapping[str, Any]
    # The model's lines in running order.
    layers: tuple[tree.Line, ...]
    # Lines whose value stands beside the flow.
    beside: frozenset[Span]
    # Names given to layers, parts, Parameters and Buffers, by the place of the block or part that they stand in (the
    # section ``layers`` for the model): default paths are numbered around them.
    given: Mapping[Span, frozenset[str]] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    allow_import: bool = False


def check(spec: tree.ModelSpec, allow_import: bool = False) -> Checked:
    """Check names, types and flow. Raises SpecError with every problem that the text shows."""
    return _Checker(spec, allow_import).run()


class _Checker(Graphs):
    def __init__(self, spec: tree.ModelSpec, allow_import: bool) -> None:
        super().__init__(spec, allow_import)
        self.notes: list[Note] = []
        self.layer_settings_of: set[tuple[str, str]] = set()

    def run(self) -> Checked:
        spec = self.spec
        variables = self.variables()
        constants = {name: value.constant for name, value in variables.items() if value.known}
        top: dict[str, Binding] = {}
        for variable in spec.variables:
            top[variable.name] = Binding("var", variable.span, variables.get(variable.name, NOTHING))
        self.find_layer_settings()
        self.defaults(top)
        for block in spec.blocks:
            self.block(block, top)
        self.refuse_endless_blocks()
        order = self.model(top)
        self.state, self.in_graph = State([dict(top)]), False
        self.initialisers()
        for output in spec.expect.outputs:
            self.promise(output.shape)
        if self.problems:
            raise SpecError(self.problems)
        for block in spec.blocks:
            if block.name in LAYERS:
                text = f"the block {block.name} stands for torch's layer of that name in this file"
                self.notes.append(Note(block.span, text))
        given = {span: frozenset(names) for span, names in self.given.items()}
        return Checked(spec, constants, order, frozenset(self.beside), given, tuple(self.notes), self.allow_import)

    # -- vars ---------------------------------------------------------------------------------------------------------

    def variables(self) -> dict[str, Value]:
        """The values of vars, each computed after those it uses; a circle is named with its path."""
        by_name = {v.name: v for v in self.spec.variables}

        def uses(name: str) -> list[str]:
            return [n.id for n in ex.walk(by_name[name].value) if isinstance(n, Name) and n.id in by_name]

        order, circles = sorted_by_use(by_name, uses)
        values: dict[str, Value] = {}
        for circle in circles:
            span = by_name[circle[0]].span
            self.problem(span, f"vars in a circle: {' → '.join(circle)}", "give one of them a number", "name")
            values.update(dict.fromkeys(circle, NOTHING))
        bindings = {name: Binding("var", by_name[name].span, value) for name, value in values.items()}
        self.state = State([bindings])
        for name in order:
            if name not in values:
                values[name] = self.variable(by_name[name])
                bindings[name] = Binding("var", by_name[name].span, values[name])
        return values

    def variable(self, variable: tree.Variable) -> Value:
        """The value of one var."""
        node, told = variable.value, len(self.problems)
        value = self.visit(node)
        if value.kind in ("tensor", "template"):
            what = "a tensor" if value.kind == "tensor" else "a layer"
            help = "vars are numbers, strings, booleans and lists"
            help += "; a tensor is an input or a Buffer" if value.kind == "tensor" else "; a setting may be a layer"
            return self.problem(node.span, f"the var {variable.name} is {what}", help, "type")
        if isinstance(node, Name) and len(self.problems) > told and self.nearest_name(node.id, False) is None:
            last = self.problems[-1]
            self.problems[-1] = replace(last, help=f"a string stands in quotes: `'{node.id}'`")
        if value.kind == "unknown" and len(self.problems) == told and not self.uses_unknown(node):
            help = "vars are numbers, strings, booleans and lists of such; a setting may be a layer"
            return self.problem(node.span, f"the var {variable.name} holds a layer", help, "type")
        if value.known or value.kind != "plain":
            return value
        # A comprehension, or another expression that is not folded on the way.
        names = {n: b.value.constant for n, b in self.state.frames[0].items() if b.value.known}
        try:
            return Value("plain", constant=evaluate_plain(variable.value, names))
        except arithmetic.ArithmeticProblem as error:
            return self.problem(variable.value.span, error.message, error.help, error.code)

    def uses_unknown(self, node: Expression) -> bool:
        """Whether an expression reads a var that has a problem itself."""
        names = (self.state.find(n.id) for n in ex.walk(node) if isinstance(n, Name))
        return any(binding is not None and binding.value.kind == "unknown" for binding in names)

    # -- defaults and blocks ------------------------------------------------------------------------------------------

    def find_layer_settings(self) -> None:
        """Which settings of blocks are layers: by their defaults, and by what calls hand them through blocks."""
        if not self.blocks:
            return
        uses = list(self.block_calls())
        named = set(self.named_layers())
        found: set[tuple[str, str]] = set()
        for block in self.spec.blocks:
            found |= {
                (block.name, p.name)
                for p in block.settings
                if p.default is not None and self.looks_like_layer(p.default)
            }
        while True:
            more = {
                (name, setting)
                for inside, name, setting, node in uses
                if self.looks_like_layer(node) or (isinstance(node, Name) and (inside, node.id) in found | named)
            }
            if more <= found:
                break
            found |= more
        self.layer_settings_of = found

    def named_layers(self) -> Iterator[tuple[str, str]]:
        """(block, name) for every line that names a layer, and every part: handed to a block, it is shared."""
        for inside, lines in [("", self.spec.layers), *((b.name, b.body) for b in self.spec.blocks)]:
            for line in tree.statements(lines):
                if isinstance(line, tree.PartLine):
                    yield inside, line.name
                elif isinstance(line, tree.Statement) and isinstance(line.target, ex.NameTarget):
                    value = line.value
                    applied = isinstance(value, Call) and self.looks_like_layer(value.function)
                    if applied or self.looks_like_layer(value):
                        yield inside, line.target.name

    def block_calls(self) -> list[tuple[str, str, str, Expression]]:
        """(calling block, called block, setting, what it is given), for every call of a block in the file."""
        uses = []
        for inside, lines in [("", self.spec.layers), *((b.name, b.body) for b in self.spec.blocks)]:
            for node in (n for line in tree.statements(lines) for top in _expressions(line) for n in ex.walk(top)):
                if isinstance(node, Call) and isinstance(node.function, Name) and node.function.id in self.blocks:
                    block = self.blocks[node.function.id]
                    for parameter, argument in zip(block.settings, node.arguments, strict=False):
                        uses.append((inside, block.name, parameter.name, argument))
                    uses += [(inside, block.name, k.name, k.value) for k in node.keywords]
        return uses

    def looks_like_layer(self, node: Expression) -> bool:
        """Whether a setting is a layer not yet applied, by its looks."""
        match node:
            case Name(id=name):
                return name in self.blocks or name in LAYERS
            case Call(function=function):
                return (ex.spelled(function) or "").rpartition(".")[2][:1].isupper()
            case ex.Binary(operator="*", right=right):
                return self.looks_like_layer(right)
            case ex.Conditional(body=body, orelse=orelse):
                return self.looks_like_layer(body) or self.looks_like_layer(orelse)
        return False

    def defaults(self, top: dict[str, Binding]) -> None:
        """The section ``defaults``. A default need not give all settings of its layer."""
        self.state = State([dict(top)])
        for call in self.spec.defaults:
            assert isinstance(call.function, Name)
            name, span = call.function.id, call.function.span
            if name in self.blocks:
                help = f"give its settings defaults in its head: `{name}(width=64):`"
                self.problem(span, f"{name} is a block of this file", help, "type")
            elif name not in LAYERS:
                self.unknown(name, span)
            else:
                self.layer_settings(call, LAYERS[name], complete=False)

    def block(self, block: tree.Block, top: dict[str, Binding]) -> None:
        """One block: its settings, its inputs, its lines."""
        settings: dict[str, Binding] = {}
        self.state = State([settings, dict(top)])
        for parameter in block.settings:
            if parameter.default is not None:
                self.visit(parameter.default)
            layer = (block.name, parameter.name) in self.layer_settings_of
            value = Value("template", template=Template(parameter.name)) if layer else PLAIN
            settings[parameter.name] = Binding("setting", parameter.span, value)
        self.body, self.unnamed, self.awaited = Body(), {}, set()
        self.owner = block.span
        inputs: dict[str, Binding] = {}
        for parameter in block.inputs:
            if parameter.default is not None:
                self.operand(parameter.default)
            inputs[parameter.name] = self.input(parameter.name, parameter.span)
        first = inputs[block.inputs[0].name] if block.inputs else None
        self.state = State(
            [inputs, settings, dict(top)],
            first.value if first else None,
            first.definitions if first else frozenset(),
            [{}, {}, {}],
        )
        self.lines(block.body)
        self.close(block.body)

    def input(self, name: str, span: Span) -> Binding:
        """An input, which something has to read."""
        definition = Definition(span, f"the input {name}", span, named=True, input=True)
        self.body.definitions[span, name] = definition
        return Binding("input", span, tensor(True), frozenset([definition]))

    def refuse_endless_blocks(self) -> None:
        """Blocks that use one another outside any choice never end."""
        uses = {block.name: sorted(self.unconditional(block.body)) for block in self.spec.blocks}
        for circle in sorted_by_use(uses, lambda name: uses[name])[1]:
            message = f"blocks in a circle: {' → '.join(circle)}"
            help = "a block may use itself under an `if:` that ends it"
            self.problem(self.blocks[circle[0]].span, message, help)

    def unconditional(self, lines: tuple[tree.Line, ...]) -> set[str]:
        """Blocks that a body uses whatever is chosen."""
        found: set[str] = set()
        for line in lines:
            match line:
                case tree.Statement(value=value):
                    found |= _mentioned(value, self.blocks)
                case tree.PartLine(body=body):
                    found |= self.unconditional(body)
        return found

    # -- the model ----------------------------------------------------------------------------------------------------

    def model(self, top: dict[str, Binding]) -> tuple[tree.Line, ...]:
        """The inputs and the lines; the lines in running order."""
        spec = self.spec
        inputs: dict[str, Binding] = {}
        self.body, self.unnamed, self.awaited = Body(), {}, set()
        self.owner = spec.layers_span
        for one in spec.inputs:
            self.state = State([dict(top)])
            self.input_value(one)
            if one.name in top:
                cause = Cause(f"the var {one.name}", top[one.name].span)
                message = f"{one.name} is a var and an input"
                self.problem(one.span, message, "give one of them another name", "name", (cause,))
            inputs[one.name] = self.input(one.name, one.span)
        first = inputs[spec.inputs[0].name] if spec.inputs else None
        flow = first.definitions if first else frozenset()
        self.state = State([inputs, dict(top)], first.value if first else None, flow, [{}, {}])
        if spec.graph:
            return self.graph()
        self.lines(spec.layers)
        if spec.layers:
            self.close(spec.layers)
        return spec.layers

    def input_value(self, one: tree.Input) -> None:
        """The expression of an input, which makes a tensor."""
        before = len(self.problems)
        value = self.visit(one.value)
        if value.kind in ("plain", "template") and len(self.problems) == before:
            text = f"the layer {self.text(one.value)}" if value.kind == "template" else self.text(one.value)
            help = "write `randn(1, 3, 224, 224)`, `rand(…)`, `randint(0, 10, (B, T))`, `zeros(…)` or `ones(…)`"
            self.problem(one.value.span, f"the input {one.name} is {text}, not a tensor", help, "type")

    def initialisers(self) -> None:
        """The section ``init``: names and settings. What the keys match is known once the model is built."""
        for one in self.spec.init:
            call = one.call
            assert isinstance(call.function, Name)
            name, values = call.function.id, self.arguments(call)
            known = INITIALISERS.get(name)
            if known is None:
                plain = name.removesuffix("_")
                help = f"write `{plain}`" if plain in INITIALISERS else suggestion(name, INITIALISERS)
                self.problem(call.function.span, f"unknown initialiser {name}", help)
                continue
            form = f"it is `{name}({', '.join(known)})`"
            for keyword in call.keywords:
                if keyword.name not in known:
                    help = f"write `{meant}`" if (meant := nearest(keyword.name, known)) else form
                    self.problem(keyword.span, f"{name} has no setting {keyword.name}", help)
            if len(call.arguments) > len(known):
                span = call.arguments[len(known)].span.to(call.arguments[-1].span)
                message = f"{name} takes {', '.join(known) or 'nothing'}, found {len(call.arguments)} values"
                self.problem(span, message, form, "type")
            nodes = (*call.arguments, *(k.value for k in call.keywords))
            for node, value in zip(nodes, values, strict=True):
                if value.kind == "tensor":
                    self.problem(node.span, f"{name} takes numbers, found a tensor", form, "type")
            missing = [
                n for n in known[len(call.arguments) :] if n == "val" and n not in {k.name for k in call.keywords}
            ]
            if missing:
                self.problem(call.span, f"{name} wants {missing[0]}", f"write `{name}(0.5)`", "type")


def _expressions(line: tree.Line) -> tuple[Expression, ...]:
    """The expressions that stand on a line itself."""
    match line:
        case tree.Statement(value=value):
            return (value,)
        case tree.PartLine(inputs=inputs):
            return inputs or ()
        case tree.For(iterable=iterable):
            return (iterable,)
        case tree.If(test=test) | tree.While(test=test):
            return (test,)


def _mentioned(node: Expression, blocks: Mapping[str, tree.Block]) -> set[str]:
    """Blocks that an expression uses outside any choice in it."""
    if isinstance(node, Name):
        return {node.id} if node.id in blocks else set()
    if isinstance(node, ex.Conditional | ex.Boolean | ex.Comprehension):
        return set()
    if isinstance(node, ex.Binary) and node.operator == "*" and not isinstance(node.left, ex.Constant):
        return set()  # a stack of a number that may be 0
    found: set[str] = set()
    for child in ex.children(node):
        found |= _mentioned(child, blocks)
    return found
