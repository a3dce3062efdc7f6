"""Finds the spec files that targets name: files, folders, globs and names of specs that ship."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fwdscope.errors import TargetError
from fwdscope.language.names import did_you_mean, nearest
from fwdscope.language.parser import SECTIONS
from fwdscope.printable import printable
from fwdscope.targets import SIZES, STDIN, Target, shipped_specs


@dataclass(frozen=True)
class SpecFile:
    """A file to check; ``named`` if the user gave its own name rather than a folder or a glob. ``content`` is that of
    stdin.
    """

    path: Path
    shown: str
    named: bool
    content: bytes | None = None


def files(
    targets: Sequence[str],
    stdin: bytes | None = None,
    sizes: Mapping[str, str] = MappingProxyType({}),
    arguments: Mapping[str, str] = MappingProxyType({}),
) -> tuple[SpecFile, ...]:
    """The files of all targets, each once, in the order given; inside a folder sorted. ``-`` is what ``stdin`` held.

    ``sizes`` of inputs and ``arguments`` are those of PyTorch models, which become specs that name a model. Raises
    TargetError.
    """
    found: dict[Path, SpecFile] = {}
    of_models = _of_models(sizes, arguments)
    for target in targets or ("specs" if Path("specs").is_dir() else ".",):
        stdin_file = [SpecFile(Path(STDIN), STDIN, True, stdin)] if target == "-" and stdin else None
        for file in stdin_file or _files(target, *of_models):
            known = found.get(file.path.absolute())
            if known is None or (file.named and not known.named):
                found[file.path.absolute()] = file
    if any(of_models) and not any(Target(file.shown).is_module for file in found.values()):
        raise TargetError("--set and --arg are for PyTorch models, and no target is one; a spec's vars stand in it")
    return tuple(found.values())


def _of_models(sizes: Mapping[str, str], arguments: Mapping[str, str]) -> tuple[str, str]:
    """The arguments and the section ``vars`` of a spec that names a model. Raises InputError."""
    values = Target("").with_arguments(arguments).arguments
    if unknown := [name for name in sizes if name not in SIZES]:
        raise TargetError(f"--set {unknown[0]}: the sizes of a model's inputs are {', '.join(SIZES)}")
    made = f"({', '.join(f'{name}={value!r}' for name, value in values.items())})" if values else ""
    return made, "".join(f"  {name}: {value}\n" for name, value in sizes.items())


def _files(target: str, arguments: str = "", sizes: str = "") -> Iterator[SpecFile]:
    if not target.strip():
        raise TargetError("a target is empty: give a spec file, a folder, a glob or the name of a spec that ships")
    path = Path(target)
    if path.is_file():
        Target(target).refuse_report(", not a spec")
        yield SpecFile(path, printable(target), named=True)
    elif path.is_dir():
        inside = list(_walk(path))
        if not inside:
            raise TargetError(f"the folder {printable(target)} holds no *.yaml")
        yield from (SpecFile(one, printable(one), named=False) for one in inside)
    elif glob.has_magic(target):
        # Unlike glob.glob, Path.glob follows no link for ``**``, which could lead around in circles.
        parts = [p if p == "**" else re.sub(r"\*+", "*", p) for p in path.relative_to(path.anchor).parts]
        hidden = any(part.startswith(".") for part in parts)
        every = Path(path.anchor).glob(str(Path(*parts)))
        seen = (one for one in every if hidden or not any(part.startswith(".") for part in one.parts))
        matching = sorted(str(one) for one in seen if one.is_file())
        if not matching:
            raise TargetError(f"no file matches {target}")
        yield from (SpecFile(Path(one), printable(one), named=False) for one in matching)
    elif known := shipped_specs().get(target.removesuffix(".yaml")):
        yield SpecFile(known, known.name, named=True)
    elif re.fullmatch(r"[\w.]+:(?!//)\S+", target):
        variables = f"vars:\n{sizes}" if sizes else ""
        yield SpecFile(path, target, True, f"{variables}model: {target}{arguments}\n".encode())
    else:
        help = did_you_mean(path.stem, shipped_specs(), "specs that ship with fwdscope:")
        no_name = f", and no spec of that name; {help}" if "/" not in target else ""
        raise TargetError(f"there is no file or folder {printable(target)}{no_name}")


def _walk(folder: Path) -> Iterator[Path]:
    """The YAML files in a folder and its subfolders, except hidden ones and virtual environments."""
    for here, inner, names in os.walk(folder):
        inner[:] = sorted(n for n in inner if not n.startswith(".") and not Path(here, n, "pyvenv.cfg").exists())
        inside = (Path(here, name) for name in sorted(names) if name.endswith((".yaml", ".yml")))
        # A broken link is kept, so that it is reported; reading a pipe or a socket would block.
        yield from (file for file in inside if file.is_file() or not file.exists())


def looks_like_spec(text: str) -> bool:
    """Whether a YAML file is meant as a spec: it has ``layers`` or ``graph``, or ``inputs`` and only keys of specs.

    A folder may hold other YAML (workflows, settings), which may have a ``name`` and ``inputs`` too.
    """
    keys = re.findall(r"^['\"]?([A-Za-z_][\w-]*)['\"]?\s*:(?=\s|$)", text.removeprefix("\ufeff"), re.MULTILINE)
    if "layers" in keys or "graph" in keys:
        return True
    if re.match(r"(\s|#.*\n)*\{", text):  # all on one line, as YAML also allows
        return re.search(r"\b(layers|graph)\s*:", text) is not None
    own = [key for key in keys if key in SECTIONS or nearest(key, SECTIONS)]
    return "inputs" in own and len(own) == len(keys)
