"""Targets of commands: a spec, a saved report, or ``package.module:name``; and their ``--input``."""

from __future__ import annotations

from fwdscope.targets.specs import find_spec, shipped_specs
from fwdscope.targets.target import SIZES, STDIN, Target

__all__ = ["SIZES", "STDIN", "Target", "find_spec", "shipped_specs"]
