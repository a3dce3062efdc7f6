"""Texts of files and models, as terminals and readers may get them: what they would obey is shown as an escape.

:func:`printable` is for a name or a value on one line; :func:`shown` is the last step before a text is written.
"""

from __future__ import annotations

import re

# Control characters but tab and line feed, line separators, and those that turn the direction of a text.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# Select Graphic Rendition, ECMA-48 8.3.117: the only sequence that fwdscope writes in text.
_COLOR = re.compile(r"(\x1b\[[0-9;]*m)")


def printable(text: object) -> str:
    """A text on one line, each character that is not printable as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(str(text).split()))


def shown(text: str, color: bool = False) -> str:
    r"""A text of several lines with such characters as ``\u202e``, which JSON reads as the same; colours stay."""
    if color:
        return "".join(piece if i % 2 else shown(piece) for i, piece in enumerate(_COLOR.split(text)))
    return _OBEYED.sub(lambda one: f"\\u{ord(one[0]):04x}", text)


def cell(text: str) -> str:
    """A text for CSV, quoted where a spreadsheet would run it as a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") and text[1:] else text
