"""Which files a check is about: files, folders, globs and names of specs that ship → spec files in order."""

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
from fwdscope.targets import shipped_specs

_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class SpecFile:
    """A file to check, and how it is shown; ``named`` says that the user gave it itself, not by a folder or a glob."""

    path: Path
    shown: str
    named: bool

    @classmethod
    def of(cls, path: Path, name: str, named: bool) -> SpecFile:
        """A file by its name, with what a terminal or a CI's log would obey made visible."""
        return cls(path, visible(name), named)


def visible(name: object) -> str:
    """The name of a file, with line ends, control characters and bytes that are no text as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))


def files(targets: Sequence[str]) -> tuple[SpecFile, ...]:
    """The files of all targets, each once, in the order given; inside a folder sorted. Raises TargetError."""
    found: dict[Path, SpecFile] = {}
    for target in targets or _default():
        for file in _files(target):
            known = found.get(file.path.absolute())
            if known is None or (file.named and not known.named):
                found[file.path.absolute()] = file
    return tuple(found.values())


def _default() -> tuple[str, ...]:
    """The folder ``specs``, where there is one; else the current one."""
    return ("specs",) if Path("specs").is_dir() else (".",)


def _files(target: str) -> Iterator[SpecFile]:
    if not target.strip():
        raise TargetError("a target is empty: give a spec file, a folder, a glob or the name of a spec that ships")
    path = Path(target)
    if path.is_file():
        if path.suffix == ".json":
            raise TargetError(f"{visible(target)} is a saved report, and no spec")
        yield SpecFile.of(path, target, named=True)
    elif path.is_dir():
        inside = list(_walk(path))
        if not inside:
            raise TargetError(f"the folder {visible(target)} holds no *.yaml")
        yield from (SpecFile.of(one, str(one), named=False) for one in inside)
    elif glob.has_magic(target):
        # Path.glob takes no absolute pattern.
        every = glob.glob(target, recursive=True)  # noqa: PTH207
        matching = sorted(one for one in every if Path(one).is_file())
        if not matching:
            raise TargetError(f"no file matches {target}")
        yield from (SpecFile.of(Path(one), one, named=False) for one in matching)
    elif known := shipped_specs().get(target.removesuffix(".yaml")):
        yield SpecFile.of(known, known.name, named=True)
    else:
        raise TargetError(_unknown(target))


def _walk(folder: Path) -> Iterator[Path]:
    """The YAML files of a folder and those in it; hidden folders and virtual environments are left alone."""
    for here, inner, names in os.walk(folder):
        inner[:] = sorted(n for n in inner if not n.startswith(".") and not Path(here, n, "pyvenv.cfg").exists())
        inside = (Path(here, name) for name in sorted(names) if name.endswith(_ENDINGS))
        # A link to nothing is told; a pipe or a socket would be waited for.
        yield from (file for file in inside if file.is_file() or not file.exists())


def _unknown(target: str) -> str:
    if re.fullmatch(r"[\w.]+:[\w.]+", target):
        return f"{target} is code of your own, and no spec; a spec says what it promises and expects"
    help = did_you_mean(Path(target).stem, shipped_specs(), "specs that ship with fwdscope:")
    return f"there is no file or folder {visible(target)}" + (
        f", and no spec of that name; {help}" if "/" not in target else ""
    )


def looks_like_spec(text: str) -> bool:
    """Whether a YAML file is meant as a spec, by its top-level keys: with lines, or with nothing foreign to a spec.

    A folder may hold other YAML (workflows, settings), which has a ``name`` and perhaps ``inputs`` too.
    """
    keys = re.findall(r"^['\"]?([A-Za-z_][\w-]*)['\"]?\s*:(?=\s|$)", text.removeprefix("\ufeff"), re.MULTILINE)
    if "layers" in keys or "graph" in keys:
        return True
    if re.match(r"(\s|#.*\n)*\{", text):  # all on one line, as YAML also allows
        return re.search(r"\b(layers|graph)\s*:", text) is not None
    own = [key for key in keys if key in SECTIONS or nearest(key, SECTIONS)]
    return "inputs" in own and len(own) == len(keys)
