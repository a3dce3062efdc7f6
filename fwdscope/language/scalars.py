"""Finds the offset of each character of a YAML scalar, through quotes, escapes and folded lines."""

from __future__ import annotations

import re

from fwdscope.language.problems import Span
from fwdscope.language.source import Text


def scalar_text(raw: str, value: str, span: Span, style: str) -> Text:
    """Return the text of a scalar, which stands in the file as ``raw`` and which YAML reads as ``value``."""
    if style in ("literal", "folded"):
        return Text(value, (span.start,) * len(value), span.end)
    inside = raw if style == "plain" else raw[1:-1]
    if inside == value and value:
        # Most scalars: neither an escape nor a folded line changes them.
        start = span.start + (style != "plain")
        return Text(value, range(start, start + len(value)), start + len(value))
    if style == "plain":
        pairs = _folded(raw, span.start, plain=True)
    else:
        pairs = _unescaped(_folded(raw[1:-1], span.start + 1, plain=False), style)
    if "".join(c for c, _ in pairs) != value:
        # An escape, which is reported elsewhere, or one of Unicode's own line ends: take the place of the whole.
        return Text(value, (span.start,) * len(value), span.end)
    return Text(value, tuple(at for _, at in pairs), pairs[-1][1] + 1 if pairs else span.end)


def _folded(raw: str, start: int, plain: bool) -> list[tuple[str, int]]:
    """Return the characters of a flow scalar with their offsets, its lines folded as YAML does."""
    count = len(re.findall(r"\r\n|\r|\n", raw)) + 1
    lines = list(re.finditer(r"([^\r\n]*)(\r\n|\r|\n|$)", raw))[:count]
    pairs: list[tuple[str, int]] = []
    breaks: list[int] = []
    for number, line in enumerate(lines):
        content, left = line[1], line.start(1)
        if number or plain:
            stripped = content.lstrip(" \t")
            left += len(content) - len(stripped)
            content = stripped
        if number < len(lines) - 1 or plain:
            content = content if content.endswith("\\") else content.rstrip(" \t")
        if content or number in (0, len(lines) - 1):
            # One line break becomes a space; several become one break less.
            pairs += [(" ", breaks[0])] if len(breaks) == 1 else [("\n", at) for at in breaks[1:]]
            breaks = []
        pairs += ((c, start + left + i) for i, c in enumerate(content))
        if number < len(lines) - 1:
            breaks.append(start + line.start(2))
    return pairs


def _unescaped(pairs: list[tuple[str, int]], style: str) -> list[tuple[str, int]]:
    """Replace ``''``, ``\\"`` and ``\\\\`` by one character, at the offset of the first."""
    mark, escapable = ("'", "'") if style == "single" else ("\\", '"\\')
    result, i = [], 0
    while i < len(pairs):
        character, at = pairs[i]
        if character == mark and i + 1 < len(pairs) and pairs[i + 1][0] in escapable:
            result.append((pairs[i + 1][0], at))
            i += 2
        else:
            result.append((character, at))
            i += 1
    return result
