"""Layers with their settings: which there are, what each may be, what is missing."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from fwdscope.functions.signature import Mismatch, Signature, closest
from fwdscope.language import expression as ex
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.lookup import Lookup
from fwdscope.language.names import OTHER_SETTINGS, nearest, suggestion
from fwdscope.language.problems import Span
from fwdscope.language.scope import (
    NOTHING,
    SERIES,
    UNKNOWN,
    Template,
    Value,
    block_signature,
    settings_signature,
)
from fwdscope.layers import LAYERS, Layer, Setting, settings
from fwdscope.layers.base import matches

_ANY_LAYER = Template("layer")


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
            if not self.block_settings(call, name):
                return NOTHING
            return Value("template", template=Template(name, block=block, signature=block_signature(block)))
        layer = LAYERS[name]
        return _layer_value(name) if self.layer_settings(call, layer) else NOTHING

    def setting_values(self, call: Call, takes_layers: bool) -> list[Value] | None:
        """Values of settings; None where a tensor is among them, a sure mistake, since settings never are."""
        arguments = (*call.arguments, *(k.value for k in call.keywords))
        values = [self.visit_setting(argument, takes_layers) for argument in arguments]
        tensors = [a for a, value in zip(arguments, values, strict=True) if value.kind == "tensor"]
        if not tensors:
            return values
        name, shown = self.text(call.function), ", ".join(map(self.text, tensors))
        message = f"{shown} {'is a tensor' if len(tensors) == 1 else 'are tensors'}, and these are {name}'s settings"
        inputs = [self.text(a) for a in call.arguments if a in tensors]
        others = [self.text(a) for a in call.arguments if a not in tensors]
        others += [f"{k.name}={self.text(k.value)}" for k in call.keywords if k.value not in tensors]
        help = "a setting is a number, a string, True, False, None, a tuple or a layer"
        if inputs:
            inside = ", ".join(others) or ("…" if self.wants_settings(name) else "")
            help = f"inputs go in second parentheses: `{name}({inside})({', '.join(inputs)})`"
        self.problem(tensors[0].span, message, help, "type")
        return None

    def wants_settings(self, name: str) -> bool:
        """Whether a layer type or block has settings that must be given."""
        if name in self.blocks:
            return any(p.default is None for p in self.blocks[name].settings)
        return name in LAYERS and any(s.required for s in settings(LAYERS[name]))

    def visit_setting(self, argument: Expression, takes_layers: bool = True) -> Value:
        """A setting. The name of a layer hands the layer itself on, shared, to what takes layers."""
        if isinstance(argument, Name) and takes_layers:
            binding = self.state.find(argument.id)
            if binding is not None and (binding.layer is not None or binding.kind == "part"):
                self.read(binding.definitions)
                return Value("template", template=binding.layer or Template(argument.id))
        value = self.visit(argument)
        if value.kind == "tensor" and takes_layers and isinstance(argument, ex.Attribute):
            path = self.path(argument)
            if path is not None and path[0].layer is not None:
                return NOTHING  # a layer inside a layer, or a tensor of one: the model knows which
        return value

    # -- blocks -------------------------------------------------------------------------------------------------------

    def block_settings(self, call: Call, name: str) -> bool:
        """Hold the settings of a block against its head; False where they were meant as inputs."""
        block = self.blocks[name]
        if self.setting_values(call, bool(block.settings)) is None:
            return False
        if not block.settings and (call.arguments or call.keywords):
            help = f"write `{name}`, or give its head some: `{name}(width):`"
            self.problem(call.span, f"{name} has no settings", help, "type")
            return True
        signature = settings_signature(block, self.text)
        self.bind(call, name, (signature,), signature.keywords, "setting")
        return True

    # -- layers -------------------------------------------------------------------------------------------------------

    def layer_settings(self, call: Call, layer: type[Layer], complete: bool = True) -> bool:
        """Hold the settings of a layer against its type; False where they were meant as inputs."""
        known, positional, required = _known(layer.__name__)
        values = self.setting_values(call, _takes_layers(layer.__name__))
        if values is None:
            return False
        surplus = call.arguments[len(positional) :]
        if surplus and not call.starred:
            self.too_many_settings(call, layer, surplus)
        given = [] if call.starred else list(zip(positional, call.arguments, values, strict=False))
        keywords = zip(call.keywords, values[len(call.arguments) :], strict=True)
        given += [(k.name, k.value, value) for k, value in keywords]
        meant = self.unknown_settings(call, layer, known)
        seen: set[str] = set()
        for name, argument, value in given:
            if name in seen:
                span = next((k.span for k in call.keywords if k.value is argument), argument.span)
                self.problem(span, f"{layer.__name__}: {name} is given twice", "leave one of them out", "type")
            elif name in known:
                self.one_setting(layer, known[name], argument, value)
            seen.add(name)
        seen |= {*meant, *self.defaults_of(layer.__name__)}
        missing = [name for name in required if name not in seen]
        if missing and complete and not call.starred and not surplus:
            self.missing_settings(call, layer, missing)
        return True

    def one_setting(self, layer: type[Layer], setting: Setting, argument: Expression, value: Value) -> None:
        """Hold one setting against its type, where the text tells its value."""
        constant = value.template if value.kind == "template" else value.constant
        if constant is not UNKNOWN and not matches(setting.annotation, constant):
            message, help = wrong_setting(layer.__name__, setting, constant, self.text(argument))
            self.problem(argument.span, message, help, "type")

    def too_many_settings(self, call: Call, layer: type[Layer], surplus: Sequence[Expression]) -> None:
        """More settings by position than there are places. With its input size first, as in torch, a call is known."""
        name, known = layer.__name__, settings(layer)
        positional = [s.name for s in known if s.positional]
        inferred = [s.name for s in known if s.inferred]
        shown = [self.text(a) for a in call.arguments]
        if name == "LayerNorm":
            help = f"write `LayerNorm(normalized_shape={shown[0]})`, or `LayerNorm`: it is inferred"
        elif inferred and len(shown) <= len(known):
            as_in_torch = list(zip((s.name for s in known), shown, strict=False))
            rest = [text for n, text in as_in_torch if n in positional]
            rest += [f"{n}={text}" for n, text in as_in_torch if n not in positional and n not in inferred]
            rest += [f"{k.name}={self.text(k.value)}" for k in call.keywords]
            verb = "is" if len(inferred) == 1 else "are"
            call_text = f"{name}({', '.join(rest)})" if rest else name
            help = f"{' and '.join(inferred)} {verb} inferred: write `{call_text}`"
            help += "; every other setting goes by keyword" if positional else ""
        else:
            last = [f"`{self.text(a)}`" for a in surplus]
            kept = shown[: len(positional)] + [f"{k.name}={self.text(k.value)}" for k in call.keywords]
            help = f"write `{name}({', '.join(kept)})`" if kept else f"write `{name}`"
            help += ": nothing acts in place here" if last in (["`True`"], ["`False`"]) else ""
        takes = f"{name} takes {', '.join(positional) or 'no setting'} by position, found {len(shown)}"
        self.problem(surplus[0].span.to(surplus[-1].span), takes, help, "type")

    def unknown_settings(self, call: Call, layer: type[Layer], known: Mapping[str, Setting]) -> set[str]:
        """Keywords that the layer has no setting for; the settings that were meant by them."""
        name, meant = layer.__name__, set()
        for keyword in call.keywords:
            if keyword.name in known:
                continue
            if keyword.name == "inplace":
                help = "nothing acts in place here: leave it out"
            elif keyword.name in ("device", "dtype"):
                help = f"leave it out: --{keyword.name} says it for the whole network"
            elif not known:
                help = f"{name} has no settings: write `{name}`"
            else:
                help = suggestion(keyword.name, known, OTHER_SETTINGS, f"{name} has")
                meant.add(nearest(keyword.name, known, OTHER_SETTINGS) or "")
            self.problem(keyword.span, f"{name} has no setting {keyword.name}", help)
        return meant

    def missing_settings(self, call: Call, layer: type[Layer], missing: list[str]) -> None:
        """Settings that must be given and are not."""
        name = layer.__name__
        shown = [self.text(a) for a in call.arguments]
        shown += missing + [f"{k.name}={self.text(k.value)}" for k in call.keywords]
        wanted = " and ".join(missing)
        help = f"write `{name}({', '.join(shown)})` with a number for {wanted}"
        self.problem(call.span, f"{name} wants {wanted}", help, "type")

    def defaults_of(self, name: str) -> dict[str, Expression]:
        """The settings that the section ``defaults`` lays under a layer type."""
        found: dict[str, Expression] = {}
        for call in self.spec.defaults:
            if isinstance(call.function, Name) and call.function.id == name:
                found.update({k.name: k.value for k in call.keywords})
        return found

    def series(self, node: Call) -> Value:
        """``Sequential(…)``: layers, stacks, and generators of such."""
        example = "it holds layers: `Sequential(Linear(8), ReLU)`"
        for keyword in node.keywords:
            self.problem(keyword.span, f"Sequential has no setting {keyword.name}", example)
        if not node.arguments:
            self.problem(node.span, "Sequential holds no layers", "write `Sequential(Linear(8), ReLU)`", "type")
        signature = None
        for i, argument in enumerate(node.arguments):
            value = self.visit_setting(argument)
            if i == 0 and value.template is not None:
                signature = value.template.signature
            if value.kind in ("template", "unknown") or isinstance(argument, ex.Starred):
                continue
            found = "a tensor" if value.kind == "tensor" else self.text(argument)
            help = f"inputs go in second parentheses: `Sequential(…)({self.text(argument)})`"
            help = help if value.kind == "tensor" else example
            self.problem(argument.span, f"Sequential holds layers, found {found}", help, "type")
        return Value("template", template=Template(SERIES, signature=signature, series=True))

    # -- signatures ---------------------------------------------------------------------------------------------------

    def bind(
        self,
        node: Call,
        shown: str,
        overloads: tuple[Signature, ...],
        keywords: Iterable[str],
        what: str = "argument",
        form: str = "",
    ) -> Signature | None:
        """Hold a call against its signatures; the one that fits, or None with its problems told.

        ``what`` is the word for what the parentheses hold; ``form`` stands before them where that is not ``shown``.
        """
        known = tuple(keywords)
        fit = closest(overloads, len(node.arguments), [k.name for k in node.keywords], node.starred)
        meant = {_meant(k.name, known) for k in node.keywords if k.name not in known}
        for mismatch in fit.mismatches:
            if mismatch.message.removesuffix(" is missing") in meant:
                continue  # it is there, under another name
            span, help = self.mismatch(node, mismatch, known)
            message = _in_words_of(what, mismatch.message)
            message = f"{shown}: {message}" if " is " in message else f"{shown} {message}"
            self.problem(span, message, help or f"it is `{form or shown}{fit.signature}`", "type")
        return None if fit.mismatches else fit.signature

    def mismatch(self, node: Call, mismatch: Mismatch, known: tuple[str, ...]) -> tuple[Span, str | None]:
        """The place of a mismatch and help for it, where there is better than the signature."""
        if mismatch.keyword is not None:
            keyword = next(k for k in reversed(node.keywords) if k.name == mismatch.keyword)
            if keyword.name == "inplace":
                return keyword.span, "nothing acts in place here: leave it out"
            meant = _meant(keyword.name, known) if keyword.name not in known else None
            return keyword.span, f"write `{meant}`" if meant else None
        if mismatch.argument is not None:
            return node.arguments[mismatch.argument].span.to(node.arguments[-1].span), None
        return node.span, None


@cache
def _layer_value(name: str) -> Value:
    """A layer of this type, its settings given."""
    layer = LAYERS[name]
    return Value("template", template=Template(name, layer, signature=Signature.parse(layer.forward)))


@cache
def _known(name: str) -> tuple[Mapping[str, Setting], Sequence[str], Sequence[str]]:
    """The settings of a layer type by name, the names of those that go by position, of those that must be given."""
    known = {s.name: s for s in settings(LAYERS[name])}
    return known, [s.name for s in known.values() if s.positional], [s.name for s in known.values() if s.required]


@cache
def _takes_layers(name: str) -> bool:
    """Whether a setting of this layer type may be a layer itself."""
    return any(matches(setting.annotation, _ANY_LAYER) for setting in settings(LAYERS[name]))


def _meant(keyword: str, known: tuple[str, ...]) -> str | None:
    """The keyword that a wrong one stands for; NumPy's axis is dim."""
    also = ("axis",) if "dim" in known else ()
    found = nearest(keyword, (*known, *also), OTHER_SETTINGS)
    return "dim" if found == "axis" and "axis" not in known else found


