"""``fwdscope inspect --device``: where it runs, what is refused, and its notes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from known_peaks import remember_peaks
from typer.testing import CliRunner, Result

import fwdscope
from fwdscope.cli import app
from fwdscope.device import local
from fwdscope.language import load
from fwdscope.report import Report
from fwdscope.run.prepare import prepared
from fwdscope.run.subject import SpecSubject
from fwdscope.settings import RunError, RunSettings

NET = """\
name: net
vars: {B: 4, d: 8}
inputs:
  x: randn(B, d)
layers:
  - fc1 = Linear(16)
  - drop = Dropout(0.5)
  - fc2 = Linear(3)   -> (B, 3)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's peaks are remembered in a folder of the tests' own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(remember_peaks(tmp_path_factory.getbasetemp() / "cache")))


@pytest.fixture
def net(tmp_path: Path) -> str:
    path = tmp_path / "net.yaml"
    path.write_text(NET)
    return str(path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["inspect", *arguments])


def report(*arguments: str) -> Report:
    result = run(*arguments, "--format", "json")
    assert result.exit_code == 0, result.stderr
    return Report.loads(result.stdout)


def refused(*arguments: str) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.stdout
    return result.stderr


# --- where it runs ---------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_the_report_of_a_run_names_device_dtype_and_seed(net: str) -> None:
    found = report(net, "--device", "cpu", "--seed", "3", "--no-latency")
    assert found.device == "cpu"
    assert found.run is not None
    assert (found.run.device, found.run.dtype, found.run.seed, found.run.mode) == ("cpu", "float32", 3, "eval")
    assert found.run.weights is None
    assert found.run.batch == 4
    assert all(row.stats is not None for row in found.layers)


def test_meta_runs_nothing(net: str) -> None:
    found = report(net, "--device", "meta")
    assert (found.device, found.run) == ("meta", None)
    assert all(row.stats is None and row.latency is None for row in found.layers)


def test_figures_of_training_are_noted_without_a_run(net: str) -> None:
    told, plain = report(net, "--device", "meta", "--train"), report(net, "--device", "meta")
    assert (told.notes, plain.notes) == (("in training mode (--train)",), ())
    ran = report(net, "--device", "cpu", "--train")
    assert ran.run is not None
    assert (ran.run.mode, ran.notes) == ("train", ())
    assert fwdscope.inspect(torch.nn.Dropout(), torch.zeros(2), train=True).notes == told.notes


def test_a_fast_network_runs_by_default(net: str) -> None:
    found = report(net)
    assert found.run is not None
    assert found.run.device == local.preferred().device


def test_a_network_that_would_take_long_is_not_run_and_a_note_says_why() -> None:
    found = report("resnet50", "--set", "B=64")
    assert (found.device, found.run) == ("meta", None)
    note = found.notes[-1]
    assert note.startswith("not run: it would take about ")
    assert "--device" in note


def test_a_network_too_large_for_memory_is_not_run_and_a_note_says_why() -> None:
    found = report("llama3_405b")
    (note,) = found.notes
    # 405,853,388,800 parameters of 4 bytes: 1.48 TiB.
    assert note.startswith("not run: it needs 1.48 TiB, more than ")


def test_a_device_that_is_not_here_names_those_that_are(net: str) -> None:
    assert "here is cpu" in refused(net, "--device", "cuda:93")
    assert "there is no device 'gpu'" in refused(net, "--device", "gpu")


def test_shapes_and_costs_do_not_depend_on_the_device(net: str) -> None:
    here, meta = report(net, "--device", "cpu"), report(net, "--device", "meta")
    plain = [
        dataclasses.replace(row, stats=None, copy_stds=(), copy_item_stds=(), latency=None, latency_range=())
        for row in here.layers
    ]
    assert plain == list(meta.layers)
    assert here.totals == meta.totals


def test_meta_loads_nothing_of_what_runs(net: str) -> None:
    code = (
        "import sys; from fwdscope.cli import run; sys.argv = ['fwdscope', *sys.argv[1:]]; run();"
        "import json; print(json.dumps([name for name in sys.modules if name.startswith('fwdscope.')]), "
        "file=sys.stderr)"
    )
    results = {
        device: subprocess.run(
            [sys.executable, "-c", code, "inspect", net, "--device", device, "--no-latency"],
            capture_output=True,
            text=True,
            check=True,
        )
        for device in ("meta", "cpu")
    }
    # What is inspected is traced by fwdscope.run.subject on every device.
    assert not {"fwdscope.run.forward", "fwdscope.run.prepare", "fwdscope.timing", "fwdscope.device.local"} & set(
        json.loads(results["meta"].stderr)
    )
    assert "fwdscope.run.forward" in results["cpu"].stderr, "else the line above proves nothing"


