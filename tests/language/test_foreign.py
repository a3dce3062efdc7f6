"""Files of other programs, as each writes them: one sentence says what it is and what can be done with it."""

from __future__ import annotations

import io
import json
import pickle
import struct
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner, Result

from fwdscope.cli import app
from fwdscope.language.foreign import recognise
from fwdscope.targets import shipped_specs


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "x" * 100_000)  # the names stand at the end, behind all that
    return file.getvalue()


def saved(value: object, **how: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **how)  # type: ignore[arg-type]
    return file.getvalue()


def scripted() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 3)), file)  # type: ignore[no-untyped-call]
    return file.getvalue()


def exported() -> bytes:
    file = io.BytesIO()
    torch.export.save(torch.export.export(nn.Linear(2, 3), (torch.zeros(1, 2),)), file)
    return file.getvalue()


def safetensors() -> bytes:
    # The format's first 8 bytes are the length of its JSON, little-endian.
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)


YOLO = """nc: 80
scales:
  n: [0.33, 0.25, 1024]
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
head:
  - [[-1], 1, Detect, [nc]]
"""
HUGGING_FACE = json.dumps({"id2label": {"0": "cat"}, "architectures": ["BertModel"], "model_type": "bert"}, indent=2)

FILES = {
    "yolo.yaml": (YOLO, "an Ultralytics model file"),
    "coco.yaml": ("path: ../coco\ntrain: a.txt\nval: b.txt\nnames:\n  0: person\n", "an Ultralytics data set"),
    "yolov3.cfg": ("# v3\n[net]\nbatch=64\n\n[convolutional]\nfilters=32\n", "a Darknet model file"),
    "config.yml": (HUGGING_FACE, "a Hugging Face configuration"),
    "unet.yaml": (json.dumps({"_class_name": "UNet2DModel", "act_fn": "silu"}), "a Hugging Face configuration"),
    "keras.txt": (json.dumps({"module": "keras", "class_name": "Functional", "config": {}}), "a Keras model"),
    "keras.yaml": ("class_name: Sequential\nconfig:\n  name: a\n", "a Keras model"),
    "a.index": (json.dumps({"metadata": {"total_size": 3}, "weight_map": {"w": "a"}}), "the index of a checkpoint"),
    "a.ipynb": (json.dumps({"cells": [], "nbformat": 4}, indent=1), "a Jupyter notebook"),
    "net.py": ("import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    pass\n", "Python code"),
    "train.yaml": ("defaults:\n  - _self_\nmodel:\n  _target_: net.Net\n", "a Hydra configuration"),
    "omega.yaml": ("lr: 0.1\nmodel:\n  lr: ${lr}\n", "an OmegaConf configuration"),
    "fit.yaml": ("model:\n  class_path: net.Net\n  init_args: {}\n", "a Lightning configuration"),
    "ci.yaml": ("name: ci\non: [push]\njobs:\n  test:\n    runs-on: ubuntu-latest\n", "a GitHub workflow"),
    "action.yml": ("name: a\ninputs:\n  x:\n    default: 1\nruns:\n  using: composite\n", "a GitHub action"),
    "compose.yaml": ("services:\n  web:\n    image: nginx\n", "a Docker Compose file"),
    "environment.yml": ("name: env\nchannels: [conda-forge]\ndependencies:\n  - python\n", "a conda environment"),
    ".pre-commit-config.yaml": ("repos:\n  - repo: local\n    hooks: []\n", "a pre-commit configuration"),
    "pod.yaml": ("apiVersion: v1\nkind: Pod\n", "a Kubernetes manifest"),
    "a.onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "an ONNX model"),
    "b.onnx": (b"\x08\x0a\x3a\x90\x01", "an ONNX model"),
    "saved_model.pb": (b"\x08\x01\x12\xfa\xb6\x01", "a TensorFlow SavedModel"),
    "a.tflite": (b"\x1c\0\0\0TFL3\x14\0", "a TensorFlow Lite model"),
    "a.gguf": (b"GGUF\x03\0\0\0\x23\x01", "a GGUF file"),
    "a.h5": (b"\x89HDF\r\n\x1a\n\0", "an HDF5 file"),
    "a.keras": (zipped("metadata.json", "config.json", "model.weights.h5"), "a Keras model"),
    "a.npz": (zipped("x.npy"), "a file of NumPy arrays"),
    "a.docx": (zipped("[Content_Types].xml"), "a zip archive"),
    "cut.pt": (zipped("data.pkl")[:300], "a zip archive"),
    "a.pickle": (pickle.dumps({"a": 1}), "a pickle"),
    "old.pickle": (pickle.dumps([1], protocol=2), "a pickle"),
    "weights.dat": (safetensors(), "a safetensors file"),
    "a.npy": (b"\x93NUMPY\x01\0v\0", "a NumPy array"),
    "a.png": (b"\x89PNG\r\n\x1a\n\0\0", "an image"),
    "a.jpg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "an image"),
    "a.webp": (b"RIFF\x24\0\0\0WEBPVP8 ", "an image"),
    "a.tar.gz": (b"\x1f\x8b\x08\0", "a compressed archive"),
}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_program_gets_one_sentence(name: str, tmp_path: Path) -> None:
    content, what = FILES[name]
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    result = run("inspect", str(path))
    assert result.exit_code == 2
    first, *rest = result.stderr.splitlines()
    assert f"this is {what}" in first
    assert ", not a spec: " in first
    assert rest in ([], ["", "1 problem"])


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: saved(nn.Linear(2, 3).state_dict()), "a file of torch.save, not a spec: `--weights` loads"),
        (lambda: saved(nn.Linear(2, 3)), "a file of torch.save"),
        (lambda: saved({"w": torch.ones(2)}, _use_new_zipfile_serialization=False), "a file of torch.save"),
        (scripted, "a TorchScript program"),
        (exported, "a program of torch.export"),
    ],
    ids=["state_dict", "module", "legacy", "scripted", "exported"],
)
def test_what_torch_writes_is_told_apart(make: object, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make()  # type: ignore[operator]

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a file of others was unpickled")

    for function in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, function, never)
    assert f"this is {what}" in str(recognise(io.BytesIO(data)))


