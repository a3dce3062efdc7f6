"""Layers with their settings: which there are, what each may be, what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fwdscope.layers import LAYERS, Layer, settings
from fwdscope.layers.signature import Signature, closest
from fwdscope.spec import expression as ex
from fwdscope.spec.expression import Call, Expression, Name
from fwdscope.spec.lookup import Lookup
from fwdscope.spec.names import OTHER_SETTINGS, nearest, suggestion
from fwdscope.spec.scope import NOTHING, SERIES, UNKNOWN, Template, Value, block_signature, settings_signature


class LayerSettings(Lookup):
    """Calls in which the parentheses hold settings: ``Linear(8)``, ``Block(d)``, ``Sequential(…)``."""

    def template(
        self,
        name: str,
        function: Name,
        arguments: tuple[Expression, ...],
        keywords: tuple[ex.Keyword, ...],
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
            rest = shown[1:]
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
