"""What the text of a line shows before it is parsed: characters that only look like Python's, unmatched brackets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NoReturn

from fwdscope.language.problems import Problem, Source, SpecError
from fwdscope.language.source import Text
from fwdscope.limits import limit

_ALIKE = {
    "\u00a0": ("a no-break space", "a space"),
    "\u2018": ("a typographic quote", "'"),
    "\u2019": ("a typographic quote", "'"),
    "\u201c": ("a typographic quote", '"'),
    "\u201d": ("a typographic quote", '"'),
    "\u2212": ("a minus sign of typography", "-"),
    "\u2013": ("a dash", "-"),
    "\u2014": ("a dash", "-"),
    "\u00d7": ("a multiplication sign", "*"),
    "\u2192": ("an arrow sign", "->"),
    "\uff08": ("a full-width parenthesis", "("),
    "\uff09": ("a full-width parenthesis", ")"),
    "\uff0c": ("a full-width comma", ","),
}


# A string, closed or not; a backslash keeps the quote behind it from closing.
_STRING = re.compile(r"""(['"])((?:\\.|(?!\1)[^\\])*\\?)(\1?)""", re.S)
BRACKETS = re.compile(r"[()\[\]{}]")
_BRACKETS_AND_QUOTES = re.compile(r"[()\[\]{}'\"]")
_NOT_PRINTABLE_ASCII = re.compile(r"[^\x20-\x7e\r\n]")
# Pairs of parentheses one behind the other, and no other brackets or quotes.
_SURELY_CLOSED = re.compile(r"[^()\[\]{}'\"]*(?:\([^()\[\]{}'\"]*\)[^()\[\]{}'\"]*)*")


def without_strings(text: str) -> str:
    """The same text with spaces for all that stands inside strings; their quotes stay."""
    return text if "'" not in text and '"' not in text else _STRING.sub(_blanked, text)


def _blanked(string: re.Match[str]) -> str:
    return string[1] + " " * len(string[2]) + string[3]


def signs_outside_strings(text: str, signs: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    """Where signs stand that are in no string; a string's own quotes count as outside, and spaces as no sign."""
    return ((found.start(), found[0]) for found in signs.finditer(without_strings(text)))


def _quoted(text: str) -> str:
    return text if text == "a space" else f"`{text}`"


def check_characters(source: Source, text: Text) -> None:
    """Characters that look like Python's and are not. Raises SpecError."""
    if not _NOT_PRINTABLE_ASCII.search(text.value):
        return  # as of most lines, and of each line it is asked several times
    for i, c in signs_outside_strings(text.value, _NOT_PRINTABLE_ASCII):
        if c in _ALIKE:
            name, instead = _ALIKE[c]
            message, help = (
                f"{name} stands here (U+{ord(c):04X})",
                f"write {instead if instead.isalpha() or ' ' in instead else f'`{instead}`'}",
            )
        elif not c.isidentifier() and not ("a" + c).isidentifier():
            message, help = f"{unicodedata.name(c, 'a character').lower()} stands here (U+{ord(c):04X})", "take it out"
        else:
            continue
        raise SpecError([Problem(source, text.span(i, i + 1), "syntax", message, help)])


_CLOSING = {")": "(", "]": "[", "}": "{"}


def check_brackets(source: Source, text: Text) -> None:
    """Brackets and quotes that do not match, and what of YAML cut them off. Raises SpecError."""
    most = limit("nesting")
    if most and _SURELY_CLOSED.fullmatch(text.value):
        return

    def fail(i: int, message: str, help: str) -> NoReturn:
        raise SpecError([Problem(source, text.span(i, i + 1), "syntax", message, help)])

    opened: list[tuple[int, str]] = []
    quotes: list[int] = []
    for i, c in signs_outside_strings(text.value, _BRACKETS_AND_QUOTES):
        if c in "'\"":
            quotes.append(i)
        elif c in "([{":
            opened.append((i, c))
            if len(opened) > most:
                message = f"brackets are nested deeper than {most}"
                raise SpecError([Problem(source, text.span(i, i + 1), "limit", message, "use several lines")])
        elif c in _CLOSING:
            if not opened:
                fail(i, f"this {c} closes nothing", _cut(source, text) or "take it out")
            if opened[-1][1] != _CLOSING[c]:
                fail(
                    i,
                    f"this {c} closes a {opened[-1][1]}",
                    "brackets close in the order they were opened, the last one first",
                )
            opened.pop()
    if len(quotes) % 2:
        fail(quotes[-1], "this quote is never closed", _cut(source, text) or "close it")
    if opened:
        i, c = opened[-1]
        fail(i, f"this {c} is never closed", _cut(source, text) or "close it")


def _cut(source: Source, text: Text) -> str | None:
    """Why YAML may have ended a text too early: a comment, or a comma of a list in brackets."""
    rest = source.text[text.end :].split("\n", 1)[0]
    if re.match(r"\s+#", rest):
        return "a # behind a space begins a comment and cut the line: quote the whole line, or take the space away"
    if re.match(r"\s*[,\]}]", rest) or re.match(r".*[\[{,]\s*$", source.text[: text.offset(0)].rsplit("\n", 1)[-1]):
        return "inside [ ] and { } YAML cuts at every comma: write one entry a line, or quote the entry"
    return None