# --- memory ----------------------------------------------------------------------------------------------------------


def refused_memory(spec: str, here: local.LocalDevice, **variables: str) -> str:
    """What is said of a spec that is taken to a device of this memory."""
    subject = SpecSubject(load(Path(spec), variables=variables))
    with (
        pytest.raises(RunError) as error,
        prepared(subject, subject.report(), here, RunSettings(device="cpu"), copied=False),
    ):
        pass
    return str(error.value)


def test_a_forward_without_room_is_refused_with_both_numbers_and_the_largest_batch(net: str) -> None:
    # 8 · 16 + 16 + 16 · 3 + 3 = 195 parameters of 4 bytes; an item has 8 inputs, and 16 + 3 activations at the peak.
    here = local.LocalDevice("cpu", "a small computer", 4096, 4 * 195 + 10 * 4 * (8 + 16 + 3))
    said = refused_memory(net, here, B="1000")
    # 780 + 1000 · 108 bytes; dropout copies nothing in evaluation.
    assert "the forward needs 106 KiB" in said
    assert "cpu (a small computer) has 1.82 KiB free" in said
    assert "the largest batch that fits is 10, not 1,000" in said
    assert "the forward needs 1.48 TiB" in refused("llama3_405b", "--device", "cpu")


def test_the_batch_is_found_without_a_var_too(tmp_path: Path) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text(NET.replace("randn(B, d)", "randn(1000, d)").replace("   -> (B, 3)", ""))
    here = local.LocalDevice("cpu", "a small computer", 4096, 4 * 195 + 10 * 4 * (8 + 16 + 3))
    assert "the largest batch that fits is 10, not 1,000" in refused_memory(str(spec), here)


def test_weights_without_room_fit_no_batch(net: str) -> None:
    assert "not even a batch of 1 fits" in refused_memory(net, local.LocalDevice("cpu", "tiny", 512, 512))


# --- weights, mode, inputs -------------------------------------------------------------------------------------------


@pytest.mark.core
def test_weights_come_from_a_file(net: str, tmp_path: Path) -> None:
    tensors = {"fc1.weight": torch.zeros(16, 8), "fc1.bias": torch.full((16,), 7.0)}
    torch.save({**tensors, "fc2.weight": torch.zeros(3, 16), "fc2.bias": torch.zeros(3)}, tmp_path / "w.pt")
    found = report(net, "--weights", str(tmp_path / "w.pt"))
    assert found.run is not None
    assert found.run.weights == str(tmp_path / "w.pt")
    stats = found.layers[0].stats
    assert stats is not None
    assert (stats.mean, stats.std) == (7.0, 0.0)
    torch.save(tensors, tmp_path / "half.pt")
    assert "lacks 2 tensors of the model: fc2.weight (3, 16), fc2.bias (3,)" in refused(
        net, "--weights", str(tmp_path / "half.pt")
    )
    partial = report(net, "--weights", str(tmp_path / "half.pt"), "--weights-partial")
    assert partial.run is not None
    assert "all other tensors are as initialised" in " ".join(partial.run.notes)


def test_training_mode_drops(net: str) -> None:
    for train in ((), ("--train",)):
        found = report(net, "--device", "cpu", "--no-latency", *train)
        stats = next(row for row in found.layers if row.path == "drop").stats
        assert stats is not None
        assert (stats.zeros > 0) == bool(train)
        assert found.run is not None
        assert found.run.mode == ("train" if train else "eval")


def test_inputs_of_a_file_are_what_goes_in(net: str, tmp_path: Path) -> None:
    numpy.save(tmp_path / "x.npy", numpy.full((2, 8), 3.0, dtype="float32"))
    found = report(net, "--device", "cpu", "--no-latency", "--input", f"x={tmp_path / 'x.npy'}")
    stats = found.inputs[0].stats
    assert stats is not None
    assert (stats.mean, stats.std, stats.elements) == (3.0, 0.0, 16)


def test_a_shape_alone_is_filled_with_values_like_the_specs(tmp_path: Path) -> None:
    spec = tmp_path / "ids.yaml"
    spec.write_text("inputs:\n  ids: randint(5, 9, (2, 4))\nlayers:\n  - Embedding(9, 3)\n")
    found = report(str(spec), "--device", "cpu", "--no-latency", "--input", "ids=(4, 50):int64")
    stats = found.inputs[0].stats
    assert stats is not None
    assert (stats.elements, stats.min, stats.max) == (200, 5, 8)


