"""Checks the settings of layers and blocks: which there are, what each may be, what is missing."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from fwdscope.functions.signature import Mismatch, Parameter, Signature, closest
from fwdscope.language import expression as ex
from fwdscope.language.expression import Call, Expression, Name
from fwdscope.language.name_resolver import NameResolver
from fwdscope.language.names import OTHER_SETTINGS, nearest, suggestion
from fwdscope.language.problems import Span
from fwdscope.language.scope import NOTHING, SERIES, UNKNOWN, CheckContext, UncalledLayer, Value, Visitor
from fwdscope.language.tree import BlockParameter
from fwdscope.layers import LAYERS, Layer, Setting, settings
from fwdscope.layers.base import matches


class SettingsChecker:
    """Checks calls whose parentheses hold settings: ``Linear(8)``, ``Block(d)``, ``Sequential(…)``."""

    def __init__(self, context: CheckContext, visitor: Visitor, names: NameResolver) -> None:
        self.context = context
        self.visitor = visitor
        self.names = names

    def check_layer(self, name: str, call: Call) -> Value:
        """Check the settings of a layer type or a block."""
        block = self.context.blocks.get(name)
        if block is None:
            fits = self.check_layer_settings(call, LAYERS[name])
            return Value("layer", layer=_uncalled(name)) if fits else NOTHING
        if self._setting_values(call, bool(block.settings)) is None:
            return NOTHING
        if block.settings or not (call.arguments or call.keywords):
            signature = _head_signature(block.settings, self.context.text)
            self.check_arguments(call, name, (signature,), signature.keywords, "setting")
        else:
            help = f"write `{name}`, or give its head some: `{name}(width):`"
            self.context.report(call.span, f"{name} has no settings", help, "type")
        inputs = _head_signature(block.inputs, lambda default: "…")
        return Value("layer", layer=UncalledLayer(name, signature=inputs))

    def check_series(self, node: Call) -> Value:
        """Check ``Sequential(…)``: layers, stacks, and generators of them."""
        report = self.context.report
        example = "it holds layers: `Sequential(Linear(8), ReLU)`"
        for keyword in node.keywords:
            report(keyword.span, f"Sequential has no setting {keyword.name}", example)
        if not node.arguments:
            report(node.span, "Sequential holds no layers", "write `Sequential(Linear(8), ReLU)`", "type")
        signature = None
        for i, argument in enumerate(node.arguments):
            value = self._setting_value(argument)
            if i == 0 and value.layer is not None:
                signature = value.layer.signature
            if value.kind in ("layer", "unknown") or isinstance(argument, ex.Starred):
                continue
            found, help = self.context.text(argument), example
            if value.kind == "tensor":
                found, help = "a tensor", f"inputs go in second parentheses: `Sequential(…)({found})`"
            report(argument.span, f"Sequential holds layers, found {found}", help, "type")
        return Value("layer", layer=UncalledLayer(SERIES, signature=signature))

    def _setting_values(self, call: Call, takes_layers: bool) -> list[Value] | None:
        """Return the values of settings, or None if a tensor is among them: inputs in the wrong parentheses."""
        text = self.context.text
        arguments = (*call.arguments, *(k.value for k in call.keywords))
        values = [self._setting_value(argument, takes_layers) for argument in arguments]
        tensors = [a for a, value in zip(arguments, values, strict=True) if value.kind == "tensor"]
        if not tensors:
            return values
        name, shown = text(call.function), ", ".join(map(text, tensors))
        message = f"{shown} {'is a tensor' if len(tensors) == 1 else 'are tensors'}, and these are {name}'s settings"
        inputs = [text(a) for a in call.arguments if a in tensors]
        others = [text(a) for a in call.arguments if a not in tensors]
        others += [f"{k.name}={text(k.value)}" for k in call.keywords if k.value not in tensors]
        help = "a setting is a number, a string, True, False, None, a tuple or a layer"
        if inputs:
            inside = ", ".join(others) or ("…" if self._needs_settings(name) else "")
            help = f"inputs go in second parentheses: `{name}({inside})({', '.join(inputs)})`"
        self.context.report(tensors[0].span, message, help, "type")
        return None

    def _needs_settings(self, name: str) -> bool:
        if name in self.context.blocks:
            return any(p.default is None for p in self.context.blocks[name].settings)
        return name in LAYERS and any(s.required for s in settings(LAYERS[name]))

    def _setting_value(self, argument: Expression, takes_layers: bool = True) -> Value:
        """Return the value of a setting. Where layers are taken, the name of a layer passes that layer on, shared."""
        if isinstance(argument, Name) and takes_layers:
            binding = self.names.find(argument)
            if binding is not None and (binding.layer is not None or binding.kind == "part"):
                self.context.mark_read(binding.definitions)
                return Value("layer", layer=binding.layer or UncalledLayer(argument.id))
        value = self.visitor.visit(argument)
        if value.kind == "tensor" and takes_layers and isinstance(argument, ex.Attribute):
            path = self.names.path(argument)
            if path is not None and path[0].layer is not None:
                return NOTHING  # a layer inside a layer, or one of its tensors: known once it is built
        return value

    def check_layer_settings(self, call: Call, layer: type[Layer], complete: bool = True) -> bool:
        """Check settings against a layer type. Returns False if they are inputs in the wrong parentheses.

        ``complete`` is False where settings may be missing.
        """
        known, positional, required = _known(layer.__name__)
        values = self._setting_values(call, _takes_layers(layer.__name__))
        if values is None:
            return False
        surplus = call.arguments[len(positional) :]
        if surplus and not call.starred:
            self._report_surplus(call, layer, surplus)
        given = [] if call.starred else list(zip(positional, call.arguments, values, strict=False))
        keywords = zip(call.keywords, values[len(call.arguments) :], strict=True)
        given += [(k.name, k.value, value) for k, value in keywords]
        meant = self._report_unknown_settings(call, layer, known)
        seen: set[str] = set()
        for name, argument, value in given:
            if name in seen:
                span = next((k.span for k in call.keywords if k.value is argument), argument.span)
                self.context.report(span, f"{layer.__name__}: {name} is given twice", "remove one of them", "type")
            elif name in known:
                constant = value.layer if value.kind == "layer" else value.constant
                if constant is not UNKNOWN and not matches(known[name].annotation, constant):
                    wrong = wrong_setting(layer.__name__, known[name], constant, self.context.text(argument))
                    self.context.report(argument.span, *wrong, "type")
            seen.add(name)
        defaults = (one for one in self.context.spec.defaults if ex.spelled(one.function) == layer.__name__)
        seen |= {*meant, *(keyword.name for one in defaults for keyword in one.keywords)}
        missing = [name for name in required if name not in seen]
        if missing and complete and not call.starred and not surplus:
            shown = [self.context.text(a) for a in call.arguments]
            shown += missing + [f"{k.name}={self.context.text(k.value)}" for k in call.keywords]
            needed = " and ".join(missing)
            help = f"write `{layer.__name__}({', '.join(shown)})` with a number for {needed}"
            self.context.report(call.span, f"{layer.__name__} needs {needed}", help, "type")
        return True

    def _report_surplus(self, call: Call, layer: type[Layer], surplus: Sequence[Expression]) -> None:
        """Report more settings than go by position. Torch's form, with the input size first, is recognized."""
        name, known, text = layer.__name__, settings(layer), self.context.text
        positional = [s.name for s in known if s.positional]
        inferred = [s.name for s in known if s.inferred]
        shown = [text(a) for a in call.arguments]
        if name == "LayerNorm":
            help = f"write `LayerNorm(normalized_shape={shown[0]})`, or `LayerNorm`: it is inferred"
        elif inferred and len(shown) <= len(known):
            as_in_torch = list(zip((s.name for s in known), shown, strict=False))
            rest = [text for n, text in as_in_torch if n in positional]
            rest += [f"{n}={text}" for n, text in as_in_torch if n not in positional and n not in inferred]
            rest += [f"{k.name}={text(k.value)}" for k in call.keywords]
            verb = "is" if len(inferred) == 1 else "are"
            call_text = f"{name}({', '.join(rest)})" if rest else name
            help = f"{' and '.join(inferred)} {verb} inferred: write `{call_text}`"
            help += "; every other setting goes by keyword" if positional else ""
        else:
            last = [f"`{text(a)}`" for a in surplus]
            kept = shown[: len(positional)] + [f"{k.name}={text(k.value)}" for k in call.keywords]
            help = f"write `{name}({', '.join(kept)})`" if kept else f"write `{name}`"
            help += ": no layer works in place" if last in (["`True`"], ["`False`"]) else ""
        takes = f"{name} takes {', '.join(positional) or 'no setting'} by position, found {len(shown)}"
        self.context.report(surplus[0].span.to(surplus[-1].span), takes, help, "type")

    def _report_unknown_settings(self, call: Call, layer: type[Layer], known: Mapping[str, Setting]) -> set[str]:
        """Report keywords that the layer has no setting for. Returns the settings that were probably meant."""
        name, meant = layer.__name__, set()
        for keyword in call.keywords:
            if keyword.name in known:
                continue
            if keyword.name == "inplace":
                help = "remove it: no layer works in place"
            elif keyword.name in ("device", "dtype"):
                help = f"remove it: --{keyword.name} sets it for the whole network"
            elif not known:
                help = f"{name} has no settings: write `{name}`"
            else:
                help = suggestion(keyword.name, known, OTHER_SETTINGS, f"{name} has")
                meant.add(nearest(keyword.name, known, OTHER_SETTINGS) or "")
            self.context.report(keyword.span, f"{name} has no setting {keyword.name}", help)
        return meant

    def check_arguments(
        self,
        node: Call,
        shown: str,
        overloads: tuple[Signature, ...],
        keywords: Iterable[str],
        what: str = "argument",
        form: str = "",
    ) -> bool:
        """Check a call against the signatures of its callee. Returns whether one fits.

        ``what`` names what the parentheses hold; ``form`` is the text before them, if it is not ``shown``.
        """
        known = tuple(keywords)
        fit = closest(overloads, len(node.arguments), [k.name for k in node.keywords], node.starred)
        meant = {_meant(k.name, known) for k in node.keywords if k.name not in known}
        for mismatch in fit.mismatches:
            if mismatch.message.removesuffix(" is missing") in meant:
                continue  # it is there, under another name
            span, help = _locate(node, mismatch, known)
            message = mismatch.message
            if what != "argument":
                message = re.sub(r"argument(s?)", rf"{what}\1", message)
                message = re.sub(r"has no keyword '(\w+)'", rf"has no {what} \1", message)
            message = f"{shown}: {message}" if " is " in message else f"{shown} {message}"
            self.context.report(span, message, help or f"it is `{form or shown}{fit.signature}`", "type")
        return not fit.mismatches


