"""Worker processes that die or hang: their specs crash, and the results of the others stand."""

from __future__ import annotations

import os
import signal
import time

import pytest

from fwdscope.commands.check import run, workers
from fwdscope.commands.check.one import CheckResult, CheckSettings
from fwdscope.commands.check.outcome import Outcome
from fwdscope.commands.check.workers import check_in_workers
from fwdscope.language.problems import Source


def misbehave(source: Source) -> CheckResult:
    """What a worker does with a spec: its text says what."""
    what, _, number = source.text.partition(" ")
    if what == "signal":
        os.kill(os.getpid(), int(number))
    elif what == "exit":
        os._exit(int(number))
    elif what == "hang":
        time.sleep(1000)
    return CheckResult(Outcome(source.name, str(os.getpid()), "ok"))


def outcomes(*texts: str, jobs: int = 2, timeout: float = 60) -> list[Outcome]:
    sources = [Source(f"{number}.yaml", text) for number, text in enumerate(texts)]
    return [result.outcome for result in check_in_workers(sources, misbehave, jobs, timeout)]


def test_a_worker_that_dies_fails_its_spec_alone() -> None:
    found = outcomes("ok", f"signal {signal.SIGKILL:d}", "ok", f"signal {signal.SIGSEGV:d}", "exit 7", "ok")
    assert [one.file for one in found] == [f"{number}.yaml" for number in range(6)]
    assert [one.state for one in found] == ["ok", "crashed", "ok", "crashed", "crashed", "ok"]
    assert [one.reason for one in found if one.reason] == [
        "the process that checked it was ended by SIGKILL, as the system does when memory runs out",
        "the process that checked it was ended by SIGSEGV",
        "the process that checked it ended with code 7",
    ]


def test_a_spec_that_hangs_is_ended_after_its_time() -> None:
    begun = time.monotonic()
    first, hung, last = outcomes("ok", "hang", "ok", timeout=4)
    assert time.monotonic() - begun < 60
    assert (first.state, hung.state, last.state) == ("ok", "crashed", "ok")
    assert hung.reason == "it took more than 4 s, and was ended; --timeout gives it longer"
    assert not workers.multiprocessing.active_children()


def test_one_worker_checks_one_spec_after_the_other() -> None:
    assert len({one.name for one in outcomes("ok", "ok", "ok", jobs=1)}) == 1


def test_memory_that_runs_out_is_no_bug_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, words in (
        (MemoryError(), "memory ran out: MemoryError"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory ran out: RuntimeError: Default"),
    ):

        def full(*_: object, error: Exception = error) -> CheckResult:
            raise error

        monkeypatch.setattr(run, "check_source", full)
        outcome = run.guarded(Source("a.yaml", ""), CheckSettings()).outcome
        assert (outcome.state, (outcome.reason or "").startswith(words)) == ("crashed", True)
