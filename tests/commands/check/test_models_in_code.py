"""Specs that hold a model in code: ``model:`` in place of ``layers:``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from known_peaks import remember_peaks
from typer.testing import CliRunner

import fwdscope
from fwdscope.cli import app
from fwdscope.language import check_source
from fwdscope.language.problems import Source, SpecError

CODE = """
from torch import nn, zeros
class Detector(nn.Module):
    def __init__(self, width=32, depth=2):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(*[nn.Conv2d(width, width, 3, padding=1) for _ in range(depth)])
        self.head = nn.Linear(width, 10)
    def forward(self, image):
        return self.head(self.body(self.stem(image)).mean((2, 3)))
def build():
    return nn.Sequential(nn.Linear(4, 8)), zeros(2, 4)
def misfit():
    return nn.Sequential(nn.Linear(4, 8), nn.Linear(9, 3)), zeros(2, 4)
"""

# 3 · 64 · 9 + 64, 3 times 64 · 64 · 9 + 64, and 64 · 10 + 10 parameters.
SPEC = """\
name: detector
vars: {B: 2, width: 64}
model: detector_code:Detector(width=width, depth=3)
inputs:
  image: randn(B, 3, 8, 8)
expect:
  output: (B, 10)
  params: 113_226
  layers:
    stem: (B, width, 8, 8)
    body.1: {params: 36_928, output: '(B, width, 8, 8)'}
"""

# A head made for pictures of 8, behind a look at values, which keeps the model from running on meta.
HEADS = """
from torch import nn
class Head(nn.Module):
    def __init__(self, looks=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.out = nn.Linear(4 * 8 * 8, 10)
        self.looks = looks
    def forward(self, image):
        y = self.conv(image)
        if self.looks and y.sum() > 1e9:
            y = -y
        return self.out(y.flatten(1))
"""
HEAD = """\
name: head
vars: {size: 9}
model: head_code:Head(looks=%s)
inputs:
  image: randn(2, 3, size, size)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(remember_peaks(tmp_path / "cache")))
    (tmp_path / "detector_code.py").write_text(CODE)
    (tmp_path / "detector.yaml").write_text(SPEC)
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_a_model_in_code_is_checked_as_a_spec() -> None:
    code, text = run("check", "detector.yaml", "--allow-import")
    assert (code, "5 met" in text) == (0, True), text  # two figures of the whole, two shapes and a figure of layers
    code, text = run("check", "detector.yaml")
    assert code == 2
    assert "run with --allow-import if you trust detector_code:Detector" in text
    Path("detector.yaml").write_text(SPEC.replace("(B, width, 8, 8)\n", "(B, 64, 4, 4)\n", 1).replace("113_226", "1"))
    code, text = run("check", "detector.yaml", "--allow-import")
    assert code == 1
    assert "params: expected 1, got 113,226" in text
    assert "stem output: expected (B, 64, 4, 4), got (2, 64, 8, 8)" in text


def test_vars_reach_the_arguments_of_the_model() -> None:
    code, text = run("inspect", "detector.yaml", "--allow-import", "--set", "width=16", "--device", "meta")
    assert code == 0
    # 3 · 16 · 9 + 16, 3 times 16 · 16 · 9 + 16, 16 · 10 + 10.
    assert f"{448 + 3 * 2_320 + 170:,} parameters" in text
    code, text = run("diff", "detector.yaml", "--after", "width=128", "--allow-import")
    assert code == 0, text
    assert "113,226" in text
    assert run("explain", "detector.yaml", "head", "--allow-import")[0] == 0
    code, text = run("inspect", "detector.yaml", "--allow-import", "--device", "cpu", "--input", "image=3,3,8,8")
    assert "image (3, 3, 8, 8)" in text


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("detector_code:Detector(width=width, depth=3)", "[Linear(8)]", "a list of lines is `layers:`"),
        ("detector_code:Detector(width=width, depth=3)", "Detector", "names no model in code"),
        ("width=width, depth=3", "3", "a model's arguments go by keyword"),
        ("width=width", "width=wdth", "unknown name wdth"),
        ("width=width", "width=randn(3)", "width is a tensor"),
        ("inputs:", "layers:\n  - ReLU\ninputs:", "a spec has layers or a model in code, not both"),
    ],
)
def test_a_mistake_in_the_section_is_told_at_its_place(old: str, new: str, says: str) -> None:
    with pytest.raises(SpecError) as error:
        check_source(Source("detector.yaml", SPEC.replace(old, new)), allow_import=True)
    assert says in str(error.value)


def test_annotate_writes_shapes_by_path() -> None:
    text = SPEC.replace("stem: (B, width, 8, 8)", "stem: (B, 64, 4, 4)")
    Path("detector.yaml").write_text(text)
    code, _ = run("annotate", "detector.yaml", "--allow-import", "--depth", "2", "--write")
    assert code == 0
    # Equal copies are one row, at the path of the first.
    added = "    body: (B, 64, 8, 8)\n    body.0: (B, 64, 8, 8)\n    head: (B, 10)\n"
    assert Path("detector.yaml").read_text() == SPEC.replace("stem: (B, width, 8, 8)", "stem: (B, 64, 8, 8)") + added
    assert run("check", "detector.yaml", "--allow-import")[0] == 0


