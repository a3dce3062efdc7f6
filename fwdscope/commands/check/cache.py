"""Outcomes of earlier runs: a file that did not change is not built again, and torch is not loaded for it.

An entry is held by the text of the spec, how it is shown and checked, and the versions of all that decides the outcome:
Python, torch, and fwdscope's own files. There is one entry for each file and way of checking, so old ones are replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from functools import cache
from importlib import metadata
from pathlib import Path

from fwdscope import version
from fwdscope.commands.check.baselines import Baseline, BaselineError
from fwdscope.commands.check.one import Result, Settings
from fwdscope.commands.check.outcome import Outcome
from fwdscope.language.problems import Source
from fwdscope.limits import LIMITS, limit


def find(source: Source, path: Path, settings: Settings, with_kept: bool) -> Result | None:
    """The outcome of an earlier run on the same text, None where there is none.

    What a baseline keeps is read ``with_kept`` alone: it is most of an entry.
    """
    if settings.allow_import:
        return None
    try:
        data = json.loads(_entry(source, path, settings).read_text(encoding="utf-8"))
        if data["key"] != _key(source, settings):
            return None
        kept = Baseline.from_json(data["kept"]) if with_kept and data["kept"] is not None else None
        return Result(Outcome.from_json({**data["outcome"], "cached": True, "seconds": 0.0}), kept)
    except (OSError, ValueError, KeyError, TypeError, BaselineError):
        # No entry, or one that another version or a crash left behind: the file is simply checked.
        return None


def keep(source: Source, path: Path, settings: Settings, result: Result) -> None:
    """Remember an outcome. A folder that cannot be written is no mistake: the next run takes longer."""
    if not result.lasting or settings.allow_import or result.outcome.state == "defect":
        return
    entry = _entry(source, path, settings)
    kept = result.kept.to_json(places=True) if result.kept is not None else None
    data = {"key": _key(source, settings), "outcome": result.outcome.to_json(), "kept": kept}
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=entry.parent, delete=False, encoding="utf-8") as file:
            # dumps, for dump goes through Python piece by piece.
            file.write(json.dumps(data))
        Path(file.name).replace(entry)
    except OSError:
        return


def folder() -> Path:
    """Where outcomes are kept: the user's folder for caches."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        base = Path(given)
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        base = Path(local)
    else:
        base = Path.home() / ".cache"
    return base / "fwdscope" / "check"


def _entry(source: Source, path: Path, settings: Settings) -> Path:
    """The file of an entry: one for each spec, the name it is shown by, and the way it is checked."""
    said = json.dumps([str(path.absolute()), source.name, settings.dtype])
    return folder() / f"{hashlib.sha256(said.encode()).hexdigest()[:40]}.json"


def _key(source: Source, settings: Settings) -> str:
    said = json.dumps([source.name, source.text, settings.dtype, *_versions(), *(limit(name) for name in LIMITS)])
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _versions() -> tuple[str, ...]:
    """Everything that decides an outcome but the spec; fwdscope's own files by size and time, since they may be edited
    where they lie.
    """
    here = Path(version.__file__).parent
    files = sorted(path for path in here.rglob("*.py"))
    stats = [(str(path.relative_to(here)), *_stamp(path)) for path in files]
    digest = hashlib.sha256(json.dumps(stats).encode()).hexdigest()
    return version.__version__, digest, metadata.version("torch"), sys.version


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
