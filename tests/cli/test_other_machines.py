"""Machines unlike most: no home, no locale, closed streams, terminals without a size or without colours."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from paths import ROOT

from fwdscope.render.lines import takes_color

CODE = "import sys; from fwdscope.__main__ import main; main()"
INSPECT = ("inspect", "mlp_xor", "--device", "meta")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", CODE, *arguments]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become a user who is in no list")
def test_a_user_in_no_list_without_a_home_is_served() -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": "relative"}
    code = "import os, sys; import torch, fwdscope.cli.inspect; os.setuid(54321); from fwdscope.cli import run; run()"
    done = subprocess.run([sys.executable, "-c", code, *INSPECT], env=environment, capture_output=True, check=False)
    assert (done.stderr, done.returncode) == (b"", 0)


def test_a_terminal_without_a_size_has_a_hundred_columns() -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    environment = {**os.environ, "TERM": "dumb"}
    process = subprocess.Popen(command("layers", "ReLU"), stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    assert process.wait() == 0
    text = os.read(leader, 100_000).decode()
    os.close(leader)
    assert "ReLU" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("variables", "colored"),
    [
        ({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False),
        ({"TERM": "unknown"}, False), ({"TERM": "dumb", "FORCE_COLOR": "1"}, False), ({"FORCE_COLOR": ""}, False),
    ],
)  # fmt: skip
def test_colours_are_decided_as_rich_decides(
    variables: dict[str, str], colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    for name in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"TERM": "xterm"} | variables).items():
        monkeypatch.setenv(name, value)
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        assert takes_color(terminal) is colored
        console = Console(file=terminal)
        assert (console.color_system is not None and not console.no_color) is colored
    os.close(leader)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_programs_read_is_utf8_whatever_the_locale(encoding: str, tmp_path: Path) -> None:
    spec = tmp_path / "ö→.yaml"
    spec.write_text("name: ö→中\ninputs:\n  x: randn(2)\nlayers:\n  - Linear(3)\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    call = command("inspect", str(spec), "--device", "meta", "--format", "json")
    done = subprocess.run(call, capture_output=True, env=environment, check=True)
    assert json.loads(done.stdout.decode("utf-8"))["name"] == "ö→中"


def test_a_closed_stream_is_one_sentence_or_none(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    cases: list[tuple[str, tuple[str, ...], int]] = [
        (">&-", INSPECT, 2),
        ("2>&-", ("inspect", "nosuch"), 2),
        (">&- 2>&-", (*INSPECT, "-o", str(file)), 0),
    ]
    for closed, arguments, code in cases:
        call = ["bash", "-c", f'exec "$@" {closed}', "-", *command(*arguments)]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert done.stderr in ("", "error: stdout cannot be written: Bad file descriptor\n")
    assert json.loads(file.read_text())["name"] == "mlp-xor"
