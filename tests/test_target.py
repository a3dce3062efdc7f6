"""``package.module:factory`` on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fwdscope.cli import app

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 4)
    def forward(self, x, mask=None):
        return self.fc(x)

class Sized(nn.Module):
    def __init__(self, width):
        super().__init__()

def build():
    return Net()

def with_tuple():
    return Net(), (torch.zeros(3, 8),)

def with_dictionary():
    return Net(), {"x": torch.zeros(3, 8)}

def number():
    return 3

net = Net()
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "ownnets.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("ownnets", None)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["inspect", *arguments])


@pytest.mark.parametrize("name", ["build", "Net", "net"])
def test_a_factory_a_class_and_a_module_are_inspected_with_the_inputs_given(name: str) -> None:
    result = run(f"ownnets:{name}", "--input", "x=3,8")
    assert result.exit_code == 0, result.stderr
    assert "36 parameters" in result.stdout
    assert "x (3, 8)" in result.stdout


@pytest.mark.parametrize("name", ["with_tuple", "with_dictionary"])
def test_a_factory_may_give_its_inputs_itself(name: str) -> None:
    result = run(f"ownnets:{name}")
    assert result.exit_code == 0, result.stderr
    assert "x (3, 8)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ownnets:build",), "ownnets:build needs inputs: --input x=1,3,224,224 (forward takes x, mask)"),
        (("ownnets:build", "--input", "y=3,8"), "--input y: forward takes x, mask"),
        (("ownnets:with_tuple", "--input", "x=3,8"), "gives that input itself"),
        (("ownnets:missing",), "ownnets has no missing; it has Net, Sized, build"),
        (("nosuchpackage:build",), "nosuchpackage cannot be imported"),
        (("ownnets:number",), "gives int; expected a torch.nn.Module"),
        (("ownnets:Sized",), "cannot be called without arguments"),
        (("ownnets:build", "--input", "x=3,9"), "cannot run on these inputs"),
        (("ownnets:build", "--input", "x=3,8", "--set", "B=3"), "--set and --dtype are for specs"),
        (("ownnets:build", "--input", "x=3,8:int32x"), "int32x is no dtype"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_use_says_what_to_do(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_an_input_may_say_its_dtype() -> None:
    result = run("torch.nn:Identity", "--input", "input=2,3:int64")
    assert result.exit_code == 0, result.stderr
    assert "int64" in result.stdout
