"""Texts of files and models with control and bidirectional characters as escapes, before they are printed or written.

:func:`printable` is for a name or a value on one line, :func:`escaped` for a whole text, as the last step.
"""

from __future__ import annotations

import re

# Control characters but tab and line feed, line separators, and bidirectional formatting.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# Select Graphic Rendition, ECMA-48 8.3.117: the only escape sequence in fwdscope's own text.
_COLOR = re.compile(r"(\x1b\[[0-9;]*m)")


def printable(text: object) -> str:
    """A text on one line, with an escape for each character that is not printable."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(str(text).split()))


def escaped(text: str, color: bool = False) -> str:
    r"""A text with ``\u202e`` for each unsafe character, which JSON reads back; with ``color``, SGR stays."""
    if color:
        return "".join(piece if i % 2 else escaped(piece) for i, piece in enumerate(_COLOR.split(text)))
    return _UNSAFE.sub(lambda one: f"\\u{ord(one[0]):04x}", text)


def cell(text: str) -> str:
    """A cell of CSV, quoted if a spreadsheet would run it as a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") and text[1:] else text
