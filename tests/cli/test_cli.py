"""The commands as a user runs them: exit codes, streams, options, and messages for wrong use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from typer.testing import CliRunner, Result

from fwdscope.cli import app
from fwdscope.report import Report

MLP = """\
name: mlp
vars: {B: 32, d: 128}
inputs:
  image: rand(B, 784)
layers:
  - fc1 = Linear(d)
  - ReLU
  - fc2 = Linear(10)      -> (B, 10)
expect:
  params: 101_770
"""


@pytest.fixture
def mlp(tmp_path: Path) -> str:
    path = tmp_path / "mlp.yaml"
    path.write_text(MLP)
    return str(path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def report(*arguments: str) -> Report:
    result = run("inspect", *arguments, "--format", "json")
    assert result.exit_code == 0, result.stderr
    return Report.loads(result.stdout)


# --- inspect ---------------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_the_report_goes_to_stdout_and_nothing_to_stderr(mlp: str) -> None:
    result = run("inspect", mlp)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "101,770 parameters" in result.stdout
    assert "\033[" not in result.stdout


def test_json_loads_back_into_the_same_report(mlp: str) -> None:
    found = report(mlp)
    assert Report.loads(found.dumps()) == found
    assert [row.path for row in found.layers] == ["fc1", "relu", "fc2"]
    # 784 · 128 + 128, 128 · 10 + 10
    assert [row.params for row in found.layers] == [100_480, 0, 1_290]


def test_json_has_the_keys_that_programs_rely_on(mlp: str) -> None:
    data = json.loads(run("inspect", mlp, "--format", "json").stdout)
    assert data["version"] == 3
    assert {"params", "trainable_params", "buffers"} <= data["totals"].keys()
    assert {"inputs", "outputs", "environment", "layers"} <= data.keys()
    row = {"path", "type", "depth", "line", "input_shapes", "output_shapes", "params", "calls", "repeat"}
    assert all(row <= layer.keys() for layer in data["layers"])
    assert data["layers"][0] | {"path": "fc1", "type": "Linear", "depth": 1, "line": 6} == data["layers"][0]


@pytest.mark.parametrize("form", ["table", "tree", "json", "csv", "markdown"])
def test_every_format_contains_every_layer(mlp: str, form: str) -> None:
    out = run("inspect", mlp, "--format", form).stdout
    assert all(name in out for name in ("fc1", "relu", "fc2"))


def test_the_ending_of_the_output_file_chooses_the_format(mlp: str, tmp_path: Path) -> None:
    for ending, sign in (
        (".json", '{\n  "$schema": "urn:fwdscope:report:3"'),
        (".csv", "path,"),
        (".md", "| "),
        (".txt", " mlp"),
    ):
        target = tmp_path / f"report{ending}"
        result = run("inspect", mlp, "--no-cache", "-o", str(target))
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"wrote {target}\n")
        assert sign in target.read_text()


def test_a_saved_report_is_shown_again(mlp: str, tmp_path: Path) -> None:
    saved = tmp_path / "mlp.json"
    run("inspect", mlp, "-o", str(saved))
    assert "101,770 parameters" in run("inspect", str(saved)).stdout


@pytest.mark.core
def test_set_replaces_a_var(mlp: str) -> None:
    found = report(mlp, "--set", "d=64", "--set", "B=2 * 4")
    assert found.layers[0].output_shapes == ((8, 64),)
    # 784 · 64 + 64 + 64 · 10 + 10
    assert found.totals.params == 50_890


def test_an_expectation_that_fails_is_shown_and_the_exit_code_is_1(mlp: str) -> None:
    Path(mlp).write_text(MLP.replace("d: 128", "d: 64"))
    result = run("inspect", mlp)
    assert result.exit_code == 1
    assert "101_770" in result.stdout
    assert "50,890" in result.stdout


def test_figures_of_the_files_own_vars_are_not_expected_of_others(mlp: str) -> None:
    result = run("inspect", mlp, "--set", "d=64")
    assert result.exit_code == 0
    assert "101_770" not in result.stdout
    assert "expected figures are not checked, since they are for the file's own d" in result.stdout


def test_a_broken_promise_is_shown_under_its_row_and_exits_1(tmp_path: Path) -> None:
    spec = tmp_path / "wrong.yaml"
    spec.write_text(MLP.replace("-> (B, 10)", "-> (B, 11)"))
    result = run("inspect", str(spec))
    assert result.exit_code == 1
    assert "promised (B, 11), got (32, 10)" in result.stdout


def test_dtype_is_that_of_weights_and_inputs(mlp: str) -> None:
    found = report(mlp, "--dtype", "bfloat16")
    assert (found.dtype, found.inputs[0].dtype, found.layers[0].output_dtypes) == (
        "bfloat16",
        "bfloat16",
        ("bfloat16",),
    )
    assert found.totals.param_bytes == 2 * 101_770


def test_columns_and_depth(mlp: str) -> None:
    out = run("inspect", mlp, "--columns", "layer,input,params", "--depth", "1").stdout
    assert "32 784" in out
    assert "share" not in out


# --- --input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["8,784", "(8, 784)", "8x784", "8 784"])
def test_an_input_may_be_given_as_a_shape(mlp: str, shape: str) -> None:
    found = report(mlp, "--input", f"image={shape}")
    assert found.inputs[0].shape == (8, 784)
    assert found.outputs[0].shape == (8, 10)
    # The spec promises (B, 10) for its own B; it says that this is not held.
    assert any("promised shapes" in note for note in found.notes)
    assert found.layers[-1].promise is None


def test_an_input_may_be_a_file(mlp: str, tmp_path: Path) -> None:
    array = numpy.zeros((5, 784), dtype=numpy.float32)
    numpy.save(tmp_path / "a.npy", array)
    numpy.savez(tmp_path / "b.npz", image=array, other=array[:2])
    torch.save({"image": torch.zeros(5, 784)}, tmp_path / "c.pt")
    torch.save(torch.zeros(5, 784), tmp_path / "d.pt")
    for file in ("a.npy", "b.npz", "c.pt", "d.pt"):
        found = report(mlp, "--input", f"image={tmp_path / file}")
        assert found.inputs[0].shape == (5, 784)
        assert found.inputs[0].made_by == str(tmp_path / file)


def test_a_file_of_the_wrong_dtype_is_refused_as_a_cpu_would(mlp: str, tmp_path: Path) -> None:
    numpy.save(tmp_path / "whole.npy", numpy.zeros((5, 784), dtype=numpy.int64))
    result = run("inspect", mlp, "--input", f"image={tmp_path / 'whole.npy'}")
    assert result.exit_code == 2
    assert "int64" in result.stderr


def test_a_pickle_that_would_run_code_is_refused(mlp: str, tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    numpy.save(tmp_path / "evil.npy", numpy.array([Evil()], dtype=object), allow_pickle=True)
    for file in ("evil.pt", "evil.npy"):
        result = run("inspect", mlp, "--input", f"image={tmp_path / file}")
        assert result.exit_code == 2
        assert "cannot be read" in result.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.core
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("image", "name=shape"),
        ("image=", "name=shape"),
        ("imag=8,784", "did you mean image?"),
        ("image=batch.npy", "there is no file batch.npy"),
        ("image=batch.png", "neither a shape"),
    ],
)
def test_a_wrong_input_is_refused_with_what_to_write(mlp: str, given: str, said: str) -> None:
    result = run("inspect", mlp, "--input", given)
    assert result.exit_code == 2
    assert said in result.stderr


def test_an_input_that_does_not_fit_is_reported_at_its_line(mlp: str) -> None:
    result = run("inspect", mlp, "--set", "d=16", "--input", "image=8")
    assert result.exit_code == 0  # a vector is fine for Linear
    spec = Path(mlp)
    spec.write_text(MLP.replace("Linear(d)", "Linear(d, in_features=784)"))
    result = run("inspect", mlp, "--input", "image=8,783")
    assert result.exit_code == 2
    assert f"{mlp}:6:" in result.stderr
    assert "783" in result.stderr


# --- wrong use -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("inspect", "resnet5"), "did you mean resnet50, detr_resnet50 or wide_resnet50_2?"),
        (("inspect", "mlp"), "did you mean mlp_blocks, mlp_mnist, mlp_xor or fixed_hidden_mlp?"),
        (("inspect", "ResNet_50"), "did you mean resnet50?"),
        (("inspect", "nothing_like_it"), "densenet121, detr_resnet50, edge_filters, … "),
        (("check", "mlp"), "did you mean mlp_blocks, mlp_mnist, mlp_xor or fixed_hidden_mlp?"),
        (("inspect", "nowhere.yaml"), "there is no file nowhere.yaml; give the path of a spec, or a name that"),
        (("inspect", "specs/resnet51.yml"), "did you mean resnet50?"),
        (("inspect", "."), "is a folder"),
        (("inspect", "nowhere.json"), "cannot be read"),
        (("inspect", "resnet50", "--format", "yaml"), "unknown format yaml"),
        (
            ("inspect", "resnet50", "--format", "json", "--columns", "layer"),
            "--columns has no effect on the format json",
        ),
        (("inspect", "mlp_xor", "--columns", "layer,parms"), "params"),
        (("inspect", "mlp_xor", "--set", "B"), "write --set B=8"),
        (("inspect", "mlp_xor", "--set", "nosuch=1"), "--set nosuch:1:1: error: there is no var nosuch"),
        (("inspect", "mlp_mnist", "--set", "B=abc"), "--set B:1:1: error: unknown name abc"),
        (("inspect", "mlp_mnist", "--set", "B=-1", "--device", "meta"), "--set B:1:1: error: B is not a size"),
        (("bench", "gpt2", "--set", "B=-1"), "--set B:1:1: error: "),
        (("layers", "Dense"), "Linear"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_use_exits_2_with_what_to_do(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_a_limit_can_be_raised(tmp_path: Path) -> None:
    spec = tmp_path / "long.yaml"
    spec.write_text("inputs: {x: 'rand(2, 3)'}\nlayers:\n  - h = 70 * Linear(3)\n")
    assert run("inspect", str(spec), "--limit", "turns=69").exit_code == 2
    result = run("inspect", str(spec), "--limit", "turns=70", "--limit", "items=2_000_000")
    assert result.exit_code == 0, result.stderr
    # Only for that run.
    assert run("inspect", str(spec)).exit_code == 0
    for wrong, said in (
        ("turn=3", "there is no such limit"),
        ("turns=x", "a whole number"),
        ("turns", "write --limit"),
    ):
        refused = run("inspect", str(spec), "--limit", wrong)
        assert refused.exit_code == 2
        assert said in refused.stderr


def test_all_problems_are_reported_and_counted(tmp_path: Path) -> None:
    spec = tmp_path / "bad.yaml"
    spec.write_text("inputs: {x: 'rand(2, 3)'}\nlayers:\n  - Dense(8)\n  - Linear(8, use_bias=False)\n  - relu(y)\n")
    result = run("inspect", str(spec))
    assert result.exit_code == 2
    assert [
        line for line in result.stderr.splitlines() if ": error: " in line and line.startswith(str(spec))
    ].__len__() == 3
    assert result.stderr.endswith("\n3 problems\n")


@pytest.mark.core
def test_a_bug_of_ours_exits_3_and_asks_for_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("fwdscope.language.check_source", broken)
    result = run("inspect", "mlp_xor")
    assert result.exit_code == 3
    assert "this is a bug in fwdscope" in result.stderr
    assert "Traceback" not in result.stderr
    monkeypatch.setenv("FWDSCOPE_DEBUG", "1")
    assert "Traceback" in run("inspect", "mlp_xor").stderr


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nosuch", "ModuleNotFoundError: No module named 'nosuch'"),
        ("raise OSError('libcudart.so.12: no such file')", "OSError: libcudart.so.12: no such file"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "check"])
def test_a_package_that_cannot_be_imported_is_no_bug_of_ours(
    code: str, reason: str, command: str, tmp_path: Path
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    call = [sys.executable, "-m", "fwdscope", command, "mlp_xor", *(["--no-cache"] if command == "check" else [])]
    done = subprocess.run(call, capture_output=True, text=True, env=environment, check=False)
    assert f"torch cannot be imported: {reason}" in done.stdout + done.stderr
    assert "bug in fwdscope" not in done.stdout + done.stderr


def test_a_reader_that_stops_early_is_no_error() -> None:
    command = f"{sys.executable} -m fwdscope layers | head -n 1"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("command", "file", "message"),
    [
        (("check", "mlp_xor"), "a.csv", "writes no csv; it writes text, github, junit, json, markdown"),
        (("inspect", "mlp_xor", "--device", "meta"), "a.xml", "writes no junit; it writes table, tree, json"),
        (("diff", "mlp_xor", "mlp_xor"), "a.csv", "writes no csv; it writes text, markdown, json"),
    ],
    ids=["check", "inspect", "diff"],
)
def test_an_ending_of_another_command_is_refused(
    tmp_path: Path, command: tuple[str, ...], file: str, message: str
) -> None:
    result = run(*command, "-o", str(tmp_path / file))
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / file).exists()
