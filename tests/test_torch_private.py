"""The private names of torch that fwdscope uses are still there, and used in one file alone."""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from paths import ROOT
from torch import nn

from fwdscope import torch_private

pytestmark = pytest.mark.core

# Where to look each name up, and what becomes of fwdscope without it.
NAMES = {
    ("torch.utils._python_dispatch", "TorchDispatchMode"): "nothing can be traced",
    ("torch.utils._python_dispatch", "TorchDispatchMode._should_skip_dynamo"): "each start imports torch._dynamo",
    ("torch.utils._python_dispatch", "_disable_current_modes"): "statistics of tensor subclasses may be recorded",
    ("torch._C", "DisableTorchFunction"): "tracing is slower",
    ("torch._C", "_DisableTorchDispatch"): "tracing is slower",
    ("torch", "UntypedStorage._cdata"): "storages are told apart by their Python objects",
    ("torch", "Tensor._use_count"): "a gradient that is shared is added to in place",
    ("torch._C", "_storage_Use_Count"): "a gradient that is shared is added to in place",
    ("torch._C", "_autograd._get_sequence_nr"): "what a backward runs is not filed under layers",
    ("torch.autograd", "_enable_profiler_legacy"): "the peak of memory on a CPU is not measured",
    ("torch.autograd", "_disable_profiler_legacy"): "the peak of memory on a CPU is not measured",
    ("torch.autograd", "_profiler_enabled"): "the peak of memory on a CPU is not measured",
    ("torch._C", "_profiler._ExperimentalConfig"): "the peak of memory on a CPU is not measured",
    ("torch", "Tensor._indices"): "a sparse tensor is coalesced to be measured",
    ("torch", "Tensor._values"): "a sparse tensor is coalesced to be measured",
    ("torch", "_C._functorch.peek_interpreter_stack"): "attention under vmap is counted for one element",
    ("torch._subclasses.fake_tensor", "FakeTensorMode"): "autocast has no effect on meta",
    ("torch.testing._internal.distributed.fake_pg", "FakeStore"): "a mesh cannot be counted in one process",
    ("torch.distributed.tensor", "DTensor._local_tensor"): "the memory of a rank is not followed",
    ("torch.distributed.tensor.placement_types", "_StridedShard"): "packed projections cannot be sharded",
    ("torch.nn", "LazyLinear._infer_parameters"): "what a lazy module draws at first is recorded",
    ("torch._dynamo", "OptimizedModule"): "a compiled module is traced with its wrapper",
}

# The first torch that has a name, where that is later than the oldest that fwdscope takes.
SINCE = {"TorchDispatchMode._should_skip_dynamo": (2, 7)}


@pytest.mark.parametrize(("module", "name"), NAMES, ids=lambda text: text)
def test_torch_has_the_private_name(module: str, name: str) -> None:
    if module == "torch._dynamo":
        source = Path(torch.__file__).with_name("_dynamo") / "__init__.py"
        found = name in source.read_text()  # importing it takes a second
    else:
        value: object = import_module(module)
        for piece in name.split("."):
            value = getattr(value, piece, None)
        found = value is not None
    if tuple(map(int, torch.__version__.split(".")[:2])) < SINCE.get(name, ()):
        return  # that torch does not ask
    without = NAMES[module, name]
    assert found, f"torch {torch.__version__} has no {module}.{name}: {without}; see fwdscope/torch_private.py"


def private_names(path: Path) -> set[str]:
    """Dotted names like ``torch._C._nn`` in a file, and modules like it that the file imports from."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
            names |= {f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Import):
            names |= {one.name for one in node.names if one.name.startswith("torch")}
        elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("torch."):
            names.add(ast.unparse(node))
    return {name for name in names if "._" in name and "__" not in name}


def test_private_names_of_torch_stand_in_one_file() -> None:
    package = ROOT / "fwdscope"
    files = [path for path in package.rglob("*.py") if path.name != "torch_private.py"]
    assert {str(path.relative_to(package)): names for path in files if (names := private_names(path))} == {}
    assert private_names(package / "torch_private.py")  # the search finds such names


def test_a_compiled_module_is_unwrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self._orig_mod = module

    module = nn.Linear(2, 2)
    assert torch_private.uncompiled(module) is module
    monkeypatch.setitem(sys.modules, "torch._dynamo", type("Dynamo", (), {"OptimizedModule": Wrapper}))
    assert torch_private.uncompiled(Wrapper(Wrapper(module))) is module


def test_each_storage_has_a_number_of_its_own() -> None:
    x, y = torch.empty(2, device="meta"), torch.empty(2, device="meta")
    assert torch_private.storage_id(x.untyped_storage()) == torch_private.storage_id(x[1:].untyped_storage())
    assert torch_private.storage_id(x.untyped_storage()) != torch_private.storage_id(y.untyped_storage())


def test_nothing_that_runs_without_dispatch_is_seen() -> None:
    seen = []

    class Mode(torch_private.OperatorMode):
        def __torch_dispatch__(self, func, classes, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.append(func)
            return func(*args, **(kwargs or {}))

    x = torch.ones(2)
    with Mode():
        for without in (torch_private.without_dispatch, torch_private.without_modes):
            with without():
                x + x
        assert not seen
        x + x
    assert seen == [torch.ops.aten.add.Tensor]


def test_classes_of_torch_distributed_are_known_by_their_module() -> None:
    assert torch_private.is_distributed(torch.distributed.ProcessGroup), "torch has moved its C++ distributed classes"
    assert torch_private.is_distributed(torch.distributed.TCPStore)
    assert not torch_private.is_distributed(torch.nn.Linear)
