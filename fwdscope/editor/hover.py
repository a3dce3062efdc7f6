"""What a name of a spec is, as Markdown: the value of a var and what depends on it, the page of a layer or function."""

from __future__ import annotations

import re
from typing import NamedTuple

from fwdscope.editor.cursor import cursor_at
from fwdscope.editor.document import Document, TextPosition, TextRange
from fwdscope.editor.symbols import Symbol, symbol_text
from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.parser import SECTIONS
from fwdscope.language.places import all_lines
from fwdscope.language.problems import Span
from fwdscope.language.schema import key_help
from fwdscope.layers import LAYERS, describe, settings
from fwdscope.render.vocabulary import entries_of, markdown_of

# The most vars and lines that read a var and are listed.
_MAX_READERS = 12


class HoverText(NamedTuple):
    """What is at a place, as Markdown, and the range that it is about."""

    markdown: str
    range: TextRange


def hover(document: Document, position: TextPosition) -> HoverText | None:
    """Return what is at a place: a name of the file, a layer type, a setting, a function, a method, a key."""
    offset, spec, table = document.offset(position), document.spec, document.symbols
    if spec is None or table is None:
        return None
    if (found := table.symbol(offset)) is not None:
        return HoverText(_symbol(document, found[0]), document.range(found[1]))
    for top in _expressions(spec):
        if top.span.start <= offset <= top.span.end:
            text, span = _word(spec, top, offset)
            if text:
                return HoverText(text, document.range(span))
    return _key(document, position)


def _expressions(spec: tree.ModelSpec) -> list[ex.Expression]:
    lines = [one for line in all_lines(spec) for one in tree.expressions(line)]
    inputs = [one.value for one in spec.inputs]
    return [*lines, *(one.value for one in spec.variables), *inputs, *spec.defaults, *(one.call for one in spec.init)]


def _word(spec: tree.ModelSpec, top: ex.Expression, offset: int) -> tuple[str, Span]:
    """The page of what is at a place of an expression, and the range of its name."""
    of_init = any(one.call is top for one in spec.init)
    for node in ex.walk(top):
        if isinstance(node, ex.Call):
            for keyword in node.keywords:
                if keyword.span.start <= offset <= keyword.span.end:
                    return _setting(node, keyword.name), keyword.span
        name, span = "", node.span
        if isinstance(node, ex.Attribute):
            name, span = node.name, node.name_span
        elif isinstance(node, ex.Name):
            name = node.id
        if not name or not span.start <= offset <= span.end:
            continue
        if name == "prev":
            return "**prev**  \nthe value of the line above", span
        of_tensor = isinstance(node, ex.Attribute)
        pages = [
            markdown_of(one)
            for one in entries_of(name)
            if (one.kind == "initialiser") is of_init and (one.kind in ("method", "attribute")) is of_tensor
        ]
        return "\n\n".join(pages), span
    return "", top.span


def _setting(call: ex.Call, name: str) -> str:
    """What a keyword of a call takes."""
    function = call.function
    layer = LAYERS.get(ex.spelled(function) or "")
    if layer is not None:
        found = next((one for one in settings(layer) if one.name == name), None)
        if found is None:
            return ""
        default = "inferred from the input" if found.inferred else f"default `{found.default!r}`"
        default = "required" if found.required else default
        page = layer.__doc__ or ""
        mentions = [
            " ".join(one.split())
            for one in re.split(r"(?<=[.;])\s+|\n\s*\n", page)
            if re.search(rf"\b{name}\b", one) and not one.startswith(" ")
        ]
        more = f"\n\n{mentions[-1]}" if mentions else ""
        return f"**{name}** of {layer.__name__}  \n{describe(found.annotation)}; {default}{more}"
    called = function.name if isinstance(function, ex.Attribute) else ex.spelled(function) or ""
    wanted = ("method",) if isinstance(function, ex.Attribute) else ("function", "own function")
    return "\n\n".join(markdown_of(one) for one in entries_of(called) if one.kind in wanted)


def _symbol(document: Document, symbol: Symbol) -> str:
    source, table = document.source, document.symbols
    assert table is not None
    if symbol.block is not None:
        count = len(symbol.uses)
        return f"```python\n{symbol_text(symbol)}\n```\n\nused {count} time{'s' * (count != 1)}"
    place = symbol.definitions[0] if symbol.definitions else None
    value = " ".join(source[symbol.value.span].split()) if symbol.value is not None else ""
    if symbol.kind != "var":
        sign = " = " if symbol.kind in ("layer", "value", "setting") else " in " if symbol.kind == "loop" else ": "
        text = f"```python\n{symbol.name}{sign + value if value else ''}\n```"
        line = f", line {source.place(place.start)[0]}" if place is not None else ""
        return f"{text}\n\n{symbol_text(symbol)}{line}"
    known = document.checked.variables.get(symbol.name) if document.checked is not None else None
    shown = "" if known is None or repr(known) == value else f"  # {known!r}"
    parts = [f"```python\n{symbol.name} = {value}{shown}\n```"]
    if readers := _readers(document, symbol):
        parts.append("\n".join(["what depends on it:", "", *(f"- {one}" for one in readers)]))
    else:
        parts.append("nothing depends on it")
    return "\n\n".join(parts)


def _readers(document: Document, symbol: Symbol) -> list[str]:
    """What reads a var, itself or through other vars: vars with their values, inputs, lines."""
    spec, source = document.spec, document.source
    assert spec is not None
    readers: dict[str, list[tree.Variable]] = {}
    for variable in spec.variables:
        for name in {node.id for node in ex.walk(variable.value) if isinstance(node, ex.Name)}:
            readers.setdefault(name, []).append(variable)
    names = {symbol.name: None}
    for name in (waiting := [symbol.name]):
        waiting += [one.name for one in readers.get(name, ()) if one.name not in names]
        names |= dict.fromkeys(waiting)
    known = document.checked.variables if document.checked is not None else {}
    reading = [
        f"`{one.name} = {source[one.value.span]}`, {known.get(one.name)!r}"
        for one in spec.variables
        if one.name in names and one.name != symbol.name
    ]
    table = document.symbols
    assert table is not None
    uses = [place for name in names for place in table.vars.names[name].uses]
    lines = sorted({source.place(place.start)[0] for place in uses})
    own = {source.place(one.span.start)[0] for one in spec.variables}
    texts = {number: re.sub(" {2,}", "  ", source.line(number).strip().removeprefix("- ")) for number in lines}
    found = [f"line {number}: `{text}`" for number, text in texts.items() if number not in own]
    found = [*reading, *found]
    return [*found[:_MAX_READERS], *([f"{len(found) - _MAX_READERS} more"] if len(found) > _MAX_READERS else [])]


def _key(document: Document, position: TextPosition) -> HoverText | None:
    """What a key of the language holds."""
    line = document.lines[position.line] if position.line < len(document.lines) else ""
    words = (one for one in re.finditer(r"[a-z_]+(?=\s*:)", line) if one.start() <= position.column <= one.end())
    if (found := next(words, None)) is None:
        return None
    keys = cursor_at(document, TextPosition(position.line, found.end())).keys
    path = ".".join([*(key for key in keys if key in ("expect", "training")), found[0]])
    if (not keys and found[0] not in SECTIONS) or (text := key_help(path)) is None:
        return None
    start, end = (TextPosition(position.line, column) for column in found.span())
    return HoverText(f"**{found[0]}**  \n{text}", TextRange(start, end))
