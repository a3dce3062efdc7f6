"""Compares two reports: which layers were added, removed, moved, renamed or changed.

Layers are matched by name and by structure, so that renamed and moved ones are found (:mod:`.matching`); a limit on a
change is a :class:`Condition`.
"""

from __future__ import annotations

from fwdscope.commands.diff.changes import BYTES, FIGURES, Comparison, Delta, Kind, RowChange, compare
from fwdscope.commands.diff.conditions import Condition

__all__ = ["BYTES", "FIGURES", "Comparison", "Condition", "Delta", "Kind", "RowChange", "compare"]
