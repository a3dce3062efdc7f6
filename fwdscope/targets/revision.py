"""``FILE@REV``: a file as it was at a revision of git."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from fwdscope.disk import MOST_BYTES
from fwdscope.errors import TargetError
from fwdscope.interrupt import run_command
from fwdscope.targets.specs import find_spec


def split_revision(target: str) -> tuple[str, str] | None:
    """The file and the revision of ``FILE@REV``; None for any other target."""
    # The last @ that does not belong to the revision, as in HEAD@{1}.
    parts = re.fullmatch(r"(.*)@(?!\{)((?:[^@]|@\{)*)", target, re.DOTALL)
    if parts is None or Path(target).exists() or find_spec(target) is not None:
        return None
    return parts[1], parts[2]


def read_at_revision(path: str, revision: str) -> bytes:
    """The content of a file at a revision. Raises TargetError if either does not exist."""
    target = f"{path}@{revision}"
    if not path or not revision:
        raise TargetError(f"{target}: write a file and a revision, as in model.yaml@HEAD~1")
    folder, name = Path(path).parent, Path(path).name
    if not folder.is_dir():
        raise TargetError(f"{target}: there is no folder {folder}")
    if _git(folder, "rev-parse", "--git-dir") is None:
        raise TargetError(f"{target}: {folder.resolve()} is in no git checkout")
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise TargetError(f"{target}: git knows no revision {revision}; in a shallow checkout, fetch it first")
    blob = f"{commit.decode().strip()}:./{name}"
    size = _git(folder, "cat-file", "-s", blob)
    if size is not None and int(size) > MOST_BYTES:
        raise TargetError(f"{target} holds {int(size):,} bytes; at most {MOST_BYTES:,} are read")
    data = _git(folder, "cat-file", "blob", blob) if size is not None else None
    if data is None:
        raise TargetError(f"{target}: {path} is no file in revision {revision}, or git has not fetched it")
    return data


# A checkout's configuration may name programs. Nothing is fetched, so none of them runs.
_ALONE = {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
_PLAIN = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "protocol.allow=never")


def _git(folder: Path, *arguments: str) -> bytes | None:
    """The output of git, None if it fails. Raises TargetError if git is not installed."""
    try:
        command, environment = ["git", "-C", str(folder), *_PLAIN, *arguments], {**os.environ, **_ALONE}
        pipe, ignored = subprocess.PIPE, subprocess.DEVNULL
        code, written = run_command(command, stdin=ignored, stdout=pipe, stderr=ignored, env=environment)
    except FileNotFoundError:
        raise TargetError("FILE@REV needs git, which is not installed here") from None
    return written if code == 0 else None
