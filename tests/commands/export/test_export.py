"""A spec as PyTorch code: the same keys, the same outputs, and lines that people would have written."""

from __future__ import annotations

import functools
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import ROOT
from torch import Tensor, nn

import fwdscope
from fwdscope.commands.export import to_python
from fwdscope.commands.export.sources import SOURCES
from fwdscope.functions import own_functions
from fwdscope.language import load
from fwdscope.language.check import Checked
from fwdscope.language.problems import SpecError
from fwdscope.model import build
from fwdscope.model.build import example_inputs
from fwdscope.model.initialise import materialise
from tests.language.test_language import checked

SPECS = {path.stem: path for path in sorted((ROOT / "specs").glob("*.yaml"))}
# Sizes at which a test can run them.
DECODER = {"T": 8, "vocab": 50, "d": 32, "depth": 3, "heads": 4, "kv_heads": 2, "d_ff": 48}
SMALL: dict[str, dict[str, int]] = {
    "bert_base": {"T": 16, "vocab": 50, "context": 16, "d": 24, "heads": 4, "depth": 2},
    "gpt2": {"T": 16, "vocab": 50, "context": 16, "d": 24, "heads": 4, "depth": 2},
    "llama3_8b": DECODER,
    "llama3_405b": DECODER,
    "mixtral_8x7b": {**DECODER, "experts": 4},
    "transformer_base": {"S": 7, "T": 5, "vocab": 50, "d": 16, "heads": 2, "d_ff": 32, "depth": 2},
    "transformer_encoder": {"T": 5, "vocab": 50, "d": 16, "heads": 2, "d_ff": 32, "depth": 2},
    "vit_b_16": {"image_size": 32, "d": 24, "n_heads": 4, "depth": 2, "classes": 10},
    "unet": {"height": 32, "width": 32},
    "clip": {"T": 9, "vocab": 50, "depth": 2, "space": 16, "d_text": 128, "d_image": 192},
    "deepseek_v2_lite": {"T": 8, "vocab": 50, "d": 32, "depth": 3, "heads": 4, "nope": 8, "rotated": 4, "rank": 8}
    | {"d_ff": 48, "d_expert": 16, "experts": 8, "top_k": 2},
    "detr_resnet50": {"height": 64, "width": 96, "queries": 10},
    "mamba_130m": {"T": 8, "vocab": 50, "d": 32, "depth": 2, "state": 4, "rank": 4},
    "nerf": {"rays": 8, "samples": 4, "W": 32},
    "stable_diffusion_unet": {"size": 16, "T": 5},
    "t5_small": {"S": 8, "T": 6, "vocab": 50, "d": 32, "heads": 4, "d_ff": 48, "depth": 2},
    "wavenet": {"T": 64, "values": 16, "width": 8, "skip": 16, "stacks": 2, "depth": 3},
    "whisper_tiny": {"T": 8, "d": 24, "heads": 2, "depth": 2, "vocab": 50},
    "yolov8n": {"size": 64},
}


@functools.cache
def text_of(name: str) -> str:
    return to_python(load(SPECS[name]))


def classes(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), names)
    return {name: one for name, one in names.items() if getattr(one, "__module__", "") == "exported"}


def network_of(text: str) -> Any:
    """The class of the network, the last one."""
    return list(classes(text).values())[-1]


