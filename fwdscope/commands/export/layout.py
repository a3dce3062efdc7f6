"""Lays out lines of Python as Black and Ruff do by default."""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_COLUMNS = 88
_OPEN, _CLOSE = "([{", ")]}"
# Operators from the one that binds least.
_OPERATORS = (r" if | else ", r" or ", r" and ", r" (?:[<>]=?|[!=]=|is not|is|not in|in) ", r" \| ", r" & ", r" [+-] ",
              r" (?://|[*/%@]) ")  # fmt: skip


def lay_out(text: str, indent: int, comment: str = "", inside: bool = False) -> Iterator[str]:
    """Yield the lines of a statement, or of what stands ``inside`` brackets."""
    pad = " " * indent
    if comment and len(pad + text) + len(comment) + 4 > MAX_COLUMNS:
        yield from (f"{pad}# {line}" for line in wrap(comment, MAX_COLUMNS - indent - 2))
        comment = ""
    if len(pad + text) <= MAX_COLUMNS or text.startswith("#"):
        yield f"{pad}{text}  # {comment}" if comment else pad + text
        return
    head = next((m.group() for m in re.finditer(r"^return |^.*? = ", text) if _is_outer(text, m.end())), "")
    pieces = _pieces(text[len(head) :].removesuffix(","))
    cut = _last_bracket(text, indent)
    # An expression in brackets that does not fit on one line is not opened alone.
    alone = cut is not None and (_is_call(text, cut[0]) or indent + 4 + cut[1] - cut[0] <= MAX_COLUMNS)
    if head and len(pieces) > 1 and (len(pieces) > 2 or not alone or text[-1] not in _CLOSE):
        yield f"{pad}{head}("
        for piece in pieces:
            yield from lay_out(piece, indent + 4, inside=True)
        yield f"{pad})"
    elif not head and len(pieces) > 1 and (inside or cut is None):
        for i, piece in enumerate(pieces):
            yield from lay_out(piece + "," * (i == len(pieces) - 1 and text.endswith(",")), indent)
    elif cut is not None:
        yield from _in_brackets(text, *cut, indent)
    else:
        yield pad + text


def _in_brackets(text: str, start: int, stop: int, indent: int) -> Iterator[str]:
    """Yield a line whose last brackets are opened: one item a line, a comprehension in its parts, or an expression."""
    pad, inner = " " * indent, text[start + 1 : stop]
    items = split_items(inner)
    parts = _cut(inner, r" (?=for )")
    yield pad + text[: start + 1]
    if len(parts) > 1:
        for part in [inner] if len(pad + inner) + 4 <= MAX_COLUMNS else parts:
            yield from lay_out(part, indent + 4)
    elif text[start] == "(" and not _is_call(text, start) and len(items) == 1 and not inner.endswith(","):
        yield from lay_out(inner, indent + 4, inside=True)
    else:
        for item in items:
            yield from lay_out(f"{item},", indent + 4, inside=True)
    yield pad + text[stop:]


def _is_call(text: str, start: int) -> bool:
    """Whether a bracket opens arguments or items, and is not around an expression."""
    before = text[:start]
    word = re.search(r"\b(in|if|else|and|or|not|return|is)$", before.rstrip())
    return text[start] != "(" or (re.search(r"[\w\])]$", before) is not None and word is None)


def _pieces(text: str) -> list[str]:
    """Return an expression cut before its outer operators, or before the methods of a chain of calls."""
    outside = _outside_brackets(text)
    if re.search(r" for ", outside):
        return [text]
    for operators in _OPERATORS:
        if re.search(operators, outside):
            return _cut(text, rf"(?={operators})")
    calls = _cut(text, r"(?=\.\w+\()")
    if len(calls) > 1 and re.fullmatch(r"[\w.]+", calls[0]):
        calls[:2] = ["".join(calls[:2])]
    return calls if len(calls) > 2 else [text]


def _cut(text: str, pattern: str) -> list[str]:
    """Cut a text where a pattern matches outside of brackets and strings."""
    cuts = [m.start() for m in re.finditer(pattern, _outside_brackets(text, keep=True)) if m.start()]
    return [text[a:b].strip() for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def _is_outer(text: str, place: int) -> bool:
    return all(depth == 0 for i, depth in _depths(text) if i < place)


def wrap(text: str, columns: int) -> list[str]:
    """Break a text into lines."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > columns:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def split_items(text: str) -> list[str]:
    """Split what stands in brackets at its commas."""
    items, start = [], 0
    for i, depth in _depths(text):
        if text[i] == "," and depth == 0:
            items.append(text[start:i].strip())
            start = i + 1
    return [*items, *filter(None, [text[start:].strip()])]


def _last_bracket(text: str, indent: int) -> tuple[int, int] | None:
    """Return where the last outer brackets stand that hold something and are no index, if what is before them fits."""
    found: list[tuple[int, int]] = []
    start = 0
    for i, depth in _depths(text):
        if text[i] in _OPEN and depth == 1:
            start = i
        elif text[i] in _CLOSE and depth == 0 and text[start + 1 : i].strip():
            is_index = text[start] == "[" and re.search(r"[\w\])]$", text[:start])
            found = found if is_index else [(start, i), *found]
    fitting = [one for one in found if indent + one[0] < MAX_COLUMNS]
    return next(iter(fitting or found), None)


def _outside_brackets(text: str, keep: bool = False) -> str:
    """Return the text outside of brackets and strings; with ``keep``, with underscores in place of the rest."""
    outer = {i for i, depth in _depths(text) if depth == 0 or (depth == 1 and text[i] in _OPEN)}
    return "".join(c if i in outer else "_" * keep for i, c in enumerate(text))


def _depths(text: str) -> Iterator[tuple[int, int]]:
    """Yield each place outside of strings with the number of brackets that are open behind it."""
    depth, quote = 0, ""
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote and text[i - 1] != "\\" else quote
            continue
        quote = c if c == '"' else ""
        depth += (c in _OPEN) - (c in _CLOSE)
        yield i, depth


def docstring(text: str, indent: int) -> list[str]:
    """Return the lines of a docstring; paragraphs of the text are kept."""
    pad, quotes = " " * indent, '"""'
    text = text.replace("\\", "\\\\").replace(quotes, "'''").strip()
    text = f"{text} " if text.endswith('"') else text
    body = [line for part in text.split("\n\n") for line in (*wrap(part, MAX_COLUMNS - indent - 3), "")][:-1]
    if len(body) == 1 and len(pad + body[0]) + 6 <= MAX_COLUMNS:
        return [f"{pad}{quotes}{body[0]}{quotes}"]
    return [(pad + line).rstrip() for line in (f"{quotes}{body[0]}", *body[1:], quotes)]
