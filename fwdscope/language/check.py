"""Checks the names, types and flow of a spec from its text: the second stage, before torch is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from fwdscope.functions.methods import ATTRIBUTES
from fwdscope.functions.signature import Parameter, Signature
from fwdscope.language import arithmetic, tree
from fwdscope.language import expression as ex
from fwdscope.language.budget import budgeted, move_to
from fwdscope.language.evaluate import evaluate_plain
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.expression_checker import ExpressionChecker
from fwdscope.language.flow_checker import FlowChecker, sort_by_use
from fwdscope.language.names import suggestion
from fwdscope.language.problems import Cause, Problem, Span, SpecError
from fwdscope.language.scope import NOTHING, PLAIN, Binding, BodyState, CheckContext, FlowState, UncalledLayer, Value
from fwdscope.layers import LAYERS
from fwdscope.units import Figure

# torch.nn.init's functions without the underscore, and the settings each takes by keyword or position.
INITIALISERS: dict[str, tuple[str, ...]] = {
    "uniform": ("a", "b"),
    "normal": ("mean", "std"),
    "trunc_normal": ("mean", "std", "a", "b"),
    "constant": ("val",),
    **dict.fromkeys(("ones", "zeros", "eye"), ()),
    "dirac": ("groups",),
    **dict.fromkeys(("xavier_uniform", "xavier_normal"), ("gain",)),
    **dict.fromkeys(("kaiming_uniform", "kaiming_normal"), ("a", "mode", "nonlinearity")),
    "orthogonal": ("gain",),
    "sparse": ("sparsity", "std"),
}


class Note(NamedTuple):
    """Something that is right but worth knowing: a block that hides torch's layer."""

    span: Span
    text: str


class BlockFindings(NamedTuple):
    """What checking a block found."""

    uses: Mapping[Span, Span]
    outside_flow: frozenset[Span]
    given: Mapping[Span, set[str]]
    # Whether its result rests on the shapes of its inputs alone.
    is_of_shapes: bool


class Order(NamedTuple):
    """The blocks, each behind those that it uses, circles of them, and the settings of blocks that are layers."""

    blocks: list[str]
    circles: list[list[str]]
    layer_settings: set[tuple[str, str]]


@dataclass(frozen=True)
class Checked:
    """A spec, and what checking its text found."""

    spec: tree.ModelSpec
    # The values of vars, in the file's order.
    variables: Mapping[str, Any]
    # The model's lines in running order.
    layers: tuple[tree.Line, ...]
    # Lines whose value does not flow into the next one, because it depends on no input.
    outside_flow: frozenset[Span]
    # The names of layers, parts, Parameters and Buffers, by the place of the block or part that they are in (for the
    # model, of the section ``layers``): default paths are numbered around them.
    given: Mapping[Span, frozenset[str]]
    # Where each name that is read was defined, by the place where it is read.
    uses: Mapping[Span, Span]
    notes: tuple[Note, ...] = ()
    allow_import: bool = False
    # Whether lines ask whether the network is in training mode.
    asks_mode: bool = False
    # Lines that compute and have a problem of their own, rather than one of who reads them.
    wrong: frozenset[Span] = frozenset()
    order: Order | None = None
    blocks: Mapping[str, BlockFindings] = field(default_factory=dict)

    @cached_property
    def names(self) -> Mapping[str, frozenset[str]]:
        """The names in each block."""
        return {block.name: tree.names_in(block) for block in self.spec.blocks}


def check(spec: tree.ModelSpec, allow_import: bool = False) -> Checked:
    """Check names, types and flow. Raises SpecError with every problem that the text shows."""
    return _without_problems(*check_all(spec, allow_import))


def check_again(checked: Checked, spec: tree.ModelSpec) -> Checked:
    """Check a spec that differs from a checked one in the values of vars alone. Raises SpecError."""
    with budgeted(spec.source):
        return _without_problems(*_check_all(spec, checked.allow_import, checked))


def _without_problems(checked: Checked, problems: list[Problem]) -> Checked:
    if problems:
        raise SpecError(problems)
    return checked


