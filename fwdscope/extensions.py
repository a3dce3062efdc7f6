"""Counting rules and layers that other packages bring, by the entry points ``fwdscope.rules`` and ``fwdscope.layers``.

Using one runs the package's code, so specs need ``--allow-import``; a target in Python runs code anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from fwdscope.errors import InputError, error_text


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
