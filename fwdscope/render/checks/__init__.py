"""A check as text: one function a format, all of them in :data:`FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fwdscope.commands.check.outcome import Run
from fwdscope.render.checks import github, json, junit, markdown, text

__all__ = ["FORMATS", "Format", "text"]


@dataclass(frozen=True)
class Format:
    """A form of a check: a line about it, and the function that writes it."""

    name: str
    doc: str
    render: Callable[[Run], str]


FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format("text", "for reading", text.render),
        Format("github", "annotations on the lines of a pull request", github.render),
        Format("junit", "XML that CI systems show as tests", junit.render),
        Format("json", "everything as data", json.render),
        Format("markdown", "a comment for a pull request", markdown.render),
    )
}