def check_all(spec: tree.ModelSpec, allow_import: bool = False) -> tuple[Checked, list[Problem]]:
    """Check a spec as :func:`check` does, and return the problems with the result."""
    with budgeted(spec.source):
        return _check_all(spec, allow_import)


def _check_all(
    spec: tree.ModelSpec, allow_import: bool, before: Checked | None = None
) -> tuple[Checked, list[Problem]]:
    context = CheckContext(spec, allow_import)
    expressions = ExpressionChecker(context)
    flow = FlowChecker(context, expressions)
    sections = _SectionChecker(context, expressions, flow)
    variables = sections.check_variables()
    top = {v.name: Binding("var", v.span, variables.get(v.name, NOTHING)) for v in spec.variables}
    sections.check_defaults(top)
    constants = {name: value.constant for name, value in variables.items() if value.known}
    order = (before.order if before is not None else None) or _order(spec, context)
    blocks: dict[str, BlockFindings] = {}
    for name in order.blocks:  # what a block gives is known before others use it
        if before is not None and all(_is_same(constants, before.variables, one) for one in before.names[name]):
            blocks[name] = before.blocks[name]
            sections.take_over(name, blocks[name])
        else:
            blocks[name] = sections.check_block(context.blocks[name], top, order.layer_settings)
    context.asks_mode |= before is not None and before.asks_mode
    for circle in order.circles:
        message = f"these blocks contain themselves: {' → '.join(circle)}"
        help = "a block may use itself under an `if:` that ends it"
        context.report(context.blocks[circle[0]].span, message, help)
    layers = sections.check_model(top)
    context.state = FlowState([dict(top)])
    sections.check_initialisers()
    for output in spec.expect.outputs:
        flow.check_shape(output.shape)
    figures = tuple([sections.check_figure(one) for one in spec.expect.figures])
    spec = replace(spec, expect=spec.expect.replace(figures=figures)) if figures != spec.expect.figures else spec
    given = {span: frozenset(names) for span, names in flow.given.items()}
    notes = tuple(
        Note(block.span, f"in this file, {block.name} is the block and not torch's layer")
        for block in spec.blocks
        if block.name in LAYERS
    )
    checked = Checked(
        spec,
        constants,
        layers,
        frozenset(flow.outside_flow),
        given,
        context.uses,
        notes,
        allow_import,
        context.asks_mode,
        frozenset(flow.wrong),
        order,
        blocks,
    )
    return checked, context.problems


def _is_same(constants: Mapping[str, Any], before: Mapping[str, Any], name: str) -> bool:
    one, other = constants.get(name, NOTHING), before.get(name, NOTHING)
    return one is other or (type(one) is type(other) and one == other)


def _order(spec: tree.ModelSpec, context: CheckContext) -> Order:
    uses = {block.name: sorted(_used_always(block.body, context.blocks)) for block in spec.blocks}
    order, circles = sort_by_use(uses, lambda name: uses[name])
    return Order(order, circles, _layer_settings(spec))


