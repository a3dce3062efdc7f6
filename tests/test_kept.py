"""A second look: from the report kept of the first one, without torch, and only if nothing changed that decides it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from known_peaks import remember_peaks
from typer.testing import CliRunner

from fwdscope import cache, kept
from fwdscope.cli import app
from fwdscope.report import Report

SPEC = """\
vars: {B: 2}
inputs: {x: "randn(B, 3, 8, 8)"}
layers:
  - a = Conv2d(4, 3)
  - b = Flatten
  - c = Linear(5)
"""
# Runs commands one after the other and says on the last line of stderr which of them loaded torch.
PROBE = """
import sys
from fwdscope.cli import run
loaded = []
for command in sys.argv[1:]:
    sys.argv = ["fwdscope", *command.split()]
    assert run() == 0
    if "torch" in sys.modules:
        loaded.append(command)
print(loaded, file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a spec, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(remember_peaks(tmp_path / "cache")))
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(SPEC)
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def loads_torch(*commands: str) -> list[str]:
    result = subprocess.run([sys.executable, "-c", PROBE, *commands], capture_output=True, text=True, check=True)
    found: list[str] = ast.literal_eval(result.stderr.splitlines()[-1])
    return found


def look(*arguments: str) -> tuple[Report, bool]:
    """The report, and whether it was kept of an earlier look."""
    asked: list[bool] = []
    find = kept.find
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept, "find", lambda *given: asked.append((found := find(*given)) is not None) or found)
        text = run("inspect", "net.yaml", "--format", "json", *arguments)
    return Report.loads(text), asked == [True]


def entries() -> list[Path]:
    found = cache.cache_folder()
    assert found is not None
    return sorted((found / "inspect").glob("*"))


def test_a_second_look_does_not_load_torch() -> None:
    run("inspect", "net.yaml")
    assert not loads_torch(
        "inspect net.yaml",
        "inspect net.yaml --depth 1",
        "inspect net.yaml --columns layer,macs,latency",
        "inspect net.yaml --sort latency",
        "inspect net.yaml --top 2",
        "inspect net.yaml --format csv",
        "inspect net.yaml --on H100",
        "inspect net.yaml --device meta",
        "inspect net.yaml net.yaml -o both.json",
        "diff net.yaml net.yaml",
    )


def test_another_look_loads_torch() -> None:
    """Without this, the test above could not fail."""
    run("inspect", "net.yaml")
    assert loads_torch("inspect net.yaml --set B=3")


@pytest.mark.parametrize("name", ["resnet50", "moe_small", "gpt2", "unet"])
def test_a_report_that_was_kept_is_the_same_byte_for_byte(name: str) -> None:
    command = ("inspect", name, "--device", "meta", "--format", "json")
    first, second, anew = run(*command), run(*command), run(*command, "--no-cache")
    assert first == second == anew


@pytest.mark.parametrize(
    "arguments",
    [
        ("--set", "B=3"),
        ("--dtype", "bfloat16"),
        ("--input", "x=2,3,9,9"),
        ("--train",),
        ("--seed", "1"),
        ("--no-stats",),
        ("--no-latency",),
        ("--limit", "items=2000000"),
    ],
    ids=" ".join,
)
def test_another_way_of_looking_is_another_report(arguments: tuple[str, ...]) -> None:
    assert [look(), look()][1][1]
    assert [look(*arguments)[1], look(*arguments)[1]] == [False, True]


def test_another_text_is_another_report_and_replaces_it() -> None:
    for width in (5, 6, 7):
        Path("net.yaml").write_text(SPEC.replace("Linear(5)", f"Linear({width})"))
        report, was_kept = look("--device", "meta")
        assert (report.outputs[0].shape, was_kept) == ((2, width), False)
    assert len(entries()) == 1