def test_no_stats_and_no_latency_leave_their_parts_out(net: str) -> None:
    bare = report(net, "--device", "cpu", "--no-stats", "--no-latency")
    assert all(row.stats is None and row.latency is None for row in bare.layers)
    timed = report(net, "--device", "cpu", "--no-stats")
    assert all(row.stats is None and row.latency is not None for row in timed.layers)
    assert timed.run is not None
    assert timed.run.peaks is not None


def test_options_of_a_run_are_refused_where_nothing_can_run(net: str, tmp_path: Path) -> None:
    saved = tmp_path / "net.json"
    assert run(net, "--device", "cpu", "-o", str(saved)).exit_code == 0
    assert "saved report" in refused(str(saved), "--device", "cpu")
    assert "--weights needs a forward" in refused(net, "--device", "meta", "--weights", "w.pt")
    shown = run(str(saved))
    assert shown.exit_code == 0
    assert "seed 0" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--device", ""), "there is no device ''"),
        (("--device", "cpu", "--show", " "), "--show needs the path of an output"),
        (("--device", "cpu", "--weights-partial"), "add --weights FILE"),
        (("--device", "cpu", "-o", "nowhere/report.json"), "there is no folder nowhere"),
    ],
    ids=" ".join,
)
def test_options_without_effect_are_refused(net: str, arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(net, *arguments)


def test_numbers_that_a_line_cannot_take_are_an_error_at_the_line(tmp_path: Path) -> None:
    spec = tmp_path / "ids.yaml"
    spec.write_text("inputs:\n  ids: randint(0, 20, (2, 40))\nlayers:\n  - embed = Embedding(9, 3)\n")
    said = refused(str(spec), "--device", "cpu")
    assert "ids.yaml:4:" in said
    assert "index out of range" in said


# --- --show ----------------------------------------------------------------------------------------------------------


def test_one_output_is_drawn(net: str, tmp_path: Path) -> None:
    drawn = run(net, "--show", "fc1")
    assert drawn.exit_code == 0
    assert "fc1" in drawn.stdout
    assert "parameters" not in drawn.stdout
    for ending, sign in ((".png", b"\x89PNG"), (".svg", b"<svg"), (".txt", b"fc1")):
        file = tmp_path / f"fc1{ending}"
        result = run(net, "--show", "fc1[0]", "-o", str(file))
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"wrote {file}\n")
        assert sign in file.read_bytes()[:200]


