"""``fwdscope check`` as a user runs it: targets, exit codes, the output for each spec."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fwdscope.cli import app

MLP = """\
vars: {B: 4, d: 8}
inputs:
  x: rand(B, d)
layers:
  - fc1 = Linear(6)       -> (B, 6)
  - ReLU
  - fc2 = Linear(3)       -> (B, 3)
expect:
  output: (B, 3)
  params: 75
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", *arguments])


def data(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--format", "json")
    assert not result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["exit_code"] == result.exit_code
    return found


def write(path: str, text: str = MLP) -> str:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return path


def files(found: dict[str, Any]) -> list[str]:
    return [spec["file"] for spec in found["specs"]]


# --- targets ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_searched_to_the_bottom_in_order() -> None:
    for path in ("s/b.yaml", "s/a.yml", "s/inner/c.yaml", "s/.hidden/d.yaml", "s/notes.txt"):
        write(path)
    write("s/venv/lib/e.yaml")
    write("s/venv/pyvenv.cfg", "home = /usr\n")
    assert files(data("s")) == ["s/a.yml", "s/b.yaml", "s/inner/c.yaml"]


def test_without_a_target_it_is_the_folder_specs_or_else_this_one() -> None:
    write("a.yaml")
    assert files(data()) == ["a.yaml"]
    write("specs/b.yaml")
    assert files(data()) == ["specs/b.yaml"]


def test_globs_reach_into_folders_and_a_file_counts_once() -> None:
    write("s/a.yaml")
    write("s/t/b.yaml")
    assert files(data("s/**/*.yaml", "s/a.yaml", "./s/a.yaml")) == ["s/a.yaml", "s/t/b.yaml"]


def test_a_spec_that_ships_goes_by_its_name() -> None:
    found = data("mlp_xor")
    assert files(found) == ["mlp_xor.yaml"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("mlp_xr", "did you mean mlp_xor?"),
        ("no/such.yaml", "there is no file or folder no/such.yaml"),
        ("*.nope", "no file matches *.nope"),
        ("report.json", "report.json: this is no fwdscope report"),
        ("empty", "holds no *.yaml"),
    ],
)
def test_a_target_that_is_no_spec_is_refused(target: str, words: str) -> None:
    Path("empty").mkdir()
    write("report.json", "{}")
    result = run(target)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


WORKFLOW = "name: CI\non: [push]\njobs:\n  test:\n    steps: []\n"
ACTION = "name: Action\ndescription: none\ninputs:\n  x: {default: 1}\nruns: {using: composite}\n"


@pytest.mark.parametrize("text", [WORKFLOW, ACTION, "", "- a\n- b\n"], ids=["workflow", "action", "empty", "list"])
def test_other_yaml_in_a_folder_is_skipped_with_a_word_and_an_error_when_named(text: str) -> None:
    write("s/a.yaml")
    write("s/other.yaml", text)
    found = data("s")
    assert found["exit_code"] == 0
    assert [spec["state"] for spec in found["specs"]] == ["ok", "skipped"]
    assert "not a spec" in found["specs"][1]["reason"]
    assert run("s/other.yaml").exit_code == 2


@pytest.mark.parametrize(
    "text",
    ["inputs: {x: rand(2)}\n", "inputs:\n  x: rand(2)\nlayer:\n  - ReLU\n", "{layers: [ReLU]}\n", "layers: [\n"],
    ids=["no layers", "misspelt", "flow", "broken"],
)
def test_a_spec_with_mistakes_is_not_taken_for_other_yaml(text: str) -> None:
    write("s/a.yaml", text)
    assert run("s").exit_code == 2


def test_a_folder_of_other_yaml_alone_is_an_error() -> None:
    write("s/ci.yaml", WORKFLOW)
    result = run("s")
    assert result.exit_code == 2
    assert "none of the 1 files is a spec" in result.stderr