def _in_words_of(what: str, message: str) -> str:
    """A signature's message with ``setting`` or ``input`` for ``argument``."""
    if what == "argument":
        return message
    message = re.sub(r"argument(s?)", rf"{what}\1", message)
    return re.sub(r"has no keyword '(\w+)'", rf"has no {what} \1", message)


def wrong_setting(layer: str, setting: Setting, value: Any, shown: str) -> tuple[str, str | None]:
    """Message and help for a setting's value that does not fit its type."""
    message = f"{layer}: {setting.name} is {shown}, expected {setting.mismatch(value)}"
    better = next((one for one in _alternatives(setting, value) if setting.mismatch(one) is None), None)
    return message, None if better is None else f"write `{better!r}`"


def _alternatives(setting: Setting, value: Any) -> Iterable[Any]:
    """Values that may have been meant by one that does not fit."""
    if isinstance(value, str):
        for kind in (int, float):
            try:
                yield kind(value)
            except ValueError:
                continue
        choices = [choice for choice in _choices(setting.annotation) if isinstance(choice, str)]
        yield nearest(value, choices)
    elif isinstance(value, float) and value.is_integer():
        yield int(value)
    elif isinstance(value, int) and value in (0, 1):
        yield bool(value)
    elif isinstance(value, tuple | list) and len(set(map(repr, value))) == 1:
        yield value[0]


def _choices(annotation: Any) -> Iterable[Any]:
    """The values that the literals in an annotation allow."""
    for argument in typing.get_args(annotation):
        if typing.get_origin(annotation) is typing.Literal:
            yield argument
        else:
            yield from _choices(argument)
