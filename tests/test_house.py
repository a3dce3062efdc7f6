"""The house in order: who may import whom, what never loads torch, lint, types, and what the README promises."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from tests.commands.export.test_export import CHOSEN, text_of

PACKAGE = ROOT / "fwdscope"
FILES = sorted(PACKAGE.rglob("*.py"))

# What every package may import; these import one another at most.
FOUNDATIONS = {
    "cache", "default_dtype", "disk", "display", "errors", "extensions", "garbage_collection", "interrupt", "limits",
    "printable", "storage", "units", "version",
}  # fmt: skip
# The packages, and which others each may import at module level. Imports point one way: cli → render → (findings,
# check, diff) → report, and model → layers, language. `report` and `language` know nothing of what is built from them.
MAY_IMPORT = {
    "": set(),
    "__main__": {"cli"},
    **{name: set() for name in FOUNDATIONS},
    "arithmetic": {"formula", "layers", "ops", "report"},
    "formula": set(),
    "polynomial": set(),
    "settings": set(),
    "torch_private": set(),
    "report": set(),
    "guide": set(),
    "layers": {"formula"},
    "functions": {"layers"},
    "language": {"functions", "layers", "settings"},
    "ops": {"formula", "torch_private"},
    "model": {"formula", "functions", "language", "layers", "ops", "report", "torch_private"},
    "trace": {"arithmetic", "formula", "language", "layers", "model", "ops", "report", "settings"} | {"torch_private"},
    "device": {"report"},
    "targets": {"functions", "language", "report"},
    "timing": {"language", "layers", "model", "report", "trace"},
    "values": {"model", "ops", "report", "torch_private", "trace"},
    "run": {"device", "language", "layers", "mesh", "model", "ops", "report", "settings", "targets", "timing", "trace"}
    | {"torch_private", "values"},
    "mesh": {"language", "model", "ops", "report", "settings", "torch_private", "trace"},
    "inspection": {"language", "report", "settings"},
    "kept": {"language", "report", "settings", "targets"},
    "pyproject": {"language"},
    "findings": {"report"},
    "commands.annotate": {"inspection", "language", "report"},
    "commands.bench": {"device", "language", "mesh", "model", "report", "run", "settings", "targets", "timing", "trace"}
    | {"inspection", "torch_private"},
    "commands.check": {"commands.diff", "language", "report", "targets"},
    "commands.diff": {"report"},
    "commands.export": {"commands.annotate", "functions", "language", "layers", "model", "ops", "run"},
    "commands.explain": {"arithmetic", "formula", "functions", "language", "layers", "report", "trace"},
    "commands.scale": {"language", "polynomial", "report"},
    "render": {
        "commands.bench",
        "commands.check",
        "commands.diff",
        "commands.explain",
        "commands.scale",
        "findings",
        "formula",
        "functions",
    }
    | {"guide", "language", "layers", "polynomial", "report"},
    "editor": {"functions", "language", "layers", "pyproject", "render", "report", "settings"},
    "cli": {"kept", "language", "pyproject", "render", "settings", "targets"},
    "pytest_plugin": set(),
    "torchinfo": set(),
}
# Where torch may stand at module level. Everywhere else it is imported by the function that needs it.
MAY_LOAD_TORCH = {
    "commands.bench",
    "commands.export",
    "device",
    "mesh",
    "model",
    "ops",
    "run",
    "targets",
    "timing",
    "torch_private",
    "trace",
    "values",
}


def package(parts: tuple[str, ...]) -> str:
    """The package that a module is in; each command is one of its own."""
    if (
        not parts
        or parts == ("__init__",)
        or not ((PACKAGE / parts[0]).exists() or (PACKAGE / f"{parts[0]}.py").exists())
    ):
        return ""
    return ".".join(parts[:2]) if parts[0] == "commands" and len(parts) > 1 else parts[0]


def room(file: Path) -> str:
    return package(file.relative_to(PACKAGE).with_suffix("").parts)


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


@pytest.mark.core
def test_a_package_imports_only_the_packages_below_it() -> None:
    upwards = []
    for file in FILES:
        here = room(file)
        for name in imports(ast.parse(file.read_text())):
            if name.startswith(".") or not name.startswith("fwdscope"):
                continue  # a relative import stays in its own package
            there = package(tuple(name.split(".")[1:]))
            if there != here and there not in MAY_IMPORT[here] | FOUNDATIONS:
                upwards.append(f"{file.relative_to(PACKAGE)} imports {name}")
    assert not upwards


@pytest.mark.core
def test_torch_is_imported_at_module_level_only_where_networks_are_built() -> None:
    heavy = []
    for file in FILES:
        if room(file) in MAY_LOAD_TORCH or (file.name.startswith("_") and file.name != "__init__.py"):
            continue
        names = [name for name in imports(ast.parse(file.read_text())) if re.match(r"torch(\.|$)", name)]
        heavy += [f"{file.relative_to(PACKAGE)} imports {name}" for name in names]
    assert not heavy


def test_no_class_name_stands_in_two_files() -> None:
    found: dict[str, list[str]] = {}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(str(file.relative_to(PACKAGE)))
    assert {name: files for name, files in found.items() if len(set(files)) > 1} == {}


def module_name(file: Path) -> str:
    """The dotted name of a file below the package: ``model.run``; a package's ``__init__`` has the package's name."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_files(file: Path, names: set[str]) -> set[str]:
    """The files of the package that a file names in an import: at its top, in a function or for type checking."""
    found: set[str] = set()
    folder = file.relative_to(PACKAGE).parent.parts
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = ["fwdscope", *folder[: len(folder) - node.level + 1]] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner.removeprefix("fwdscope.") in names else base)
    own = {name.removeprefix("fwdscope").removeprefix(".") for name in found if name.split(".")[0] == "fwdscope"}
    return (own & names) - {module_name(file)}


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The sets of nodes of a graph that reach one another."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen, todo = set(), [start]
        while todo:
            new = graph[todo.pop()] - seen
            seen |= new
            todo += new
        reached[start] = seen
    return {
        frozenset(other for other in reached[node] if node in reached[other]) for node in graph if node in reached[node]
    }


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == {frozenset({"b", "c"})}