# --- outcomes --------------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_the_worst_spec_decides_the_exit_code() -> None:
    write("ok.yaml")
    assert run("ok.yaml").exit_code == 0
    write("short.yaml", MLP.replace("75", "74"))
    assert run("ok.yaml", "short.yaml").exit_code == 1
    write("wrong.yaml", MLP.replace("ReLU", "Relux"))
    assert run("wrong.yaml", "short.yaml", "ok.yaml").exit_code == 2


@pytest.mark.core
def test_text_has_a_line_for_each_spec_then_failures_then_totals() -> None:
    write("ok.yaml")
    write("short.yaml", MLP.replace("75", "74"))
    result = run("ok.yaml", "short.yaml", "--no-cache")
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["ok.yaml", "ok"]
    # fc1: (8 + 1) · 6, fc2: (6 + 1) · 3
    assert "75 params" in lines[0]
    assert lines[1].startswith("short.yaml  failed 1 of 4")
    assert "short.yaml:10:11: error: params: expected 74, got 75: 1 (1.4 %) too many [expect]" in lines
    assert lines[-1].startswith("2 specs: 1 ok, 1 failed  ·  7 met, 1 not met")
    assert "\033[" not in result.stdout


@pytest.mark.core
def test_a_broken_promise_names_the_last_kept_promise_before_it() -> None:
    text = MLP.replace("- ReLU", "- wide = Linear(7)\n  - ReLU").replace("fc2 = Linear(3) ", "fc2 = Linear(4) ")
    write("a.yaml", text)
    (spec,) = data("a.yaml")["specs"]
    promise, output, _ = (point["problem"] for point in spec["points"] if point["problem"])
    assert promise["line"] == 8
    assert promise["detail"][:2] == [
        "as promised up to fc1 = Linear  (4, 6)  a.yaml:5:11",
        "first after it: wide = Linear  (4, 7)  a.yaml:6:12",
    ]
    # The output is wrong because the promise is.
    assert output["detail"] == ["shapes first differ in fc2 = Linear  (4, 4)  a.yaml:8:11"]


def test_a_promise_on_a_line_that_did_not_run_is_skipped() -> None:
    branch = "  - if: d > 100\n    then:\n      - Linear(9)  -> (B, 9)\n    else:\n      - ReLU\n"
    write("a.yaml", MLP.replace("  - ReLU\n", branch))
    result = run("a.yaml")
    assert result.exit_code == 0
    assert "a.yaml:8: skipped: shape of Linear(9) (B, 9): its line does not run here" in result.stdout


def test_promises_in_blocks_stacks_and_loops_are_checked() -> None:
    write(
        "a.yaml",
        "inputs:\n  x: rand(2, 4)\nblocks:\n  Block(d):\n    - fc = Linear(d)   -> (2, d)\n    - fc + x\n"
        "layers:\n  - h = 3 * Block(4)   -> (2, 4)\n  - for: i in range(2)\n    do:\n"
        "      - tanh(prev)\n        -> (2, 4)\n  - out = Linear(1)\n",
    )
    (spec,) = data("a.yaml")["specs"]
    assert [(point["line"], point["state"]) for point in spec["points"]] == [(5, "met"), (8, "met"), (12, "met")]


def test_a_spec_without_expectations_is_marked() -> None:
    write("a.yaml", "inputs:\n  x: rand(2, 4)\nlayers:\n  - ReLU\n")
    assert "ok, expects nothing" in run("a.yaml").stdout


def test_an_unreadable_file_is_wrong_and_the_others_are_checked() -> None:
    write("a.yaml")
    Path("b.yaml").write_bytes(b"layers: \xff\n")
    found = data("a.yaml", "b.yaml")
    assert [spec["state"] for spec in found["specs"]] == ["ok", "invalid"]


