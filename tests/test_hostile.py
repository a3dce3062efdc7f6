"""Inputs of strangers end with the right exit code, in 2 s of the processor and 400 MB beyond the import of torch.

A fifth of each kind runs in processes forked from one that has imported torch. ``FWDSCOPE_HOSTILE=1`` starts all of
them, each as a program.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import forked
import pytest
from hostile import ESC, KINDS, Hostile

# What torch takes when it is imported: bytes of address space, seconds of the processor.
TORCH_MEMORY, TORCH_SECONDS = 12 * 1024**3, 5


@pytest.fixture(scope="module")
def forks() -> Iterator[forked.Forks]:
    process = forked.Forks()
    yield process
    process.close()


def as_program(hostile: Hostile, folder: Path, environment: dict[str, str]) -> forked.Ended:
    cpu, memory = (hostile.limits.get(name, usual) for name, usual in (("cpu", 2), ("memory", forked.MEMORY)))
    stdin = folder / "stdin"  # -P: as an installed program, it does not look for modules here first
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fwdscope", *hostile.command], capture_output=True, cwd=folder, check=False,
        env={**os.environ, **environment}, stdin=stdin.open("rb") if stdin.exists() else subprocess.DEVNULL,
        preexec_fn=lambda: forked.limit(cpu + TORCH_SECONDS, int(memory) + TORCH_MEMORY),
    )  # fmt: skip
    out, err = (one.decode("utf-8", "replace") for one in (done.stdout, done.stderr))
    return forked.Ended(done.returncode, out, err, 0.0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of address space")
@pytest.mark.parametrize("kind", KINDS)
def test_an_input_of_a_stranger_ends_well(kind: str, forks: forked.Forks, tmp_path: Path) -> None:
    wrong, whole = [], bool(os.environ.get("FWDSCOPE_HOSTILE"))
    for number, (name, make) in enumerate(KINDS[kind].items()):
        if number % 5 and not whole:
            continue
        hostile = make()
        folder = tmp_path / str(number)
        for file, content in hostile.files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        folder.mkdir(exist_ok=True)
        if hostile.prepare is not None:
            hostile.prepare(folder)
        environment = {"XDG_CACHE_HOME": str(folder / "cache")}
        if whole:
            ended = as_program(hostile, folder, environment)
        else:
            ended = forks.run(list(hostile.command), folder, environment, **hostile.limits)
        said = ended.out + ended.err
        good = (
            ended.code == hostile.code and hostile.says in said and "Traceback" not in said and len(ended.err) < 40_000
        )
        good = good and not any(letter in said for letter in ESC if not letter.isprintable())
        good = good and not any((folder / file).exists() for file in hostile.absent)
        if not good:
            wrong.append((name, ended._replace(out=ended.out[:300], err=ended.err[:300])))
    assert not wrong, "\n".join(map(str, wrong))


def test_there_are_many_of_each_kind() -> None:
    assert sum(map(len, KINDS.values())) >= 120
    assert min(map(len, KINDS.values())) >= 8
