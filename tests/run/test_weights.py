"""Weights from files: what is read, what does not fit, and that no code of a file runs."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fwdscope.run.weights import load_into, match_weights
from fwdscope.settings import RunError


class Net(nn.Module):
    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.fc1, self.norm, self.fc2 = nn.Linear(4, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, 2)


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def state() -> dict[str, Tensor]:
    return {name: torch.randn_like(t) if t.is_floating_point() else t for name, t in Net().state_dict().items()}


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin", ".ckpt", ".safetensors"])
def test_every_tensor_of_a_file_ends_in_its_place(tmp_path: Path, ending: str) -> None:
    path, tensors = tmp_path / f"weights{ending}", state()
    save_file(tensors, path) if ending == ".safetensors" else torch.save(tensors, path)
    net = Net()
    weights = match_weights(path, net)
    load_into(net, weights.tensors)
    assert weights.notes == ()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: {"epoch": 3, "state_dict": tensors, "optimizer": {"lr": 0.1}},
        lambda tensors: {"model": tensors},
        lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()},
        lambda tensors: {"model_state_dict": {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()}},
    ],
    ids=["checkpoint", "model", "data parallel", "compiled"],
)
def test_wrappers_of_training_scripts_around_weights_are_removed(tmp_path: Path, wrap: object) -> None:
    tensors = state()
    path = saved(tmp_path / "weights.pt", wrap(tensors))  # type: ignore[operator]
    assert match_weights(path, Net()).tensors.keys() == tensors.keys()


def test_a_module_called_model_is_no_wrapper(tmp_path: Path) -> None:
    outer = nn.ModuleDict({"model": nn.Linear(2, 2)})
    path = saved(tmp_path / "weights.pt", outer.state_dict())
    assert set(match_weights(path, outer).tensors) == {"model.weight", "model.bias"}


def test_missing_tensors_are_listed_with_the_nearest_name_of_the_file(tmp_path: Path) -> None:
    tensors = state()
    tensors["fc_1.weight"] = tensors.pop("fc1.weight")
    with pytest.raises(RunError) as caught:
        match_weights(saved(tmp_path / "weights.pt", tensors), Net())
    assert "lacks 1 tensor of the model: fc1.weight (8, 4) (is it fc_1.weight?)" in str(caught.value)
    assert "holds 1 tensor that the model does not have: fc_1.weight" in str(caught.value)
    assert "--weights-partial" in str(caught.value)


def test_tensors_of_another_shape_are_listed_with_both(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        match_weights(saved(tmp_path / "weights.pt", Net(hidden=16).state_dict()), Net())
    assert "fc1.weight (16, 4), expected (8, 4)" in str(caught.value)


def test_a_long_list_is_cut_with_the_number_of_the_rest(tmp_path: Path) -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(20)))
    with pytest.raises(RunError) as caught:
        match_weights(saved(tmp_path / "weights.pt", {"0.weight": torch.zeros(2, 2)}), model)
    # 20 weights and 20 biases, one of them there, six of them listed.
    assert "lacks 39 tensors" in str(caught.value)
    assert "and 33 more" in str(caught.value)


def test_partial_weights_leave_the_rest_with_a_note(tmp_path: Path) -> None:
    tensors = state()
    del tensors["fc2.weight"]
    tensors["fc1.weight"] = torch.zeros(3, 3)
    net = Net()
    before = net.fc1.weight.clone()
    weights = match_weights(saved(tmp_path / "weights.pt", tensors), net, partial=True)
    load_into(net, weights.tensors)
    assert torch.equal(net.fc1.weight, before)
    assert torch.equal(net.fc1.bias, tensors["fc1.bias"])
    assert "all other tensors are as initialised" in " ".join(weights.notes)


def test_tensors_that_the_model_lacks_are_a_note(tmp_path: Path) -> None:
    weights = match_weights(saved(tmp_path / "weights.pt", {**state(), "head.weight": torch.zeros(2)}), Net())
    assert len(weights.notes) == 1
    assert "head.weight" in weights.notes[0]


def test_a_count_of_batches_may_be_missing_as_in_files_of_old(tmp_path: Path) -> None:
    tensors = state()
    del tensors["norm.num_batches_tracked"]
    assert match_weights(saved(tmp_path / "weights.pt", tensors), Net()).notes == ()


def test_a_tied_tensor_may_be_saved_under_one_of_its_names(tmp_path: Path) -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(4, 2), "head": nn.Linear(2, 4, bias=False)})
    model["head"].weight = model["embed"].weight
    path = tmp_path / "weights.safetensors"
    save_file({"embed.weight": torch.ones(4, 2)}, path)
    load_into(model, match_weights(path, model).tensors)
    assert torch.equal(model["head"].weight, torch.ones(4, 2))


def test_dtypes_become_the_models(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    path = saved(tmp_path / "weights.pt", {name: t.half() for name, t in net.state_dict().items()})
    load_into(net, match_weights(path, net).tensors)
    assert net.weight.dtype == torch.float32


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (Evil(), "could run code"),
        (Net(), "could run code"),
        ([torch.zeros(2)], "holds no named tensors, only list"),
        ({"epoch": 3}, "holds no named tensors, only epoch"),
    ],
    ids=["code", "whole module", "list", "no tensors"],
)
def test_a_file_without_a_dictionary_of_tensors_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, said: str
) -> None:
    with pytest.raises(RunError, match=said):
        match_weights(saved(tmp_path / "weights.pt", content), Net())
    assert capsys.readouterr().out == ""


def test_files_that_cannot_be_read_are_errors(tmp_path: Path) -> None:
    (tmp_path / "torn.pt").write_bytes(b"PK\x03\x04 torn")
    (tmp_path / "torn.safetensors").write_bytes(b"\x08")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(3))
    (tmp_path / "nothing.pt").touch()
    (tmp_path / "noise.pt").write_bytes(b"\x00\x01\x02" * 99)
    (tmp_path / "folder.pt").mkdir()
    for name in (
        "torn.pt",
        "torn.safetensors",
        "bare.pt",
        "absent.pt",
        "weights.h5",
        "nothing.pt",
        "noise.pt",
        "folder.pt",
    ):
        with pytest.raises(RunError, match=name):
            match_weights(tmp_path / name, Net())


@pytest.mark.parametrize(
    ("name", "said"),
    [("nothing.pt", "it is empty"), ("noise.pt", "was not written by torch.save"), ("folder.pt", "is a folder")],
)
def test_a_file_that_is_no_weights_is_an_error(tmp_path: Path, name: str, said: str) -> None:
    path = tmp_path / name
    path.mkdir() if name == "folder.pt" else path.write_bytes(b"" if name == "nothing.pt" else b"\x00\x01\x02" * 99)
    with pytest.raises(RunError, match=said):
        match_weights(path, Net())


def test_complex_numbers_do_not_lose_their_imaginary_part(tmp_path: Path) -> None:
    tensors = state() | {"fc1.weight": torch.zeros(8, 4, dtype=torch.complex64)}
    with pytest.raises(RunError, match=r"fc1.weight holds complex numbers, and the model's is torch.float32"):
        match_weights(saved(tmp_path / "weights.pt", tensors), Net())
