"""Ctrl-C and SIGTERM at any moment: no traceback, no file half written or left beside, no child left.

``FWDSCOPE_SIGNALS=40 python -m pytest tests/cli/test_signals.py`` sends them at 40 moments of each command.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from paths import ROOT

MOMENTS = int(os.environ.get("FWDSCOPE_SIGNALS", "1"))
# The longest command among them, on a busy machine.
SECONDS = 60
START = "import sys; from fwdscope.__main__ import main; print('ready', flush=True); main()"
COMMANDS = {
    "build": ("inspect", "llama3_405b", "resnet50", "--device", "meta", "--no-cache", "--format", "json"),
    "run": ("inspect", "resnet50", "--device", "cpu", "-o", "out.json"),
    "bench": ("bench", "resnet50", "--device", "cpu", "--budget", "60", "-o", "out.json"),
    "check": ("check", str(ROOT / "specs"), "--no-cache", "--jobs", "2", "-o", "out.json"),
    "update": ("check", str(ROOT / "specs"), "--no-cache", "--baseline", "kept", "--update"),
}
if MOMENTS > 2:  # compilers that torch starts run for half a minute
    COMMANDS["compile"] = ("bench", "resnet18", "--device", "cpu", "--compile", "--budget", "20", "-o", "out.json")


def children(mark: str) -> list[int]:
    """The processes that were started with this mark in their environment, and still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # it has ended, or is another user's
    return found


def check_files(folder: Path) -> None:
    """Every file is a whole one, as a name and a JSON text say."""
    for file in folder.rglob("*"):
        if file.is_file():
            assert not file.name.startswith("."), f"{file} was left beside"
            json.loads(file.read_text())


@pytest.mark.skipif(sys.platform != "linux", reason="looks for children in /proc")
@pytest.mark.parametrize("moment", range(MOMENTS))
@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_ends_a_command_cleanly(
    name: str, moment: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    number = (signal.SIGINT, signal.SIGTERM)[(moment + list(COMMANDS).index(name)) % 2]
    mark = f"FWDSCOPE_TEST={uuid.uuid4().hex}"
    environment = {**os.environ, **dict([mark.split("=")])}
    if name == "compile":  # torch leaves a library half written where its compiler is ended, and loads that again
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path_factory.mktemp("inductor"))
    process = subprocess.Popen(
        [sys.executable, "-c", START, *COMMANDS[name]],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    # Early moments are dense: the program starts, torch loads. The longest wait is beyond a short command's end.
    wait = random.uniform(0, 1) ** 2 * (40 if name == "compile" else 6) if MOMENTS > 2 else (0.1, 1.5)[moment]
    time.sleep(wait)
    process.send_signal(number)
    _, err = process.communicate(timeout=SECONDS)
    assert "Traceback" not in err, wait
    assert process.returncode in (128 + number, *([0, 1] if wait > 1.5 else [])), (wait, err)
    assert [line for line in err.splitlines() if not line.startswith("wrote ")] == [], wait
    check_files(tmp_path)
    ended = time.monotonic() + 10
    while left := children(mark):
        assert time.monotonic() < ended, (wait, left)
        time.sleep(0.05)


def test_a_signal_while_a_file_is_written_leaves_the_old_one(tmp_path: Path) -> None:
    """It comes between the opening of the file and the writing of its content."""
    code = (
        "import os, pathlib, signal, sys; from fwdscope.__main__ import main\n"
        "write = pathlib.Path.write_bytes\n"
        "def slow(self, data):\n"
        "    write(self, data[:9])\n"
        "    if 'report.json' in self.name:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    write(self, data)\n"
        "pathlib.Path.write_bytes = slow\n"
        "main()\n"
    )
    file = tmp_path / "report.json"
    file.write_text("old")
    command = [sys.executable, "-c", code, "inspect", "mlp_xor", "--device", "meta", "-o", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, "")
    assert ([one.name for one in tmp_path.iterdir()], file.read_text()) == (["report.json"], "old")
