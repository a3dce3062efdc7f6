"""``fwdscope check``: compares specs with their promised shapes, expectations and baselines.

torch is loaded when the first spec is built, and not at all if every outcome is known from an earlier run.
"""

from __future__ import annotations

from fwdscope.commands.check.baseline import BaselineFolder
from fwdscope.commands.check.files import SpecFile, files, looks_like_spec
from fwdscope.commands.check.one import CheckSettings
from fwdscope.commands.check.outcome import CheckMessage, CheckPoint, CheckRun, Outcome
from fwdscope.commands.check.run import CheckPlan, check_files

__all__ = [
    "BaselineFolder",
    "CheckMessage",
    "CheckPlan",
    "CheckPoint",
    "CheckRun",
    "CheckSettings",
    "Outcome",
    "SpecFile",
    "check_files",
    "files",
    "looks_like_spec",
]
