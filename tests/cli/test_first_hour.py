"""What a new user meets first: refused outputs, stdin, several targets, missing arguments, colours, completion."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import importlib
import io
import json
import os
import pty
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

import pytest
from known_peaks import remember_peaks
from rich.console import Console
from typer.testing import CliRunner, Result

import fwdscope
from fwdscope.cli import COMMANDS, app
from fwdscope.commands.explain.arithmetic import explain
from fwdscope.inspection import make_subject
from fwdscope.language.outline import layer_paths
from fwdscope.language.parser import parse
from fwdscope.language.problems import Source
from fwdscope.language.source import read
from fwdscope.render.maps import print_picture
from fwdscope.render.overview import render_several
from fwdscope.render.rows import Options
from fwdscope.report.pictures import Panel, Picture
from fwdscope.targets import Target, shipped_specs

WRONG = "inputs: {x: 'rand(2, 3)'}\nlayers:\n  - Dense(8)\n"
RIGHT = WRONG.replace("Dense(8)", "fc = Linear(8)")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(remember_peaks(tmp_path / "cache")))
    return tmp_path


def run(*arguments: str, stdin: str | None = None, env: Mapping[str, str | None] | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin, env=env)


def refused(*arguments: str, stdin: str | None = None) -> str:
    result = run(*arguments, stdin=stdin)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    return result.stderr


# --- outputs ---------------------------------------------------------------------------------------------------------


def test_an_ending_of_a_picture_or_a_program_writes_the_graph() -> None:
    heads = {"g.svg": "<svg", "g.dot": 'digraph "mlp', "g.gv": 'digraph "mlp', "g.mmd": "---\ntitle: "}
    for file, head in heads.items():
        assert (
            run("inspect", "mlp_xor", "--device", "meta", "--depth", "1", "--colour", "params", "-o", file).exit_code
            == 0
        )
        assert Path(file).read_text(encoding="utf-8").startswith(head)
    assert "share of params" in Path("g.svg").read_text(encoding="utf-8")
    assert "terminal" in run("inspect", "mlp_xor", "--device", "meta", "--format", "svg").stdout  # Rich's classes
    assert "cannot colour by 'cost'; there are: macs" in refused(
        "inspect", "mlp_xor", "--colour", "cost", "-o", "g.svg"
    )
    assert "--colour has no effect on the format table" in refused("inspect", "mlp_xor", "--colour", "macs")


@pytest.mark.parametrize(
    ("command", "file", "endings"),
    [
        ("inspect mlp_xor", "r.htm", ".txt, .json, .csv, .md, .svg, .dot, .gv, .mmd, .html"),
        ("inspect mlp_xor", "r.pdf", ".txt, .json, .csv, .md"),
        ("inspect mlp_xor", "r.graph", ".txt, .json, .csv, .md"),
        ("inspect mlp_xor", "r.PNG", "add --show PATH"),
        ("bench mlp_xor", "r.md", ".txt, .json, .csv, .html"),
        ("check mlp_xor", "r.htm", ".txt, .json, .md, .html, .xml"),
        ("diff mlp_xor perceptron", "r.yaml", ".txt, .json, .md, .html"),
        ("schema", "s.yaml", ".json"),
        ("schema", "s.txt", ".json"),
    ],
)
def test_an_ending_that_cannot_be_written_is_refused_with_those_that_can(command: str, file: str, endings: str) -> None:
    assert endings in refused(*command.split(), "-o", file)
    assert not Path(file).exists()


@pytest.mark.parametrize("name", ["r", "r.txt", "r.TXT"])
def test_a_name_without_an_ending_is_text(name: str) -> None:
    assert run("inspect", "mlp_xor", "--device", "meta", "-o", name).exit_code == 0
    assert "17 parameters" in Path(name).read_text()


def test_a_page_is_of_one_network() -> None:
    assert "the format graph is of one network; here are 2" in refused("inspect", "mlp_xor", "lstm", "-o", "r.svg")
    assert "the format html is of one network; here are 2" in refused(
        "inspect", "mlp_xor", "perceptron", "-o", "r.html"
    )


def test_a_format_goes_under_any_name() -> None:
    assert run("inspect", "mlp_xor", "--device", "meta", "--format", "json", "-o", "r.dat").exit_code == 0
    assert json.loads(Path("r.dat").read_text())["name"] == "mlp-xor"


@pytest.mark.parametrize(
    "arguments",
    [
        "inspect a.yaml --format table -o a.yaml",
        "inspect mlp_xor a.yaml --format table -o link.yaml",
        "inspect r.json -o r.json",
        "inspect a.yaml --vary B=1,2 --format table -o a.yaml",
        "inspect a.yaml --input x=x.pt --format table -o x.pt",
        "inspect a.yaml --weights w.pt --format table -o w.pt",
        "diff mlp_xor r.json -o r.json",
        "diff a.yaml --after B=3 --format text -o a.yaml",
        "bench a.yaml --against r.json -o ./r.json",
        "check . --format text -o sub/b.yaml",
        "check a.yaml --baseline kept -o kept/a.yaml.json",
        "inspect code:Net --format table -o code.py",
    ],
)
def test_an_output_that_is_read_is_refused(arguments: str, here: Path) -> None:
    (here / "sub").mkdir()
    (here / "kept").mkdir()
    for name in ("a.yaml", "sub/b.yaml", "r.json", "x.pt", "w.pt", "kept/a.yaml.json", "code.py"):
        Path(name).write_text(RIGHT)
    Path("link.yaml").symlink_to("a.yaml")
    assert "would replace what this command reads" in refused(*arguments.split())
    assert all(Path(name).read_text() == RIGHT for name in ("a.yaml", "sub/b.yaml", "r.json", "x.pt", "w.pt"))


# --- stdin -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["inspect -", "explain - fc", "bench -", "diff - mlp_xor", "diff mlp_xor -"])
def test_a_spec_from_stdin_has_places(command: str) -> None:
    # `Dense` begins at the fifth character of the third line.
    assert "<stdin>:3:5: error: unknown layer or block Dense" in refused(*command.split(), stdin=WRONG)


@pytest.mark.parametrize("command", ["inspect - --device meta", "explain - fc", "diff - mlp_xor", "check -"])
def test_a_spec_from_stdin_is_read(command: str) -> None:
    result = run(*command.split(), stdin=RIGHT)
    assert result.exit_code == 0, result.output
    assert "32" in result.stdout  # 3 · 8 + 8 parameters


def test_check_places_the_problems_of_stdin() -> None:
    result = run("check", "-", stdin=WRONG)
    assert result.exit_code == 2
    assert "<stdin>:3:5: error" in result.stdout


@pytest.mark.parametrize("command", ["inspect - -", "inspect -", "annotate -", "check - --baseline kept"])
def test_stdin_that_cannot_be_read_is_refused(command: str) -> None:
    assert "stdin" in refused(*command.split(), stdin="" if command == "inspect -" else RIGHT)


# --- several targets -------------------------------------------------------------------------------------------------


def test_several_targets_give_a_table_of_totals_and_each_report() -> None:
    result = run("inspect", "mlp_xor", "perceptron", "--device", "meta")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    # 2 · 4 + 4 + 4 + 1 parameters, and a line with two weights and a bias.
    assert [line.split()[:2] for line in lines[3:5]] == [["mlp_xor", "17"], ["perceptron", "3"]]
    assert sum("float32  ·  meta" in line for line in lines) == 2


def test_a_narrow_table_of_totals_leaves_out_columns_before_it_cuts_names() -> None:
    report = fwdscope.inspect("mlp_mnist")
    named = [(name, report, Options(width=60)) for name in ("mobilenet_v3_large", "mlp_mnist")]
    title, _, first, *_ = render_several(named, "table").splitlines()[1:]
    assert "mobilenet_v3_large" in first
    assert ("params" in title, "output" in title) == (True, False)
    assert max(map(len, (title, first))) <= 60


def test_several_targets_are_a_list_in_json_and_one_table_in_csv() -> None:
    targets = ("mlp_xor", "perceptron", "mlp_mnist")
    found = json.loads(run("inspect", *targets, "--device", "meta", "--format", "json").stdout)
    assert [one["name"] for one in found] == ["mlp-xor", "perceptron", "mlp-mnist"]
    assert run("inspect", *targets, "--device", "meta", "-o", "all.csv").exit_code == 0
    rows = list(csv.DictReader(io.StringIO(Path("all.csv").read_text())))
    assert list(dict.fromkeys(row["network"] for row in rows)) == list(targets)
    assert next(row["path"] for row in rows if row["network"] == "mlp_xor") == "hidden"


@pytest.mark.parametrize("form", ["markdown", "tree"])
def test_several_targets_in_other_formats_begin_with_the_totals(form: str) -> None:
    out = run("inspect", "mlp_xor", "perceptron", "--device", "meta", "--format", form).stdout
    assert out.index("perceptron") < out.index("hidden")


def test_a_wrong_target_among_several_leaves_the_others(here: Path) -> None:
    Path("wrong.yaml").write_text(WRONG)
    result = run("inspect", "mlp_xor", "wrong.yaml", "nosuch", "perceptron", "--device", "meta", "--format", "json")
    assert result.exit_code == 2
    assert [one["name"] for one in json.loads(result.stdout)] == ["mlp-xor", "perceptron"]
    assert "wrong.yaml:3:5: error" in result.stderr
    assert "there is no file nosuch" in result.stderr


@pytest.mark.parametrize("option", [("--show", "hidden"), ("--partial",), ("--vary", "B=1,2")])
def test_what_is_for_one_target_is_refused_for_several(option: tuple[str, ...]) -> None:
    assert "is for one target" in refused("inspect", "mlp_xor", "perceptron", *option)


# --- what to type next -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["inspect", "bench", "explain", "explain resnet18", "diff", "annotate", "new"])
def test_a_missing_argument_is_answered_with_a_command_that_runs(command: str) -> None:
    said = refused(*command.split())
    name = command.split()[0]
    assert f"error: {name} needs " in said
    assert len(said.splitlines()) <= 5
    (example,) = [line.split(": ", 1)[1] for line in said.splitlines() if line.startswith("  for example: ")]
    quick = {"bench": ["--no-layers", "--budget", "0"], "inspect": ["--device", "meta"]}.get(name, [])
    assert run(*example.split()[1:], *quick).exit_code == 0


def test_explain_lists_the_layers_of_its_target() -> None:
    assert "layers of mlp_xor: hidden, output" in refused("explain", "mlp_xor")
    assert "there is no file nosuch" in refused("explain", "nosuch")


def test_the_outline_of_a_spec_names_its_layers() -> None:
    text = (
        "inputs: {x: 'rand(2, 8)'}\n"
        "blocks:\n  B(d):\n    - fc = Linear(d)\n    - y = prev + 1\n"
        "layers:\n  - h = 2 * B(8)\n  - s = Sequential(B(8), 2 * B(8), Linear(8))\n  - ReLU\n"
        "  - part:\n    - out = Linear(4)(prev)\n"
    )
    # Of the stack the first copy; behind the stack inside `s`, its number of copies decides the paths.
    expected = ["h", "h.0", "h.0.fc", "s", "s.0", "s.0.fc", "s.1", "s.1.fc", "part", "part.out"]
    assert list(layer_paths(parse(Source("a", text)))) == expected


def test_the_outline_names_the_layers_of_modules() -> None:
    text = (
        "inputs: {x: 'rand(2, 8)'}\nlayers:\n  - modules:\n      cell: Linear(8)\n"
        "      convs: [Linear(8) for i in range(3)]\n      two: [Linear(8), ReLU]\n"
        "      heads: {cls: Linear(8), box: Linear(4)}\n"
        "  - y = cell(convs[0](convs[1](convs[2](two[0](two[1](x))))))\n  - cat([heads.cls(y), heads.box(y)], dim=1)\n"
    )
    # Of a comprehension the first: how many it makes depends on values.
    expected = ["cell", "convs.0", "two.0", "two.1", "heads.cls", "heads.box"]
    assert list(layer_paths(parse(Source("a", text)))) == expected


@pytest.mark.parametrize("name", ["simple_rnn", "mobilenet_v2", "resnet18", "unet", "computation_graph"])
def test_every_path_of_an_outline_can_be_explained(name: str) -> None:
    trace = make_subject(Target(name)).trace_every_copy()
    found = list(layer_paths(parse(read(shipped_specs()[name]))))
    assert found
    assert all(explain(trace, path).path for path in found)


@pytest.mark.parametrize("command", ["", "inspect", "check", "layers"])
def test_h_is_help(command: str) -> None:
    short, long = (run(*command.split(), option) for option in ("-h", "--help"))
    assert (short.exit_code, short.stdout) == (0, long.stdout)
    assert "-h, --help" in short.stdout


def test_the_list_of_commands_has_the_first_line_of_each_commands_help() -> None:
    for name, line in COMMANDS.items():
        function = getattr(importlib.import_module(f"fwdscope.cli.{name}"), name)
        assert line == function.__doc__.partition("\n")[0]
        assert f"  {name} " in run("--help").stdout


# --- colours ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": ""}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        # https://no-color.org: set and not an empty string.
        ({"FORCE_COLOR": "1", "NO_COLOR": ""}, True),
    ],
    ids=str,
)
def test_colours_are_forced_and_forbidden_by_the_environment(environment: dict[str, str], coloured: bool) -> None:
    env: dict[str, str | None] = {"FORCE_COLOR": None, "NO_COLOR": None, **environment}
    Path("wrong.yaml").write_text(WRONG)
    for command in ("inspect mlp_xor --device meta", "layers Conv2d", "specs", "diff mlp_xor perceptron"):
        assert ("\x1b[" in run(*command.split(), env=env).stdout) == coloured
    assert ("\x1b[" in run("inspect", "wrong.yaml", env=env).stderr) == coloured


def test_a_picture_is_drawn_by_shades_where_colours_are_forbidden() -> None:
    command = ("inspect", "mlp_xor", "--device", "cpu", "--show", "hidden")
    assert "\x1b[" in run(*command, env={"FORCE_COLOR": "1", "NO_COLOR": None, "COLORTERM": "truecolor"}).stdout
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, color_system="truecolor", no_color=True, width=80)
    print_picture(Picture("map", "x", (Panel(((0.0, 1.0, 0.5),)),), 0.0, 1.0, "dim 0", "dim 1"), console)
    assert "▒" in drawn.getvalue()


# --- completion ------------------------------------------------------------------------------------------------------

PROBE = """
import sys
from fwdscope.cli import run
code = run()
print("torch" in sys.modules, file=sys.stderr)
sys.exit(code)
"""


def complete(*words: str) -> list[str]:
    """What bash is offered for the last of the words; completing loads no torch."""
    env = {**os.environ, "_FWDSCOPE_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(["fwdscope", *words])}
    env["COMP_CWORD"] = str(len(words))
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, env=env, check=False)
    assert done.stderr == "False\n", done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("ins",), ["inspect"]),
        (("inspect", "mlp_x"), ["mlp_xor"]),
        (("inspect", "mine"), ["mine/", "mine.yaml"]),
        (("inspect", "mine/"), ["mine/a.yaml", "mine/r.json"]),
        (("explain", "mlp_xor", "hid"), ["hidden"]),
        (("explain", "mine.yaml", ""), ["fc"]),
        (("inspect", "mlp_xor", "--columns", "layer,pa"), ["layer,params"]),
        (("inspect", "mlp_xor", "--device", "c"), ["cpu", "cuda"]),
        (("bench", "mlp_xor", "--device", "m"), ["mps", "meta"]),
        (("inspect", "mlp_xor", "--on", "H100-S"), ["H100-SXM-80GB"]),
        (("layers", "ConvTranspose1"), ["ConvTranspose1d"]),
        (("check", "percep"), ["perceptron"]),
        (("inspect", "broken.yaml", "--dtype", "bf"), ["bfloat16"]),
        (("explain", "broken.yaml", ""), []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_a_shell_completes(words: tuple[str, ...], found: list[str]) -> None:
    Path("mine").mkdir()
    for name in ("mine.yaml", "mine.txt", "mine/a.yaml", "mine/r.json", "mine/b.py"):
        Path(name).write_text(RIGHT)
    Path("broken.yaml").write_text("layers: [")
    assert complete(*words) == found


def test_a_device_of_a_completion_is_one_that_estimates_know() -> None:
    assert run("inspect", "mlp_xor", "--on", "H100-SXM-80GB").exit_code == 0


def test_completion_is_installed_for_bash(here: Path) -> None:
    env = {**os.environ, "HOME": str(here), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "fwdscope", "--install-completion", "bash"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert "_FWDSCOPE_COMPLETE=complete_bash" in (here / ".bash_completions" / "fwdscope.sh").read_text()


# --- defaults --------------------------------------------------------------------------------------------------------


def write_defaults(text: str, folder: str = ".") -> None:
    Path(folder).mkdir(exist_ok=True)
    Path(folder, "pyproject.toml").write_text(f"[project]\nname = 'x'\n[tool.fwdscope]\n{text}\n")


def test_defaults_stand_in_pyproject_and_the_command_line_overrides_them() -> None:
    write_defaults('columns = ["layer", "params"]\ndevice = "meta"')
    out = run("inspect", "mlp_xor").stdout
    assert " layer   params\n" in out
    assert "·  meta  ·" in out
    assert " layer   MACs\n" in run("inspect", "mlp_xor", "--columns", "layer,macs").stdout
    assert "·  cpu  ·" in run("inspect", "mlp_xor", "--device", "cpu").stdout


def test_the_nearest_table_counts_and_its_paths_start_at_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    write_defaults('check = ["nets", "mlp_xor"]')
    for folder in ("nets", "src"):
        Path(folder).mkdir()
    Path("nets/a.yaml").write_text(RIGHT)
    Path("src/pyproject.toml").write_text("[project]\nname = 'without a table'\n")
    monkeypatch.chdir("src")
    result = run("check")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()[:2]] == ["../nets/a.yaml", "mlp_xor.yaml"]
    assert "a.yaml" not in run("check", "perceptron").stdout
    write_defaults('check = "perceptron"')
    assert run("check").stdout.startswith("perceptron.yaml")


def test_a_default_that_does_not_apply_is_left_out() -> None:
    write_defaults('columns = "layer"\ndepth = 1\ndevice = "cpu"\ntolerance = "1%"')
    assert run("inspect", "mlp_xor", "-o", "r.json").exit_code == 0
    assert run("inspect", "r.json").exit_code == 0
    assert run("check", "mlp_xor").exit_code == 0
    out = run("inspect", "mlp_xor", "--on", "H100").stdout
    assert "·  meta  ·" in out
    assert run("inspect", "mlp_mnist", "--vary", "B=1,2").exit_code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('colums = "layer"', "tool.fwdscope.colums: unknown key; did you mean columns?"),
        ("nonsense = 1", "tool.fwdscope.nonsense: unknown key; there is columns"),
        ("allow-import = true", "tool.fwdscope.allow-import: unknown key"),
        ("columns = 3", "tool.fwdscope.columns: expected names"),
        ('columns = ["layer", "parms"]', "tool.fwdscope.columns: there is no column parms; did you mean params?"),
        ("depth = true", "tool.fwdscope.depth: expected a whole number from 1, found True"),
        ("depth = -1", "tool.fwdscope.depth: expected a whole number from 1, found -1"),
        ("tolerance = 0.01", "tool.fwdscope.tolerance: expected a percentage"),
        ('check = ["a", ""]', "tool.fwdscope.check: expected a path"),
        ("check = []", "tool.fwdscope.check: expected a path"),
        ("device = ", "cannot be read: Invalid value (at line 4"),
    ],
)
def test_what_is_wrong_in_pyproject_is_said_with_file_and_key(text: str, said: str) -> None:
    write_defaults(text)
    assert f"error: pyproject.toml: {said}".replace("toml: cannot", "toml cannot") in refused("inspect", "mlp_xor")
    assert run("inspect", "-h").exit_code == 0


@pytest.mark.parametrize("text", ["tool = 3  # fwdscope", "fwdscope = 1", "[tool.other]\nfwdscope = 1", ""])
def test_a_pyproject_without_defaults_changes_nothing(text: str) -> None:
    Path("pyproject.toml").write_text(text)
    assert run("inspect", "mlp_xor", "--device", "meta").exit_code == 0


def test_a_folder_that_was_deleted_has_no_defaults() -> None:
    code = "import os; os.rmdir(os.getcwd()); from fwdscope.__main__ import main; main()"
    Path("gone").mkdir()
    command = [sys.executable, "-c", code, "layers", "Linear"]
    assert subprocess.run(command, cwd="gone", capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("command", "keys"), [("inspect", "columns, depth, device"), ("check", "check, tolerance")])
def test_help_says_which_defaults_there_are(command: str, keys: str) -> None:
    assert f"[tool.fwdscope]: {keys}" in " ".join(run(command, "-h").stdout.split())
    assert "[tool.fwdscope]" in run("-h").stdout


# --- specs to read and to start from ---------------------------------------------------------------------------------


def test_specs_prints_the_spec_of_a_name_and_lists_those_of_a_word() -> None:
    assert run("specs", "mlp_xor").stdout == shipped_specs()["mlp_xor"].read_text()
    assert run("specs", "mlp_xor.yaml").stdout.startswith("name: mlp-xor\n")
    assert "mlp_mnist" in run("specs", "mlp").stdout
    assert json.loads(run("specs", "mlp_xor", "--json").stdout)["specs"][0]["name"] == "mlp_xor"


def test_no_spec_is_made_from_an_exported_program() -> None:
    Path("net.pt2").write_bytes(b"PK")
    assert "net.pt2 is an exported program" in refused("new", "held", "--from", "net.pt2")
    assert not Path("held.yaml").exists()


@pytest.mark.parametrize("name", ["model", "sub/model.yaml", "model.v2", "it's", "null", "3d"])
@pytest.mark.parametrize("source", [None, "resnet18", "sub/mine.yaml"])
def test_a_new_spec_is_right_and_is_called_as_its_file(name: str, source: str | None) -> None:
    Path("sub").mkdir()
    Path("sub/mine.yaml").write_text(RIGHT)
    result = run("new", name, *(["--from", source] if source else []))
    assert result.exit_code == 0, result.stderr
    file = Path(name if name.endswith(".yaml") else f"{name}.yaml")
    assert file.read_text().startswith("# yaml-language-server: $schema=fwdscope.json\n")
    assert f"next: fwdscope inspect {shlex.quote(str(file))}\n" in result.stderr
    checked = json.loads(run("check", str(file), "--format", "json").stdout)
    assert [(one["state"], one["name"], one["notes"]) for one in checked["specs"]] == [("ok", file.stem, [])]


def test_a_new_spec_replaces_no_file() -> None:
    Path("model.yaml").write_text("mine")
    assert "model.yaml exists" in refused("new", "model")
    Path("link.yaml").symlink_to("nowhere")
    assert "link.yaml exists" in refused("new", "link")
    assert Path("model.yaml").read_text() == "mine"
    assert "cannot be written" in refused("new", "nosuch/model")
    assert "there is no file nosuch" in refused("new", "other", "--from", "nosuch")
    assert "no name for a file" in refused("new", "-")
    assert not Path("other.yaml").exists()


def test_the_schema_line_is_written_once_and_the_schema_asked_for_until_it_is_there() -> None:
    assert "fwdscope schema -o fwdscope.json" in run("new", "a").stderr
    assert run("schema", "-o", "fwdscope.json").exit_code == 0
    result = run("new", "b", "--from", "a.yaml")
    assert "schema" not in result.stderr
    assert Path("b.yaml").read_text().count("$schema") == 1
    assert Path("b.yaml").read_text() == Path("a.yaml").read_text().replace("name: a\n", "name: b\n")


@pytest.mark.parametrize(
    ("command", "pager", "is_paged"),
    [
        ("layers", "tee paged", True),
        ("specs", "tee paged", True),
        ("specs resnet18", "tee paged", True),
        ("devices --all", "tee paged", True),
        ("specs vgg", "tee paged", False),  # fewer lines than the terminal
        ("layers", "", False),
        ("layers", "no_such_pager", False),
    ],
)
def test_a_list_longer_than_the_terminal_is_paged(command: str, pager: str, is_paged: bool) -> None:
    main, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "fwdscope", *command.split()],
        stdin=child, stdout=child, stderr=child, env={**os.environ, "PAGER": pager, "NO_COLOR": "1"},
    )  # fmt: skip
    os.close(child)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal whose program is gone
        while data := os.read(main, 65536):
            shown += data
    assert process.wait() == 0
    text = shown.decode().replace("\r\n", "\n")
    assert Path("paged").exists() == is_paged
    assert not is_paged or Path("paged").read_text() == text
    assert text.rstrip() == run(*command.split(), env={"NO_COLOR": "1"}).stdout.rstrip()


def test_a_list_in_a_pipe_is_not_paged() -> None:
    env = {**os.environ, "PAGER": "tee paged"}
    command = [sys.executable, "-m", "fwdscope", "layers"]
    assert subprocess.run(command, capture_output=True, env=env, check=True).stdout
    assert not Path("paged").exists()
