"""The house in order: who may import whom, what never loads torch, lint, types, and what the README promises."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fwdscope"
FILES = sorted(PACKAGE.rglob("*.py"))

# The rooms, and which others each may import at module level. Imports point one way: cli → render → (findings,
# expectations) →
# report, and model → layers, spec. `layers` and `spec` know nothing of what is built from them.
MAY_IMPORT = {
    "__init__": set(),
    "__main__": set(),
    "cli": {
        "",
        "checking",
        "explain",
        "feeds",
        "inspection",
        "limits",
        "pictures",
        "render",
        "report",
        "run_settings",
        "spec",
        "units",
        "bench_settings",
        "speedup",
        "sweep",
    },
    "inspection": {"", "report", "run_settings"},
    "checking": {"", "inspection", "report", "expectations", "baselines", "limits", "spec", "units"},
    "baselines": {"report", "units"},
    "comparison": {"report", "units"},
    "annotation": {"inspection", "report", "spec", "units"},
    "benchmark": {
        "bench_settings",
        "device",
        "feeds",
        "inspection",
        "model",
        "report",
        "run",
        "run_settings",
        "spec",
        "timing",
        "trace",
    },
    "bench_settings": set(),
    "speedup": {"report"},
    "sweep": {"report"},
    "timing": {"layers", "model", "report", "spec", "trace"},
    "run": {
        "device",
        "feeds",
        "layers",
        "limits",
        "model",
        "ops",
        "pictures",
        "report",
        "roofline",
        "run_settings",
        "spec",
        "timing",
        "trace",
        "units",
    },
    "run_settings": set(),
    "device": {"report"},
    "roofline": {"report"},
    "feeds": {"layers"},
    "target": {"feeds"},
    "ops": set(),
    "explain": {"layers", "ops", "report", "spec", "trace"},
    "expectations": {"report", "spec"},
    "findings": {"report", "roofline", "units"},
    "render": {
        "",
        "checking",
        "comparison",
        "explain",
        "findings",
        "layers",
        "pictures",
        "report",
        "roofline",
        "spec",
        "units",
        "speedup",
        "sweep",
    },
    "pictures": set(),
    "report": set(),
    "units": set(),
    "layers": {"limits"},
    "limits": set(),
    "spec": {"layers", "limits", "units"},
    "model": {"layers", "limits", "ops", "report", "spec"},
    "trace": {"layers", "model", "ops", "report", "spec"},
}
# Where torch may stand at module level. Everywhere else it is imported by the function that needs it.
MAY_LOAD_TORCH = {"benchmark", "device", "model", "ops", "run", "target", "timing", "trace"}


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.Module) -> list[str]:
    """Modules imported when a file is loaded: not those inside functions, nor those for type checking alone."""
    found: list[str] = []
    todo: list[ast.stmt] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1
            found += [
                f"{node.module}.{alias.name}" if node.level == 0 else f".{node.module or ''}" for alias in node.names
            ]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test):
            todo += [*node.body, *node.orelse]
        elif isinstance(node, ast.Try | ast.ClassDef):
            todo += node.body
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_room_imports_only_the_rooms_below_it(file: Path) -> None:
    here = room(file)
    for name in imports(ast.parse(file.read_text())):
        if name.startswith(".") or not name.startswith("fwdscope"):
            continue  # a relative import stays in its own room
        rest = name.split(".")[1:]
        there = rest[0] if rest and ((PACKAGE / rest[0]).is_dir() or (PACKAGE / f"{rest[0]}.py").is_file()) else ""
        assert there == here or there in MAY_IMPORT[here], f"{file.name} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_torch_is_imported_at_module_level_only_where_networks_are_built(file: Path) -> None:
    heavy = [name for name in imports(ast.parse(file.read_text())) if re.match(r"torch(\.|$)", name)]
    private = file.name.startswith("_") and file.name != "__init__.py"
    assert not heavy or room(file) in MAY_LOAD_TORCH or private, f"{file.name} imports {heavy}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_stays_readable(file: Path) -> None:
    text = file.read_text()
    assert text.count("\n") <= 500, "split it"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is longer than a screen"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_has_nothing_to_say(command: tuple[str, ...]) -> None:
    result = run(sys.executable, "-m", "ruff", *command, "fwdscope", "tests")
    assert result.returncode == 0, result.stdout + result.stderr


def test_types_hold() -> None:
    result = run(sys.executable, "-m", "mypy")
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_readme_gives_the_commands_that_are_run() -> None:
    commands = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    script = (ROOT / ".ci" / "run").read_text().strip().splitlines()
    assert script[-1] + "\n" in commands


def test_the_top_level_holds_what_the_plan_says() -> None:
    listed = run("git", "ls-files")
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in listed.stdout.splitlines()}
    plan = {"pyproject.toml", "fwdscope", "specs", "tests", "README.md", "CHANGELOG.md", "LICENSE"}
    assert {name for name in top if not name.startswith(".")} == plan
