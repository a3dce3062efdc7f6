"""Which options of a command have a default from ``pyproject.toml``."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from fwdscope.pyproject import KEYS


def keys_of(command: str, parameters: Mapping[str, object]) -> list[str]:
    """The keys that a command with these parameters heeds."""
    return [key for key, (name, _) in KEYS.items() if name in parameters and (name != "targets" or command == key)]


def defaulted(context: typer.Context) -> set[str]:
    """The parameters whose value is a default of ``pyproject.toml``."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "DEFAULT_MAP"}