def test_costs_with_an_uncounted_operator_fail_as_lower_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from fwdscope.commands.check.expectations import with_shortfalls
    from fwdscope.commands.check.one import CheckSettings, check_source
    from fwdscope.language.problems import Source
    from fwdscope.run.subject import SpecSubject

    made = SpecSubject.report

    def report(subject: SpecSubject) -> Any:
        return with_shortfalls(subject.checked, dataclasses.replace(made(subject), uncounted=("own::op",)))

    monkeypatch.setattr(SpecSubject, "report", report)
    states = {}
    # 4 · (8 · 6 + 6 · 3) MACs are known
    for figure in ("264", "<= 300", "'>= 264'", "<= 263"):
        text = MLP.replace("params: 75", f"macs: {figure}")
        (*_, point) = check_source(Source("a.yaml", text), CheckSettings()).outcome.points
        states[figure] = (point.state, point.got)
    unsure = ("failed", "at least 264: no rule counts own::op")
    assert states == {"264": unsure, "<= 300": unsure, "'>= 264'": ("met", "264"), "<= 263": ("failed", "264")}


def test_a_defect_ends_with_its_file_and_is_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    from fwdscope.commands.check import one

    made = one._checked

    def breaks(checked: Any, *rest: Any) -> Any:
        if checked.spec.source.name == "a.yaml":
            raise AssertionError("boom")
        return made(checked, *rest)

    monkeypatch.setattr(one, "_checked", breaks)
    write("a.yaml")
    write("b.yaml")
    result = run("a.yaml", "b.yaml")
    assert result.exit_code == 3
    assert "a.yaml: this is a bug in fwdscope, not in your spec: AssertionError: boom" in result.stdout
    assert "1 ok, 1 crashed" in result.stdout


def test_a_latency_is_measured_on_the_device_it_names() -> None:
    write("a.yaml", MLP + "  latency: <= 1000 s on cpu\n  layers: {fc1: {latency: '>= 1000 s on cpu'}}\n")
    (*_, whole, layer) = data("a.yaml")["specs"][0]["points"]
    assert (whole["what"], whole["state"]) == ("latency", "met")
    assert (layer["what"], layer["state"], layer["line"]) == ("fc1 latency", "failed", 12)
    assert "too little" in layer["problem"]["message"]


def test_a_latency_on_a_device_that_is_not_here_is_skipped_with_a_word() -> None:
    write("a.yaml", MLP + "  latency: <= 40 ms on cuda:97\n")
    result = run("a.yaml")
    assert result.exit_code == 0
    assert "a.yaml  ok, 1 skipped" in result.stdout
    assert re.search(r"^a.yaml:11: skipped: latency <= 40 ms on cuda:97: there is no cuda", result.stdout, re.MULTILINE)


