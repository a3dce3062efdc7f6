"""Finds the spec files that targets name: files, folders, globs and names of specs that ship."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fwdscope.errors import TargetError
from fwdscope.language.names import did_you_mean, nearest
from fwdscope.language.parser import SECTIONS
from fwdscope.targets import STDIN, Target, shipped_specs


@dataclass(frozen=True)
class SpecFile:
    """A file to check; ``named`` if the user gave its own name rather than a folder or a glob. ``content`` is that of
    stdin.
    """

    path: Path
    shown: str
    named: bool
    content: bytes | None = None


def visible(name: object) -> str:
    """The name of a file with control characters, which a terminal or a CI log would obey, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))


def files(targets: Sequence[str], stdin: bytes | None = None) -> tuple[SpecFile, ...]:
    """The files of all targets, each once, in the order given; inside a folder sorted. ``-`` is what ``stdin`` held.

    Raises TargetError.
    """
    found: dict[Path, SpecFile] = {}
    for target in targets or ("specs" if Path("specs").is_dir() else ".",):
        for file in [SpecFile(Path(STDIN), STDIN, True, stdin)] if target == "-" and stdin else _files(target):
            known = found.get(file.path.absolute())
            if known is None or (file.named and not known.named):
                found[file.path.absolute()] = file
    return tuple(found.values())


def _files(target: str) -> Iterator[SpecFile]:
    if not target.strip():
        raise TargetError("a target is empty: give a spec file, a folder, a glob or the name of a spec that ships")
    path = Path(target)
    if path.is_file():
        Target(target).refuse_report(", not a spec")
        yield SpecFile(path, visible(target), named=True)
    elif path.is_dir():
        inside = list(_walk(path))
        if not inside:
            raise TargetError(f"the folder {visible(target)} holds no *.yaml")
        yield from (SpecFile(one, visible(one), named=False) for one in inside)
    elif glob.has_magic(target):
        # Path.glob takes no absolute pattern.
        every = glob.glob(target, recursive=True)  # noqa: PTH207
        matching = sorted(one for one in every if Path(one).is_file())
        if not matching:
            raise TargetError(f"no file matches {target}")
        yield from (SpecFile(Path(one), visible(one), named=False) for one in matching)
    elif known := shipped_specs().get(target.removesuffix(".yaml")):
        yield SpecFile(known, known.name, named=True)
    elif re.fullmatch(r"[\w.]+:(?!//)\S+", target):
        yield SpecFile(path, target, True, f"model: {target}\n".encode())
    else:
        help = did_you_mean(path.stem, shipped_specs(), "specs that ship with fwdscope:")
        no_name = f", and no spec of that name; {help}" if "/" not in target else ""
        raise TargetError(f"there is no file or folder {visible(target)}{no_name}")


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
