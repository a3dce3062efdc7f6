"""Files of weights: read from their headers, shown as trees, compared by name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import fwdscope
from fwdscope.cli import app
from fwdscope.errors import InputError
from fwdscope.report import LayerRow, Report

CODES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32", torch.uint8: "U8",
         torch.int8: "I8", torch.int64: "I64", torch.float8_e4m3fn: "F8_E4M3"}  # fmt: skip


def save(file: Path, tensors: dict[str, Tensor], with_numbers: bool = True) -> Path:
    """Write safetensors by hand: a length of 8 bytes, a JSON header, and the numbers, here zeros."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        end = at + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        if with_numbers:
            out.truncate(8 + len(text) + at)
    return file


def network(layers: int = 3, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    made = {"embed.weight": torch.empty(10, 4, dtype=dtype, device="meta")}
    for i in range(layers):
        made[f"layers.{i}.fc.weight"] = torch.empty(8, 4, dtype=dtype, device="meta")
        made[f"layers.{i}.fc.bias"] = torch.empty(8, dtype=dtype, device="meta")
        made[f"layers.{i}.norm.weight"] = torch.empty(4, dtype=torch.float32, device="meta")
    return made


def row(report: Report, path: str) -> LayerRow:
    return next(row for row in report.layers if row.path == path)


@pytest.mark.core
def test_a_file_is_a_tree_of_tensors_with_equal_layers_folded(tmp_path: Path) -> None:
    report = fwdscope.inspect(save(tmp_path / "a.safetensors", network(12)))
    # 10·4, and 12 layers of 8·4 + 8 in 2 bytes and 4 in 4
    assert report.totals.params == 40 + 12 * (40 + 4)
    assert report.totals.param_bytes == 2 * 40 + 12 * (2 * 40 + 4 * 4)
    assert [(one.path, one.repeat, one.depth) for one in report.layers] == [
        ("embed.weight", 1, 1),
        ("layers.0–11", 12, 1),
        ("layers.0–11.fc", 1, 2),
        ("layers.0–11.fc.bias", 1, 3),
        ("layers.0–11.fc.weight", 1, 3),
        ("layers.0–11.norm.weight", 1, 2),
    ]
    weight = row(report, "layers.0–11.fc.weight")
    assert (weight.output_shapes, weight.type, weight.output_bytes) == (((8, 4),), "bfloat16", 64)
    assert (report.totals.macs, report.dtype) == (None, "bfloat16")


def test_a_single_layer_that_differs_stands_alone(tmp_path: Path) -> None:
    tensors = network(5)
    tensors["layers.2.fc.weight"] = torch.empty(9, 4, device="meta")
    report = fwdscope.inspect(save(tmp_path / "a.safetensors", tensors))
    assert [one.label for one in report.layers if one.depth == 2] == ["0–1", "2", "3–4"]


def test_only_the_header_is_read_and_torch_is_not_loaded(tmp_path: Path) -> None:
    huge = {f"layers.{i}.fc.weight": torch.empty(65536, 65536, device="meta") for i in range(4)}
    file = save(tmp_path / "huge.safetensors", huge)  # a sparse file of 64 GiB
    code = "import sys; from fwdscope.cli import run; sys.argv[1:] = sys.argv[1:]; run(); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(file)], capture_output=True, text=True, check=True
    )
    assert "17,179,869,184 parameters (64.0 GiB)" in done.stdout  # 4·65536²
    assert done.stdout.endswith("False\n")


def test_an_index_names_the_files_that_hold_the_tensors(tmp_path: Path) -> None:
    tensors = network(4)
    names = list(tensors)
    shards = {f"model-{i}.safetensors": names[i::2] for i in range(2)}
    for shard, inside in shards.items():
        save(tmp_path / shard, {name: tensors[name] for name in inside})
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: shard for shard, inside in shards.items() for name in inside}}))
    whole = fwdscope.inspect(save(tmp_path / "whole.safetensors", tensors))
    report = fwdscope.inspect(index)
    assert (report.layers, report.totals) == (whole.layers, whole.totals)
    assert "in 2 files" in report.notes
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(InputError, match=r"names model-1\.safetensors, which is not beside it"):
        fwdscope.inspect(index)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.emb.weight
        self.norm = nn.BatchNorm1d(4)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_a_state_dict_is_read_without_its_numbers(wrapper: str | None, tmp_path: Path) -> None:
    state = Tied().state_dict()
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, tmp_path / "state_dict.pt")
    report = fwdscope.inspect(tmp_path / "state_dict.pt")
    # the tied weight once, and weight and bias of the norm; its statistics and count of batches are buffers
    assert (report.totals.params, report.totals.buffers) == (6 * 4 + 2 * 4, 2 * 4 + 1)
    assert "head.weight is emb.weight: counted once" in report.notes


