"""What shows itself in a notebook, and as a page. Drawing is above the data: it is imported when something is shown."""

from __future__ import annotations

import importlib
from typing import Any


def drawn(name: str, *given: Any) -> Any:
    """What the function of this name in :mod:`fwdscope.render.notebook` makes."""
    return getattr(importlib.import_module("fwdscope.render.notebook"), name)(*given)


class InNotebook:
    """What a notebook shows as HTML, without a script."""

    def _repr_html_(self) -> str:
        text: str = drawn("html_of", self)
        return text


class Paged(InNotebook):
    """What has a page too."""

    def to_html(self) -> str:
        """The page that ``-o page.html`` writes."""
        text: str = drawn("page_of", self)
        return text
