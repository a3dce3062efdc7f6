"""What is installed is whole: the specs, the types' mark, the command; and a spec's name is enough there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from paths import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(folder)!r}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return folder / result.stdout.splitlines()[-1]


def test_the_wheel_holds_the_specs_the_licence_and_the_mark_of_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {f"fwdscope/specs/{path.name}" for path in (ROOT / "specs").glob("*.yaml")}
    assert len(shipped) >= 25
    assert shipped | {"fwdscope/py.typed", "fwdscope/cli/__init__.py", "fwdscope/data/accelerators.csv"} <= set(names)
    assert {f"fwdscope/render/html/page.{ending}" for ending in ("html", "css", "js")} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "specs/")) for name in names)


def test_a_spec_that_ships_is_found_by_its_name_where_the_wheel_is_installed(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = "import fwdscope, sys; print(fwdscope.__file__); from fwdscope.cli import run; sys.exit(run())"
    command = [sys.executable, "-c", code, "inspect", "resnet50", "--depth", "1"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.stdout.startswith(str(tmp_path)), result.stdout
    assert "25,557,032 parameters" in result.stdout
