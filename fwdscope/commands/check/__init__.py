"""``fwdscope check``: promises, expectations and baselines of many specs, held; plain outcomes for the renderers.

torch is loaded when the first spec is built, and not at all where every outcome is known from an earlier run.
"""

from __future__ import annotations

from fwdscope.commands.check.baseline import Folder, remarks_on
from fwdscope.commands.check.files import File, files, looks_like_spec
from fwdscope.commands.check.one import Settings
from fwdscope.commands.check.outcome import Outcome, Point, Run, Told
from fwdscope.commands.check.run import Plan, outcomes

__all__ = [
    "File",
    "Folder",
    "Outcome",
    "Plan",
    "Point",
    "Run",
    "Settings",
    "Told",
    "files",
    "looks_like_spec",
    "outcomes",
    "remarks_on",
]