class _SectionChecker:
    def __init__(self, context: CheckContext, expressions: ExpressionChecker, flow: FlowChecker) -> None:
        self.context = context
        self.expressions = expressions
        self.flow = flow

    def check_variables(self) -> dict[str, Value]:
        """Return the values of vars, each computed after those it uses; report circles with their path."""
        context = self.context
        by_name = {v.name: v for v in context.spec.variables}

        def uses(name: str) -> list[str]:
            return [n.id for n in ex.walk(by_name[name].value) if isinstance(n, Name) and n.id in by_name]

        order, circles = sort_by_use(by_name, uses)
        values: dict[str, Value] = {}
        for circle in circles:
            message = f"these vars depend on themselves: {' → '.join(circle)}"
            context.report(by_name[circle[0]].span, message, "give one of them a number")
            values.update(dict.fromkeys(circle, NOTHING))
        bindings = {name: Binding("var", by_name[name].span, value) for name, value in values.items()}
        context.state = FlowState([bindings])
        for name in order:
            if name not in values:
                values[name] = self._check_variable(by_name[name])
                bindings[name] = Binding("var", by_name[name].span, values[name])
        return values

    def _check_variable(self, variable: tree.Variable) -> Value:
        context, node = self.context, variable.value
        move_to(variable.span)
        reported = len(context.problems)
        value = self.expressions.visit(node)
        if value.kind in ("tensor", "layer"):
            help = "vars are numbers, strings, booleans and lists"
            help += "; a tensor is an input or a Buffer" if value.kind == "tensor" else "; a setting may be a layer"
            return context.report(node.span, f"the var {variable.name} is a {value.kind}", help, "type")
        name = node.id if isinstance(node, Name) and len(context.problems) > reported else None
        if name and self.expressions.names.suggest(name, called=False) is None:
            last = context.problems[-1]
            also = f"{last.help}; " if last.code == "syntax" else ""  # `no` and `off`
            context.problems[-1] = replace(last, help=f"{also}a string needs quotes: `'{name}'`")
        # It may also read a var that has a problem itself.
        read = (context.state.find(n.id) for n in ex.walk(node) if isinstance(n, Name))
        broken = isinstance(node, ex.Unparsed) or any(b is not None and b.value.kind == "unknown" for b in read)
        if value.kind in ("unknown", "layers") and len(context.problems) == reported and not broken:
            help = "vars are numbers, strings, booleans and lists of such; a setting may be a layer"
            return context.report(node.span, f"the var {variable.name} holds a layer", help, "type")
        if value.known or value.kind != "plain":
            return value
        # A comprehension, whose value the expression checker does not compute.
        names = {n: b.value.constant for n, b in context.state.frames[0].items() if b.value.known}
        try:
            return Value("plain", constant=evaluate_plain(node, names))
        except arithmetic.ArithmeticProblem as error:
            return context.report(node.span, error.message, error.help, error.code)

    def check_figure(self, one: tree.ExpectedFigure) -> tree.ExpectedFigure:
        """Give an expected figure that is a formula its value at the vars."""
        if one.formula is None:
            return one
        reported = len(self.context.problems)
        value = self.expressions.visit(one.formula)
        number = value.constant if value.known else None
        if isinstance(number, int | float) and number == int(number):
            text, exact = one.figure.text, Fraction(int(number))
            return one.replace(figure=Figure(text, exact, exact), text=f"{text} = {int(number):,}")
        if len(self.context.problems) == reported:
            found = f"{number:g}" if isinstance(number, int | float) else value.kind
            help = "a formula gives a whole number: `//` divides without a rest"
            self.context.report(one.formula.span, f"{one.figure.text} is {found}", help, "value")
        return one

    def check_defaults(self, top: dict[str, Binding]) -> None:
        """Check the section ``defaults``. A default may leave out required settings of its layer."""
        context = self.context
        context.state = FlowState([dict(top)])
        for call in context.spec.defaults:
            assert isinstance(call.function, Name)
            name, span = call.function.id, call.function.span
            if name in context.blocks:
                help = f"give its settings defaults in its head: `{name}(width=64):`"
                context.report(span, f"{name} is a block of this file", help, "type")
            elif name not in LAYERS:
                self.expressions.names.report_unknown(name, span)
            else:
                self.expressions.calls.check_layer_settings(call, LAYERS[name], complete=False)

    def take_over(self, name: str, known: BlockFindings) -> None:
        """Take over what was found before of a block that no value of a var changes."""
        self.context.uses |= known.uses
        self.flow.outside_flow |= known.outside_flow
        self.flow.given |= known.given
        if known.is_of_shapes:
            self.context.of_shapes.add(name)

    def check_block(
        self, block: tree.Block, top: dict[str, Binding], layer_valued: set[tuple[str, str]]
    ) -> BlockFindings:
        """Check the settings, the inputs and the lines of a block; ``layer_valued`` settings are layers."""
        context, flow = self.context, self.flow
        before = len(context.uses), len(flow.given), frozenset(flow.outside_flow)
        settings: dict[str, Binding] = {}
        self.context.state = FlowState([settings, dict(top)])
        for parameter in block.settings:
            if parameter.default is not None:
                self.expressions.visit(parameter.default)
            layer = (block.name, parameter.name) in layer_valued
            value = Value("layer", layer=UncalledLayer(parameter.name)) if layer else PLAIN
            settings[parameter.name] = Binding("setting", parameter.span, value)
        self.context.body = BodyState(block.span)
        inputs: dict[str, Binding] = {}
        for parameter in block.inputs:
            if parameter.default is not None:
                self.expressions.operand(parameter.default)
            inputs[parameter.name] = self.context.body.define_input(parameter.name, parameter.span)
        self._enter_body([inputs, settings, dict(top)])
        flow.check_lines(block.body)
        flow.close_body(block.body, block.name)
        uses, given = islice(context.uses.items(), before[0], None), islice(flow.given.items(), before[1], None)
        outside = flow.outside_flow - before[2]
        return BlockFindings(dict(uses), frozenset(outside), dict(given), block.name in context.of_shapes)

    def _enter_body(self, frames: list[dict[str, Binding]]) -> None:
        """Start the flow of a body with the first of its inputs, which are in the nearest frame."""
        state = self.context.state = FlowState(frames, layers=[{} for _ in frames])
        for first in list(frames[0].values())[:1]:
            state.prev, state.flow = first.value, first.definitions

    def check_model(self, top: dict[str, Binding]) -> tuple[tree.Line, ...]:
        """Check the inputs and the lines. Returns the lines in running order."""
        context, spec = self.context, self.context.spec
        inputs: dict[str, Binding] = {}
        context.body = BodyState(spec.layers_span)
        for one in spec.inputs:
            context.state = FlowState([dict(top)])
            reported, value = len(context.problems), self.expressions.visit(one.value)
            if value.kind in ("plain", "layer") and len(context.problems) == reported:
                text = f"the layer {context.text(one.value)}" if value.kind == "layer" else context.text(one.value)
                shape = one.value if isinstance(one.value, ex.TupleOrList) else None
                sizes = ", ".join(map(context.text, shape.items)) if shape else "1, 3, 224, 224"
                help = f"write `randn({sizes})`, or `randint(0, 10, ({sizes}))` for whole numbers"
                context.report(one.value.span, f"the input {one.name} is {text}, not a tensor", help, "type")
            if one.name in top:
                cause = Cause(f"the var {one.name}", top[one.name].span)
                message = f"{one.name} is a var and an input"
                context.report(one.span, message, "give one of them another name", "name", (cause,))
            inputs[one.name] = self.context.body.define_input(one.name, one.span)
        if spec.model is not None:
            self._check_model_in_code(spec.model, top)
            return ()
        self._enter_body([inputs, dict(top)])
        if spec.graph:
            return self.flow.check_graph()
        self.flow.check_lines(spec.layers)
        if spec.layers:
            self.flow.close_body(spec.layers)
        return spec.layers

    def _check_model_in_code(self, model: tree.ModelInCode, top: dict[str, Binding]) -> None:
        """Check that a model in code may be imported, and that its arguments are numbers, texts and lists."""
        context = self.context
        context.state = FlowState([dict(top)])
        for one in model.keywords:
            value = self.expressions.operand(one.value)
            if value.kind == "tensor":
                help = "an argument is a number, a string, True, False, None or a list, perhaps of vars"
                context.report(one.value.span, f"{one.name} is a tensor", help, "type")
        if not context.allow_import:
            help = f"run with --allow-import if you trust {model.target}"
            context.report(model.span, "a model in code is imported, which runs its code", help, "import")

    def check_initialisers(self) -> None:
        """Check the names and settings in ``init``. What its keys match is known once the model is built."""
        report = self.context.report
        for one in self.context.spec.init:
            call = one.call
            assert isinstance(call.function, Name)
            name, values = call.function.id, self.expressions.calls.arguments(call)
            known = INITIALISERS.get(name)
            if known is None:
                plain = name.removesuffix("_")
                help = f"write `{plain}`" if plain in INITIALISERS else suggestion(name, INITIALISERS)
                report(call.function.span, f"unknown initialiser {name}", help)
                continue
            parameters = (Parameter(one, "positional", None if one == "val" else "…") for one in known)
            self.expressions.calls.check_arguments(call, name, (Signature(tuple(parameters)),), known, "setting")
            nodes = (*call.arguments, *(k.value for k in call.keywords))
            for node, value in zip(nodes, values, strict=True):
                if value.kind == "tensor":
                    form = f"it is `{name}({', '.join(known)})`"
                    report(node.span, f"{name} takes numbers, found a tensor", form, "type")


