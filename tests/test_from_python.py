"""The parts of the Python interface that are for modules: summary, record, cost rules, what packages bring, pytest."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
from paths import ROOT
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

import fwdscope
from fwdscope.report import ReportError

# --- summary ---------------------------------------------------------------------------------------------------------


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 30 * 30, 10))


def test_summary_takes_torchinfos_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    columns = ("input_size", "output_size", "num_params", "mult_adds", "kernel_size", "trainable")
    report = fwdscope.summary(net(), input_size=(2, 3, 32, 32), col_names=columns, depth=1, mode="eval")
    shown = capsys.readouterr().out
    # 3 · 8 · 9 + 8 and 7,200 · 10 + 10 parameters; 2 · 8 · 900 · 27 and 2 · 72,000 multiply-accumulates.
    assert report.totals.params == 224 + 72_010
    assert report.totals.macs == 388_800 + 144_000
    assert "Conv2d 3×3" in shown
    assert re.search(r"2 3 32 32 +2 8 30 30", shown)
    assert fwdscope.summary(net(), (3, 32, 32), batch_dim=0, verbose=0).inputs[0].shape == (1, 3, 32, 32)
    assert fwdscope.summary(net(), input_data=torch.zeros(1, 3, 32, 32), verbose=0).totals.params == 72_234
    assert capsys.readouterr().out == ""


def test_summary_takes_several_inputs_and_dtypes() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 4)

        def forward(self, ids: Tensor, x: Tensor) -> Tensor:
            return self.table(ids) + x

    given = {"input_size": [(2, 3), (2, 3, 4)], "dtypes": [torch.long, torch.float32], "verbose": 0}
    report = fwdscope.summary(Two(), **given)  # type: ignore[arg-type]
    assert [(one.shape, one.dtype) for one in report.inputs] == [((2, 3), "int64"), ((2, 3, 4), "float32")]
    named = {"ids": torch.zeros(1, 2, dtype=torch.long), "x": torch.zeros(4)}
    assert fwdscope.summary(Two(), input_data=named, verbose=0).outputs[0].shape == (1, 2, 4)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "give input_size or input_data"),
        ({"col_names": ["groups"]}, "there is no column groups"),
        ({"cache_forward_pass": True}, "leave it out"),
        ({"col_width": 20}, "leave it out"),
        ({"verbose": 2}, "fwdscope.explain"),
        ({"mode": "same eval"}, "there are 'same', 'eval' and 'train'"),
        ({"row_settings": ["ascii_only"]}, "leave it out"),
        ({"dtypes": [torch.long, torch.long]}, "1 inputs and 2 dtypes"),
    ],
)
def test_summary_says_what_to_use_for_what_it_lacks(given: dict[str, object], says: str) -> None:
    size = {"input_size": (1, 3, 32, 32)} if given else {}
    with pytest.raises(fwdscope.InputError, match=re.escape(says)):
        fwdscope.summary(net(), **size, **given)  # type: ignore[arg-type]


# --- record ----------------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_a_recorded_call_has_the_figures_of_an_inspection() -> None:
    model, x = net().eval(), torch.randn(2, 3, 32, 32)
    with fwdscope.record() as rec:
        model(x)
    expected = fwdscope.inspect(model, x, device="meta")
    assert rec.report.totals == expected.totals
    assert [(row.path, row.macs, row.output_shapes) for row in rec.report.layers] == [
        (row.path, row.macs, row.output_shapes) for row in expected.layers
    ]
    assert [one.shape for one in (*rec.report.inputs, *rec.report.outputs)] == [(2, 3, 32, 32), (2, 10)]


def test_any_code_is_recorded_and_gradients_stay() -> None:
    one, two = nn.Linear(8, 8), nn.Linear(8, 4)
    x = torch.randn(2, 8)
    with fwdscope.record() as rec:
        y = two(torch.relu(one(x)) + 1)
        z = one(y @ two.weight)
    assert z.requires_grad
    found = [(row.path, row.macs) for row in rec.report.layers]
    # 2 · 8 · 8 for the first layer, 2 · 8 · 4 for the second, as much for the product, and the first once more.
    assert found == [("linear", 128), ("relu", 0), ("linear_2", 64), ("matmul", 64), ("linear", 128)]
    assert rec.report.totals.params == 72 + 36


def test_keyword_inputs_and_exceptions_are_recorded() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            self.fc(x)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), fwdscope.record() as rec:
        Fails()(x=torch.zeros(2, 4))
    assert [(row.path, row.macs) for row in rec.report.layers if row.macs] == [("fails", 32), ("fails.fc", 32)]
    model = nn.Sequential(nn.Linear(4, 4))
    with fwdscope.record() as rec:
        model(input=torch.zeros(2, 4))
    assert [one.name for one in rec.report.inputs] == ["input"]


def test_recording_leaves_torch_as_it_was_and_other_threads_alone() -> None:
    other = nn.Linear(4, 4)
    with fwdscope.record() as rec:
        thread = threading.Thread(target=lambda: other(torch.zeros(2, 4)))
        thread.start()
        thread.join()
        nn.Linear(2, 2)(torch.zeros(1, 2))
    assert [row.type for row in rec.report.layers if row.kind == "layer"] == ["Linear"]
    assert rec.report.totals.macs == 4
    assert not torch_module._global_forward_hooks
    assert not torch_module._global_forward_pre_hooks
    with pytest.raises(ReportError, match="when the with block has ended"), fwdscope.record() as rec:
        rec.report  # noqa: B018


# --- rules of one's own ----------------------------------------------------------------------------------------------


@torch.library.custom_op("fwdscope_tests::gate", mutates_args=())
def gate(x: Tensor, w: Tensor, k: int = 2) -> Tensor:
    return torch.sigmoid(x @ w) * k


@gate.register_fake
def _(x: Tensor, w: Tensor, k: int = 2) -> Tensor:
    return x.new_empty(x.shape[0], w.shape[1])


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        return gate(x, self.w, k=3)


def test_a_cost_rule_counts_an_operator_and_explains_it() -> None:
    before = fwdscope.inspect(nn.Sequential(Gate()), torch.zeros(2, 8), device="meta")
    assert before.uncounted == ("fwdscope_tests.gate",)

    @fwdscope.cost_rule("fwdscope_tests::gate")
    def cost(x, w, k=2):  # type: ignore[no-untyped-def]
        sizes = {"B": x.shape[0], "O": w.shape[1]}
        yield fwdscope.macs("product", "B·I·O", I=x.shape[1], **sizes)
        yield fwdscope.flops("sigmoid, scaled", "5·B·O", **sizes)

    report = fwdscope.inspect(nn.Sequential(Gate()), torch.zeros(2, 8), device="meta")
    # 2 · 8 · 4 products; two FLOPs each, and 5 for each of the 8 results.
    assert (report.totals.macs, report.totals.flops, report.uncounted) == (64, 168, ())
    assert "B·I·O = 2·8·4 = 64" in str(fwdscope.explain(nn.Sequential(Gate()), "0", torch.zeros(2, 8)))
    with pytest.raises(ValueError, match="has a rule already"):
        fwdscope.cost_rule("fwdscope_tests::gate")
    with pytest.raises(ValueError, match="named by its library"):
        fwdscope.cost_rule("gate")


def test_packages_bring_rules_and_layers_by_entry_points(tmp_path: Path) -> None:
    (tmp_path / "brings.py").write_text(
        "import torch, fwdscope\nfrom torch import nn\n"
        "@torch.library.custom_op('brings::f', mutates_args=())\n"
        "def f(x: torch.Tensor) -> torch.Tensor:\n    return x + 1\n"
        "f.register_fake(lambda x: torch.empty_like(x))\n"
        "class Gated(nn.Module):\n"
        "    def __init__(self, width):\n        super().__init__()\n        self.fc = nn.Linear(8, width)\n"
        "    def forward(self, x):\n        return f(self.fc(x))\n"
    )
    (tmp_path / "brings_rules.py").write_text(
        "import brings, fwdscope\nfwdscope.cost_rule('brings::f')(lambda x: fwdscope.flops('f', 'N', N=x.numel))\n"
    )
    info = tmp_path / "brings-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brings\nVersion: 1.0\n")
    points = "[fwdscope.rules]\nr = brings_rules\n[fwdscope.layers]\nGated = brings:Gated\n"
    (info / "entry_points.txt").write_text(points)
    (tmp_path / "spec.yaml").write_text("inputs:\n  x: rand(2, 8)\nlayers:\n  - g = Gated(4)\n")
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fwdscope", "inspect", "spec.yaml", "--device", "meta", "--strict", *options]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    allowed = run("--allow-import")
    assert allowed.returncode == 0, allowed.stderr
    assert "36 parameters" in allowed.stdout
    refused = run()
    assert refused.returncode == 2
    assert "unknown layer or block Gated" in refused.stderr


# --- pytest ----------------------------------------------------------------------------------------------------------

TEST = """
import pytest
from torch import nn, zeros