def test_no_files_import_one_another_in_a_circle() -> None:
    names = {module_name(file) for file in FILES}
    found = circles({module_name(file): imported_files(file, names) for file in FILES})
    assert not found, sorted(map(sorted, found))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.core
@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_has_nothing_to_say(command: tuple[str, ...]) -> None:
    result = run(sys.executable, "-m", "ruff", *command, "fwdscope", "tests")
    assert result.returncode == 0, result.stdout + result.stderr


def test_types_hold(tmp_path: Path) -> None:
    """Of the package and of the modules that it writes, in one run: torch's own types take half of its time."""
    written = [tmp_path / f"{name}.py" for name in sorted(CHOSEN)]
    for path in written:
        path.write_text(text_of(path.stem))
    result = run(sys.executable, "-m", "mypy", "fwdscope", *map(str, written))
    assert result.returncode == 0, result.stdout + result.stderr


# Files of the package itself and of the system, whose names no user gives.
OPENS_FILES = {"disk.py", "cli/boundary.py", "cli/specs.py", "device/host.py", "guide/__init__.py"}


def test_files_are_opened_in_one_place() -> None:
    opening = r"\bopen\(|\.(read|write)_(text|bytes)\("
    for path in sorted((ROOT / "fwdscope").rglob("*.py")):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if re.search(opening, line)]
        own = r"disk\.|devnull|resources|webbrowser|joinpath|archive\.open|BytesIO"
        others = [one for one in lines if not re.search(own, one)]
        assert not others or str(path.relative_to(ROOT / "fwdscope")) in OPENS_FILES, (path, others)


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
