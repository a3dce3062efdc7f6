"""A check as text: one function a format, all of them in :data:`FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fwdscope.commands.check.outcome import CheckRun
from fwdscope.render.checks import github, json, junit, markdown, text

__all__ = ["FORMATS", "CheckFormat", "text"]


@dataclass(frozen=True)
class CheckFormat:
    """A form of a check: a line about it, and the function that writes it."""

    name: str
    doc: str
    render: Callable[[CheckRun], str]


FORMATS: dict[str, CheckFormat] = {
    form.name: form
    for form in (
        CheckFormat("text", "for reading", text.render),
        CheckFormat("github", "annotations on the lines of a pull request", github.render),
        CheckFormat("junit", "XML that CI systems show as tests", junit.render),
        CheckFormat("json", "everything as data", json.render),
        CheckFormat("markdown", "a comment for a pull request", markdown.render),
    )
}
