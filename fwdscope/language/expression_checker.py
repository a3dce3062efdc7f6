"""Checks whole expressions: operators, choices, lists and comprehensions, and all that is inside them."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, ClassVar

from fwdscope.language import arithmetic
from fwdscope.language import expression as ex
from fwdscope.language.arithmetic import ArithmeticProblem
from fwdscope.language.call_checker import CallChecker
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.name_resolver import NameResolver
from fwdscope.language.scope import NOTHING, PLAIN, UNKNOWN, Binding, CheckContext, UncalledLayer, Value, merge
from fwdscope.limits import at_most, limit


class ExpressionChecker:
    """Finds what the text shows of an expression's value, marks what it reads, and reports what is wrong in it."""

    def __init__(self, context: CheckContext) -> None:
        self.context = context
        self.names = NameResolver(context, self)
        self.calls = CallChecker(context, self, self.names)

    def visit(self, node: Expression) -> Value:
        """Check an expression, which may be a layer that is not called yet."""
        return self._VISIT[type(node)](self, node)

    def operand(self, node: Expression) -> Value:
        """Check an expression used as a value: a layer in it that is not called yet is a problem."""
        if isinstance(node, ex.TupleOrList):
            return self._sequence(node, [self.operand(item) for item in node.items])
        value = self.visit(node)
        if value.kind == "layers":
            help = f"index it: `{self.context.text(node)}[0]({self.context.example_input()})`"
            message = f"{self.context.text(node)} holds several layers"
            return self.context.report(node.span, message, help, "type")
        if value.kind != "layer":
            return value
        name = value.layer.name if value.layer else "this"
        signature = value.layer.signature if value.layer else None
        given = self.context.example_input() if signature is None or signature.parameters else ""
        help = f"call it: `{self.callable_text(node)}({given})`"
        return self.context.report(node.span, f"{name} is not called on an input", help, "type")

    def listed(self, node: Expression) -> Value:
        """Check an expression that may be a list of layers, and is used as a value otherwise."""
        value = self.visit(node)
        return self.operand(node) if value.kind == "layer" else value

    def callable_text(self, node: Expression) -> str:
        """Return a layer as text to which inputs in parentheses can be added."""
        shown = self.context.text(node)
        if isinstance(node, ex.Binary):
            return f"({shown})"
        if isinstance(node, ex.Subscript):
            return shown
        binding = self.context.state.find(node.id) if isinstance(node, Name) else None
        return shown if shown.endswith(")") or binding is not None else f"{shown}()"

    def _compute(self, values: list[Value], function: Callable[..., Any], node: Expression) -> Value:
        """Return the result of an operation, with its constant if the text shows all operands."""
        if any(v.kind == "tensor" for v in values):
            several = isinstance(node, ex.Binary) and any(v.several for v in values)
            return Value("tensor", any(v.reached for v in values), several=several)
        if any(v.kind == "unknown" for v in values):
            return NOTHING
        if not all(v.known for v in values):
            return PLAIN
        try:
            return Value("plain", constant=function(*(v.constant for v in values)))
        except ArithmeticProblem as error:
            return self.context.report(node.span, error.message, error.help, error.code)

    def _name(self, node: Name) -> Value:
        if self.names.is_layer_type(node.id):
            return self.calls.check_layer(node.id, Call(node.span, node, (), ()))
        return self.names.resolve(node)

    def _unary(self, node: ex.Unary) -> Value:
        value = self.operand(node.operand)
        if node.operator == "not" and value.kind == "tensor":
            help = f"for a mask write `~({self.context.text(node.operand)})`"
            return self.context.report(node.span, "`not` of a tensor depends on its data", help, "type")
        return self._compute([value], lambda a: arithmetic.unary(node.operator, a), node)

    def _binary(self, node: ex.Binary) -> Value:
        """Check ``left operator right``; a whole number times a layer is a stack."""
        if node.operator != "*":
            left, right = self.operand(node.left), self.operand(node.right)
        else:
            left, right = self.visit(node.left), self.visit(node.right)
            if "layer" in (left.kind, right.kind):
                return self._stack(node, left, right)
            call = node.right
            if left.kind == "plain" and isinstance(call, Call) and isinstance(call.function, Call):
                whole = type(left.constant) is int if left.known else isinstance(node.left, Name)
                if whole and ex.is_type_name(call.function.function):
                    # Python reads ``6 * Layer(settings)(inputs)`` as 6 times a tensor.
                    times, layer, result = map(self.context.text, (node.left, call.function, call))
                    stack = f"({times} * {layer}){result[len(layer) :]}"
                    help = f"for a stack of {times}: `{stack}`; to scale one layer's result: `{result} * {times}`"
                    message = "this multiplies the result of one layer by a whole number"
                    return self.context.report(node.span, message, help, "type")
        return self._compute([left, right], lambda a, b: arithmetic.binary(node.operator, a, b), node)

    def _stack(self, node: ex.Binary, left: Value, right: Value) -> Value:
        text, report = self.context.text, self.context.report
        if left.kind == "layer":
            if right.kind != "plain":
                return self.operand(node.left)
            help = f"write `{text(node.right)} * {text(node.left)}`"
            return report(node.span, "the number of copies goes on the left", help, "type")
        if left.kind == "tensor":
            return self.operand(node.right)
        if left.known and (type(left.constant) is not int or left.constant < 0):
            message = f"a stack needs a whole number of copies, found {text(node.left)}"
            scaled = f"{self.callable_text(node.right)}({self.context.example_input()}) * {text(node.left)}"
            form = f"to scale a layer's result: `{scaled}`" if type(left.constant) is float else None
            return report(node.left.span, message, form, "type")
        if left.known and left.constant > limit("turns"):
            return report(node.left.span, f"a stack of {left.constant:,} copies", at_most("turns"), "limit")
        layer = right.layer or UncalledLayer("stack")
        return Value("layer", layer=UncalledLayer(layer.name, signature=layer.signature))

    def _compare(self, node: ex.Compare) -> Value:
        values = [self.operand(node.left), *(self.operand(right) for right in node.rights)]
        if any(v.kind == "tensor" for v in values) and node.operators[0] not in ("is", "is not", "in", "not in"):
            if len(values) > 2:
                a, b, c = map(self.context.text, (node.left, *node.rights[:2]))
                help = f"write `({a} {node.operators[0]} {b}) & ({b} {node.operators[1]} {c})`"
                message = "a chain of comparisons of tensors depends on their data"
                return self.context.report(node.span, message, help, "type")
            return Value("tensor", any(v.reached for v in values))
        if not all(v.known for v in values):
            return NOTHING if any(v.kind == "unknown" for v in values) else PLAIN

        def compare_all(*constants: Any) -> bool:
            pairs = zip(node.operators, constants, constants[1:], strict=False)
            return all(arithmetic.compare(sign, a, b) for sign, a, b in pairs)

        return self._compute(values, compare_all, node)

    def _boolean(self, node: ex.Boolean) -> Value:
        values = [self.operand(v) for v in node.values]
        if any(v.kind == "tensor" for v in values):
            sign = {"and": "&", "or": "|"}[node.operator]
            message = f"`{node.operator}` of tensors depends on their data"
            help = f" {sign} ".join(f"({self.context.text(v)})" for v in node.values)
            return self.context.report(node.span, message, f"for masks write `{help}`", "type")
        both: Callable[[Any, Any], Any] = (lambda a, b: a and b) if node.operator == "and" else (lambda a, b: a or b)
        return self._compute(values, lambda *constants: reduce(both, constants), node)

    def _conditional(self, node: ex.Conditional) -> Value:
        test = self.operand(node.test)
        body, orelse, condition = map(self.context.text, (node.body, node.orelse, node.test))
        self.refuse_data(test, node.test, "`if … else`", f"write `where({condition}, {body}, {orelse})`")
        body_value, else_value = self.visit(node.body), self.visit(node.orelse)
        if test.known:
            return body_value if test.constant else else_value
        return merge(body_value, else_value)

    def refuse_data(self, test: Value, node: Expression, what: str, help: str) -> None:
        """Report a choice that depends on data, which is not known while building."""
        if test.kind == "tensor":
            self.context.report(node.span, f"{what} depends on data, which is not known while building", help, "type")

    def _sequence(self, node: ex.TupleOrList, values: list[Value] | None = None) -> Value:
        values = [self.visit(item) for item in node.items] if values is None else values
        if any(v.kind == "tensor" for v in values):
            return Value("tensor", any(v.reached for v in values), several=True)
        if values and all(v.kind == "layer" for v in values):
            return Value("layers", layer=values[0].layer if len({v.layer for v in values}) == 1 else None)
        if any(v.kind in ("unknown", "layer", "layers") for v in values):
            return NOTHING
        if all(v.known for v in values) and not any(isinstance(i, ex.Starred) for i in node.items):
            constants = [v.constant for v in values]
            return Value("plain", constant=tuple(constants) if node.kind == "tuple" else constants)
        return PLAIN

    def _comprehension(self, node: ex.Comprehension) -> Value:
        outer = self.context.state
        self.context.state = outer.copy()
        self.context.state.frames.insert(0, {})
        for clause in node.clauses:
            self.bind_loop_names(clause.target, clause.iterable)
            for condition in clause.conditions:
                help = "the length of a list must be known while building: choose by numbers and shapes"
                self.refuse_data(self.operand(condition), condition, "the condition", help)
        element = self.visit(node.element)
        self.context.state = outer
        if element.kind == "layer" and node.kind == "list":
            return Value("layers", layer=element.layer)
        several = element.kind == "tensor"
        return PLAIN if element.kind == "plain" else element._replace(constant=UNKNOWN, several=several)

    def bind_loop_names(self, target: ex.Target, iterable: Expression) -> None:
        """Check what a loop iterates over, and bind the loop's names."""
        value, text = self.listed(iterable), self.context.text(iterable)
        if value.kind == "plain" and value.known and not isinstance(value.constant, tuple | list | range | str):
            help = f"write `range({text})`" if type(value.constant) is int else "write `range(n)`, or a list"
            value = self.context.report(iterable.span, f"{text} cannot be iterated over", help, "type")
        if isinstance(value.constant, str) and value.constant.lstrip().startswith(("[", "(")):
            help = "write the list without quotes, as lists in lists: `[[3, [3, 4]], [4, [4, 5]]]`"
            value = self.context.report(iterable.span, f"{text} is a string", help, "type")
        item = PLAIN if value.kind == "plain" else Value(value.kind, value.reached)
        if value.kind == "layers":
            item = Value("layer", layer=value.layer or UncalledLayer(text))
        for named in ex.targets(target):
            self.context.state.frames[0][named.name] = Binding("turn", named.span, item)

    def _subscript(self, node: ex.Subscript) -> Value:
        value, index, text = self.listed(node.value), self.operand(node.index), self.context.text
        if value.kind == "layers":
            return Value("layer", layer=value.layer or UncalledLayer(text(node)))
        if value.kind == "plain" and value.known and not isinstance(value.constant, tuple | list | range | str):
            message = f"{text(node.value)} is {value.constant!r}, which has no items"
            return self.context.report(node.span, message, None, "type")
        if value.kind == "tensor" and isinstance(index.constant, str | float):
            help = "an index is a whole number, a slice, ..., None, or a tensor of indices"
            return self.context.report(node.index.span, f"{text(node.index)} is not an index", help, "type")
        if value.known and index.known and not isinstance(node.index, ex.Slice):

            def pick(items: Any, i: Any) -> Any:
                try:
                    return items[i]
                except (IndexError, KeyError, TypeError) as error:
                    raise ArithmeticProblem(f"{text(node)} has no value: {error}") from None

            return self._compute([value, index], pick, node)
        if value.kind == "tensor":
            return Value("tensor", value.reached)
        return value if value.kind == "unknown" else PLAIN

    def _slice(self, node: ex.Slice) -> Value:
        for part in ex.children(node):
            self.operand(part)
        return PLAIN

    _VISIT: ClassVar[dict[type[Expression], Callable[[Any, Any], Value]]] = {
        ex.Unparsed: lambda self, node: NOTHING,
        ex.Constant: lambda self, node: Value("plain", constant=node.value),
        ex.Name: _name,
        ex.Attribute: lambda self, node: self.names.attribute(node),
        ex.Subscript: _subscript,
        ex.Slice: _slice,
        ex.Call: lambda self, node: self.calls.check(node),
        ex.Unary: _unary,
        ex.Binary: _binary,
        ex.Compare: _compare,
        ex.Boolean: _boolean,
        ex.Conditional: _conditional,
        ex.TupleOrList: _sequence,
        ex.Starred: lambda self, node: self.listed(node.value),
        ex.Comprehension: _comprehension,
    }
