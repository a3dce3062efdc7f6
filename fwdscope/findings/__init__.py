"""What a careful colleague would point out about a network, from its report alone.

A family of checks a file: what a run's values tell (``activations``) and its times (``times``), what the network
costs (``costs``), how it is put together (``structure``).
"""

from __future__ import annotations

from fwdscope.findings import activations, costs, structure, times
from fwdscope.findings.activations import first_broken
from fwdscope.findings.network import Finding, RowGraph
from fwdscope.report import Report

__all__ = ["Finding", "findings", "first_broken"]

# What a run saw comes first: who ran the network asked for it.
_FAMILIES = (activations.check, times.check, costs.check, structure.check)


def findings(report: Report) -> tuple[Finding, ...]:
    """Everything that stands out, warnings first; among those what a run saw before what the structure tells."""
    network = RowGraph(report)
    found = [finding for family in _FAMILIES for check in family for finding in check(network)]
    return tuple(sorted(found, key=lambda finding: finding.level != "warning"))
