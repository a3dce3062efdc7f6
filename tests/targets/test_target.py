"""``package.module:factory`` on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
import torch
from typer.testing import CliRunner, Result

from fwdscope.cli import app
from fwdscope.render import summary
from fwdscope.report import Report

CODE = """
import dataclasses
import typing
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 4)
    def forward(self, x, mask=None):
        return self.fc(x)

class Sized(nn.Module):
    def __init__(self, width):
        super().__init__()

class Deep(nn.Sequential):
    def __init__(self, width, layers=(8,), act="ReLU", bias=True, *, options=None):
        sizes = [width, *layers]
        pairs = [(nn.Linear(a, b, bias), getattr(nn, act)()) for a, b in zip(sizes, sizes[1:])]
        super().__init__(*(one for pair in pairs for one in pair))
        self.options = options

def build():
    return Net()

def with_tuple():
    return Net(), (torch.zeros(3, 8),)

def with_dictionary():
    return Net(), {"x": torch.zeros(3, 8)}

def with_dataclass():
    return Records(), Record(torch.zeros(3, 8), torch.zeros(8))

def number():
    return 3

class Record(typing.NamedTuple):
    x: torch.Tensor
    scale: torch.Tensor

@dataclasses.dataclass
class Records2:
    record: Record
    bias: torch.Tensor

class Records(Net):
    def forward(self, record: Record):
        return Record(self.fc(record.x * record.scale), record.scale)

class Nested(Net):
    def forward(self, batch: Records2):
        return {"y": self.fc(batch.record.x * batch.record.scale) + batch.bias}

class Keyed(Net):
    def forward(self, batch: "Unknown"):
        return self.fc(batch["x"] + batch["more"][0] + batch["more"][1])

class Ids(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 4)
    def forward(self, batch):
        return self.table(batch["ids"])

net = Net()
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "ownnets.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("ownnets", None)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["inspect", *arguments])


@pytest.mark.core
@pytest.mark.parametrize("name", ["build", "Net", "net"])
def test_a_factory_a_class_and_a_module_are_inspected_with_the_inputs_given(name: str) -> None:
    result = run(f"ownnets:{name}", "--input", "x=3,8")
    assert result.exit_code == 0, result.stderr
    assert "36 parameters" in result.stdout
    assert "x (3, 8)" in result.stdout


