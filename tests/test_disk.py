"""Files: what is read, up to which size, and that a failure while writing leaves the old one."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fwdscope import disk


def test_regular_files_alone_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, what in ((tmp_path / "pipe", "a named pipe"), (Path("/dev/zero"), "a device"), (tmp_path, "a folder")):
        with pytest.raises(OSError, match=f"it is {what}, not a regular file"):
            disk.read_bytes(path)
    with pytest.raises(FileNotFoundError):
        disk.read_bytes(tmp_path / "none")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    with pytest.raises(OSError, match="a named pipe"):
        disk.read_bytes(tmp_path / "link")


def test_no_more_is_read_than_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"123456")
    assert disk.read_bytes(file, 6) == b"123456"
    with pytest.raises(OSError, match="it holds 6 bytes; at most 5 are read"):
        disk.read_bytes(file, 5)
    with file.open("ab") as stream:
        stream.truncate(1 << 40)  # a hole of a terabyte, which takes no room
    with pytest.raises(OSError, match="at most"):
        disk.read_bytes(file)
    # Files of /proc say that they are empty.
    assert disk.read_text(Path("/proc/version")).startswith("Linux")


def test_a_file_is_replaced_with_its_mode_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    before = os.umask(0o027)
    try:
        disk.write(file, "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    file.chmod(0o604)
    disk.write(file, b"newer")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("newer", 0o604)
    assert list(tmp_path.iterdir()) == [file]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("old")

    def full(self: Path, data: bytes) -> None:
        with self.open("wb") as stream:
            stream.write(data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        disk.write(file, "newer")
    assert (file.read_text(), list(tmp_path.iterdir())) == ("old", [file])


def test_links_are_followed_inside_the_folder_alone(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer.json"
    inner.mkdir()
    outer.write_text("old")
    (inner / "out.json").symlink_to(outer)
    (inner / "in.json").symlink_to("real.json")
    (inner / "folder").symlink_to(tmp_path)
    disk.write(inner / "in.json", "new")
    assert ((inner / "real.json").read_text(), (inner / "in.json").is_symlink()) == ("new", True)
    for path in (inner / "out.json", inner / "folder" / "outer.json"):
        with pytest.raises(OSError, match="a link leads out of its folder"):
            disk.write(path, "new", inside=inner)
    assert outer.read_text() == "old"


def test_a_stream_is_written_to_as_it_is(tmp_path: Path) -> None:
    code = "from pathlib import Path; from fwdscope import disk; disk.write(Path('/dev/stdout'), 'text', special=True)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "text"
    with pytest.raises(OSError, match="No space left"):
        disk.write(Path("/dev/full"), "text" * 10_000, special=True)
