"""The spec files that a command writes: found by what the user named, written as they were read."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TYPE_CHECKING

from fwdscope import disk
from fwdscope.errors import InputError

if TYPE_CHECKING:
    from fwdscope.commands.check.files import SpecFile


def spec_files(specs: list[str], write: bool) -> list[SpecFile]:
    """The spec files that targets name. Raises InputError if there are none, or if they may not be written."""
    from fwdscope.commands.check.files import files, looks_like_spec
    from fwdscope.targets import Target, shipped_specs

    found = files(specs)
    for spec in specs:
        if Target(spec).is_module:
            raise InputError(f"{spec} is a PyTorch model: fwdscope new model.yaml --from {spec} writes a spec of it")
        if write and not Path(spec).exists() and spec.removesuffix(".yaml") in shipped_specs():
            raise InputError(f"{spec} ships with fwdscope: copy it to a file of yours to write into")
    try:
        specs_found = [
            file
            for file in found
            if file.named or looks_like_spec(disk.read_bytes(file.path).decode("utf-8", "replace"))
        ]
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from None
    if not specs_found:
        raise InputError(f"none of the {len(found)} files is a spec: each has `inputs:` and `layers:`")
    return specs_found


def write_spec(path: Path, text: str) -> None:
    """Write the text, keeping a byte order mark. Raises InputError if the file cannot be written."""
    try:
        mark = codecs.BOM_UTF8 if disk.read_bytes(path).startswith(codecs.BOM_UTF8) else b""
        disk.write(path, mark + text.encode())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
