"""What can be written at a place of a spec: layers, settings, functions, names in scope, keys."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from functools import cache
from typing import Literal, NamedTuple

from fwdscope.editor.calls import called
from fwdscope.editor.cursor import Cursor, cursor_at, scope_at
from fwdscope.editor.document import Document, TextEdit, TextPosition, TextRange
from fwdscope.editor.symbols import NameScope, Symbol, symbol_text
from fwdscope.functions.functions import FUNCTIONS
from fwdscope.functions.methods import METHODS
from fwdscope.language.bodies import CONTROL
from fwdscope.language.characters import without_strings
from fwdscope.language.evaluate import number_function
from fwdscope.language.outline import layer_paths
from fwdscope.language.parser import FIGURES, LAYER_FIGURES, SECTIONS
from fwdscope.language.plan import STYLES
from fwdscope.language.plan_parser import PLAN_LISTS
from fwdscope.language.schema import key_help
from fwdscope.layers import LAYERS, Layer, describe, settings
from fwdscope.render.vocabulary import Entry, entries, entries_of, markdown_of
from fwdscope.settings import LOSSES, TrainingSettings

CompletionKind = Literal[
    "layer", "function", "method", "attribute", "setting", "name", "block", "var", "key", "value", "dtype"
]
_KINDS: dict[str, CompletionKind] = {
    "layer": "layer", "construct": "layer", "function": "function", "own function": "function", "method": "method",
    "attribute": "attribute", "number": "value", "dtype": "dtype", "initialiser": "function",
}  # fmt: skip
# Where each kind stands in the list.
_ORDER = ("setting", "key", "name", "var", "block", "layer", "attribute", "method", "function", "value", "dtype")
# Functions that make an input.
_MAKERS = ("randn", "rand", "randint", "zeros", "ones")


class Completion(NamedTuple):
    """A text that can be written at a place.

    ``page`` is what :func:`completion_page` needs for its documentation, which is made only for the one that is chosen.
    ``snippet`` is the text with the places to fill in, ``${1:name}``, for editors that take such.
    """

    label: str
    kind: CompletionKind
    detail: str
    edit: TextEdit
    snippet: str | None = None
    page: tuple[str, str] | None = None
    # Completions are sorted by it.
    sort: str = ""
    documentation: str = ""


def completion_page(page: tuple[str, str]) -> str:
    """The documentation of a completion, as Markdown."""
    kind, name = page
    return next((markdown_of(entry) for entry in entries_of(name) if entry.kind == kind), "")


def completions(document: Document, position: TextPosition) -> list[Completion]:
    """Return what can be written at a place."""
    cursor = cursor_at(document, position)
    end = document.position(cursor.offset)
    place = TextRange(TextPosition(end.line, end.column - len(cursor.word)), end)
    found = dict[tuple[str, int], Completion]()
    for one in _offered(document, cursor):
        rank = _ORDER.index(one.kind)
        # The file's own names and settings in their order, near ones first; the others by the alphabet.
        after = f"{len(found):04}" if rank < _ORDER.index("layer") or one.sort else "9999"
        edit = TextEdit(place, one.edit.text)
        found.setdefault((one.label, rank), one._replace(edit=edit, sort=f"{rank:02}{after}{one.label}"))
    return sorted(found.values(), key=lambda one: one.sort)


_NOWHERE = TextRange(TextPosition(0, 0), TextPosition(0, 0))


def _completion(label: str, kind: CompletionKind, detail: str, text: str | None = None, **more: object) -> Completion:
    return Completion(label, kind, detail, TextEdit(_NOWHERE, label if text is None else text), **more)  # type: ignore[arg-type]


_NUMBER = re.compile(r"(?<![\w.])\d[\w.]*$")


def _offered(document: Document, cursor: Cursor) -> Iterator[Completion]:
    section, *rest = cursor.keys or ("",)
    in_lines = section in ("blocks", "layers", "graph")
    if cursor.quoted:
        yield from _literals(cursor)
    elif cursor.place == "key":
        yield from _keys(document, cursor, section, rest)
    elif section == "shard":
        yield from (_completion(style, "value", "how it is split") for style in STYLES if rest)
    elif section == "init":
        yield from (_entry(entry) for entry in entries() if entry.kind == "initialiser")
    elif section == "expect":
        yield from _expected(document, rest)
    elif section in ("doc", "name", "version", "model", "mesh", "") or _NUMBER.search(cursor.before):
        return
    elif in_lines and "->" in without_strings(cursor.text):
        yield from (_symbol(one) for one in scope_at(document, cursor).visible() if one.kind in ("var", "setting"))
        yield _completion("_", "value", "any size")
    elif cursor.before.endswith("."):
        yield from _members(document, cursor)
    else:
        yield from _settings_here(document, cursor)
        yield from _literals(cursor)
        yield from map(_symbol, scope_at(document, cursor).visible())
        words = _words(section)
        yield from (one._replace(sort="first") for one in words if section == "inputs" and one.label in _MAKERS)
        yield from words
        if in_lines:
            yield _completion("prev", "name", "the value of the line above")
            if cursor.place == "item" and not cursor.before.strip():
                yield from (_key(word, word, ": " if word in CONTROL else ":") for word in (*CONTROL, "modules"))


@cache
def _words(section: str) -> tuple[Completion, ...]:
    """What the language itself has, in a section."""
    kinds = ["number", "own function", "function", "dtype"]
    if section in ("layers", "blocks", "graph", "defaults"):
        kinds += ["layer", "construct"]
    found = (entry for entry in entries() if entry.kind in kinds)
    return tuple(_entry(one) for one in found if section != "vars" or number_function(one.name) or one.kind == "number")


@cache
def _entry(entry: Entry) -> Completion:
    """A layer, function or other word of the language."""
    required: list[str] | None = None
    if entry.kind == "layer":
        required = [
            one.name if one.positional else f"{one.name}={one.name}"
            for one in settings(LAYERS[entry.name])
            if one.required
        ] or None
    elif entry.kind in ("function", "own function", "method"):
        function = (METHODS if entry.kind == "method" else FUNCTIONS)[entry.name]
        required = [p.name for p in function.overloads[0].parameters if p.required]
    elif entry.kind == "initialiser":
        required = []
    snippet = None
    if required is not None:
        snippet = f"{entry.name}({', '.join(_field(i, name) for i, name in enumerate(required, 1))})$0"
    page = (entry.kind, entry.name)
    return _completion(entry.name, _KINDS[entry.kind], entry.doc.removesuffix("."), snippet=snippet, page=page)


def _field(number: int, name: str) -> str:
    keyword, equals, value = name.rpartition("=")
    return f"{keyword}{equals}${{{number}:{value}}}"


def _symbol(symbol: Symbol) -> Completion:
    """A name of the file."""
    kind: CompletionKind = "name"
    if symbol.kind in ("var", "block"):
        kind = "var" if symbol.kind == "var" else "block"
    return _completion(symbol.name, kind, symbol_text(symbol))


# -- keys --------------------------------------------------------------------------------------------------------------


def _key(name: str, page: str, after: str) -> Completion:
    help = key_help(page) or ""
    return _completion(name, "key", help.partition(". ")[0].removesuffix("."), f"{name}{after}", documentation=help)


def _keys(document: Document, cursor: Cursor, section: str, rest: list[str]) -> Iterator[Completion]:
    spec = document.spec
    if not section:
        there = {m[1] for line in document.lines if (m := re.match(r"(\w+):", line))}
        lists = {"version": ": ", "name": ": ", "doc": ": ", "model": ": "}
        yield from (_key(name, name, lists.get(name, ":")) for name in SECTIONS if name not in there)
    elif section == "expect" and not rest:
        for name in ("output", "layers", "training", *FIGURES):
            yield _key(name, f"expect.{name}", ":" if name in ("layers", "training") else ": ")
    elif section == "expect" and rest[0] == "training":
        yield from (_key(name, f"expect.training.{name}", ": ") for name in TrainingSettings.__dataclass_fields__)
    elif section == "expect" and rest[0] == "layers" and len(rest) > 1:
        yield from (_key(name, f"expect.{name}", ": ") for name in ("output", *LAYER_FIGURES))
    elif section == "expect" and rest[0] == "layers" and spec is not None:
        yield from (_completion(path, "name", "layer", f"{path}: ") for path in layer_paths(spec))
    elif section == "shard" and not rest and spec is not None:
        yield from (_key(name, name, ": ") for name in PLAN_LISTS)
        yield from (_completion(path, "name", "layer", f"{path}: ") for path in layer_paths(spec))
    elif section == "init" and not rest:
        used = dict.fromkeys(n for n, _ in _used_types(document))
        for name in used:
            yield _completion(f"{name}.weight", "layer", f"the weights of every {name}", f"{name}.weight: ")
            yield _completion(f"{name}.bias", "layer", f"the biases of every {name}", f"{name}.bias: ")
    elif section in ("blocks", "layers", "graph"):
        yield from (
            _key(name, f"for.{name}" if name == "name" else name, ": " if name in ("name", "limit") else ":")
            for name in CONTROL.get(cursor.beside, ())
        )


def _used_types(document: Document) -> Iterator[tuple[str, type[Layer]]]:
    for name in dict.fromkeys(re.findall(r"\b[A-Z]\w+", document.source.text)):
        if name in LAYERS:
            yield name, LAYERS[name]


def _expected(document: Document, rest: list[str]) -> Iterator[Completion]:
    if rest[:1] == ["training"]:
        yield from (_completion(name, "value", "loss") for name in LOSSES if rest[-1] == "loss")
    elif rest and document.symbols is not None:
        yield from map(_symbol, document.symbols.vars.visible())


# -- calls -------------------------------------------------------------------------------------------------------------


def _settings_here(document: Document, cursor: Cursor) -> Iterator[Completion]:
    """Keywords of the call that is open, but those that it has."""
    found = called(document, cursor)
    bracket = cursor.brackets[-1] if cursor.brackets else None
    if found is None or found[0] is not bracket or "=" in bracket.arguments[-1]:
        return
    given = {m[1] for one in bracket.arguments[:-1] if (m := re.match(r"\s*(\w+)\s*=(?!=)", one))}
    position = sum("=" not in one for one in bracket.arguments[:-1])
    layer = LAYERS.get(bracket.callee) if scope_at(document, cursor).find(bracket.callee) is None else None
    kinds = {one.name: one for one in settings(layer)} if layer is not None else {}
    for _, signature in found[1]:
        filled = {p.name for p in signature.by_position[:position]}
        for parameter in signature.parameters:
            if parameter.kind in ("variadic", "positional-only") or parameter.name in given | filled:
                continue
            setting = kinds.get(parameter.name)
            default = "required" if parameter.required else parameter.default or ""
            detail = f"{default}: {describe(setting.annotation)}" if setting is not None else default
            page = ("layer", bracket.callee) if setting is not None else None
            yield _completion(f"{parameter.name}=", "setting", detail, page=page)


def _literals(cursor: Cursor) -> Iterator[Completion]:
    """The values that a setting may have, where they are few."""
    bracket = cursor.brackets[-1] if cursor.brackets else None
    if bracket is None or bracket.callee not in LAYERS:
        return
    keyword, equals, _ = bracket.arguments[-1].partition("=")
    setting = next((one for one in settings(LAYERS[bracket.callee]) if one.name == keyword.strip()), None)
    if setting is None or not equals:
        return
    for value in _values(setting.annotation):
        quoted = isinstance(value, str) and cursor.quoted
        yield _completion(str(value) if quoted else repr(value), "value", setting.name)


def _values(annotation: object) -> Iterator[object]:
    if typing.get_origin(annotation) is Literal:
        yield from typing.get_args(annotation)
    elif annotation is bool:
        yield from (True, False)
    else:
        for inner in typing.get_args(annotation):
            yield from _values(inner)


def _members(document: Document, cursor: Cursor) -> Iterator[Completion]:
    """What may follow a dot: the names inside a part or layer, methods and attributes of tensors."""
    base = re.search(r"[\w.\[\]]+(?=\.$)", cursor.before)
    inside = None
    if base and (table := document.symbols) is not None:
        symbol: Symbol | None = None
        scope: NameScope | None = scope_at(document, cursor)
        for word in re.findall(r"[^\W\d]\w*", re.sub(r"\[[^\]]*\]", "", base[0])):
            symbol = (scope.find(word) if symbol is None else scope.names.get(word)) if scope is not None else None
            scope = table.inside(symbol) if symbol is not None else None
        inside = scope
        if symbol is not None and symbol.is_layer and inside is None:
            yield from (_completion(name, "name", "tensor of the layer") for name in ("weight", "bias"))
    if inside is not None:
        yield from map(_symbol, inside.names.values())
    yield from _tensor_members()


@cache
def _tensor_members() -> tuple[Completion, ...]:
    return tuple(_entry(entry) for entry in entries() if entry.kind in ("method", "attribute"))
