"""The workflow and the issue forms under .github: they parse, and what they call exists."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from paths import ROOT
from typer.testing import CliRunner

from fwdscope.cli import app

WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


@pytest.mark.core
def test_the_workflow_runs_what_exists() -> None:
    steps = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for command in steps:
        program = command.split()[0]
        assert program == "python" or (ROOT / program).is_file(), command
    modules = {module for command in steps for module in re.findall(r"python -m (\w+)", command)}
    assert modules == {"pip", "ruff", "mypy", "pytest"}
    assert all(f'"{module}>=' in project for module in modules - {"pip"})
    assert "core: " in project  # the marker of `pytest -m core`


def test_the_core_ring_runs_on_every_supported_version_and_system() -> None:
    matrix = WORKFLOW["jobs"]["core"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert matrix["torch"] == ["2.6.*", "2.9.*", "2.13.*", "newest"]
    systems = {*matrix["os"], *(one["os"] for one in matrix["include"])}
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_an_issue_form_is_one(form: Any) -> None:
    """The keys that GitHub requires: https://docs.github.com/en/communities, "Syntax for issue forms"."""
    data = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert data.keys() >= {"name", "description", "body"}
    assert len({field["id"] for field in data["body"]}) == len(data["body"])
    assert all(field["type"] in ("textarea", "input") and field["attributes"]["label"] for field in data["body"])
    for command in re.findall(r"`fwdscope ([\w-]+)", form.read_text(encoding="utf-8")):
        assert CliRunner().invoke(app, [command, *["--help"] * (command != "--version")]).exit_code == 0


def test_there_are_forms_for_bugs_and_miscounts() -> None:
    assert [form.stem for form in FORMS] == ["bug", "miscount"]


@pytest.mark.core
def test_the_paths_in_contributing_exist() -> None:
    text = (ROOT / ".github/CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:fwdscope|tests|\.github|specs)/[\w./-]*)`", text)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []
