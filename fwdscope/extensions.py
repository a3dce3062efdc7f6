"""Counting rules and layers that other packages bring, by the entry points ``fwdscope.rules`` and ``fwdscope.layers``.

Using one runs the package's code, so specs need ``--allow-import``; a target in Python runs code anyway.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from fwdscope.errors import InputError, error_text


def import_from_here() -> None:
    """Let imports find modules of the current folder, after all that is installed: a ``torch.py`` hides nothing."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


@cache
def brought_layers() -> Mapping[str, str]:
    """Names that specs may use as layers, and the class of each: ``Gate: mypackage.layers.Gate``."""
    from importlib.metadata import entry_points  # here, for importing it takes a while

    return {one.name: one.value.replace(":", ".") for one in entry_points(group="fwdscope.layers")}


@cache
def load_rules() -> None:
    """Import what registers rules with ``fwdscope.cost_rule``. Raises InputError where it cannot be imported."""
    from importlib.metadata import entry_points

    for one in entry_points(group="fwdscope.rules"):
        try:
            one.load()
        except (Exception, SystemExit) as error:  # whatever the package raises
            raise InputError(f"the rules of {one.value} cannot be imported: {error_text(error)}") from error
