"""The GitHub action's own scripts, run as a runner runs them, with a stand-in for GitHub's program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from paths import ROOT

FOLDER = ROOT / ".github/actions/check"
ACTION: dict[str, Any] = yaml.safe_load((FOLDER / "action.yml").read_text(encoding="utf-8"))
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"] if "name" in step}

SPEC = "inputs:\n  x: rand(2, 8)\nlayers:\n  - fc = Linear({width})\nexpect:\n  output: (2, {width})\n"

pytestmark = pytest.mark.skipif(shutil.which("git") is None or os.name == "nt", reason="needs git and bash")


def environment(step: str, folder: Path, **inputs: str) -> dict[str, str]:
    """The environment of a step, its inputs put in."""
    given = {name: one["default"] for name, one in ACTION["inputs"].items()} | inputs
    texts = {key: str(value) for key, value in STEPS[step].get("env", {}).items()}
    for name, value in given.items():
        texts = {key: text.replace(f"${{{{ inputs.{name} }}}}", value) for key, text in texts.items()}
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    program = tools / "fwdscope"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fwdscope "$@"\n')
    program.chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **texts, "PATH": path, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}


def test_every_input_is_used_and_no_input_becomes_part_of_a_script() -> None:
    whole = (FOLDER / "action.yml").read_text(encoding="utf-8")
    for name in ACTION["inputs"]:
        assert f"inputs.{name}" in whole, name
    assert all("${{" not in step.get("run", "") for step in ACTION["runs"]["steps"])


def test_the_check_annotates_and_writes_the_summary(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "net.yaml").write_text(SPEC.format(width=4).replace("(2, 4)", "(2, 5)"))
    (tmp_path / "models_of_mine.py").write_text("from torch import nn, zeros\nbuild = nn.Linear(4, 2), zeros(1, 4)\n")
    env = environment("fwdscope check", tmp_path, targets="specs models_of_mine:build")
    env["GITHUB_STEP_SUMMARY"] = str(tmp_path / "summary.md")
    command = ["bash", "-e", "-c", STEPS["fwdscope check"]["run"]]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "::error file=specs/net.yaml,line=6" in done.stdout
    summary = (tmp_path / "summary.md").read_text()
    assert "mine:build | ✅ ok" in summary
    assert "expected (2, 5), got (2, 4)" in summary


GH = """#!{python}
import json, pathlib, sys
store = pathlib.Path({store!r})
comments = json.loads(store.read_text()) if store.exists() else []
given = sys.argv[1:]
body = next((pathlib.Path(one.removeprefix("body=@")).read_text() for one in given if one.startswith("body=@")), None)
if "--jq" in given:
    print("\\n".join(str(i) for i, one in enumerate(comments) if one.startswith("<!-- fwdscope check -->")))
elif "PATCH" in given:
    place = next(one for one in given if "/comments/" in one)
    comments[int(place.rsplit("/", 1)[1])] = body
else:
    comments.append(body)
store.write_text(json.dumps(comments))
"""


def test_one_comment_says_what_moved_and_is_renewed(tmp_path: Path) -> None:
    def git(*arguments: str, at: Path) -> None:
        name = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *name, *arguments], cwd=at, check=True, capture_output=True)

    origin, work = tmp_path / "origin", tmp_path / "work"
    (origin / "specs").mkdir(parents=True)
    (origin / "specs" / "net.yaml").write_text(SPEC.format(width=4))
    git("init", "-q", "-b", "main", at=origin)
    git("add", ".", at=origin)
    git("commit", "-qm", "base", at=origin)
    git("clone", "-q", str(origin), str(work), at=tmp_path)
    (work / "specs" / "net.yaml").write_text(SPEC.format(width=16))
    store = tmp_path / "comments.json"
    store.write_text(json.dumps(["a person's own"]))
    env = environment("comment", tmp_path, targets="specs")
    env |= {"PULL_REQUEST": "7", "BASE_REF": "main", "GITHUB_REPOSITORY": "o/r", "GH_TOKEN": "t"}
    gh = tmp_path / "tools" / "gh"
    gh.write_text(GH.format(python=sys.executable, store=str(store)))
    gh.chmod(0o755)
    for width, params in ((16, 144), (32, 288)):
        (work / "specs" / "net.yaml").write_text(SPEC.format(width=width))
        done = subprocess.run(
            [str(FOLDER / "comment.sh")], cwd=work, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        person, ours = json.loads(store.read_text())
        assert person == "a person's own"
        # 8 · width weights and as many biases as width; 36 before.
        assert "36" in ours
        assert str(params) in ours
        assert "specs/net.yaml against main" in ours
