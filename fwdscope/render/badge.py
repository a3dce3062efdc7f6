"""A check as a badge: the JSON that shields.io's endpoint reads (https://shields.io/badges/endpoint-badge)."""

from __future__ import annotations

import json

from fwdscope import units
from fwdscope.commands.check.outcome import CheckRun
from fwdscope.errors import InputError
from fwdscope.render.checks import words

_FIGURES = {"params": "parameters", "macs": "MACs"}


def render_badge(run: CheckRun, name: str) -> str:
    """The badge of a name: ``params`` and ``macs`` say the figure of the only spec, any other whether all is well."""
    label, message, color = "fwdscope", words.tally(run).split("  ·  ")[0], "brightgreen"
    if name in _FIGURES:
        if len(run.outcomes) != 1:
            raise InputError(
                f"--badge {name}.json is of one spec, found {len(run.outcomes)}: name one, or another file"
            )
        value = getattr(run.outcomes[0], name)
        label, color = _FIGURES[name], "blue"
        message = "unknown" if value is None else f"{'≥ ' * run.outcomes[0].at_least}{units.count(value)}"
    if run.exit_code:
        color = "red"
    return (
        json.dumps({"schemaVersion": 1, "label": label, "message": message, "color": color}, ensure_ascii=False) + "\n"
    )