def flat(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    else:
        for one in value:
            yield from flat(one)


@torch.no_grad()
def same(spec: Checked, module: nn.Module) -> None:
    """Hold a module against the network of a spec, with the network's weights."""
    network = materialise(build(spec)).eval()
    generator = torch.Generator().manual_seed(1)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.01 * torch.randn(tensor.shape, generator=generator)
    assert set(module.state_dict()) == set(network.state_dict())
    module.load_state_dict(network.state_dict())
    torch.manual_seed(0)
    inputs = list(example_inputs(spec, "cpu").values())
    for ours, theirs in zip(flat(module.eval()(*inputs)), flat(network(*inputs)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


# The others take minutes: FWDSCOPE_EVERY_SPEC=1 has them all.
CHOSEN = {
    "computation_graph", "convnext_tiny", "fixed_hidden_mlp", "gpt2", "llama3_8b", "lstm", "mlp_blocks", "mnist_cnn",
    "moe_small", "norms", "resnet18", "simple_rnn", "transformer_base",
}  # fmt: skip


@pytest.mark.parametrize("name", SPECS if os.environ.get("FWDSCOPE_EVERY_SPEC") else sorted(CHOSEN))
def test_a_module_has_the_keys_and_outputs_of_its_spec_at_other_sizes_too(name: str) -> None:
    """The text is that of the whole size; its arguments make the small one, so no size of the whole is left in it."""
    kind = network_of(text_of(name))
    small = SMALL.get(name, {})
    given = {var: size for var, size in small.items() if var in inspect.signature(kind).parameters}
    same(load(SPECS[name], variables={var: str(size) for var, size in small.items()}), kind(**given))


def test_modules_pass_ruff_and_import_torch_alone(tmp_path: Path) -> None:
    for name in sorted(CHOSEN):
        (tmp_path / f"{name}.py").write_text(text_of(name))
        imported = set(re.findall(r"^(?:import|from) (\w+)", text_of(name), re.M))
        assert imported <= {"torch", "math", "functools", "operator", "collections", "typing"}
    for command in (
        ["ruff", "check", "--isolated", "--ignore", "PLR0124"],  # t5_small compares a name with itself
        ["ruff", "format", "--isolated", "--check"],
    ):
        run = subprocess.run([sys.executable, "-m", *command, "."], cwd=tmp_path, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


def test_resnet_reads_as_people_write_it() -> None:
    text = text_of("resnet50")
    assert len(text.splitlines()) <= 120
    for line in (
        '    """1x1 to fewer channels, 3x3 there, 1x1 back to four times as many"""',
        "        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)",
        "        # the shortcut has to take the new size too",
        "            *[Bottleneck(16 * base, 4 * base) for _ in range(5)],",
        "    def __init__(self, base: int = 64, classes: int = 1000) -> None:",
        "        x = self.layer1(x)  # (B, 4 * base, size // 4, _)",
    ):
        assert line in text.splitlines()


HEAD = """
blocks:
  B(act=ReLU, k=1):
    - fc = Linear(8)
    - act
    - if: k > 1
      then:
        - more = Linear(8, bias=False)
        - more * k
    - prev + x
  Pair()(x, y):
    - a = Linear(8)(x)
    - (a + y, a - y)
  Grow(n):
    - fc = Linear(n)
    - cat([x, fc], dim=1)
  Res(n):
    - fc = Linear(n)
    - if: fc.shape != x.shape
      then:
        - short = Linear(n, bias=False)(x)
        - fc + short
      else:
        - fc + x
"""


@pytest.mark.parametrize(
    "layers",
    [
        "- for: i in range(3)\n  do:\n    - fc = Linear(8)",
        "- for: i in range(3)\n  do:\n    - fc = Linear(8 + i)\n    - ReLU",
        "- for: w, k in [(8, 1), (4, 2)]\n  do:\n    - fc = Linear(w)\n    - fc * k",
        "- for: i in range(2)\n  do:\n    - B\n    - prev * i",
        "- for: i in (0, 2)\n  name: s\n  do:\n    - f = Linear(8)\n    - if: i > 1\n      then:\n        - Linear(3)",
        "- y = x\n- for: i, k in [(1, 2), (3, 4)]\n  name: s\n  do:\n    - fc = Linear(8)\n    - y = y * k + fc\n- y",
        "- for: i in range(2)\n  do:\n    - h = 2 * Linear(8)\n    - if: i < 1\n      then:\n        - g = Linear(8)",
        "- for: i in range(3)\n  do:\n    - Res(8 - i // 2)",
        "- for: i in range(3)\n  do:\n    - 2 * Sequential(Linear(8), ReLU)",
        "- modules:\n    fc: [Sequential(Linear(8), ReLU) for i in range(2)]\n- fc[1](fc[0](x))",
        "- modules:\n    fc: Linear(8)\n- for: i in range(3)\n  do:\n    - fc(prev)",
        "- modules:\n    fc: [Linear(8) for i in range(3)]\n- for: i, f in enumerate(fc)\n  do:\n    - f(prev) * i",
        "- modules:\n    fc: [Linear(4), Linear(8)]\n- fc[1](fc[0](x))",
        "- modules:\n    heads: {a: Linear(8), b: Sequential(Linear(3), ReLU)}\n- heads['b'](heads.a(x))",
        "- ys = []\n- for: i in range(3)\n  do:\n    - ys = ys + [x * i]\n- cat(ys, dim=1)",
        "- h = 3 * Linear(8)\n- h[1](h[0](x)) @ h[2].weight + h",
        "- s:\n    - fc = Linear(8)\n    - g = relu(fc)\n    - g + 1\n- y = s.fc(s) + s.g\n- y @ s.fc.weight",
        "- a = Linear(4)\n- part:\n    - b = Linear(4)\n    - b + a + a.weight.sum()\n- prev * 2",
        "- Sequential(B, 2 * B(GELU(approximate='tanh'), 3), Sequential(B(Tanh, k=2), ReLU))",
        "- a, b = (3 * Pair())(x, x * 2)\n- a + b",
        "- a, b = Pair()(x, 2 * x)\n- a + b",
        "- 4 * Grow(3)",
        "- Sequential(Res(n) for n in (8, 4, 4, 6))",
        "- fc = Linear(8)\n- y = x + fc\n- fc(y) @ fc.weight.mT",
        "- q, k, v = Linear(24)(x).chunk(3, dim=-1)\n- softmax(q @ k.mT / sqrt(8), dim=-1) @ v",
        "- out, (h, c) = LSTM(5)\n- Linear(2)(out) + h.sum() + c.sum()",
        "- LSTM(5)\n- Linear(2)",
        "- scale = Parameter(arange(x.shape[1]) * 1.0)\n- n = 2\n- shift = Buffer(ones(8) / n)\n- prev * scale + shift",
        "- x[:, 1:3] ** 2 + (x[..., -1:] if x.shape[1] > 3 else x) * -1",
        "- while: abs(prev).sum() > 1\n  do:\n    - prev / 2",
        "- Dropout(0.5 if training else 0.0)\n- Linear(x.shape[-1] // 2)",
        "- sum([Linear(8)(x) for _ in range(1)]) + sum([1, 2]) + max(1, 2)",
        "- MixtureOfExperts(B(), 4, top_k=2, shared=Linear(8))",
        "- x.unsqueeze(1)\n- TransformerEncoder(TransformerEncoderLayer(2, batch_first=True), 2, norm=LayerNorm())",
    ],
)
def test_what_the_language_has_becomes_python(layers: str) -> None:
    spec = checked(layers, HEAD)
    same(spec, network_of(to_python(spec))())


def test_names_that_python_needs_are_no_variables() -> None:
    spec = checked("- self = Linear(8)\n- nn = ReLU()(self)\n- torch = self + nn\n- torch * 2 + self")
    same(spec, network_of(to_python(spec))())


def test_vars_are_arguments_and_computed_vars_follow_them() -> None:
    head = "vars: {d: 8, twice: 2 * d, rows: [[4, 1], [6, 2]], p: 0.5}"
    spec = checked("- a = Linear(twice)\n- Sequential(Linear(w * k) for w, k in rows)\n- Dropout(p)", head)
    kind = network_of(to_python(spec))
    assert {name: one.default for name, one in inspect.signature(kind).parameters.items()} == {"d": 8, "p": 0.5}
    assert kind(d=3).get_parameter("a.weight").shape == (6, 8)
    same(spec, kind())


def test_the_section_init_fills_the_weights() -> None:
    head = "init: {Linear.weight: constant(0.5), Linear.bias: zeros(), b.weight: constant(2 / 4 + 1), weight: ones()}"
    module = network_of(to_python(checked("- a = Linear(3)\n- b = Linear(3, bias=False)\n- LayerNorm", head)))()
    found = {name: sorted(set(one.detach().flatten().tolist())) for name, one in module.named_parameters()}
    # A path wins over a type, a longer end over a shorter.
    assert found == {"a.weight": [1.0], "a.bias": [0.0], "b.weight": [1.5], "layernorm.weight": [1.0],
                     "layernorm.bias": [0.0]}  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "place", "message"),
    [
        ("- half = Linear(8)", 5, "a layer called half would hide what every nn.Module has"),
        ("- sum([Linear(8)(x) for i in range(2)])", 5, "layers that a list on a line makes cannot be exported"),
        ("- for: i in range(2)\n  do:\n    - w = Parameter(ones(8))\n    - prev * w", 7, "made in loops"),
        (
            "- for: i in range(2)\n  do:\n    - for: j in range(2)\n      do:\n        - fc = Linear(8)",
            9,
            "loops inside loops",
        ),
    ],
)
def test_what_cannot_be_exported_is_an_error_at_its_line(layers: str, place: int, message: str) -> None:
    with pytest.raises(SpecError) as error:
        to_python(checked(layers))
    (problem,) = error.value.problems
    assert message in problem.message
    assert problem.line == place


def test_from_python_and_to_a_program_of_torch(tmp_path: Path) -> None:
    assert fwdscope.export("mlp_xor") == text_of("mlp_xor")
    assert fwdscope.export("mlp_xor", tmp_path / "m.py") is None
    assert (tmp_path / "m.py").read_text() == text_of("mlp_xor")
    torch.save(network_of(text_of("mlp_xor"))().state_dict(), tmp_path / "w.pt")
    fwdscope.export("mlp_xor", tmp_path / "m.pt2", to="pt2", weights=tmp_path / "w.pt")
    program = torch.export.load(tmp_path / "m.pt2")
    given = torch.load(tmp_path / "w.pt")
    assert {name: one.shape for name, one in program.state_dict.items()} == {n: t.shape for n, t in given.items()}
    x = torch.rand(4, 2)
    module = network_of(text_of("mlp_xor"))()
    module.load_state_dict(given)
    torch.testing.assert_close(program.module()(x), module(x))
    with pytest.raises(fwdscope.InputError, match="need a file"):
        fwdscope.export("mlp_xor", to="onnx")
    with pytest.raises(fwdscope.InputError, match="the data decide how often a `while` runs"):
        fwdscope.export("fixed_hidden_mlp", tmp_path / "f.pt2", to="pt2")


@pytest.mark.parametrize(("name", "outputs"), [("mnist_cnn", ["fc2"]), ("lstm", ["out", "h", "c"])])
def test_onnx_gives_the_same_outputs_under_the_names_of_the_spec(
    name: str, outputs: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    for form in ("onnx", "pt2"):
        fwdscope.export(name, tmp_path / f"m.{form}", to=form)
    assert capfd.readouterr().err == ""
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    assert [one.name for one in session.get_outputs()] == outputs
    inputs = {one.name: torch.randn(one.shape) for one in session.get_inputs()}
    expected = torch.export.load(tmp_path / "m.pt2").module()(*inputs.values())
    expected = (expected,) if isinstance(expected, torch.Tensor) else expected
    for found, one in zip(session.run(None, {k: v.numpy() for k, v in inputs.items()}), expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(found), one, rtol=1e-4, atol=1e-5)


def command(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "fwdscope", "export", *words]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)


def test_the_command_writes_to_stdout_or_to_a_file_and_says_what_is_wrong_first(tmp_path: Path) -> None:
    assert command("mlp_xor", folder=tmp_path).stdout == text_of("mlp_xor")
    written = command("mlp_xor", "-o", "m.py", folder=tmp_path)
    assert (written.stderr, (tmp_path / "m.py").read_text()) == ("wrote m.py\n", text_of("mlp_xor"))
    for words, message in (
        (("mlp_xor", "-o", "m.txt"), "export writes python (.py), onnx (.onnx), pt2 (.pt2)"),
        (("mlp_xor", "--to", "pt2", "-o", "m.py"), "-o m.py is no name for pt2: let it end in .pt2"),
        (("mlp_xor", "--to", "onnx", "-o", "no/m.onnx"), "there is no folder no"),
        (("torch.nn:Linear",), "is PyTorch already"),
        (("mlp_xor", "--weights", "w.pt"), "--weights is for onnx and pt2"),
    ):
        run = command(*words, folder=tmp_path)
        assert (run.returncode, message in run.stderr) == (2, True), run.stderr


def test_functions_written_out_give_what_ours_give() -> None:
    """They are the language's own, as text: what a module needs of them stands in it."""
    names: dict[str, Any] = {"torch": torch, "Tensor": Tensor}
    for name in ("causal_mask", "rope", "sinusoidal"):
        exec(SOURCES[name], names)
    x = torch.randn(2, 3, 7, 16)
    for given in ({}, {"theta": 500.0, "offset": 3}, {"interleaved": True}, {"interleaved": True, "offset": 2}):
        torch.testing.assert_close(names["rope"](x, **given), own_functions.rope(x, **given))
    torch.testing.assert_close(names["sinusoidal"](9, 12), own_functions.sinusoidal(9, 12))
    torch.testing.assert_close(names["sinusoidal"](5, 8, 100.0), own_functions.sinusoidal(5, 8, 100.0))
    assert torch.equal(names["causal_mask"](6), own_functions.causal_mask(6))