@pytest.mark.core
@pytest.mark.parametrize(
    ("arguments", "params"),
    [
        (["width=8"], 8 * 8 + 8),
        (["width=8", "layers=[2, 3]"], (8 * 2 + 2) + (2 * 3 + 3)),
        (["width=2 * 4", "layers=(4,)", "act=GELU"], 8 * 4 + 4),
        (["width=8", "layers=[4 for i in range(3)]", "bias=False", "act='Tanh'"], 8 * 4 + 2 * 4 * 4),
        (["width=8", 'options={"a": [1, 2]}', "bias=true"], 8 * 8 + 8),
    ],
)
def test_arguments_of_a_class_are_written_as_values_of_a_spec(arguments: list[str], params: int) -> None:
    options = [option for one in arguments for option in ("--arg", one)]
    result = run("ownnets:Deep", *options, "--input", "input=3,8", "--device", "meta", "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert Report.loads(result.stdout).totals.params == params


def test_one_model_is_compared_with_itself_at_other_arguments() -> None:
    options = ("--arg", "width=8", "--before", "layers=[2]", "--after", "layers=[2, 2]")
    (Path.cwd() / "small.py").write_text(
        "from ownnets import *\ndef build(**k):\n    return Deep(**k), (torch.zeros(1, 8),)\n"
    )
    result = CliRunner().invoke(app, ["diff", "small:build", *options])
    sys.modules.pop("small")
    assert result.exit_code == 0, result.stderr
    # from 8·2 + 2 to 8·2 + 2 + 2·2 + 2
    assert "18" in result.stdout
    assert "24" in result.stdout


@pytest.mark.parametrize("name", ["with_tuple", "with_dictionary"])
def test_a_factory_may_give_its_inputs_itself(name: str) -> None:
    result = run(f"ownnets:{name}")
    assert result.exit_code == 0, result.stderr
    assert "x (3, 8)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ownnets:build",), "ownnets:build needs inputs, such as --input x=1,8 (forward takes x, mask)"),
        (("ownnets:build", "--input", "y=3,8"), "--input y: forward takes x, mask"),
        (("ownnets:with_tuple", "--input", "x=3,8"), "gives that input itself"),
        (("ownnets:missing",), "ownnets has no missing; it has Net, Sized, Deep, build"),
        (("nosuchpackage:build",), "nosuchpackage cannot be imported"),
        (("ownnets:number",), "gives int; expected a torch.nn.Module"),
        (("ownnets:Sized",), "cannot be called without arguments"),
        (
            ("ownnets:Deep", "--arg", "widht=8"),
            "it is Deep(width, layers=(8,), act='ReLU', bias=True, *, options=None)",
        ),
        (("ownnets:Deep", "--arg", "width=8", "--arg", "more=1"), "got an unexpected keyword argument 'more'"),
        (("ownnets:Deep", "--arg", "width"), "--arg width: write --arg width=64"),
        (("ownnets:Deep", "--arg", "width=8 +"), "--arg width:1:"),
        (("ownnets:Deep", "--arg", "width=seven / 2"), "seven has no value here"),
        (("ownnets:Deep", "--arg", 'options={"a"}'), "is not JSON"),
        (("ownnets:net", "--arg", "width=8"), "ownnets:net is no function or class, so it takes no --arg"),
        (("mlp_xor", "--arg", "width=8"), "mlp_xor is a spec, whose vars --set replaces"),
        (("ownnets:build", "--input", "x=3,9"), "it was made with in_features=8, and its input has 9"),
        (("ownnets:build", "--input", "x=3,8", "--set", "B=3"), "--set is for specs, --arg for its arguments"),
        (("ownnets:build", "--input", "x=99999999999999999999,3"), "x=99999999999999999999,3 has too many elements"),
        (("ownnets:build", "--input", "x=0,99999999999999999999"), "has too many elements: at most 10,000,000,000,000"),
        (("ownnets:build", "--input", f"x=3,{10**4298}0"), "has too many elements"),
        (("mlp_xor", "--input", "x=99999999999999999999,3"), "has too many elements"),
        (("ownnets:build", "--input", "x=3,8:int32x"), "int32x is no dtype"),
        (("ownnets:build", "--input", "y.a=3,8"), "--input y.a: forward takes x, mask"),
        (("ownnets:with_dictionary", "--input", "x.a=3,8"), "gives that input itself"),
        (("ownnets:build", "--input", "x=3,8", "--input", "x.a=8"), "another --input gives what it is in"),
        (("ownnets:Records", "--input", "record.x=3,8"), "no Record can be made of --input"),
        (("ownnets:Records", "--input", "record.x=3,8", "--input", "record.y=8"), "unexpected keyword argument 'y'"),
        (("ownnets:Ids", "--input", "batch.ids=3,8"), "takes integers for batch.ids: --input batch.ids=3,8:int64"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_use_raises_with_what_to_do(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


@pytest.mark.parametrize(
    ("made", "name", "form"),
    [
        ("nn.Embedding(100, 8)", "input", "input=1,128:int64"),
        ("nn.Identity()", "input", "input=1,3,224,224"),
        ("nn.Sequential(nn.ReLU(), nn.Conv2d(4, 8, 3))", "input", "input=1,4,224,224"),
        ("nn.Sequential(nn.Conv1d(4, 8, 3))", "input", "input=1,4,128"),
        ("nn.Sequential(nn.Conv3d(4, 8, 3))", "input", "input=1,4,16,112,112"),
        ("nn.GRU(12, 8, batch_first=True)", "input", "input=1,128,12"),
    ],
)
def test_the_example_of_an_input_fits_the_first_layer(made: str, name: str, form: str, tmp_path: Path) -> None:
    (tmp_path / "ownnets.py").write_text(f"from torch import nn\nnet = {made}\n")
    assert f"such as --input {form} (forward takes {name}" in run("ownnets:net").stderr
    assert run("ownnets:net", "--input", form).exit_code == 0


@pytest.mark.parametrize("name", ["input_ids", "tokens", "attention_mask"])
def test_the_example_of_an_input_of_ids_is_of_integers(name: str, tmp_path: Path) -> None:
    code = f"from torch import nn\nclass Net(nn.Module):\n    def forward(self, {name}):\n        return {name} + 1\n"
    (tmp_path / "ownnets.py").write_text(code)
    assert f"--input {name}=1,128:int64 " in run("ownnets:Net").stderr


@pytest.mark.core
def test_an_input_may_have_a_dtype() -> None:
    result = run("torch.nn:Identity", "--input", "input=2,3:int64")
    assert result.exit_code == 0, result.stderr
    assert "int64" in result.stdout


@pytest.mark.core
@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize(
    ("name", "feeds", "inputs", "outputs"),
    [
        ("Records", ["record.x=3,8", "record.scale=8"], "record.x (3, 8), record.scale (8,)", "x (3, 4), scale (8,)"),
        ("Nested", ["batch.record.scale=8", "batch.record.x=3,8", "batch.bias=4"],
         "batch.record.x (3, 8), batch.record.scale (8,), batch.bias (4,)", "y (3, 4)"),
        ("Keyed", ["batch.x=3,8", "batch.more.1=8", "batch.more.0=3,1"],
         'batch["x"] (3, 8), batch["more"].0 (3, 1), batch["more"].1 (8,)', "output (3, 4)"),
        ("Keyed", ['batch["x"]=3,8', 'batch["more"].0=3,1', "batch.more.1=8"],
         'batch["x"] (3, 8), batch["more"].0 (3, 1), batch["more"].1 (8,)', "output (3, 4)"),
        ("with_dataclass", [], "record.x (3, 8), record.scale (8,)", "x (3, 4), scale (8,)"),
    ],
)  # fmt: skip
def test_fields_and_keys_of_an_input_are_given_one_by_one(
    name: str, feeds: list[str], inputs: str, outputs: str, device: str
) -> None:
    options = [option for feed in feeds for option in ("--input", feed)]
    result = run(f"ownnets:{name}", *options, "--device", device, "--no-latency", "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert summary.flow(Report.loads(result.stdout)) == f"{inputs}  →  {outputs}"


@pytest.mark.parametrize("suffix", [".pt", ".npz"])
def test_a_file_may_contain_a_field_under_its_own_name(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"batch{suffix}"
    fields = {"ids": torch.tensor([[1, 2, 3]]), "mask": torch.ones(3)}
    if suffix == ".pt":
        torch.save(fields, file)
    else:
        numpy.savez(file, **{name: tensor.numpy() for name, tensor in fields.items()})
    result = run("ownnets:Ids", "--input", f"batch.ids={file}", "--device", "cpu", "--no-latency")
    assert result.exit_code == 0, result.stderr
    assert 'batch["ids"] (1, 3) int64' in result.stdout


def test_fields_of_a_returned_dataclass_are_shown() -> None:
    result = run("ownnets:Records", "--input", "record.x=3,8", "--input", "record.scale=8", "--device", "cpu",
                 "--no-latency", "--show", "fc")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "(3, 4)" in result.stdout


STRANGE = """
import sys
import torch
from torch import nn
from ownnets import Net

class Looks(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum().item() > 0 else x

class Leaves(nn.Module):
    def forward(self, x):
        sys.exit("bye")

def fails():
    raise ValueError("no weights today\\nand none tomorrow")

def leaves():
    sys.exit(3)

def looks():
    return Looks(), (torch.ones(2, 8),)

def looks_while_made():
    if float(torch.ones(2).sum()) == 2:
        return Net(), (torch.ones(2, 8),)

def leaves_later():
    return Leaves(), (torch.ones(2, 8),)

def prints():
    print("made")
    return Net(), (torch.ones(2, 8),)
"""


@pytest.fixture
def strange(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "strange.py").write_text(STRANGE)
    (tmp_path / "broken.py").write_text("def build(:\n")
    (tmp_path / "leaving.py").write_text("raise SystemExit")
    yield
    for name in ("strange", "broken", "leaving"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("strange:fails", "strange:fails raises ValueError: no weights today"),
        ("strange:leaves", "strange:leaves raises SystemExit: 3"),
        ("strange:leaves_later", "cannot run on these inputs: SystemExit: bye"),
        ("broken:build", "broken cannot be imported: SyntaxError"),
        ("leaving:build", "leaving cannot be imported: SystemExit"),
        ("models/strange.py:looks", "a module is named as in an import: models.strange:looks"),
        (":looks", "write package.module:name"),
        ("strange:", "write package.module:name"),
    ],
)
@pytest.mark.usefixtures("strange")
def test_code_that_fails_is_no_defect_of_ours(target: str, said: str) -> None:
    result = run(target)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "tomorrow" not in result.stderr


@pytest.mark.parametrize("name", ["looks", "looks_while_made"])
@pytest.mark.usefixtures("strange")
def test_a_model_that_reads_values_is_built_with_real_ones(name: str) -> None:
    result = run(f"strange:{name}", "--device", "cpu", "--no-latency", "--format", "json")
    assert result.exit_code == 0, result.output
    assert Report.loads(result.stdout).outputs[0].shape[0] == 2


@pytest.mark.parametrize("name", ["looks", "looks_while_made"])
@pytest.mark.usefixtures("strange")
def test_a_model_that_reads_values_is_refused_on_meta(name: str) -> None:
    result = run(f"strange:{name}", "--device", "meta")
    assert result.exit_code == 2
    assert "needs values" in result.stderr
    assert "leave --device meta out, or give --device cpu" in result.stderr


@pytest.mark.usefixtures("strange")
def test_text_that_a_model_prints_is_no_part_of_the_report() -> None:
    result = run("strange:prints", "--device", "cpu", "--no-latency", "--format", "json")
    assert "made" in result.stderr
    assert Report.loads(result.stdout).name == "Net"
