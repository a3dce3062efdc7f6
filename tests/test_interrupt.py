"""Ctrl-C, as far as it can be tried in this process; whole commands are in tests/cli."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from fwdscope import interrupt
from fwdscope.interrupt import Stop, end_program, postponed, undone


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The exit codes that the program would have ended with."""
    codes: list[object] = []
    monkeypatch.setattr(interrupt.os, "_exit", codes.append)
    return codes


def test_a_run_is_ended_after_its_time_and_by_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Stop() as late:
        late.arm(0.05)
        with pytest.raises(KeyboardInterrupt):
            time.sleep(20)
    with Stop() as stopped:
        stopped.arm(60)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (late.timed_out, late.interrupted) == (True, False)
    assert (stopped.timed_out, stopped.interrupted) == (False, True)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_that_ends_in_time_is_left_alone() -> None:
    with Stop() as stop:
        stop.arm(0.05)
    time.sleep(0.1)
    assert (stop.timed_out, stop.interrupted) == (False, False)


def test_a_run_in_another_thread_is_not_armed() -> None:
    """Signals reach the main thread alone."""
    stop = Stop()
    thread = threading.Thread(target=stop.arm, args=(0.01,))
    thread.start()
    thread.join()
    time.sleep(0.05)
    assert not stop.timed_out


def test_the_end_undoes_what_was_begun(ended: list[object]) -> None:
    order: list[str] = []
    with undone(lambda: order.append("outer")), undone(lambda: order.append("inner")):
        end_program()
    end_program()
    assert (order, ended) == (["inner", "outer"], [130, 130])


def test_an_end_waits_for_what_must_not_be_cut_off(ended: list[object]) -> None:
    with postponed():
        with postponed():
            end_program()
        assert ended == []
    assert ended == [130]
    with postponed():
        pass
    assert ended == [130]
