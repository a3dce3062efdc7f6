"""A run keeps only a few of the networks that it built in memory, although garbage collection is off."""

from __future__ import annotations

import subprocess
import sys

import pytest

SPECS = 17

# Modules are counted by what the collector may see, which leaves out what was frozen with the first spec.
PROGRAM = f"""
import gc
gc.disable()
from fwdscope.commands.check import run
from fwdscope.commands.check.one import CheckSettings
from fwdscope.language.problems import Source

text = "inputs: {{x: 'rand(2, 3)'}}\\nlayers: [fc = Linear(1)]\\n"
sources = [Source(f"{{number}}.yaml", text) for number in range({SPECS})]
CHECK
from torch import nn
print(sum(type(one) is nn.Linear for one in gc.get_objects()))
"""


# A worker, which reads specs from a pipe until there are no more.
WORKER = """
from fwdscope.commands.check.workers import _work

class Pipe:
    def recv(self):
        if not sources:
            raise EOFError
        return sources.pop()

    def send(self, result):
        assert result.outcome.state == 'ok'

_work(Pipe(), lambda one: run._bounded(one, CheckSettings(), {}))
"""


@pytest.mark.parametrize(
    "check",
    [
        "assert all(one.outcome.state == 'ok' for one in run._fresh(sources, run.CheckPlan()))",
        WORKER,
    ],
    ids=["one process", "a worker"],
)
def test_networks_are_let_go_of(check: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("CHECK", check)], capture_output=True, text=True, check=True
    )
    assert int(result.stdout) < SPECS / 2
