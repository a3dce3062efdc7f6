"""The README shows what the program prints. ``UPDATE_GOLDEN=1`` writes it anew."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from paths import ROOT
from typer.testing import CliRunner

import fwdscope
from fwdscope.cli import app
from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.source import Source

README = ROOT / "README.md"
BLOCK = re.compile(r"```console\n\$ fwdscope (?P<command>[^\n]+)\n(?P<output>.*?)```", re.S)


def printed(command: str) -> str:
    result = CliRunner().invoke(app, shlex.split(command))
    text = result.stdout + result.stderr
    # The version of torch is the reader's own.
    return "\n".join(line.rstrip() for line in text.replace(torch.__version__, "2.13.0").strip("\n").split("\n")) + "\n"


def test_the_consoles_of_the_readme_show_what_is_printed() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(BLOCK.findall(text)) >= 2
    if os.environ.get("UPDATE_GOLDEN"):
        text = BLOCK.sub(lambda m: f"```console\n$ fwdscope {m['command']}\n{printed(m['command'])}```", text)
        README.write_text(text, encoding="utf-8")
    for block in BLOCK.finditer(text):
        assert block["output"] == printed(block["command"])


def test_the_graph_of_the_readme_is_what_is_drawn(tmp_path: Path) -> None:
    kept, drawn = ROOT / ".github" / "graph.svg", tmp_path / "graph.svg"
    CliRunner().invoke(app, ["inspect", "multi_head_attention", "--device", "meta", "-o", str(drawn)])
    if os.environ.get("UPDATE_GOLDEN"):
        kept.write_bytes(drawn.read_bytes())
    assert kept.read_bytes() == drawn.read_bytes()


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.S))
def test_the_specs_of_the_readme_are_right(text: str) -> None:
    assert yaml.safe_load(text)
    check(parse(Source("readme.yaml", text)))


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S))
    exec(compile(code, "README.md", "exec"), {})
    first, second, third = capsys.readouterr().out.splitlines()
    assert third == "(1, 7200)"
    assert first == str(fwdscope.inspect("resnet50").totals.params) == "25557032"
    assert "layer4.0.conv2" in second
