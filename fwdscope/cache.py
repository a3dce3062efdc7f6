"""The cache folder, for what is kept between runs: measured peaks, outcomes of checks and reports."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from fwdscope import disk, version
from fwdscope.limits import LIMITS, limit

T = TypeVar("T")

# Bytes of the entries of one kind; the oldest make room for new ones.
MOST_BYTES = 128 * 1024**2


def cache_folder(system: str = sys.platform, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder ``fwdscope`` among the user's caches; None if the environment does not say where they are."""
    if system == "win32":
        local = environment.get("LOCALAPPDATA", "")
        return Path(local) / "fwdscope" / "Cache" if local else None
    home = environment.get("HOME", "")
    if system == "darwin":
        return Path(home) / "Library" / "Caches" / "fwdscope" if home else None
    chosen = environment.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a relative path.
    if chosen and Path(chosen).is_absolute():
        return Path(chosen) / "fwdscope"
    return Path(home) / ".cache" / "fwdscope" if home else None


@dataclass(frozen=True)
class CacheEntry:
    """A file of the cache, named by what it is about: one spec, looked at in one way.

    ``key`` has what decides the content besides the limits and the versions: with another key there is no content.
    """

    kind: str
    name: tuple[object, ...]
    key: tuple[object, ...]

    def read(self, make: Callable[[Any], T]) -> T | None:
        """What ``make`` makes of what was written with this key; None if there is nothing, or it is wrong anyhow."""
        if (file := self._file()) is None:
            return None
        try:
            digest, _, content = disk.read_text(file).partition("\n")
            return make(json.loads(content)) if digest == self._digest(content) else None
        except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
            return None

    def write(self, data: Any) -> None:
        """Replace what is there. If the folder cannot be written, nothing is kept."""
        if (file := self._file()) is None:
            return
        # json.dumps runs in C; json.dump would write piece by piece in Python.
        content = json.dumps(data)
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            _make_room(file.parent)
            disk.write(file, f"{self._digest(content)}\n{content}", sync=False)

    def _file(self) -> Path | None:
        folder = cache_folder()
        return folder / self.kind / f"{_hash([self.name])[:40]}.json" if folder is not None else None

    def _digest(self, content: str) -> str:
        return _hash([self.name, self.key, _versions(), *map(limit, LIMITS), content])


def _hash(values: Iterable[object]) -> str:
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()


@functools.cache
def _make_room(folder: Path) -> None:
    """Delete the oldest entries of a folder that holds too much, once in a process."""
    entries = sorted(((file.stat(), file) for file in folder.iterdir()), key=lambda one: one[0].st_mtime)
    size = sum(stat.st_size for stat, _ in entries)
    for stat, file in entries:
        if size <= MOST_BYTES:
            break
        file.unlink(missing_ok=True)
        size -= stat.st_size


@functools.cache
def _versions() -> tuple[str, ...]:
    """The versions that decide what is kept; fwdscope's own files by size and time, since they may be edited."""
    here = Path(version.__file__).parent
    files = [(str(path.relative_to(here)), path.stat()) for path in sorted(here.rglob("*.py"))]
    stats = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]
    return version.__version__, _hash(stats), metadata.version("torch"), sys.version
