"""What comes at once: help, the vocabulary, the schema and every spec error never load torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import SPECS

# Runs the command line in this process and says on the last line of stderr whether torch was loaded.
PROBE = """
import sys
from fwdscope.cli import run
sys.argv = ["fwdscope", *sys.argv[1:]]
code = run()
print("torch" in sys.modules, file=sys.stderr)
sys.exit(code)
"""


def probe(*arguments: str) -> tuple[int, str, bool]:
    """Exit code, stdout, and whether torch was loaded."""
    result = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False)
    return result.returncode, result.stdout, result.stderr.splitlines()[-1] == "True"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--help",), marks=pytest.mark.core),
        ("--version",),
        ("inspect", "--help"),
        ("layers",),
        ("layers", "Conv2d"),
        ("specs",),
        ("specs", "resnet18"),
        ("schema",),
        ("inspect", "-h"),
    ],
    ids=" ".join,
)
def test_help_the_vocabulary_and_the_schema_do_not_load_torch(arguments: tuple[str, ...]) -> None:
    code, out, loaded = probe(*arguments)
    assert (code, loaded) == (0, False)
    assert out


@pytest.mark.parametrize("arguments", [("inspect",), ("explain", "resnet18"), ("inspect", "mlp_xor", "-o", "r.pdf")])
def test_what_is_missing_or_refused_is_said_without_torch(arguments: tuple[str, ...]) -> None:
    code, out, loaded = probe(*arguments)
    assert (code, out, loaded) == (2, "", False)


def test_a_new_spec_is_written_without_torch(tmp_path: Path) -> None:
    assert probe("new", str(tmp_path / "model"), "--from", "resnet18") == (0, "", False)


@pytest.mark.parametrize(
    "text",
    [
        "inputs: {x: rand(2, 3)}\nlayers:\n  - Dense(8)\n",
        "inputs: {x: 'rand(2, 3)'}\nlayers:\n  - Linear(8, filters=3)\n  - relu(x, axis=1)\n",
        "inputs:\n  x: rand(2, 3)\nlayers:\n  - [a, b] = Linear(8)\n",
        "layers: 3\n",
        "",
    ],
    ids=["unknown layer", "unknown setting", "yaml", "structure", "empty"],
)
def test_a_spec_error_does_not_load_torch(tmp_path: Path, text: str) -> None:
    spec = tmp_path / "wrong.yaml"
    spec.write_text(text)
    code, out, loaded = probe("inspect", str(spec))
    assert (code, out, loaded) == (2, "", False)


def test_a_saved_report_is_shown_without_torch(tmp_path: Path) -> None:
    saved = tmp_path / "xor.json"
    assert probe("inspect", "mlp_xor", "-o", str(saved)) == (0, "", True)
    code, out, loaded = probe("inspect", str(saved))
    assert (code, loaded) == (0, False)
    assert "mlp" in out
    page = tmp_path / "xor.html"
    assert probe("inspect", str(saved), "-o", str(page)) == (0, "", False)
    assert "mlp" in page.read_text(encoding="utf-8")


def test_the_probe_sees_torch_where_it_is_loaded() -> None:
    """Without this, the tests above could not fail."""
    code, _, loaded = probe("inspect", "perceptron")
    assert (code, loaded) == (0, True)


def test_the_specs_that_ship_keep_their_promises_and_load_neither_dynamo_nor_sympy() -> None:
    """Either would cost as much as torch itself; a rule that states its result saves torch's slow references."""
    code = (
        "import sys; from fwdscope.cli import run\n"
        "sys.argv = ['fwdscope', 'check', *sys.argv[1:], '--no-cache', '--format', 'json']\n"
        "run()\n"
        "print([one for one in ('torch._dynamo', 'sympy') if one in sys.modules], file=sys.stderr)\n"
    )
    every = sorted(map(str, SPECS.glob("*.yaml")))
    chosen = every if os.environ.get("FWDSCOPE_EVERY_SPEC") else every[::2]
    result = subprocess.run([sys.executable, "-c", code, *chosen], capture_output=True, text=True, check=False)
    assert result.stderr == "[]\n"
    found = json.loads(result.stdout)
    assert found["exit_code"] == 0
    assert len(found["specs"]) == len(chosen)
    for spec in found["specs"]:
        assert (spec["state"], spec["notes"]) == ("ok", []), spec["file"]
        # Each promises and expects something, and all of it was held.
        assert {point["state"] for point in spec["points"]} == {"met"}, spec["file"]
    seen = subprocess.run(
        [sys.executable, "-c", "import sys, torch; torch.empty(2, device='meta').exp(); print('sympy' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout == "True\n", "without our rules torch loads it; if it no longer does, this test proves nothing"
