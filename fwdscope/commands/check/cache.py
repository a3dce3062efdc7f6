"""The cache of outcomes: a spec that has not changed is not built again, and torch is not loaded for it.

Each file and dtype has one entry, which is replaced when the spec changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fwdscope.cache import CacheEntry
from fwdscope.commands.check.baselines import Baseline
from fwdscope.commands.check.one import CheckResult, CheckSettings
from fwdscope.commands.check.outcome import Outcome
from fwdscope.language.problems import Source
from fwdscope.report.report import read_dataclass


def find(source: Source, path: Path, settings: CheckSettings, with_kept: bool) -> CheckResult | None:
    """The result of an earlier run on the same text; None if there is none.

    ``with_kept`` also reads the part for baselines, which is most of an entry.
    """

    def result(data: Any) -> CheckResult:
        kept = Baseline.from_json(data["kept"]) if with_kept and data["kept"] is not None else None
        outcome = read_dataclass(Outcome, {**data["outcome"], "cached": True, "seconds": 0.0}, "outcome")
        return CheckResult(outcome, kept)

    return None if settings.allow_import else _entry(source, path, settings).read(result)


def keep(source: Source, path: Path, settings: CheckSettings, result: CheckResult) -> None:
    """Save a result."""
    if result.can_be_cached and not settings.allow_import and result.outcome.state != "crashed":
        kept = result.kept.to_json(places=True) if result.kept is not None else None
        _entry(source, path, settings).write({"outcome": result.outcome.to_json(), "kept": kept})


def _entry(source: Source, path: Path, settings: CheckSettings) -> CacheEntry:
    return CacheEntry("check", (str(path.absolute()), source.name, settings.dtype, settings.grow), (source.text,))
