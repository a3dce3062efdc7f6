"""A page that opens from disk in a browser: a template, a style sheet and a script, filled in.

What it shows stands in it compressed, so that no text of a report is ever read as HTML: the data as they are saved in
JSON, which the page lets one download, and the sentences around them, as every format has them. The page's security
policy names the hashes of its style sheet and its script, so that nothing else runs in it and nothing leaves it.
"""

from __future__ import annotations

import html
import json
import zlib
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from importlib import resources
from string import Template
from typing import Any

from fwdscope.printable import printable

# The files that are the script of each kind of page.
_SCRIPTS = {
    "report": ("base", "strips", "values", "page"),
    "sweep": ("base", "sweep"),
    "check": ("base", "check"),
    "scale": ("base", "scale"),
    "diff": ("base", "strips", "values", "page", "diff"),
}


def page(kind: str, title: str, data: str, words: Mapping[str, Any]) -> str:
    """The page of a kind, with its data as JSON text, and its words."""
    style, script = part("page.css"), "\n".join(part(f"{name}.js") for name in _SCRIPTS[kind])
    return Template(part("page.html")).substitute(
        title=html.escape(printable(title)),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        report=_packed(data),
        words=_packed(json.dumps({"kind": kind, **words}, ensure_ascii=False)),
    )


def part(name: str) -> str:
    """A file that pages are made of."""
    return resources.files("fwdscope.render.html").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()


def _packed(text: str) -> str:
    return b64encode(zlib.compress(text.encode("utf-8", errors="backslashreplace"), 9)).decode()
