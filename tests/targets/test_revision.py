"""``FILE@REV`` reads what git has here: it fetches nothing, and runs no program that a checkout names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fwdscope.errors import TargetError
from fwdscope.targets.revision import read_at_revision

SPEC = "inputs:\n  x: randn(2)\nlayers:\n  - Linear(3)\n"


def git(folder: Path, *arguments: str) -> str:
    name = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *name, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without the file's first version, whose configuration names programs that leave a file ``ran``."""
    origin, work = tmp_path / "origin", tmp_path / "work"
    git(tmp_path, "init", "-q", "-b", "main", str(origin))
    for text in (SPEC, SPEC.replace("3", "4")):
        (origin / "a.yaml").write_text(text)
        git(origin, "add", ".")
        git(origin, "commit", "-qm", "a")
    for key in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        git(origin, "config", key, "true")
    git(tmp_path, "clone", "-q", "--filter=blob:none", "--no-local", origin.as_uri(), str(work))
    assert "?" in git(work, "rev-list", "--objects", "--missing=print", "HEAD")
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    git(work, "config", "remote.origin.uploadpack", f"{hook}; git-upload-pack")
    git(work, "config", "core.fsmonitor", str(hook))
    git(work, "config", "core.pager", str(hook))
    return work


def test_nothing_of_a_checkout_runs(checkout: Path) -> None:
    ran = checkout.parent / "ran"
    assert read_at_revision(str(checkout / "a.yaml"), "HEAD") == SPEC.replace("3", "4").encode()
    with pytest.raises(TargetError, match="or git has not fetched it"):
        read_at_revision(str(checkout / "a.yaml"), "HEAD~1")
    assert not ran.exists()
    # git itself would fetch it, by that program; without this, the test could not fail.
    git(checkout, "show", "HEAD~1:a.yaml")
    assert ran.exists()


def test_a_large_file_is_refused_before_it_is_read(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fwdscope.targets.revision.MOST_BYTES", 10)
    with pytest.raises(TargetError, match="at most 10 are read"):
        read_at_revision(str(checkout / "a.yaml"), "HEAD")