def test_new_writes_a_spec_that_holds_a_model() -> None:
    assert run("new", "held", "--from", "detector_code:build")[0] == 0
    assert (
        "  input: randn(2, 4)\nexpect:\n  output: (2, 8)\n  params: 40\n  macs: 64\n" in Path("held.yaml").read_text()
    )
    assert run("check", "held.yaml", "--allow-import")[0] == 0
    assert run("new", "bert", "--from", "transformers:bert")[0] == 0
    report = fwdscope.inspect("transformers:bert", device="meta")
    assert f"params: {report.totals.params:_}" in Path("bert.yaml").read_text()
    assert "inputs:" not in Path("bert.yaml").read_text()
    assert run("check", "bert.yaml", "--allow-import")[0] == 0


def test_a_module_is_held_to_its_baseline_without_a_file() -> None:
    assert run("check", "detector_code:build", "--baseline", "base", "--update")[0] == 0
    code, text = run("check", "detector_code:build", "--baseline", "base")
    assert (code, "gone" in text) == (0, False)
    Path("base/detector_code:build.json").write_text(
        Path("base/detector_code:build.json").read_text().replace('"params": 40', '"params": 41')
    )
    assert run("check", "detector_code:build", "--baseline", "base")[0] == 1
    code, text = run("check", "detector_code:misfit", "detector_code:none")
    assert code == 2
    assert "it was made with in_features=9, and its input has 8" in text
    assert "error: error" not in text
    assert "detector_code has no none" in text


def test_sizes_and_arguments_of_a_model_on_the_command_line() -> None:
    options = ("--arg", "num_hidden_layers=1", "--arg", "vocab_size=50", "--set", "T=8", "--set", "B=3")
    code, text = run("check", "transformers:llama", *options, "--format", "json")
    # Embedding and norm beside one layer: 4 · 4096² of attention, 3 · 4096 · 11008 of the MLP, two norms. Products of
    # 24 tokens: the same weights, and the scores and the sum of values, both 3 · 8 · 8 · 4096.
    layer = 4 * 4096**2 + 3 * 4096 * 11008
    spec = json.loads(text)["specs"][0]
    assert (code, spec["params"]) == (0, 50 * 4096 + 4096 + layer + 2 * 4096)
    assert 0 <= spec["macs"] - 24 * layer - 2 * 3 * 8 * 8 * 4096 < 24 * 128  # the angles of positions
    Path("llama.yaml").write_text(
        "vars: {B: 3, T: 8, H: 64}\nmodel: transformers:llama(num_hidden_layers=1, hidden_size=H)\n"
    )
    assert (
        "(3, 8) int64  →  last_hidden_state (3, 8, 64)"
        in run("inspect", "llama.yaml", "--device", "meta", "--allow-import")[1]
    )
    assert "the sizes of a model's inputs are B, T" in run("check", "transformers:llama", "--set", "Q=1")[1]
    assert "no target is one" in run("check", "llama.yaml", "--set", "T=1")[1]


@pytest.mark.parametrize("looks", [False, True])
def test_a_size_that_does_not_fit_is_told_at_the_line_of_the_code(here: Path, looks: bool) -> None:
    (here / "head_code.py").write_text(HEADS)
    (here / "head.yaml").write_text(HEAD % looks)
    # 4 · 9 · 9, where 4 · 8 · 8 are expected
    fault = "head_code.py:13:16: out (Linear): it was made with in_features=256, and its input has 324"
    code, said = run("check", "head.yaml", "--allow-import")
    assert (code, f"head.yaml:3:8: error: {fault}" in said) == (2, True), said
    code, said = run("inspect", "head.yaml", "--allow-import", "--partial")
    assert (code, fault.replace("16: ", "16: error: ") in said) == (2, True), said
    assert "324" in said
    assert "Conv2d 3×3" in said
    code, said = run("inspect", "head.yaml", "--allow-import", "--vary", "size=8,9")
    assert (code, fault[:40] in said, "2 10" in said) == (0, True, True), said
    # What was wrong is not kept: the code may have been mended.
    (here / "head.yaml").write_text((HEAD % looks).replace("size: 9", "size: 8"))
    assert run("check", "head.yaml", "--allow-import")[0] == 0


def test_a_target_that_does_not_fit_is_told_without_a_line_of_a_spec() -> None:
    code, said = run("check", "detector_code:misfit")
    assert (code, "detector_code:misfit: error: 1 (Linear): it was made with in_features=9" in said) == (2, True), said
    # A kept report would still show a mistake in the code after it was corrected.
    assert "unchanged" not in run("check", "detector_code:misfit")[1]


def test_partial_is_refused_for_a_spec_with_layers(here: Path) -> None:
    (here / "layers.yaml").write_text("inputs:\n  x: randn(2, 3)\nlayers:\n  - Linear(3)\n")
    assert "--partial is for PyTorch models" in run("inspect", "layers.yaml", "--partial")[1]
