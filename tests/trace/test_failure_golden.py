"""Golden errors of models: what is said of each ``err/NAME.py`` is in ``err/NAME.out``, as of a user in that folder.

``UPDATE_GOLDEN=1 pytest tests/trace/test_failure_golden.py`` writes the ``.out`` files; read each as the person who
made the mistake. Those of transformers have small configurations.
"""

from __future__ import annotations

import importlib.util
import os
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest
import torch

import fwdscope

HERE = Path(__file__).parent / "err"
CASES = sorted(HERE.glob("*.py"))
LIBRARIES = [
    path.name for path in Path(sysconfig.get_path("purelib"), "transformers", "models").glob("*/modeling_*.py")
]


def load(path: Path) -> ModuleType:
    made = importlib.util.spec_from_file_location(path.stem.replace("-", "_"), path)
    assert made is not None
    assert made.loader is not None
    module = importlib.util.module_from_spec(made)
    made.loader.exec_module(module)
    return module


def error_of(path: Path) -> fwdscope.ShapeError:
    if "transformers" in path.read_text(encoding="utf-8"):
        pytest.importorskip("transformers")
    module = load(path)
    torch.manual_seed(0)
    model, inputs, *keywords = module.build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    with pytest.raises(fwdscope.ShapeError) as caught:
        fwdscope.inspect(model, *inputs, device=getattr(module, "DEVICE", "auto"), **dict(*keywords))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())
    return caught.value


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in CASES])
def test_the_mistake_is_told_at_the_users_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    error = error_of(path)
    said, golden = f"{error}\n", path.with_suffix(".out")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(said, encoding="utf-8")
    assert said == golden.read_text(encoding="utf-8")
    assert not any(name in said for name in LIBRARIES)
    assert error.__cause__ is not None


def test_every_golden_file_has_its_model() -> None:
    assert {path.stem for path in HERE.glob("*.out")} == {path.stem for path in CASES}
    assert sum("from transformers" in path.read_text(encoding="utf-8") for path in CASES) >= 3
