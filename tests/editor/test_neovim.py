"""Neovim, without a screen, with the language server: open, type, see problem and hints, hover, apply a fix, rename."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

pytest.importorskip("pygls")
NVIM = shutil.which("nvim")
if NVIM is None:
    pytest.skip("Neovim is not installed", allow_module_level=True)

SPEC = """\
vars: {d: 16}
inputs:
  x: randn(2, 8)
layers:
  - hidden = Linear(d)
  - fc = Linear(3)
"""


def test_neovim_shows_problems_hints_and_pages_and_applies_fixes(tmp_path: Path) -> None:
    file, seen = tmp_path / "net.yaml", tmp_path / "seen.json"
    file.write_text(SPEC)
    (init,) = re.findall(r"```lua\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert '{ "fwdscope", "lsp" }' in init
    init = init.replace('"fwdscope", "lsp"', f'"{sys.executable}", "-m", "fwdscope", "lsp"')
    environment = {**os.environ, "SPEC": str(file), "SEEN": str(seen), "INIT": init, "HOME": str(tmp_path)}
    environment |= {f"XDG_{one}_HOME": str(tmp_path / one) for one in ("CONFIG", "DATA", "STATE", "CACHE")}
    script = Path(__file__).with_name("neovim.lua")
    command = [NVIM or "nvim", "--clean", "--headless", "-c", f"luafile {script}"]
    subprocess.run(command, env=environment, timeout=100, check=True, cwd=tmp_path, capture_output=True)
    found = json.loads(seen.read_text())
    assert "error" not in found, found
    assert found["hints"] == [[5, "(2, d)"], [6, "(2, 3)"]]
    assert found["typed"].endswith("  - hidden = Linear(d)\n  - fc = Linaer(10)")
    ((line, code, message),) = found["problems"]
    assert (line, code) == (6, "name")
    assert message.startswith("unknown layer or block Linaer")
    assert found["left"] == [[5, "(2, d)"]]
    assert found["again"] == [[5, "(2, d)"], [6, "(2, 10)"]]
    # 16 · 8 weights and 16 biases.
    assert "144 parameters" in found["page"]
    assert found["renamed"].startswith("vars: {width: 16}\n")
    assert "Linear(width)" in found["renamed"]
