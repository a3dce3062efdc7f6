"""A check as text: a file a format, named as the format, with a function ``render``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwdscope.commands.check.outcome import CheckRun

# In the order that help lists them; the first is the default.
FORMATS = ("text", "github", "junit", "json", "markdown", "sarif", "html")


def render(run: CheckRun, format: str) -> str:
    """The check in one of :data:`FORMATS`."""
    text: str = importlib.import_module(f"fwdscope.render.checks.{format}").render(run)
    return text
