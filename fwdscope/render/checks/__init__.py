"""A check as text, in any of :data:`FORMATS`: one file a format, imported when it is used."""

from __future__ import annotations

import importlib

from fwdscope.commands.check.outcome import CheckRun

# What each is for. The file of the same name has the function that writes it.
FORMATS: dict[str, str] = {
    "text": "for reading",
    "github": "annotations on the lines of a pull request",
    "junit": "XML that CI systems show as tests",
    "json": "everything as data",
    "markdown": "a comment for a pull request",
}


def render(run: CheckRun, format: str) -> str:
    """The check in one of :data:`FORMATS`."""
    text: str = importlib.import_module(f"fwdscope.render.checks.{format}").render(run)
    return text
