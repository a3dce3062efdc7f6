"""The cache of outcomes: a spec that has not changed is not built again, and torch is not loaded for it.

An entry is valid for the text of the spec, the name it is shown by, the settings, and the versions of Python, torch
and fwdscope. Each file and dtype has one entry, which is replaced when the spec changes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import tempfile
from functools import cache
from importlib import metadata
from pathlib import Path

from fwdscope import version
from fwdscope.cache import cache_folder
from fwdscope.commands.check.baselines import Baseline
from fwdscope.commands.check.one import CheckResult, CheckSettings
from fwdscope.commands.check.outcome import Outcome
from fwdscope.language.problems import Source
from fwdscope.limits import LIMITS, limit
from fwdscope.report.report import read_dataclass


def find(source: Source, path: Path, settings: CheckSettings, with_kept: bool) -> CheckResult | None:
    """The result of an earlier run on the same text; None if there is none.

    ``with_kept`` also reads the part for baselines, which is most of an entry.
    """
    entry = _entry(source, path, settings)
    if settings.allow_import or entry is None:
        return None
    try:
        data = json.loads(entry.read_text(encoding="utf-8"))
        if data["key"] != _key(source, settings) or len(data["outcome"]) != len(dataclasses.fields(Outcome)):
            return None
        kept = Baseline.from_json(data["kept"]) if with_kept and data["kept"] is not None else None
        outcome = read_dataclass(Outcome, {**data["outcome"], "cached": True, "seconds": 0.0}, "outcome")
        return CheckResult(outcome, kept)
    except (OSError, ValueError, KeyError, TypeError):
        # No entry, or one from another version or a crash: the file is checked again.
        return None


def keep(source: Source, path: Path, settings: CheckSettings, result: CheckResult) -> None:
    """Save a result. If the folder cannot be written, the next run only takes longer."""
    entry = _entry(source, path, settings)
    if not result.can_be_cached or settings.allow_import or result.outcome.state == "crashed" or entry is None:
        return
    kept = result.kept.to_json(places=True) if result.kept is not None else None
    data = {"key": _key(source, settings), "outcome": result.outcome.to_json(), "kept": kept}
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=entry.parent, delete=False, encoding="utf-8") as file:
            # json.dumps runs in C; json.dump would write piece by piece in Python.
            file.write(json.dumps(data))
        Path(file.name).replace(entry)
    except OSError:
        return


def folder() -> Path | None:
    """Where outcomes are kept; None without a cache folder."""
    caches = cache_folder()
    return caches / "check" if caches is not None else None


def _entry(source: Source, path: Path, settings: CheckSettings) -> Path | None:
    """The file of an entry: one for each spec, name it is shown by, and dtype."""
    caches = folder()
    if caches is None:
        return None
    identity = json.dumps([str(path.absolute()), source.name, settings.dtype])
    return caches / f"{hashlib.sha256(identity.encode()).hexdigest()[:40]}.json"


def _key(source: Source, settings: CheckSettings) -> str:
    limits = (limit(name) for name in LIMITS)
    inputs = json.dumps([source.name, source.text, settings.dtype, *_versions(), *limits])
    return hashlib.sha256(inputs.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _versions() -> tuple[str, ...]:
    """The versions that decide an outcome; fwdscope's own files by size and time, since they may be edited in place."""
    here = Path(version.__file__).parent
    files = [(str(path.relative_to(here)), path.stat()) for path in sorted(here.rglob("*.py"))]
    stats = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]
    digest = hashlib.sha256(json.dumps(stats).encode()).hexdigest()
    return version.__version__, digest, metadata.version("torch"), sys.version
