"""``fwdscope new``: a spec to start from."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from fwdscope import disk
from fwdscope.cli import completion
from fwdscope.cli.boundary import boundary, tell
from fwdscope.errors import InputError, MissingTargetError
from fwdscope.targets import Target
from fwdscope.targets.specs import explain_missing_spec, find_spec

_NAME = "The file to write, .yaml if it has no ending; never one that exists."
_FROM = (
    "A spec to copy, a file or the name of one that ships; or a PyTorch model, package.module:name or timm:resnet50, "
    "which the new spec holds to its shapes and costs. Default: a small network that shows the language."
)

_SCHEMA = "fwdscope.json"
_LINE = f"# yaml-language-server: $schema={_SCHEMA}\n"
_START = """\
name: start
doc: What this network is, in a sentence.
vars: {B: 8, width: 32, depth: 2, classes: 10}    # fwdscope inspect FILE --set width=64
inputs:
  image: rand(B, 3, 32, 32)
blocks:
  Block(channels):                                # a layer of your own: x + Block(32)(x), 3 * Block(32)
    - conv = Conv2d(channels, 3, padding=1, bias=False)
    - bn = BatchNorm2d
    - ReLU
layers:                                           # each line takes the value of the line above
  - stem = Conv2d(width, 3, padding=1)            -> (B, width, 32, 32)
  - blocks = depth * Block(width)                 # copies in a row, each with its own weights
  - x = MaxPool2d(2)                              # a name, to use the value again
  - block = Block(width)
  - x + block                                     # an expression, as in Python
  - AdaptiveAvgPool2d(1)
  - Flatten                                       -> (B, width)
  - fc = Linear(classes)
expect:                                           # what `fwdscope check` checks
  output: (B, classes)
"""


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help=_NAME)],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="SPEC", help=_FROM, autocompletion=completion.targets)
    ] = None,
) -> None:
    """Write a spec to start from, with the line that lets editors complete and check it."""

    def command() -> None:
        file = Path(name) if name.endswith((".yaml", ".yml")) else Path(f"{name}.yaml")
        if not re.search(r"\w", file.stem):
            raise InputError(f"{name} is no name for a file: write fwdscope new model")
        if from_ is not None and Target(from_).is_program:
            raise InputError(f"{from_} is an exported program; a spec names a model in code, package.module:name")
        started = _START if from_ is None else _held(from_) if Target(from_).is_module else _read(from_)
        text = _renamed(started, file.stem)
        if os.path.lexists(file):
            raise InputError(f"{file} exists and stays as it is: give another name")
        try:
            disk.write(file, text if text.startswith("# yaml-language-server:") else _LINE + text)
        except OSError as error:
            raise InputError(f"{file} cannot be written: {error.strerror}") from None
        tell(f"wrote {file}\nnext: fwdscope inspect {shlex.quote(str(file))}\n")
        schema = file.parent / _SCHEMA
        if not schema.exists():
            tell(f"      fwdscope schema -o {shlex.quote(str(schema))}   (what editors complete by)\n")

    boundary(command)


def _held(target: str) -> str:
    """A spec that holds a model in code to what it is now. Raises InputError."""
    from fwdscope.commands.annotate.model_in_code import new_text
    from fwdscope.inspection import inspect_target
    from fwdscope.settings import RunSettings

    return "\n".join(new_text(target, inspect_target(Target(target), RunSettings("meta"))[0])) + "\n"


def _read(source: str) -> str:
    """The text of a spec file or of one that ships. Raises InputError."""
    path = find_spec(source)
    if path is None:
        raise MissingTargetError(explain_missing_spec(source))
    try:
        return disk.read_bytes(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source} cannot be read: {error}") from None


def _renamed(text: str, name: str) -> str:
    """The text of a spec with another name."""
    # YAML reads some words as truth or nothing.
    is_plain = re.fullmatch(r"(?!(?i:yes|no|on|off|true|false|null|[yn])$)[A-Za-z][\w-]*", name)
    line = f"name: {name if is_plain else json.dumps(name, ensure_ascii=False)}"
    renamed, found = re.subn(r"^name:.*$", lambda _: line, text, count=1, flags=re.MULTILINE)
    return renamed if found else f"{line}\n{text}"
