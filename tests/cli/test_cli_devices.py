"""``fwdscope devices`` and ``inspect --on``, from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fwdscope.report import Report

# Says on the last line of stderr whether torch was loaded.
PROBE = """
import sys
from fwdscope.cli import run
sys.argv = ["fwdscope", *sys.argv[1:]]
if sys.argv[1] == "devices" and "--all" not in sys.argv:
    from fwdscope.device import peaks
    for one in (peaks.product_rate, peaks.convolution_rate, peaks.copy_rate):  # enough to see that they are measured
        one.__defaults__ = tuple(0.02 if value == peaks.BUDGET else value for value in one.__defaults__)
code = run()
print("torch" in sys.modules, file=sys.stderr)
sys.exit(code)
"""


def run(*arguments: str, cache: Path | None = None) -> tuple[int, str, list[str]]:
    """Exit code, stdout, and the lines of stderr; the last one says whether torch was loaded."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", **({"XDG_CACHE_HOME": str(cache)} if cache else {})}
    command = [sys.executable, "-c", PROBE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the cache folder is named by XDG_CACHE_HOME")
def test_the_devices_here_are_listed_measured_once_and_remembered(tmp_path: Path) -> None:
    code, first, _ = run("devices", "--json", cache=tmp_path)
    assert code == 0
    cpu = json.loads(first)["devices"][0]
    assert cpu["device"] == "cpu"
    assert {roof["dtype"] for roof in cpu["peaks"]} == {"float32", "bfloat16", "float16"}
    assert cpu["peaks"][0]["flops"] > 1e6
    remembered = (tmp_path / "fwdscope" / "peaks.json").read_bytes()
    code, again, _ = run("devices", "--json", cache=tmp_path)
    assert json.loads(again)["devices"][0]["peaks"] == cpu["peaks"]
    assert (tmp_path / "fwdscope" / "peaks.json").read_bytes() == remembered
    run("devices", "--measure", cache=tmp_path)
    assert (tmp_path / "fwdscope" / "peaks.json").read_bytes() != remembered


def test_published_figures_are_listed_without_torch() -> None:
    code, out, errors = run("devices", "--all")
    assert (code, errors) == (0, ["False"])
    assert "H100 SXM 80GB" in out
    assert max(map(len, out.splitlines())) <= 100
    code, out, errors = run("devices", "--all", "--json")
    assert (code, errors) == (0, ["False"])
    assert len(json.loads(out)["accelerators"]) >= 75
    code, out, errors = run("devices", "--all", "--links")
    assert (code, errors) == (0, ["False"])
    assert "NVLink 4" in out


def test_published_figures_cannot_be_measured() -> None:
    code, out, errors = run("devices", "--all", "--measure")
    assert (code, out) == (2, "")
    assert errors[0].startswith("error: --all lists published figures")


def test_an_estimate_for_a_device_that_is_not_here() -> None:
    code, out, _ = run("inspect", "gpt2", "--device", "meta", "--on", "H100", "--dtype", "bf16")
    assert code == 0
    assert "on H100 SXM 80GB in bfloat16: fused at least " in out
    assert "by published peaks" in out
    assert "fits: needs " in out


def test_an_estimate_is_made_of_a_saved_report_without_torch_and_saved_again(tmp_path: Path) -> None:
    saved, again = tmp_path / "net.json", tmp_path / "again.json"
    assert run("inspect", "mlp_mnist", "--device", "meta", "-o", str(saved))[0] == 0
    code, out, errors = run("inspect", str(saved), "--on", "T4,H100")
    assert (code, errors) == (0, ["False"])
    assert "estimates in float32 from published peaks" in out
    assert run("inspect", str(saved), "--on", "all", "-o", str(again))[0] == 0
    found = Report.loads(again.read_text(encoding="utf-8")).estimates
    times = [one.seconds for one in found if one.seconds is not None]
    assert times == sorted(times), "all devices come by time"
    assert len(found) >= 75
    # What was saved with it is shown.
    assert "H100 SXM 80GB" in run("inspect", str(again))[1]


def test_an_unknown_device_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    code, out, errors = run("inspect", "mlp_mnist", "--on", "H10")
    assert (code, out) == (2, "")
    assert errors[0] == (
        "error: --on H10: no published figures for H10: "
        "did you mean H100 SXM 80GB or H100 PCIe 80GB or H100 NVL (per GPU)?"
    )
    assert errors[-1] == "False", "what is wrong with the options is said before anything is traced"
