"""A check as data."""

from __future__ import annotations

import json
from collections import Counter

from fwdscope.commands.check.outcome import VERSION, CheckRun
from fwdscope.version import __version__


def render(run: CheckRun) -> str:
    """Everything, file by file; ``exit_code`` is that of the command."""
    states = Counter(outcome.state for outcome in run.outcomes)
    points = Counter(point.state for outcome in run.outcomes for point in outcome.points)
    data = {
        "version": VERSION,
        "fwdscope": __version__,
        "exit_code": run.exit_code,
        "seconds": round(run.seconds, 3),
        "states": dict(sorted(states.items())),
        "points": dict(sorted(points.items())),
        "remarks": list(run.remarks),
        "specs": [outcome.to_json() for outcome in run.outcomes],
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
