"""Checks the text of a line before it is parsed: characters that only look like Python's, unmatched brackets."""

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
    "\u2212": ("a typographic minus sign", "-"),
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


def without_strings(text: str) -> str:
    """Return the text with spaces in place of all characters inside strings; the quotes stay."""
    if "'" not in text and '"' not in text:
        return text
    return _STRING.sub(lambda string: string[1] + " " * len(string[2]) + string[3], text)


def find_outside_strings(text: str, signs: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    """Yield the places of signs outside strings; the quotes of a string are outside."""
    return ((found.start(), found[0]) for found in signs.finditer(without_strings(text)))


def check_characters(source: Source, text: Text) -> None:
    """Refuse characters that look like Python's and are not. Raises SpecError."""
    if not _NOT_PRINTABLE_ASCII.search(text.value):
        return
    problems = []
    for i, c in find_outside_strings(text.value, _NOT_PRINTABLE_ASCII):
        if c in _ALIKE:
            name, instead = _ALIKE[c]
            message = f"there is {name} here (U+{ord(c):04X})"
            help = f"write {instead if ' ' in instead else f'`{instead}`'}"
        elif not c.isidentifier() and not ("a" + c).isidentifier():
            message = f"this character is not allowed: {unicodedata.name(c, 'unnamed').lower()} (U+{ord(c):04X})"
            help = "remove it"
        else:
            continue
        problems.append(Problem(source, text.span(i, i + 1), "syntax", message, help))
    if problems:
        raise SpecError(problems)


_CLOSING = {")": "(", "]": "[", "}": "{"}


def check_brackets(source: Source, text: Text) -> None:
    """Refuse brackets and quotes that do not match. Raises SpecError."""

    def fail(i: int, message: str, help: str, code: str = "syntax") -> NoReturn:
        raise SpecError([Problem(source, text.span(i, i + 1), code, message, help)])

    opened: list[tuple[int, str]] = []
    quotes: list[int] = []
    for i, c in find_outside_strings(text.value, _BRACKETS_AND_QUOTES):
        if c in "'\"":
            quotes.append(i)
        elif c in "([{":
            opened.append((i, c))
            if len(opened) > limit("nesting"):
                fail(i, f"brackets are nested deeper than {limit('nesting')}", "use several lines", "limit")
        elif c in _CLOSING:
            if not opened:
                fail(i, f"this {c} closes nothing", _cut(source, text) or "remove it")
            if opened[-1][1] != _CLOSING[c]:
                fail(i, f"this {c} closes a {opened[-1][1]}", "close the bracket that was opened last first")
            opened.pop()
    if len(quotes) % 2:
        fail(quotes[-1], "this quote is never closed", _cut(source, text) or "close it")
    if opened:
        i, c = opened[-1]
        fail(i, f"this {c} is never closed", _cut(source, text) or "close it")


def _cut(source: Source, text: Text) -> str | None:
    """Explain why YAML may have ended a text too early: a comment, or a comma of a list in brackets."""
    rest = source.text[text.end :].split("\n", 1)[0]
    if re.match(r"\s+#", rest):
        return "a space and a # start a comment, which ends the line: put the line in quotes, or remove the space"
    if re.match(r"\s*[,\]}]", rest) or re.match(r".*[\[{,]\s*$", source.text[: text.offset(0)].rsplit("\n", 1)[-1]):
        return "YAML splits [ ] and { } at every comma: write one entry per line, or put the entry in quotes"
    return None


def is_enclosed(text: str) -> bool:
    """Whether the first parenthesis of a text is closed by its last character."""
    if not text.startswith("("):
        return False
    depth = 0
    for i, c in find_outside_strings(text, BRACKETS):
        depth += (c in "([{") - (c in ")]}")
        if depth == 0:
            return i == len(text) - 1
    return False