def test_all_outputs_are_drawn_and_a_report_keeps_them(net: str, tmp_path: Path) -> None:
    drawn = run(net, "--show", "all").stdout
    assert "fc1" in drawn
    for ending, sign in ((".png", b"\x89PNG"), (".svg", b"<svg"), (".html", b"<!doctype html>"), (".json", b"{")):
        file = tmp_path / f"all{ending}"
        result = run(net, "--show", "all", "-o", str(file))
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"wrote {file}\n")
        assert file.read_bytes().startswith(sign)
    invoke = CliRunner().invoke
    assert invoke(app, ["inspect", str(tmp_path / "all.json"), "--show", "all"]).stdout == drawn
    run(net, "-o", str(tmp_path / "none.json"))
    result = invoke(app, ["inspect", str(tmp_path / "none.json"), "--show", "all"])
    assert (result.exit_code, "holds no pictures of outputs" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--show", "dropp"), "did you mean drop?"),
        (("--show", "nowhere"), "there is fc1, drop"),
        (("--show", "fc1[9]"), "outside dimension 0"),
        (("--show", "fc1[x]"), "found 'x'"),
        (("--show", "fc1.weights"), "no attention ran in it"),
        (("--show", "fc1", "--format", "json"), "leave --format out"),
        (("--show", "fc1", "--top", "3"), "leave --top out"),
        (("--show", "fc1", "-o", "fc1.json"), "written as .png, .svg or .txt"),
        (("--show", "all", "-o", "all.csv"), "written as .json, .html, .png, .svg or .txt"),
        (("--show", "all", "--format", "csv"), "leave --format out or write json or html"),
        (("--show", "all", "--columns", "macs"), "leave --columns out"),
        (("--show", "fc1", "--device", "meta"), "--show needs a forward"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_refused(net: str, arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(net, *arguments)


def test_the_weights_of_an_attention_are_those_of_its_softmax(tmp_path: Path) -> None:
    spec = tmp_path / "attention.yaml"
    spec.write_text(
        "inputs: {x: 'randn(1, 2, 5, 8)'}\nlayers:\n"
        "  - fused = scaled_dot_product_attention(x, x, x, is_causal=True)\n"
        "  - scores = (x @ x.mT / 8 ** 0.5).masked_fill(~causal_mask(5), -inf)\n"
        "  - softmax(scores, dim=-1) + 0 * fused.sum()\n"
    )
    for index in ("[0, 0]", "[0, 1]"):
        fused = run(str(spec), "--show", f"fused.weights{index}")
        written = run(str(spec), "--show", f"add.weights{index}")
        assert fused.exit_code == written.exit_code == 0, fused.stderr + written.stderr
        assert fused.stdout.splitlines()[1:] == written.stdout.splitlines()[1:]


# --- modules of Python's ---------------------------------------------------------------------------------------------

MODULE = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 4)
        nn.init.constant_(self.fc.bias, 5.0)
        nn.init.zeros_(self.fc.weight)

    def forward(self, x):
        return self.fc(x)

def with_inputs():
    return Net(), torch.ones(2, 8)
"""


@pytest.mark.parametrize("target", ["ran_here:with_inputs", "ran_here:Net"])
def test_a_factory_is_run_on_weights_of_its_own(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ran_here.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    given = () if target.endswith("inputs") else ("--input", "x=2,8")
    found = report(target, "--device", "cpu", *given)
    assert found.run is not None
    stats = found.layers[0].stats
    assert stats is not None
    assert (stats.mean, stats.std) == (5.0, 0.0)
    assert found.layers[0].latency is not None


# --- while it runs ---------------------------------------------------------------------------------------------------

SLOW = """\
inputs:
  x: randn(400, 400)
layers:
  - while: prev.sum() < inf
    do:
      - (prev @ prev).tanh()
    limit: 1_000_000
"""


def test_ctrl_c_ends_a_run_at_once(tmp_path: Path) -> None:
    spec = tmp_path / "slow.yaml"
    spec.write_text(SLOW)
    code = (
        "import os, signal, sys, threading, fwdscope.run.runner as runner; from fwdscope.cli import run\n"
        "def observe(*given):\n"
        "    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "    return original(*given)\n"
        "original, runner.observe = runner.observe, observe\n"
        "sys.exit(run())\n"
    )
    command = [sys.executable, "-c", code, "inspect", str(spec), "--device", "cpu", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (130, "")
    # What is known without the run: the report on meta.
    found = Report.loads(done.stdout)
    assert (found.device, found.run, found.notes[-1]) == ("meta", None, "not run: interrupted")


def test_ctrl_c_while_layers_are_timed_keeps_the_statistics(net: str) -> None:
    code = (
        "import os, signal, sys, fwdscope.run.latency as timing; from fwdscope.cli import run\n"
        "def interrupted(*_, **__):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return original(*_, **__)\n"
        "original, timing.latencies = timing.latencies, interrupted\n"
        "sys.exit(run())\n"
    )
    command = [sys.executable, "-c", code, "inspect", net, "--device", "cpu", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = Report.loads(done.stdout)
    assert (done.returncode, done.stderr, found.notes[-1]) == (130, "", "timing ended early: interrupted")
    assert found.run is not None
    assert found.run.latency is not None
    assert all(row.stats is not None and row.latency is None for row in found.layers)


def test_a_run_by_default_ends_after_its_time(tmp_path: Path) -> None:
    spec = tmp_path / "slow.yaml"
    spec.write_text(SLOW)
    code = "import sys, fwdscope.cli.look as look; from fwdscope.cli import run; look.RUN_BUDGET = 1.0; sys.exit(run())"
    command = [sys.executable, "-c", code, "inspect", str(spec), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = Report.loads(done.stdout)
    assert (done.returncode, done.stderr, found.run) == (0, "", None)
    assert found.notes[-1] == "not run: more than 1 s here, beyond the estimate; --device cpu runs it to the end"


def test_progress_is_one_line_on_a_terminal_and_gone_at_the_end(net: str) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "fwdscope", "inspect", net, "--device", "cpu", "--format", "json"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(Path(net).parent / "empty")}
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=follower, env=environment, check=True)
    os.close(follower)
    frames = []
    with contextlib.suppress(OSError):  # which is the end, on Linux
        while more := os.read(leader, 10_000):
            frames.append(more)
    os.close(leader)
    said = b"".join(frames).decode()
    # From the first half second on, while torch is loaded; its measured peaks take a second more.
    assert "loading torch" in said
    assert "measuring the peaks of cpu" in said
    # One line, which is erased, and the cursor is shown again.
    assert said.count("\n") == 1
    assert said.endswith("\r\n\033[?25h\r\033[1A\033[2K")
    assert json.loads(result.stdout)["device"] == "cpu"


def test_a_module_of_the_users_that_fails_on_the_device_is_no_defect_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fails_here.py").write_text(
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n"
        "        if not x.is_meta:\n            raise RuntimeError('not on a Sunday')\n        return x + 1\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "not on a Sunday" in refused("fails_here:Net", "--device", "cpu", "--input", "x=2")
