"""Defaults of options from ``[tool.fwdscope]`` in ``pyproject.toml``; the command line overrides them."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Any

from fwdscope import disk
from fwdscope.errors import InputError
from fwdscope.language.names import did_you_mean, listed, nearest
from fwdscope.limits import limit

# Each key, the parameter that it is the default of, and what it holds; ``check`` is the targets of that command.
KEYS = {
    "columns": ("columns", "names separated by commas, or a list of names"),
    "depth": ("depth", "a whole number from 1"),
    "device": ("device", "a device, as in \"cpu\""),
    "check": ("targets", "a path, or a list of paths"),
    "tolerance": ("tolerance", "a percentage, as in \"1%\""),
    "hints": ("hints", "names separated by commas, or a list of names"),
}  # fmt: skip


def read_defaults(folder: Path | None = None) -> dict[str, Any]:
    """What the nearest ``pyproject.toml`` with ``[tool.fwdscope]`` says, by key: in a folder or here, or above.

    Raises InputError for a file that cannot be read, a key that there is not, or a value of another type.
    """
    try:
        here = folder or Path.cwd()
    except FileNotFoundError:  # it was deleted
        return {}
    for file in (above / "pyproject.toml" for above in (here, *here.parents)):
        try:
            text = disk.read_text(file, limit("bytes"))
            if "fwdscope" not in text:  # as in most, which need no parser
                continue
            import tomllib

            table = tomllib.loads(text).get("tool")
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        except (OSError, ValueError) as error:
            raise InputError(f"{_shown(file)} cannot be read: {error}") from None
        if isinstance(table, dict) and "fwdscope" in table:
            return _checked(file, table["fwdscope"])
    return {}


def _checked(file: Path, table: object) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise InputError(f"{_shown(file)}: tool.fwdscope: expected a table of options, [tool.fwdscope]")
    found: dict[str, Any] = {}
    for key, value in table.items():
        place = f"{_shown(file)}: tool.fwdscope.{key}"
        if key not in KEYS:
            meant = nearest(key, KEYS)
            raise InputError(
                f"{place}: unknown key; {f'did you mean {meant}?' if meant else f'there is {listed(KEYS)}'}"
            )
        texts = value if isinstance(value, list) and key in ("columns", "check", "hints") else [value]
        kind = int if key == "depth" else str
        if not texts or any(type(one) is not kind or not one or str(one)[0] == "-" for one in texts):
            raise InputError(f"{place}: expected {KEYS[key][1]}, found {value!r}")
        found[key] = value
        if key == "columns":
            from fwdscope.render import COLUMNS

            found[key] = ",".join(texts)
            if unknown := [name for one in texts for name in one.split(",") if name.strip() not in COLUMNS]:
                raise InputError(
                    f"{place}: there is no column {unknown[0]}; {did_you_mean(unknown[0], COLUMNS, 'there are')}"
                )
        if key == "hints":
            found[key] = ",".join(texts)
        if key == "check":
            found[key] = [_from_here(file.parent, one) for one in texts]
    return found


def _from_here(folder: Path, path: str) -> str:
    """A path of a ``pyproject.toml`` as seen from the current folder; a spec that ships keeps its name."""
    is_name = "/" not in path and not glob.has_magic(path) and not (folder / path).exists()
    return path if is_name or Path(path).is_absolute() else os.path.relpath(folder / path)


def _shown(file: Path) -> str:
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