@pytest.mark.parametrize("what", ["torch", "fwdscope", "python", "environment"])
def test_another_version_is_another_report(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [look()[1], look()[1]] == [False, True]
    cache._versions.cache_clear()
    if what == "torch":
        monkeypatch.setattr("importlib.metadata.version", lambda name: "9.9")
    elif what == "fwdscope":
        monkeypatch.setattr("fwdscope.version.__version__", "9.9")
    elif what == "python":
        monkeypatch.setattr(cache, "sys", SimpleNamespace(version="9.9"))
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert not look()[1]
    cache._versions.cache_clear()


def test_what_was_measured_is_said_to_be_of_an_earlier_run() -> None:
    first = Report.loads(run("inspect", "net.yaml", "--format", "json"))
    again = CliRunner().invoke(app, ["inspect", "net.yaml", "--format", "json"])
    # The data are those of the run, to the last digit; beside them stands when it was.
    assert Report.loads(again.stdout) == first
    assert first.run is not None
    assert again.stderr == "net.yaml: statistics and times are of a run 1 s ago; --no-cache looks again\n"
    text = run("inspect", "net.yaml")
    assert "note: statistics and times are of a run 1 s ago; --no-cache looks again" in text
    # A report on meta is the same whenever it is made.
    assert "--no-cache" not in run("inspect", "net.yaml", "--device", "meta")


def test_a_run_is_kept_for_an_hour_and_shapes_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    look()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3500)
    assert look()[1]
    assert "of a run 58 min ago" in run("inspect", "net.yaml")
    monkeypatch.setattr(time, "time", lambda: now + 3700)
    assert look("--device", "meta")[1]
    assert not look()[1]


def test_no_cache_looks_anew_and_keeps_what_it_found() -> None:
    first = look()[0]
    anew, was_kept = look("--no-cache")
    assert (was_kept, look()[0].run) == (False, anew.run)
    assert anew.run != first.run  # its times are others


def test_a_run_on_a_device_is_never_kept() -> None:
    for _ in range(2):
        report, was_kept = look("--device", "cpu")
        assert (report.device, was_kept) == ("cpu", False)
    # Its shapes and costs are.
    assert look("--device", "meta")[1]


def test_own_code_and_files_of_inputs_are_never_kept() -> None:
    (Path.cwd() / "own.py").write_text("import torch\nclass Net(torch.nn.Linear): pass\nnet = Net(2, 3)\n")
    import numpy

    numpy.save("x.npy", numpy.zeros((2, 3, 8, 8), numpy.float32))
    look("--input", "x=x.npy")
    look("--allow-import")
    assert entries() == []


@pytest.mark.parametrize("damage", ["", "{}", "null", "\n", "\x00", "cut", "digit"])
def test_a_damaged_entry_counts_as_absent(damage: str) -> None:
    report, _ = look("--device", "meta")
    (entry,) = entries()
    text = entry.read_text()
    # 4·3·3·3 + 4 parameters of the first layer.
    assert '"params": 112' in text
    entry.write_text({"cut": text[:-1], "digit": text.replace('"params": 112', '"params": 113')}.get(damage, damage))
    assert look("--device", "meta") == (report, False)
    assert look("--device", "meta") == (report, True)


def test_a_file_that_was_saved_while_it_was_inspected_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from fwdscope import inspection

    inspect = inspection.inspect_target

    def slow(*given: object) -> object:
        found = inspect(*given)
        Path("net.yaml").write_text(SPEC.replace("Linear(5)", "Linear(6)"))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(inspection, "inspect_target", slow)
        assert look("--device", "meta")[0].outputs[0].shape == (2, 5)
    report, was_kept = look("--device", "meta")
    assert (report.outputs[0].shape, was_kept) == ((2, 6), False)


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("file").absolute()))
    assert [look()[1], look()[1]] == [False, False]


def test_a_mistake_is_told_each_time() -> None:
    Path("net.yaml").write_text(SPEC.replace("Linear", "Linaer"))
    for _ in range(2):
        result = CliRunner().invoke(app, ["inspect", "net.yaml"])
        assert (result.exit_code, "net.yaml:6:" in result.stderr) == (2, True)


def test_a_failed_expectation_fails_a_second_look_too() -> None:
    Path("net.yaml").write_text(SPEC + "expect:\n  params: 7\n")
    codes = [CliRunner().invoke(app, ["inspect", "net.yaml"]).exit_code for _ in range(2)]
    assert codes == [1, 1]


def test_an_entry_holds_the_report_as_json() -> None:
    look("--device", "meta")
    (entry,) = entries()
    data = json.loads(entry.read_text().partition("\n")[2])
    assert Report.from_json(data["report"]).source == "net.yaml"
