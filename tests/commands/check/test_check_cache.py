"""The cache of outcomes: used only if nothing changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_check import MLP, data, run, write

from fwdscope import cache


def cached(*arguments: str) -> list[bool]:
    return [spec["cached"] for spec in data(*arguments)["specs"]]


def entries() -> list[Path]:
    return sorted((cache.cache_folder() / "check").glob("*"))


@pytest.mark.core
def test_an_unchanged_file_comes_from_the_cache_with_the_same_outcome() -> None:
    write("a.yaml", MLP.replace("75", "74"))
    first, second = data("a.yaml"), data("a.yaml")
    ((one,), (other,)) = first["specs"], second["specs"]
    assert (one["cached"], other["cached"]) == (False, True)
    assert {**one, "cached": None, "seconds": None} == {**other, "cached": None, "seconds": None}


def test_there_is_one_entry_for_a_file_however_often_it_changes() -> None:
    for params in range(70, 76):
        write("a.yaml", MLP.replace("75", str(params)))
        assert cached("a.yaml") == [False]
    assert len(entries()) == 1


@pytest.mark.parametrize("arguments", [("--dtype", "float64"), ("--limit", "items=2000000"), ("--no-cache",)])
def test_another_way_of_checking_is_another_outcome(arguments: tuple[str, ...]) -> None:
    write("a.yaml")
    assert cached("a.yaml") == [False]
    assert cached("a.yaml", *arguments) == [False]


@pytest.mark.parametrize("what", ["torch", "fwdscope", "its files"])
def test_another_version_is_another_outcome(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.yaml")
    assert (cached("a.yaml"), cached("a.yaml")) == ([False], [True])
    cache._versions.cache_clear()
    if what == "torch":
        monkeypatch.setattr("importlib.metadata.version", lambda name: "9.9")
    elif what == "fwdscope":
        monkeypatch.setattr("fwdscope.version.__version__", "9.9")
    else:
        # A folder with other files.
        monkeypatch.setattr("fwdscope.version.__file__", str(Path(__file__)))
    assert cached("a.yaml") == [False]
    cache._versions.cache_clear()


def test_outcomes_of_devices_or_own_code_are_never_cached() -> None:
    write("timed.yaml", MLP + "  latency: <= 1000 s on cpu\n")
    assert (cached("timed.yaml"), cached("timed.yaml")) == ([False], [False])
    write("plain.yaml")
    assert (cached("plain.yaml", "--allow-import"), cached("plain.yaml", "--allow-import")) == ([False], [False])
    assert entries() == []


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"key": 1}', "\x00"])
def test_a_broken_entry_is_written_anew(text: str) -> None:
    write("a.yaml")
    cached("a.yaml")
    (entry,) = entries()
    entry.write_text(text)
    assert (cached("a.yaml"), cached("a.yaml")) == ([False], [True])


def test_an_entry_with_another_digit_is_written_anew() -> None:
    write("a.yaml")
    cached("a.yaml")
    (entry,) = entries()
    assert '"macs": 72' in entry.read_text()
    entry.write_text(entry.read_text().replace('"macs": 72', '"macs": 73'))
    assert cached("a.yaml") == [False]
    assert '"macs": 72' in entry.read_text()


def test_the_oldest_entries_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        write(f"{name}.yaml", MLP + "# \n" * ord(name))
    run("a.yaml", "b.yaml", "c.yaml")
    ages = dict(zip(entries(), (300, 100, 200), strict=True))
    for entry, age in ages.items():
        os.utime(entry, (age, age))
    monkeypatch.setattr(cache, "MOST_BYTES", 2 * max(entry.stat().st_size for entry in ages))
    cache._make_room.cache_clear()
    write("d.yaml")
    run("d.yaml")
    # One of the three had to go: that of 100.
    assert [entry in entries() for entry in ages] == [True, False, True]
    assert len(entries()) == 3


def test_a_folder_that_cannot_be_written_costs_time_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", "file")
    write("a.yaml")
    result = run("a.yaml")
    assert (result.exit_code, result.stderr) == (0, "")


def test_nothing_is_left_half_written() -> None:
    write("a.yaml")
    write("b.yaml", MLP.replace("ReLU", "Relux"))
    run("a.yaml", "b.yaml")
    assert [path.suffix for path in entries()] == [".json", ".json"]
