"""What `import fwdscope` offers: check and explain, files at a git revision, and one base of all errors."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
from pathlib import Path

import pytest
from paths import ROOT
from torch import nn, zeros

import fwdscope

# 8·4 + 4 = 36 parameters; 2 rows · 8 · 4 = 64 MACs.
NET = "inputs:\n  x: rand(2, 8)\nlayers:\n  - fc = Linear(4)\nexpect:\n  params: 36\n"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with net.yaml, whose layer has 4 outputs in the last commit and 16 in the file."""
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(NET)
    for command in (["init", "-q"], ["add", "net.yaml"], ["commit", "-qm", "a net"]):
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", *command], check=True)
    Path("net.yaml").write_text(NET.replace("Linear(4)", "Linear(16)"))
    return tmp_path


@pytest.mark.core
def test_check_gives_the_outcome_of_each_file(tmp_path: Path) -> None:
    (tmp_path / "right.yaml").write_text(NET)
    (tmp_path / "short.yaml").write_text(NET.replace("36", "35"))
    (tmp_path / "wrong.yaml").write_text(NET.replace("Linear", "Linera"))
    run = fwdscope.check(tmp_path)
    assert [(Path(one.file).name, one.state) for one in run.outcomes] == [
        ("right.yaml", "ok"),
        ("short.yaml", "failed"),
        ("wrong.yaml", "invalid"),
    ]
    assert run.exit_code == 2  # that of the worst
    (point,) = run.outcomes[1].failed
    assert (point.what, point.expected, point.got, point.line) == ("params", "35", "36", 6)
    assert fwdscope.check(tmp_path / "right.yaml").exit_code == 0


def test_check_writes_baselines_and_compares_with_them(tmp_path: Path) -> None:
    spec, folder = tmp_path / "net.yaml", tmp_path / "baselines"
    spec.write_text(NET)
    assert fwdscope.check(spec, baseline=folder, update=True).exit_code == 0
    assert fwdscope.check(spec, baseline=folder).exit_code == 0
    spec.write_text(NET.replace("rand(2, 8)", "rand(4, 8)"))  # twice the MACs, as many parameters
    assert [point.kind for point in fwdscope.check(spec, baseline=folder).outcomes[0].failed] == ["baseline"]
    assert fwdscope.check(spec, baseline=folder, tolerance=1.0).outcomes[0].params == 36


def test_check_refuses_a_target_that_names_no_spec() -> None:
    with pytest.raises(fwdscope.TargetError, match="there is no file or folder nowhere"):
        fwdscope.check("nowhere")


@pytest.mark.core
def test_explain_takes_a_spec_or_a_module(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(NET)
    of_spec = fwdscope.explain(tmp_path / "net.yaml", "fc")
    of_module = fwdscope.explain(nn.Sequential(nn.Linear(8, 4), nn.ReLU()), "0", zeros(2, 8))
    assert of_spec.params == of_module.params == 36
    assert of_spec.macs == of_module.macs == 64
    with pytest.raises(LookupError, match="fc"):
        fwdscope.explain(tmp_path / "net.yaml", "fd")


def test_explain_replaces_vars_and_refuses_inputs_of_a_spec() -> None:
    # conv1 of ResNet-50: 7·7·3 products for each of 64·112·112 outputs of 8 images.
    macs = 7 * 7 * 3 * 64 * 112 * 112 * 8
    assert fwdscope.explain("resnet50", "conv1", variables={"B": 8}).macs == macs
    with pytest.raises(TypeError, match="variables="):
        fwdscope.explain("resnet50", "conv1", zeros(1, 3, 224, 224))


@pytest.mark.usefixtures("repository")
def test_a_file_at_a_revision_is_inspected_and_explained() -> None:
    assert fwdscope.inspect("net.yaml@HEAD").totals.params == 36
    assert fwdscope.inspect("net.yaml").totals.params == 8 * 16 + 16
    assert fwdscope.explain("net.yaml@HEAD", "fc").macs == 64


@pytest.mark.usefixtures("repository")
def test_a_saved_report_at_a_revision_is_shown() -> None:
    Path("net.json").write_text(fwdscope.inspect("net.yaml@HEAD").dumps())
    subprocess.run(["git", "add", "net.json"], check=True)
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "a report"], check=True)
    Path("net.json").unlink()
    assert fwdscope.inspect("net.json@HEAD").totals.params == 36


@pytest.mark.usefixtures("repository")
def test_a_revision_that_git_does_not_know_is_a_target_error() -> None:
    with pytest.raises(fwdscope.TargetError, match="git knows no revision HEAD~3"):
        fwdscope.inspect("net.yaml@HEAD~3")


def error_classes() -> list[type]:
    """Every class of the package whose name ends in Error."""
    found = []
    for file in sorted((ROOT / "fwdscope").rglob("*.py")):
        names = [node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef)]
        if errors := [name for name in names if name.endswith("Error")]:
            module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
            found += [getattr(module, name) for name in errors]
    return found


def test_every_error_of_the_package_derives_from_one() -> None:
    classes = error_classes()
    assert len(classes) > 8
    assert [error.__qualname__ for error in classes if not issubclass(error, fwdscope.FwdscopeError)] == []


def test_all_that_the_package_exports_is_there_and_described() -> None:
    for name in fwdscope.__all__:
        exported = getattr(fwdscope, name)
        assert name == "__version__" or inspect.getdoc(exported), name
