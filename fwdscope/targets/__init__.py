"""Targets: what a command is pointed at (a spec, a saved report, ``package.module:name``), and its ``--input``."""

from __future__ import annotations

from fwdscope.targets.specs import find_spec, shipped_specs
from fwdscope.targets.target import Target

__all__ = ["Target", "find_spec", "shipped_specs"]