def test_a_network_that_does_not_fit_on_the_device_falls_short_of_its_latency() -> None:
    layer = "vars: {n: 3_000_000}\ninputs:\n  x: rand(1, n)\nlayers:\n  - fc = Linear(n)\nexpect:\n"
    write("a.yaml", layer + "  latency: <= 40 ms on cpu\n")
    result = run("a.yaml")
    assert result.exit_code == 1
    # 9 · 10¹² weights of 4 bytes
    assert re.search(r"latency: expected <= 40 ms on cpu, got nothing: .*TiB", result.stdout)


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--update",), "--update is for baselines: add --baseline FOLDER"),
        (("--tolerance", "1%"), "--tolerance is for baselines"),
        (("--baseline", "b", "--tolerance", "one"), "write a percentage, as in --tolerance 1%"),
        (("--baseline", "a.yaml"), "is a file; give a folder"),
        (("--format", "junt"), "did you mean junit?"),
        (("--format", "table"), "text, github, junit, json, markdown"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_that_make_no_sense_are_refused(arguments: tuple[str, ...], words: str) -> None:
    write("a.yaml")
    result = run("a.yaml", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_several_processes_give_the_same_in_the_same_order() -> None:
    for i in range(5):
        write(f"{i}.yaml", MLP.replace("75", str(73 + i)))
    names = [f"{i}.yaml" for i in range(5)]
    command = [sys.executable, "-m", "fwdscope", "check", *names, "--no-cache", "--format", "json"]

    def states(*jobs: str) -> list[tuple[str, str]]:
        result = subprocess.run([*command, *jobs], capture_output=True, text=True, check=False)
        assert (result.returncode, result.stderr) == (1, "")
        return [(spec["file"], spec["state"]) for spec in json.loads(result.stdout)["specs"]]

    assert states("--jobs", "2") == states() == [(name, "ok" if name == "2.yaml" else "failed") for name in names]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_no_process_is_left_behind_when_the_program_is_killed() -> None:
    slow = "inputs:\n  x: rand(1, 4)\nlayers:\n" + "  - 9000 * Linear(4)\n"
    for i in range(4):
        write(f"{i}.yaml", slow)
    mark = str(Path.cwd())
    command = [sys.executable, "-m", "fwdscope", "check", ".", "--no-cache", "--jobs", "2"]
    program = subprocess.Popen(command, env={**os.environ, "MARK": mark}, stdout=subprocess.DEVNULL)

    def alive() -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"MARK={mark}".encode() in (process / "environ").read_bytes():
                    found.append(process.name)
        return found

    def wait_for(there: Callable[[], bool]) -> bool:
        """Whether it comes about at all; the bound only keeps a failing test from hanging."""
        for _ in range(1200):
            if there():
                return True
            time.sleep(0.05)
        return False

    # The program, two workers, and the tracker of their resources.
    assert wait_for(lambda: len(alive()) == 4 or program.poll() is not None)
    assert program.poll() is None
    program.kill()
    program.wait()
    assert wait_for(lambda: not alive())


def test_a_limit_applies_in_every_process() -> None:
    for i in range(2):
        write(f"{i}.yaml", "inputs:\n  x: rand(2, 4)\nlayers:\n  - 40 * Linear(4)\n")
    command = [sys.executable, "-m", "fwdscope", "check", "0.yaml", "1.yaml", "--no-cache", "--jobs", "2"]
    result = subprocess.run([*command, "--limit", "turns=30"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "2 invalid" in result.stdout


def test_own_classes_are_imported_with_allow_import() -> None:
    write("mine.py", "from torch import nn\nclass Twice(nn.Module):\n    def forward(self, x):\n        return x + x\n")
    write("a.yaml", MLP.replace("ReLU", "mine.Twice()"))
    assert run("a.yaml").exit_code == 2
    allowed = subprocess.run(
        [sys.executable, "-m", "fwdscope", "check", "a.yaml", "--allow-import"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert allowed.returncode == 0, allowed.stdout + allowed.stderr


# --- without torch ---------------------------------------------------------------------------------------------------

PROBE = """
import sys
from fwdscope.cli import run
sys.argv = ["fwdscope", "check", *sys.argv[1:]]
code = run()
print("torch" in sys.modules, file=sys.stderr)
sys.exit(code)
"""


def probe(*arguments: str) -> tuple[int, str, bool]:
    """Exit code, stdout, and whether torch was loaded."""
    result = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False)
    return result.returncode, result.stdout, result.stderr.splitlines()[-1] == "True"


def test_help_and_errors_of_the_text_do_not_load_torch() -> None:
    write("wrong.yaml", MLP.replace("ReLU", "Relux"))
    write("s/ci.yaml", WORKFLOW)
    assert [probe(*arguments)[::2] for arguments in (("--help",), ("wrong.yaml",), ("s",))] == [
        (0, False),
        (2, False),
        (2, False),
    ]


def test_a_second_run_on_unchanged_files_does_not_load_torch() -> None:
    write("a.yaml")
    write("b.yaml", MLP.replace("75", "74"))
    first, second = probe("a.yaml", "b.yaml", "--baseline", "b"), probe("a.yaml", "b.yaml", "--baseline", "b")
    assert (first[0], first[2]) == (1, True)
    assert (second[0], second[2]) == (1, False)
    assert "unchanged" in second[1]
    told = [[line for line in out.splitlines() if "error:" in line] for _, out, _ in (first, second)]
    assert told[0] == told[1] != []
    assert probe("a.yaml", "--no-cache")[::2] == (0, True)


def test_a_copy_of_the_repository_elsewhere_is_no_stale_cache(folder: Path) -> None:
    """The same place with another text, and the same text at another place, are each checked anew."""
    write("a.yaml")
    assert probe("a.yaml")[2]
    write("a.yaml", MLP.replace("75", "74"))
    assert probe("a.yaml")[::2] == (1, True)
    shutil.copytree(folder, folder.parent / "copy")
    os.chdir(folder.parent / "copy")
    assert probe("a.yaml")[::2] == (1, True)


# --- odd files, odd names, nobody who reads --------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_in_a_folder_is_not_waited_for() -> None:
    write("specs/a.yaml")
    os.mkfifo("specs/pipe.yaml")
    assert files(data("specs")) == ["specs/a.yaml"]


def test_a_broken_link_is_reported() -> None:
    write("specs/a.yaml")
    Path("specs/b.yaml").symlink_to("nowhere.yaml")
    result = run("specs")
    assert result.exit_code == 2
    assert "specs/b.yaml: error: it cannot be read: No such file or directory" in result.stdout


def test_a_name_that_a_log_would_obey_is_made_visible() -> None:
    write("specs/a\n::error::b\x1b[2J.yaml", MLP.replace("75", "74"))
    for form in ("text", "github", "markdown", "junit"):
        result = run("specs", "--format", form)
        assert result.exit_code == 1
        assert "\x1b" not in result.stdout
        assert not any(line.startswith("::error::") for line in result.stdout.splitlines())


def test_a_name_that_is_no_text_is_written_into_every_form(folder: Path) -> None:
    name = os.fsencode(folder) + b"/\xff.yaml"
    try:
        Path(os.fsdecode(name)).write_text(MLP)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 alone")
    for file in ("a.xml", "a.md", "a.json", "a.txt"):
        assert run(".", "-o", file).exit_code == 0
        assert "udcff.yaml" in Path(file).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "a target is empty: give a spec file, a folder"),
        (["http://host/a.yaml"], "there is no file or folder http://host/a.yaml"),
        ([".", "--baseline", ""], "--baseline is empty; give a folder"),
        ([".", "--baseline", "b", "--tolerance", "١%"], "write a percentage, as in --tolerance 1%"),
        ([".", "-o", "no/folder.xml"], "no/folder.xml cannot be written: there is no folder no"),
    ],
)
def test_wrong_options_are_refused_before_any_check(arguments: list[str], message: str) -> None:
    write("a.yaml", MLP.replace("75", "74"))
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_closed_pipe_does_not_change_the_exit_code(form: str) -> None:
    """`fwdscope check | head -1` under pipefail is a check still."""
    write("a.yaml", MLP.replace("75", "74"))
    command = f"{sys.executable} -m fwdscope check a.yaml --format {form} | true; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
def test_output_that_cannot_be_written_is_refused() -> None:
    write("a.yaml")
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "fwdscope", "check", "a.yaml"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (2, "error: stdout cannot be written: No space left on device\n")


def test_a_latency_on_an_unknown_device_suggests_that_its_name_is_wrong() -> None:
    write("a.yaml", MLP + "  latency: <= 1 s on H10\n")
    write("b.yaml", MLP + "  latency: <= 1 s on A100\n")
    reasons = [spec["points"][-1]["reason"] for spec in data("a.yaml", "b.yaml")["specs"]]
    assert reasons[0].startswith("no device here is called H10; here is ")
    assert "did you mean H100" in reasons[0]
    assert reasons[1].startswith("no device here is called A100; here is ")
    assert "did you mean" not in reasons[1]