def _locate(node: Call, mismatch: Mismatch, known: tuple[str, ...]) -> tuple[Span, str | None]:
    """Return the place of a mismatch, and a help text if there is a better one than the signature."""
    if mismatch.keyword is not None:
        keyword = next(k for k in reversed(node.keywords) if k.name == mismatch.keyword)
        if keyword.name == "inplace":
            return keyword.span, "remove it: nothing works in place"
        meant = _meant(keyword.name, known) if keyword.name not in known else None
        return keyword.span, f"write `{meant}`" if meant else None
    if mismatch.argument is not None:
        return node.arguments[mismatch.argument].span.to(node.arguments[-1].span), None
    return node.span, None


def _head_signature(parameters: Sequence[BlockParameter], text: Callable[[Expression], str]) -> Signature:
    """Return the settings or inputs of a block as a signature; ``text`` turns a default into text."""
    defaults = [None if p.default is None else text(p.default) for p in parameters]
    pairs = zip(parameters, defaults, strict=True)
    return Signature(tuple(Parameter(p.name, "positional", default) for p, default in pairs))


@cache
def _uncalled(name: str) -> UncalledLayer:
    return UncalledLayer(name, LAYERS[name], Signature.parse(LAYERS[name].forward))


@cache
def _known(name: str) -> tuple[Mapping[str, Setting], Sequence[str], Sequence[str]]:
    """Return the settings of a layer type by name, the names of the positional ones, and of the required ones."""
    known = {s.name: s for s in settings(LAYERS[name])}
    return known, [s.name for s in known.values() if s.positional], [s.name for s in known.values() if s.required]


