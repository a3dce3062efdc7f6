"""``--watch``: what is shown after a save, however an editor saves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fwdscope.cli import app
from fwdscope.cli.watch import Saves

SPEC = """\
inputs: {x: "randn(2, 3)"}
layers:
  - one = Linear(4)
  - ReLU
  - two = Linear(5)
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "net.yaml"
    file.write_text(SPEC)
    return file


# --- when a file counts as saved -------------------------------------------------------------------------------------


def replace_it(file: Path, text: str) -> None:
    """As vim and most editors do: a new file takes the name."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def write_over_it(file: Path, text: str) -> None:
    file.write_text(text)


def empty_it_first(file: Path, text: str) -> None:
    with file.open("w") as stream:
        time.sleep(0.2)
        stream.write(text)


def write_half_of_it_first(file: Path, text: str) -> None:
    with file.open("w") as stream:
        for part in (text[: len(text) // 2], text[len(text) // 2 :]):
            stream.write(part)
            stream.flush()
            time.sleep(0.01)


def delete_it_first(file: Path, text: str) -> None:
    file.unlink()
    time.sleep(0.2)
    file.write_text(text)


WAYS = (replace_it, write_over_it, empty_it_first, write_half_of_it_first, delete_it_first)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_save_is_seen_once_and_whole(way: Callable[[Path, str], None], net: Path) -> None:
    saves, text = Saves(lambda: [net]), SPEC + "# more\n"
    editor = threading.Thread(target=lambda: (time.sleep(0.1), way(net, text)))
    editor.start()
    saves.wait(lambda: None)
    assert net.read_text() == text
    editor.join()
    # Nothing is left over for a second look.
    turns = 0

    def stop() -> None:
        nonlocal turns
        turns += 1
        if turns == 5:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        saves.wait(stop)


def test_a_file_that_is_gone_for_long_is_told(net: Path) -> None:
    saves = Saves(lambda: [net])
    net.unlink()
    began = time.monotonic()
    saves.wait(lambda: None)
    assert time.monotonic() - began >= 1.0
    net.write_text(SPEC)
    saves.wait(lambda: None)
    assert saves.saved == pytest.approx(net.stat().st_mtime)


def test_a_new_file_is_found(net: Path) -> None:
    saves = Saves(lambda: net.parent.glob("*.yaml"))
    (net.parent / "other.yaml").write_text(SPEC)
    saves.wait(lambda: None)
    assert saves.saved == pytest.approx((net.parent / "other.yaml").stat().st_mtime)


# --- what is shown ---------------------------------------------------------------------------------------------------


class Watched:
    """A command that watches, whose texts follow one another, since its stdout is no terminal."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "fwdscope", *arguments, "--watch"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def next(self) -> str:
        """All up to the line that says what is watched."""
        assert self.process.stdout is not None
        lines = []
        while not lines or not lines[-1].startswith(" watching "):
            line = self.process.stdout.readline()
            assert line, self.process.stderr.read() if self.process.stderr else ""
            lines.append(line)
        return "".join(lines)


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    started: list[Watched] = []

    def start(*arguments: str) -> Watched:
        started.append(Watched(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.send_signal(signal.SIGINT)
        _, err = one.process.communicate(timeout=60)
        # Ctrl-C is how it ends.
        assert (one.process.returncode, err) == (130, "")


def test_what_changed_since_the_last_save_is_marked(net: Path, watch: Callable[..., Watched]) -> None:
    inspected = watch("inspect", "net.yaml")
    first = inspected.next()
    assert [line.split()[:2] for line in first.splitlines() if "Linear" in line][:2] == [
        ["one", "Linear"],
        ["two", "Linear"],
    ]
    assert not any(line.startswith(("~", "+")) for line in first.splitlines())
    replace_it(net, SPEC.replace("ReLU", "GELU").replace("Linear(5)", "Linear(6)"))
    second = inspected.next()
    lines = second.splitlines()
    assert [line.split()[0] for line in lines if line[:1] in ("~", "+", "=")] == ["+gelu", "~two"]
    # 4·6 + 6 parameters for 4·5 + 5, and the row that is gone.
    assert ["parameters", "41", "46", "+5", "+12.2", "%"] in [line.split() for line in lines]
    assert any(line.startswith(" −  relu") for line in lines)
    assert "ms after it was saved" in lines[-1]
    net.write_text(SPEC.replace("ReLU", "GELU").replace("Linear(5)", "Linear(6)") + "# the same\n")
    assert " as it was when it was saved at " in inspected.next()


def test_problems_are_shown_and_the_next_report_is_compared_with_the_last_good_one(
    net: Path, watch: Callable[..., Watched]
) -> None:
    inspected = watch("inspect", "net.yaml")
    inspected.next()
    net.write_text(SPEC.replace("ReLU", "Relux"))
    problems = inspected.next()
    assert "net.yaml:4:5: error: unknown layer or block Relux" in problems
    assert "1 problem" in problems
    # The line above is as right as it was; what the one below makes is not known.
    shown = [line.split() for line in problems.splitlines()]
    assert ["3", "-", "one", "=", "Linear(4)", "(2,", "4)"] in shown
    assert ["5", "-", "two", "=", "Linear(5)"] in shown
    net.write_text(SPEC.replace("Linear(4)", "Linear(8)"))
    assert any(line.startswith("~one") for line in inspected.next().splitlines())
    net.unlink()
    assert "net.yaml is gone; it is shown again when it is back" in inspected.next()


def test_a_file_that_is_half_written_is_not_shown(net: Path, watch: Callable[..., Watched]) -> None:
    inspected = watch("inspect", "net.yaml")
    inspected.next()
    with net.open("w") as stream:
        stream.write(SPEC[:50])
        stream.flush()
        time.sleep(0.06)  # longer than a file has to be at rest
        stream.write(SPEC[50:].replace("Linear(5)", "Linear(7)"))
    shown = inspected.next()
    assert "error" not in shown
    assert any(line.startswith("~two") for line in shown.splitlines())


def test_a_report_that_was_kept_is_compared_with_what_is_saved(net: Path, watch: Callable[..., Watched]) -> None:
    CliRunner().invoke(app, ["inspect", "net.yaml", "--device", "meta"])
    inspected = watch("inspect", "net.yaml", "--depth", "1")
    inspected.next()
    net.write_text(SPEC.replace("Linear(4)", "Linear(8)"))
    assert any(line.startswith("~one") for line in inspected.next().splitlines())


def test_check_marks_the_outcomes_that_changed(net: Path, watch: Callable[..., Watched]) -> None:
    (net.parent / "other.yaml").write_text(SPEC)
    checked = watch("check", ".")
    first = checked.next().splitlines()
    assert [line[:12] for line in first if ".yaml" in line] == ["  net.yaml  ", "  other.yaml"]
    net.write_text(SPEC + "expect:\n  params: 7\n")
    second = checked.next().splitlines()
    assert any("params: expected 7, got 41" in line for line in second)
    assert [line[:12] for line in second if line[2:].startswith(("net", "other"))] == ["~ net.yaml  ", "  other.yaml"]
    (net.parent / "third.yaml").write_text(SPEC)
    assert any(line.startswith("+ third.yaml") for line in checked.next().splitlines())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inspect", "net.yaml", "net.yaml"), "--watch is for one target; here are 2"),
        (("inspect", "net.yaml", "--show", "one"), "--watch shows the whole report: leave --show out"),
        (("inspect", "net.yaml", "--vary", "B=1,2"), "--watch shows the whole report: leave --vary out"),
        (("inspect", "net.yaml", "-o", "a.csv"), "--watch shows the report on the screen: leave -o a.csv out"),
        (("inspect", "torch.nn:Linear"), "--watch torch.nn:Linear: give the file of a spec"),
        (("inspect", "-"), "--watch -: give the file of a spec"),
        (("check", ".", "--format", "json"), "--watch shows outcomes on the screen: leave --format"),
        (("check", "nosuch.yaml"), "nosuch.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_watched_is_refused(net: Path, arguments: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, [*arguments, "--watch"], input=SPEC)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_terminal_is_written_over_and_drawn_again_when_it_is_resized(net: Path) -> None:
    import fcntl
    import pty
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 100, 0, 0))
    command = [sys.executable, "-m", "fwdscope", "inspect", "net.yaml", "--watch"]
    process = subprocess.Popen(command, stdout=follower, stderr=follower)
    os.close(follower)

    def until(sign: bytes) -> bytes:
        said = b""
        while sign not in said:
            said += os.read(leader, 10_000)
        return said

    assert b"\033[H" in until(b"Ctrl-C ends")
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 60, 0, 0))
    narrow = until(b"Ctrl-C ends").decode().rpartition("\033[H")[2]
    assert max(len(line) for line in narrow.replace("\033[K", "").splitlines() if "\033" not in line) <= 60
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    os.close(leader)
