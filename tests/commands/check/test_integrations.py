"""The hook and the action that ship, run as pre-commit and GitHub run them, in a scratch repository."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from paths import ROOT
from test_check import MLP, write

ACTION: dict[str, Any] = yaml.safe_load((ROOT / ".github/actions/check/action.yml").read_text())
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """A repository that is checked out, and ``fwdscope`` on the path as an installation puts it there."""
    subprocess.run(["git", "init", "-q"], check=True)
    programs = folder.parent / "bin"
    programs.mkdir()
    fwdscope = programs / "fwdscope"
    fwdscope.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m fwdscope "$@"\n')
    fwdscope.chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "GITHUB_WORKSPACE": str(folder), "PYTHONPATH": str(ROOT)}


def act(environment: dict[str, str], **inputs: str) -> subprocess.CompletedProcess[str]:
    """The action's last step, with its inputs put in as GitHub puts them in."""
    given = {name: inputs.get(name.replace("-", "_"), one["default"]) for name, one in ACTION["inputs"].items()}
    step = ACTION["runs"]["steps"][-1]
    values = {name: given[text.removeprefix("${{ inputs.").removesuffix(" }}")] for name, text in step["env"].items()}
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]]
    return subprocess.run(command, env={**environment, **values}, capture_output=True, text=True, check=False)


def test_the_action_marks_the_line_and_fails(environment: dict[str, str]) -> None:
    write("specs/a.yaml", MLP.replace("75", "74"))
    result = act(environment)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.startswith("::error file=specs/a.yaml,line=10,col=11,title=a%3A expect::params: expected 74")


def test_the_action_takes_targets_apart_and_leaves_globs_to_fwdscope(environment: dict[str, str]) -> None:
    write("specs/deep/a.yaml")
    write("b.yaml")
    write("c d.yaml", MLP.replace("75", "74"))
    result = act(environment, targets="specs/**/*.yaml\nb.yaml", format="text")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 specs: 2 ok" in result.stdout


def test_the_action_compares_with_a_baseline_and_writes_a_report(environment: dict[str, str]) -> None:
    write("specs/a.yaml")
    missing = act(environment, baseline="base", tolerance="1%", format="junit", output="report.xml")
    assert missing.returncode == 1
    assert "there is no baseline base/specs/a.yaml.json" in Path("report.xml").read_text()
    subprocess.run(["fwdscope", "check", "--baseline", "base", "--update"], env=environment, check=True)
    assert act(environment, baseline="base", tolerance="1%").returncode == 0


@pytest.mark.core
def test_no_input_of_the_action_is_a_piece_of_a_script(environment: dict[str, str]) -> None:
    """A pull request may say what the inputs are; ``${{ inputs.x }}`` in a script would run it."""
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
    write("specs/a.yaml")
    result = act(environment, targets='specs "; touch run; $(touch run) `touch run`')
    assert result.returncode == 2
    assert not Path("run").exists()


def test_the_action_installs_the_package_of_its_own_revision() -> None:
    install = next(step for step in ACTION["runs"]["steps"] if step.get("name") == "Install fwdscope")
    assert "$GITHUB_ACTION_PATH/../../.." in install["run"]
    assert (ROOT / ".github/actions/check" / "../../.." / "pyproject.toml").resolve() == ROOT / "pyproject.toml"


def test_the_hook_checks_the_files_it_is_given(environment: dict[str, str]) -> None:
    hook = next(one for one in HOOKS if one["id"] == "fwdscope-check")
    assert (hook["id"], hook["language"]) == ("fwdscope-check", "python")
    write("specs/a.yaml")
    command = shlex.split(hook["entry"])
    assert subprocess.run([*command, "specs/a.yaml"], env=environment, check=False).returncode == 0
    write("specs/b.yaml", MLP.replace("75", "74"))
    assert subprocess.run([*command, "specs/a.yaml", "specs/b.yaml"], env=environment, check=False).returncode == 1