NET = nn.Sequential(nn.Linear(4, {width}), nn.ReLU(), nn.Linear({width}, 2))
X = zeros(3, 4)

def test_shapes(fwdscope):
    fwdscope.assert_shapes(NET, X, {{"0": (3, 8), "2": (None, 2), "": (3, 2)}})

def test_budget(fwdscope):
    fwdscope.assert_budget(NET, X, params="<= 60", macs="<= 0.2K")
    fwdscope.assert_budget(NET, X, saved_activations=4 * 3 * 8, training={{"optimizer": "sgd"}})

def test_budget_of_a_layer(fwdscope):
    fwdscope.assert_budget(NET, (X,), layer="2", params=18)

def test_baseline(fwdscope):
    fwdscope.assert_matches_baseline(NET, {{"input": X}}, "net")

def test_mistakes(fwdscope):
    with pytest.raises(AssertionError, match="has no layer 7: there are 0, 1, 2"):
        fwdscope.assert_shapes(NET, X, {{"7": (3, 8)}})
    with pytest.raises(TypeError, match="there is no figure mac;"):
        fwdscope.assert_budget(NET, X, mac=3)
"""


PYTESTS = """
import contextlib, io, json, pathlib, sys, pytest
for width, options in json.loads(sys.argv[1]):
    pathlib.Path("test_net.py").write_text(pathlib.Path("net.txt").read_text().replace("WIDTH", str(width)))
    sys.modules.pop("test_net", None)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = pytest.main([*sys.argv[2:], *options, "."])
    print(json.dumps([int(code), out.getvalue()]))
"""


def test_the_plugin_holds_shapes_budgets_and_baselines(tmp_path: Path) -> None:
    """Four runs of pytest, one after another in one process, which imports torch once."""
    (tmp_path / "net.txt").write_text(TEST.format(width="WIDTH"))
    is_installed = any(one.name == "fwdscope" for one in entry_points(group="pytest11"))
    plugin = [] if is_installed else ["-p", "fwdscope.pytest_plugin"]
    runs = json.dumps([(8, []), (8, ["--fwdscope-update"]), (8, []), (16, [])])
    command = [sys.executable, "-c", PYTESTS, runs, "-q", "-p", "no:cacheprovider", *plugin]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    (_, without), (written, _), (held, _), (code, told) = (json.loads(line) for line in done.stdout.splitlines())
    assert "there is no baseline" in without
    assert (written, held, code) == (0, 0, 1)
    assert (tmp_path / "fwdscope_baselines" / "net.json").is_file()
    for line in ("0: expected (3, 8), got (3, 16)", "params: expected <= 60, got 114", "2 params: expected 18, got 34"):
        assert line in told
    assert "if this is meant: pytest --fwdscope-update" in told
