"""``fwdscope view``: the page of what was saved, opened in the browser. The pages themselves: ``tests/render``."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import reports_of_runs
import sample_reports
from typer.testing import CliRunner, Result

from fwdscope.cli import app
from fwdscope.commands.check.outcome import CheckRun, Outcome
from fwdscope.render import checks
from fwdscope.report.sweep import Sweep, SweepAxis, SweepPoint


def view(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["view", *arguments])


@pytest.fixture(autouse=True)
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that a browser was asked to open."""
    found: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("webbrowser.open", lambda address: found.append(address) or True)
    return found


def kind(page: str) -> str:
    found = re.search(r'id="page-words">([A-Za-z0-9+/=]*)</script>', page)
    assert found is not None
    words: dict[str, str] = json.loads(zlib.decompress(base64.b64decode(found[1])))
    return words["kind"]


def texts() -> dict[str, str]:
    report = sample_reports.mlp()
    sweep = Sweep((SweepAxis("B", ("8",)),), (SweepPoint((("B", "8"),), reports_of_runs.report([0.1] * 5)),))
    return {
        "report": report.dumps(),
        "sweep": sweep.dumps(),
        "check": checks.render(CheckRun((Outcome("a.yaml", "a", "ok"),), 0.5), "json"),
        # What the page of a comparison lets one download.
        "diff": json.dumps({"before": report.to_json(), "after": sample_reports.gpt2().to_json()}),
    }


@pytest.mark.parametrize("name", ["report", "sweep", "check", "diff"])
def test_what_was_saved_opens_as_its_kind_of_page(name: str, tmp_path: Path, opened: list[str]) -> None:
    (tmp_path / "saved.json").write_text(texts()[name], encoding="utf-8")
    result = view("saved.json", "-o", "page.html")
    assert (result.exit_code, result.stdout) == (0, "")
    assert kind((tmp_path / "page.html").read_text(encoding="utf-8")) == name
    assert opened == [(tmp_path / "page.html").as_uri()]


def test_no_open_prints_the_path_alone(tmp_path: Path, opened: list[str]) -> None:
    (tmp_path / "saved.json").write_text(texts()["report"], encoding="utf-8")
    result = view("saved.json", "--no-open")
    assert (result.exit_code, opened) == (0, [])
    assert kind(Path(result.stdout.strip()).read_text(encoding="utf-8")) == "report"


def test_a_spec_is_inspected_first(tmp_path: Path) -> None:
    assert view("mlp_xor", "--device", "meta", "-o", "page.html").exit_code == 0
    assert "mlp-xor" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_where_there_is_no_browser_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    (tmp_path / "saved.json").write_text(texts()["report"], encoding="utf-8")
    result = view("saved.json", "-o", "page.html")
    assert result.exit_code == 0
    assert "no browser was found here" in result.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "this is not JSON"),
        ("[]", "this is no fwdscope report"),
        ('{"version": 1, "changes": []}', "fwdscope diff BEFORE AFTER -o page.html draws both"),
        ('{"version": 1, "specs": 3}', "this check has no list of specs"),
        ('{"version": 9, "specs": []}', "this check has version 9; this fwdscope reads version 1"),
        ('{"version": 1, "sweep": [], "vary": 3}', "this sweep does not say what was varied"),
        ('{"version": 1, "vary": {"B": ["1"]}, "sweep": [{"values": {"T": "1"}}]}', "with other names than those"),
        ('{"before": 3, "after": 4}', "this is no fwdscope report"),
    ],
)
def test_other_files_are_refused_with_what_they_are(text: str, says: str, tmp_path: Path, opened: list[str]) -> None:
    (tmp_path / "saved.json").write_text(text)
    result = view("saved.json")
    assert (result.exit_code, result.stdout, opened) == (2, "", [])
    assert result.stderr.startswith("error: saved.json: ")
    assert says in result.stderr


def test_a_device_is_for_what_runs(tmp_path: Path) -> None:
    (tmp_path / "saved.json").write_text(texts()["report"], encoding="utf-8")
    result = view("saved.json", "--device", "cpu")
    assert result.exit_code == 2
    assert "saved.json is a saved file; --device is for what can be run" in result.stderr
    assert view("nothing.json").stderr == "error: nothing.json cannot be read: No such file or directory\n"


def test_a_saved_file_is_viewed_without_torch(tmp_path: Path) -> None:
    for name, text in texts().items():
        (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
    code = (
        "import sys; from fwdscope.cli import app\n"
        "for name in sys.argv[1:]: app(['view', f'{name}.json', '--no-open'], standalone_mode=False)\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *texts()], capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 4), done.stderr