@cache
def _takes_layers(name: str) -> bool:
    """Whether a setting of this layer type may be a layer itself."""
    return any(matches(setting.annotation, UncalledLayer("layer")) for setting in settings(LAYERS[name]))


def _meant(keyword: str, known: tuple[str, ...]) -> str | None:
    """Return the keyword that was probably meant; NumPy's axis is dim."""
    also = ("axis",) if "dim" in known else ()
    found = nearest(keyword, (*known, *also), OTHER_SETTINGS)
    return "dim" if found == "axis" and "axis" not in known else found


def wrong_setting(layer: str, setting: Setting, value: Any, shown: str) -> tuple[str, str | None]:
    """Return the message and the help for a setting whose value does not fit its type."""
    message = f"{layer}: {setting.name} is {shown}, expected {setting.mismatch(value)}"
    better = next((one for one in _alternatives(setting, value) if setting.mismatch(one) is None), None)
    return message, None if better is None else f"write `{better!r}`"


def _alternatives(setting: Setting, value: Any) -> Iterable[Any]:
    """Yield values that may have been meant by one that does not fit."""
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
    """Yield the values that the literals in an annotation allow."""
    for argument in typing.get_args(annotation):
        if typing.get_origin(annotation) is typing.Literal:
            yield argument
        else:
            yield from _choices(argument)