@pytest.mark.parametrize("command", ["inspect", "check", "diff", "bench", "annotate", "explain"])
@pytest.mark.parametrize("name", ["yolo.yaml", "a.onnx", "config.json"])
def test_every_command_that_takes_a_target_says_it(command: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    content = FILES.get(name, (HUGGING_FACE, ""))[0]
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    more = {"diff": ["mlp_xor"], "explain": [":3"], "check": ["--no-cache"]}.get(command, [])
    result = run(command, str(path), *more)
    assert result.exit_code == 2
    assert ", not a spec: " in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("command", "help"),
    [
        ("check", "is a saved report, not a spec"),
        ("bench", "is a saved report: name the spec"),
        ("explain", "is a saved report, which has no operators"),
    ],
)
def test_a_saved_report_is_called_one(command: str, help: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    assert run("inspect", "mlp_xor", "-o", str(path)).exit_code == 0
    result = run(command, str(path), *([":3"] if command == "explain" else []))
    assert (result.exit_code, result.stdout) == (2, "")
    assert help in result.stderr


def test_a_file_of_others_at_a_revision_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("yolo.yaml").write_text(YOLO)
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for arguments in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "a")):
        subprocess.run(["git", *arguments], check=True)
    assert "this is an Ultralytics model file" in run("inspect", "yolo.yaml@HEAD").stderr


def test_check_skips_files_of_others_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text("inputs:\n  x: randn(2, 8)\nlayers:\n  - Linear(8)\n")
    (tmp_path / "yolo.yaml").write_text(YOLO)
    result = run("check", str(tmp_path), "--no-cache")
    assert result.exit_code == 0
    assert "1 ok" in result.stdout


@pytest.mark.parametrize("path", shipped_specs().values(), ids=lambda path: path.stem)
def test_no_spec_is_taken_for_a_file_of_others(path: Path) -> None:
    with path.open("rb") as file:
        assert recognise(file) is None


@pytest.mark.parametrize(
    "text",
    [
        "layers:\n  - Linear(8)\nservices: {}\n",  # a wrong section in a spec
        "inputs:\n  x: randn(2, 8)\nlayer:\n  - Linear(8)\n",
        "doc: |\n  import torch\n  class Net:\ninputs:\n  x: randn(2, 8)\n",
        "",
        "name: nothing\n",
    ],
)
def test_a_wrong_spec_keeps_its_problems(text: str) -> None:
    assert recognise(io.BytesIO(text.encode())) is None
