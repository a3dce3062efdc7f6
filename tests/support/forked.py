"""A process that has imported torch and runs commands in forked children, under limits of time and memory.

It reads a command a line, as JSON, and writes what became of it.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

# Beyond the import of torch: seconds of the processor, and bytes of address space. A child that waits is ended by the
# clock.
CPU_SECONDS, MEMORY, CLOCK_SECONDS = 2, 400 * 1024**2, 60


class Ended(NamedTuple):
    """How a command ended: its exit code, or the negative number of the signal that ended it."""

    code: int
    out: str
    err: str
    cpu: float
    # Bytes at the peak beyond those of the process that forked it.
    memory: int


class Forks:
    """The process that forks, as its user sees it."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, arguments: list[str], folder: Path, environment: dict[str, str], **limits: float) -> Ended:
        """Run ``fwdscope`` with these arguments; ``stdin`` of the folder is its input, if there is one."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        ask = {"arguments": arguments, "folder": str(folder), "environment": environment, **limits}
        self._server.stdin.write(json.dumps(ask) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        out, err = ((folder / f".{name}").read_text("utf-8", "replace") for name in ("out", "err"))
        return Ended(answer["code"], out, err, answer["cpu"], answer["memory"])

    def close(self) -> None:
        """End the process."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()


def limit(cpu: float = CPU_SECONDS, memory: int = MEMORY) -> None:
    """Limit what this process may still take."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu), int(cpu) + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + memory,) * 2)
    signal.alarm(CLOCK_SECONDS)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _run(ask: dict[str, Any]) -> None:
    """Become the command."""
    os.chdir(ask["folder"])
    os.environ.update(ask["environment"])
    streams = [("stdin" if os.path.exists("stdin") else os.devnull, os.O_RDONLY)]  # noqa: PTH110
    streams += [(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for name in (".out", ".err")]
    for number, (name, flags) in enumerate(streams):
        os.dup2(os.open(name, flags, 0o600), number)
    sys.argv = ["fwdscope", *ask["arguments"]]
    from fwdscope.__main__ import main

    limit(ask.get("cpu", CPU_SECONDS), int(ask.get("memory", MEMORY)))
    try:
        main()
    except SystemExit as stop:
        sys.stdout.flush()
        os._exit(int(stop.code or 0))
    os._exit(0)


def serve() -> None:
    """Fork a child for each line."""
    import numpy  # noqa: F401

    from fwdscope.cli import COMMANDS
    from fwdscope.commands.check import one
    from fwdscope.commands.check.one import CheckSettings
    from fwdscope.language.problems import Source
    from fwdscope.render import FORMATS, Options, render
    from fwdscope.report import Report

    # What each command imports is imported once.
    for name in COMMANDS:
        importlib.import_module(f"fwdscope.cli.{name}")
    spec = "inputs: {x: 'rand(2, 3)'}\nlayers: [fc = Linear(1)]\n"
    made = one.check_source(Source("a.yaml", spec), CheckSettings())
    assert made.kept is not None
    for form in FORMATS:
        if not FORMATS[form].is_single:
            render(Report.from_json(made.kept.report.to_json()), form, Options())
    answers = os.dup(1)
    for line in sys.stdin:
        ask = json.loads(line)
        child = os.fork()
        if not child:
            try:
                _run(ask)
            except BaseException:
                import traceback

                traceback.print_exc()
            os._exit(99)
        _, status, usage = os.wait4(child, 0)
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = {
            "code": os.waitstatus_to_exitcode(status),
            "cpu": usage.ru_utime + usage.ru_stime,
            "memory": max(0, usage.ru_maxrss - own) * 1024,
        }
        os.write(answers, (json.dumps(answer) + "\n").encode())


if __name__ == "__main__":
    serve()
