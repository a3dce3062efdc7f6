"""The call that is being written at a place: what is called, and the signatures of its arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from fwdscope.editor.cursor import Cursor, OpenBracket, cursor_at, scope_at
from fwdscope.editor.document import Document, TextPosition
from fwdscope.editor.symbols import Symbol
from fwdscope.functions.functions import FUNCTIONS
from fwdscope.functions.methods import METHODS
from fwdscope.functions.signature import Parameter, Signature
from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.check import INITIALISERS
from fwdscope.layers import LAYERS, Layer, Setting, describe, settings
from fwdscope.render.vocabulary import entries_of, markdown_of


class SignatureHelp(NamedTuple):
    """The signatures of the call that is being written, the first one that fits, and its parameter at the cursor."""

    signatures: tuple[CallSignature, ...]
    active: int
    # None where the argument is one too many, or a keyword that there is not.
    parameter: int | None


class CallSignature(NamedTuple):
    """A call as text, the ranges of its parameters in that text, and what each takes."""

    label: str
    parameters: tuple[tuple[int, int], ...]
    documentation: tuple[str, ...]
    page: str


def signature_help(document: Document, position: TextPosition) -> SignatureHelp | None:
    """Return the signatures of the call around a place."""
    cursor = cursor_at(document, position)
    found = called(document, cursor)
    if found is None:
        return None
    bracket, signatures = found
    keyword = re.match(r"\s*([^\W\d]\w*)\s*=(?!=)", bracket.arguments[-1])
    given = [m[1] for one in bracket.arguments if (m := re.match(r"\s*(\w+)\s*=(?!=)", one))]
    position_of = len(bracket.arguments) - 1 - (len(given) - bool(keyword))
    fits = [
        (sum(name not in one.keywords for name in given), position_of >= len(one.by_position) and not one.variadic)
        for _, one in signatures
    ]
    active = fits.index(min(fits))
    return SignatureHelp(
        tuple([_as_text(name, one) for name, one in signatures]),
        active,
        _active(signatures[active][1], keyword[1] if keyword else None, position_of),
    )


def _active(signature: Signature, keyword: str | None, position: int) -> int | None:
    for index, parameter in enumerate(signature.parameters):
        by_name = keyword is not None and parameter.name == signature.resolve(keyword)
        if by_name or (keyword is None and parameter.kind == "variadic"):
            return index
        if keyword is None and index == position and parameter.kind in ("positional", "positional-only"):
            return index
    return None


def _as_text(name: str, signature: Signature) -> CallSignature:
    is_method, name, layer = name.startswith("."), name.removeprefix("."), LAYERS.get(name)
    kinds = {one.name: describe(one.annotation) for one in settings(layer)} if layer is not None else {}
    label, places, before = f"{name}(", [], ""
    for parameter in signature.parameters:
        if parameter.kind == "keyword" and before not in ("keyword", "variadic"):
            label += ("" if label.endswith("(") else ", ") + "*"
        label += "" if label.endswith("(") else ", "
        places.append((len(label), len(label) + len(str(parameter))))
        label += str(parameter)
        before = parameter.kind
    page = next((markdown_of(one) for one in entries_of(name) if (one.kind == "method") is is_method), "")
    return CallSignature(f"{label})", tuple(places), tuple(kinds.get(p.name, "") for p in signature.parameters), page)


def called(document: Document, cursor: Cursor) -> tuple[OpenBracket, list[tuple[str, Signature]]] | None:
    """The innermost call that is open at the cursor, and its signatures with a page each."""
    for bracket in reversed(cursor.brackets):
        if bracket.sign == "(" and bracket.callee:
            found = list(_signatures(document, cursor, bracket.callee))
            return (bracket, found) if found else None
    return None


def _signatures(document: Document, cursor: Cursor, callee: str) -> Iterator[tuple[str, Signature]]:
    table = document.symbols
    scope = scope_at(document, cursor)
    configured, _, name = callee.rpartition(")")
    if not name and configured:  # Up(64)(
        inner = re.match(r"[\w.]+", callee)
        block = table.blocks.names.get(inner[0]) if table and inner else None
        if block is not None and block.block is not None:
            yield callee, _head(block.block.inputs)
        elif inner and inner[0] in LAYERS:
            yield inner[0], Signature.parse(LAYERS[inner[0]].forward)
        return
    _, dot, last = callee.rpartition(".")
    symbol = scope.find(callee) if not dot else None
    if symbol is not None and symbol.block is not None:
        yield callee, _head(symbol.block.settings)
    elif symbol is not None and table is not None and symbol.value is not None:
        made = table.block_of(symbol.value, symbol.scope)
        if made is not None and made.block is not None:
            yield callee, _head(made.block.inputs)
        elif (layer := _layer_type(symbol)) is not None:
            yield layer.__name__, Signature.parse(layer.forward)
    elif dot and last in METHODS:
        yield from ((f".{last}", one) for one in METHODS[last].overloads)
    elif callee in LAYERS:
        yield callee, _of_settings(callee)
    elif callee in FUNCTIONS:
        yield from ((callee, one) for one in FUNCTIONS[callee].overloads)
    elif cursor.keys[:1] == ("init",) and callee in INITIALISERS:
        yield callee, Signature(tuple(Parameter(one, "positional", "…") for one in INITIALISERS[callee]))


def _layer_type(symbol: Symbol) -> type[Layer] | None:
    node = symbol.value
    while isinstance(node, ex.Call):
        node = node.function
    return LAYERS.get(node.id) if isinstance(node, ex.Name) else None


def _head(parameters: tuple[tree.BlockParameter, ...]) -> Signature:
    return Signature(tuple(Parameter(p.name, "positional", None if p.default is None else "…") for p in parameters))


@cache
def _of_settings(name: str) -> Signature:
    """The settings of a layer as a signature, those that are inferred last."""
    ordered = sorted(settings(LAYERS[name]), key=lambda one: one.inferred)
    return Signature(
        tuple(
            Parameter(s.name, "positional" if s.positional else "keyword", None if s.required else _shown(s))
            for s in ordered
        )
    )


def _shown(setting: Setting) -> str:
    return "inferred" if setting.inferred else repr(setting.default)
