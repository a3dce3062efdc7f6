"""Two reports → what changed between them: which layers came, went, moved, or are not what they were.

Layers are matched by name and by structure, so that renamed and moved ones are found (:mod:`.matching`); what may not
change is a :class:`Condition`.
"""

from __future__ import annotations

from fwdscope.commands.diff.changes import Comparison, Delta, Kind, RowChange, compare
from fwdscope.commands.diff.conditions import FIGURES, Condition

__all__ = ["FIGURES", "Comparison", "Condition", "Delta", "Kind", "RowChange", "compare"]