def _used_always(lines: tuple[tree.Line, ...], blocks: Mapping[str, tree.Block]) -> set[str]:
    """Return the blocks that a body uses whatever is chosen."""
    found: set[str] = set()
    for line in lines:
        match line:
            case tree.Statement(value=value):
                found |= _mentioned(value, blocks)
            case tree.PartLine(body=body):
                found |= _used_always(body, blocks)
    return found


def _mentioned(node: Expression, blocks: Mapping[str, tree.Block]) -> set[str]:
    """Return the blocks that an expression uses outside any choice in it."""
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


def _layer_settings(spec: tree.ModelSpec) -> set[tuple[str, str]]:
    """Return (block, setting) for every setting of a block that is a layer, also one passed on through other blocks."""
    if not spec.blocks:
        return set()
    calls = list(_block_settings(spec))
    named = set(_named_layers(spec))
    found = {
        (block.name, p.name)
        for block in spec.blocks
        for p in block.settings
        if p.default is not None and _looks_like_layer(p.default, spec)
    }
    while True:
        more = {
            (name, setting)
            for inside, name, setting, node in calls
            if _looks_like_layer(node, spec) or (inside, _base(node)) in found | named
        }
        if more <= found:
            return found
        found |= more


def _bodies(spec: tree.ModelSpec) -> list[tuple[str, tree.Line]]:
    bodies = [("", spec.layers), *((block.name, block.body) for block in spec.blocks)]
    return [(name, line) for name, lines in bodies for line in tree.statements(lines)]