def gptq(bits: int) -> dict[str, Tensor]:
    """64 inputs and 32 outputs; 32 / bits weights in each number, and 2 groups of scales."""
    return {
        "fc.qweight": torch.empty(64 * bits // 32, 32, dtype=torch.int32),
        "fc.qzeros": torch.empty(2, 32 * bits // 32, dtype=torch.int32),
        "fc.scales": torch.empty(2, 32, dtype=torch.float16),
        "fc.g_idx": torch.empty(64, dtype=torch.int32),
        "fc.bias": torch.empty(32, dtype=torch.float16),
    }


AWQ = {
    "fc.qweight": torch.empty(64, 32 // 8, dtype=torch.int32),
    "fc.qzeros": torch.empty(2, 32 // 8, dtype=torch.int32),
    "fc.scales": torch.empty(2, 32, dtype=torch.float16),
    "fc.bias": torch.empty(32, dtype=torch.float16),
}
NF4 = {
    "fc.weight": torch.empty(64 * 32 // 2, 1, dtype=torch.uint8),
    "fc.weight.absmax": torch.empty(32, dtype=torch.uint8),
    "fc.weight.quant_map": torch.empty(16),
    "fc.weight.quant_state.bitsandbytes__nf4": torch.empty(80, dtype=torch.uint8),
    "fc.bias": torch.empty(32, dtype=torch.float16),
}
INT8 = {
    "fc.weight": torch.empty(32, 64, dtype=torch.int8),
    "fc.SCB": torch.empty(32),
    "fc.bias": torch.empty(32, dtype=torch.float16),
}
FLOAT8 = {
    "fc.weight": torch.empty(32, 64, dtype=torch.float8_e4m3fn),
    "fc.weight_scale": torch.empty(1),
    "fc.bias": torch.empty(32, dtype=torch.float16),
}


@pytest.mark.parametrize(
    ("tensors", "form"),
    [
        (gptq(4), "4 bits in int32"),
        (gptq(8), "8 bits in int32"),
        (AWQ, "4 bits in int32"),
        (NF4, "nf4 in uint8"),
        (INT8, "int8 with row scales"),
        (FLOAT8, "float8_e4m3fn with scales"),
    ],
    ids=["gptq-4", "gptq-8", "awq", "nf4", "int8", "float8"],
)
def test_quantised_weights_are_said_as_stored_and_as_parameters(
    tensors: dict[str, Tensor], form: str, tmp_path: Path
) -> None:
    report = fwdscope.inspect(save(tmp_path / "q.safetensors", tensors))
    assert report.totals.params == 64 * 32 + 32  # weight and bias
    assert {one.text for one in report.layers if one.text} == {form}
    stored = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    assert report.totals.param_bytes + report.totals.buffer_bytes == stored
    assert any(note.startswith(f"quantised: 1 as {form}") for note in report.notes)


def test_two_files_are_compared_by_names_shapes_and_dtypes(tmp_path: Path) -> None:
    before = network(6)
    after = {**network(6), "extra": torch.empty(3)}
    after["layers.1.fc.weight"] = torch.empty(8, 5, dtype=torch.bfloat16)
    after["layers.4.norm.weight"] = torch.empty(4, dtype=torch.float16)
    del after["layers.5.fc.bias"]
    compared = fwdscope.diff(save(tmp_path / "a.safetensors", before), save(tmp_path / "b.safetensors", after))
    found = {change.row.path: change.kind for change in compared.changes if change.row.kind == "parameter"}
    assert found == {
        "layers.1.fc.weight": "changed",
        "layers.4.norm.weight": "changed",
        "layers.5.fc.bias": "removed",
        "extra": "added",
    }
    assert compared.total("params").change == 8 - 8 + 3  # 8 more, a bias of 8 fewer, 3 more
    files = [str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")]
    assert CliRunner().invoke(app, ["diff", *files, "--fail-on", "params > 2"]).exit_code == 1
    assert "nothing changed" in CliRunner().invoke(app, ["diff", files[0], files[0]]).stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it has no header"),
        (b"hello world, this is text", "it has no header"),
        (b"\x02\0\0\0\0\0\0\0[]", "it has no header"),
        (b'\x10\0\0\0\0\0\0\0{"a": {"b": 1}} ', "it has no header"),
        (None, "is damaged or incomplete: 80 bytes are missing at its end"),
    ],
)
def test_a_damaged_file_is_said(content: bytes | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    if content is None:
        save(file, network(0), with_numbers=False)  # 10·4 numbers of 2 bytes
    else:
        file.write_bytes(content)
    result = CliRunner().invoke(app, ["inspect", str(file)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("inspect", "--set", "B=2"), "--weights-dtype, --kv-dtype, --mesh and --shard are for specs and models"),
        (("inspect", "--device", "cpu"), "are for what can be run"),
        (("bench",), "is a file of weights"),
        (("check",), "is a file of weights, not a spec"),
    ],
)
def test_what_needs_a_forward_is_refused(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    file = save(tmp_path / "a.safetensors", network())
    result = CliRunner().invoke(app, [arguments[0], str(file), *arguments[1:]])
    assert result.exit_code == 2
    assert said in result.stderr


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    torch.save({"w": nn.Linear(2, 2)}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="it holds Python objects, which could run code"):
        fwdscope.inspect(tmp_path / "a.pt")
