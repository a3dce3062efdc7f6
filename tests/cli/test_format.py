"""``fwdscope format`` and ``check --format-only``: what is written, printed and refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from paths import ROOT
from typer.testing import CliRunner, Result

from fwdscope.cli import app

HEAD = "inputs:\n  x: randn(2, 8)\nlayers:\n"
LOOSE, TIGHT = f"{HEAD}  - fc=Linear(4)->(2,4)\n  - ReLU\n", f"{HEAD}  - fc = Linear(4)    -> (2, 4)\n  - ReLU\n"


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(LOOSE)
    Path("b.yaml").write_text(TIGHT)
    return tmp_path


def test_files_are_laid_out_in_place(here: Path) -> None:
    assert run("format", "--check", ".").exit_code == 1
    assert Path("a.yaml").read_text() == LOOSE
    result = run("format", ".")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "a.yaml: formatted\n1 file formatted, 1 left unchanged\n"
    assert Path("a.yaml").read_text() == TIGHT
    assert run("format", "--check", ".").exit_code == 0


def test_line_ends_and_the_byte_order_mark_stay(here: Path) -> None:
    Path("a.yaml").write_bytes(b"\xef\xbb\xbf" + LOOSE.replace("\n", "\r\n").encode())
    run("format", "a.yaml")
    assert Path("a.yaml").read_bytes() == b"\xef\xbb\xbf" + TIGHT.replace("\n", "\r\n").encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_diff_is_a_patch(here: Path, end: str) -> None:
    Path("a.yaml").write_bytes(LOOSE.replace("\n", end).encode())
    result = run("format", "--diff", "a.yaml")
    assert result.exit_code == 1
    subprocess.run(["git", "apply"], input=result.stdout_bytes, check=True)
    assert Path("a.yaml").read_bytes() == TIGHT.replace("\n", end).encode()
    result = run("format", "--diff", "a.yaml")
    assert (result.exit_code, result.stdout) == (0, "")


def test_stdin_goes_to_stdout_with_its_line_ends_and_signs(here: Path) -> None:
    data = LOOSE.replace("\n", "\r\n").replace("ReLU", "ReLU    # \u202e").encode()
    wanted = TIGHT.replace("\n", "\r\n").replace("ReLU", "ReLU    # \u202e").encode()
    result = run("format", "-", stdin=data)
    assert (result.exit_code, result.stdout_bytes, result.stderr) == (0, wanted, "")
    assert run("format", "-", stdin=wanted).stdout_bytes == wanted
    assert run("format", "-", "--check", stdin=data).exit_code == 1
    assert run("format", "-", "--check", stdin=wanted).exit_code == 0


def test_a_file_that_does_not_parse_stays_and_the_others_are_laid_out(here: Path) -> None:
    Path("c.yaml").write_text(f"{HEAD}  - fc=Linear(4\n")
    result = run("format", ".")
    assert result.exit_code == 2
    assert "c.yaml:4:14: error: this ( is never closed [syntax]" in result.stderr
    assert result.stderr.endswith("1 file formatted, 1 left unchanged, 1 with problems\n")
    assert Path("c.yaml").read_text() == f"{HEAD}  - fc=Linear(4\n"
    assert Path("a.yaml").read_text() == TIGHT


def test_what_is_no_file_of_the_users_own_is_refused(here: Path) -> None:
    assert "ships with fwdscope" in run("format", "gpt2").stderr
    assert "there is no file or folder none.yaml" in run("format", "none.yaml").stderr
    assert "give it alone" in run("format", "-", "a.yaml", stdin=b"x").stderr


def test_check_says_where_the_layout_differs_in_every_format(here: Path) -> None:
    result = run("check", "--format-only", "a.yaml", "b.yaml")
    assert result.exit_code == 1
    # `fc=` differs from `fc = ` at the sixth character of line 4, whose end is its 26th.
    assert "a.yaml:4:7: error: this line is laid out otherwise [format]" in result.stdout
    assert "= help: write `- fc = Linear(4)    -> (2, 4)`" in result.stdout
    assert "note: fwdscope format writes 1 file anew: fwdscope format a.yaml" in result.stdout
    data = json.loads(run("check", "--format-only", "--format", "json", ".").stdout)
    points = [(one["name"], point["state"], point["line"]) for one in data["specs"] for point in one["points"]]
    assert points == [("a", "failed", 4), ("b", "met", None)]
    assert "::error file=a.yaml,line=4,col=7" in run("check", "--format-only", "--format", "github", ".").stdout
    run("format", ".")
    assert run("check", "--format-only", ".").exit_code == 0
    assert "leave --baseline" in run("check", "--format-only", "--baseline", "x", ".").stderr


def test_the_hook_of_pre_commit_is_the_command() -> None:
    hooks = {one["id"]: one for one in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    assert hooks["fwdscope-format"]["entry"] == "fwdscope format"
    assert hooks["fwdscope-format"]["types"] == ["yaml"]