def _named_layers(spec: tree.ModelSpec) -> Iterator[tuple[str, str]]:
    """Yield (block, name) for every line that names a layer, and every part: given to a block, it is shared."""
    for inside, line in _bodies(spec):
        if isinstance(line, tree.PartLine):
            yield inside, line.name
        elif isinstance(line, tree.Modules):
            yield from ((inside, entry.name) for entry in line.entries)
        elif isinstance(line, tree.Statement) and isinstance(line.target, ex.NameTarget):
            value = line.value
            applied = isinstance(value, Call) and _looks_like_layer(value.function, spec)
            if applied or _looks_like_layer(value, spec):
                yield inside, line.target.name


def _base(node: Expression) -> str:
    """Return the name that a path of layers begins with: ``h`` of ``h[3].attn``; "" of an attribute of a tensor."""
    while isinstance(node, ex.Subscript | ex.Attribute) and getattr(node, "name", "") not in ATTRIBUTES:
        node = node.value
    return node.id if isinstance(node, Name) else ""


def _block_settings(spec: tree.ModelSpec) -> Iterator[tuple[str, str, str, Expression]]:
    """Yield (calling block, called block, setting, its value) for every call of a block."""
    for inside, line in _bodies(spec):
        for node in (n for top in tree.expressions(line) for n in ex.walk(top)):
            if not isinstance(node, Call) or not isinstance(node.function, Name):
                continue
            if (block := spec.block(name := node.function.id)) is not None:
                for parameter, argument in zip(block.settings, node.arguments, strict=False):
                    yield inside, name, parameter.name, argument
                for keyword in node.keywords:
                    yield inside, name, keyword.name, keyword.value


def _looks_like_layer(node: Expression, spec: tree.ModelSpec) -> bool:
    match node:
        case Name(id=name):
            return spec.block(name) is not None or name in LAYERS
        case Call(function=function):
            return ex.is_type_name(function)
        case ex.Binary(operator="*", right=right):
            return _looks_like_layer(right, spec)
        case ex.Conditional(body=body, orelse=orelse):
            return _looks_like_layer(body, spec) or _looks_like_layer(orelse, spec)
    return False
