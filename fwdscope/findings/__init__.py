"""Findings about a network, from its report alone.

One family of checks a file: about the values of a run (``activations``), its times (``times``), the costs of the
network (``costs``), a training step (``training``) and how it is built (``structure``).
"""

from __future__ import annotations

from fwdscope.findings import activations, costs, nonfinite, structure, times, training
from fwdscope.findings.network import Finding, RowGraph
from fwdscope.findings.nonfinite import first_broken
from fwdscope.report import Report

__all__ = ["Finding", "findings", "first_broken"]

# Findings about a run come first.
_FAMILIES = (nonfinite.check, activations.check, times.check, training.check, costs.check, structure.check)


def findings(report: Report) -> tuple[Finding, ...]:
    """All findings, warnings first."""
    network = RowGraph(report)
    found = [finding for family in _FAMILIES for check in family for finding in check(network)]
    return tuple(sorted(found, key=lambda finding: finding.level != "warning"))
