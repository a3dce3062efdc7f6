"""Real gloo ranks: what the fake world predicts is what they count, and they end together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT
from real_ranks import Case, cases

import fwdscope
from fwdscope.render import Options, render
from fwdscope.report import Report

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the ranks are forked")
_CASES = list(cases())


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What 2 and then 4 ranks found, forked once for all tests of all workers."""
    base = tmp_path_factory.getbasetemp()
    found = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "real-ranks"
    try:
        found.mkdir()
    except FileExistsError:
        until = time.monotonic() + 120
        while not (found / "code").exists() and time.monotonic() < until:
            time.sleep(0.1)
    else:
        program = ROOT / "tests" / "support" / "real_ranks.py"
        done = subprocess.run([sys.executable, str(program), str(found)], capture_output=True, text=True, check=False)
        (found / "err").write_text(done.stderr[-4000:])
        (found / "code").write_text(str(done.returncode))
    assert (found / "code").read_text() == "0", (found / "err").read_text()
    return found


@pytest.fixture(scope="session")
def found(folder: Path) -> Any:
    return json.loads((folder / "found.json").read_text())


def _name(case: Case) -> str:
    return (
        f"{case.spec}-{case.mesh}{'-sequence' * (': sequence' in case.shard)}{'-experts' * (': expert' in case.shard)}"
    )


@pytest.mark.parametrize("number", range(len(_CASES)), ids=list(map(_name, _CASES)))
def test_real_ranks_hold_compute_and_send_what_is_predicted(found: Any, number: int) -> None:
    case, one = _CASES[number], found["cases"][number]
    first = one["predicted"]["first"]
    alike = one["ranks"][first:][: len(one["ranks"]) // (2 if "pp" in case.mesh else 1)]
    for rank in alike:
        # torch's flop_counter, and the tensors of the collectives that this process took part in.
        assert rank["macs"] == one["predicted"]["macs"]
        assert rank["traffic"] == one["predicted"]["traffic"]
        if "pp" not in case.mesh:
            # Where experts are spread over ep alone, DistributedDataParallel reduces the others' gradients.
            is_reduced = case.mesh == "ep=2" or "ep" not in case.mesh.split("=")[0]
            reduced = [] if is_reduced else [["all-reduce", "ep"]]
            assert rank["backward"] == [it for it in one["predicted"]["backward"] if it[:2] not in reduced]
    assert all(rank["far"] < 1e-5 for rank in one["ranks"])
    if case.ranks == 4 and "pp" not in case.mesh:  # dp=2,fsdp=2 has four batches, fsdp=2,tp=2 two and tp=4 one
        number = {"dp=2,fsdp=2": 4, "tp=4": 1}.get(case.mesh, 2)
        assert len({rank["batch"] for rank in one["ranks"]}) == number
    # The heaviest rank is the first: what does not divide is rounded up there.
    assert alike[0]["params"] == one["predicted"]["params"]
    assert len(one["ranks"]) == case.ranks


def test_llama_over_four_ranks_is_a_closed_form(found: Any) -> None:
    # 2 blocks of d = 16, d_ff = 32, 4 heads of 4 over tp=4: q, k, v, o of 16 · 16 and three of 16 · 32 in quarters, two
    # norms of 16; a table of 64 · 16, a norm, and a quarter of the head's 64 · 16.
    number = next(n for n, case in enumerate(_CASES) if case.mesh == "tp=4")
    block = (4 * 16 * 16 + 3 * 16 * 32) // 4 + 2 * 16
    rank = found["cases"][number]["ranks"][0]
    assert rank["params"] == 2 * block + 64 * 16 + 16 + 64 * 16 // 4
    # Two all-reduces a block of 8 · 16 float32.
    assert rank["traffic"] == [["all-reduce", "tp", 4, 4 * 8 * 16 * 4]]


def test_experts_get_the_positions_of_all_ranks(found: Any) -> None:
    number = next(n for n, case in enumerate(_CASES) if case.mesh == "ep=2")
    ranks = found["cases"][number]["ranks"]
    # 2 blocks of d = 16, d_ff = 32: q, k, v, o of 16 · 16, a router of 4 · 16, two norms, and 2 of 4 experts of
    # 3 · 16 · 32; a table and a head of 64 · 16, and a norm.
    block = 4 * 16 * 16 + 4 * 16 + 2 * 16 + 2 * 3 * 16 * 32
    # Of 32 positions, 2 choices of 16 float32 go and come back. The scores are u, -u, v, -v: one choice is on each
    # rank, so that what comes is as much. Before these, how many go to each of 4 experts, as int64.
    sent = 2 * 32 * 16 * 4
    for rank in ranks:
        assert rank["params"] == 2 * block + 2 * 64 * 16 + 16
        assert rank["traffic"] == [["all-to-all", "ep", 2 * 3, 2 * (2 * sent + 4 * 8)]]
        assert rank["backward"][1] == ["all-to-all", "ep", 2 * 2, 2 * 2 * sent]
    # Where the scores are equal, both choices of all 64 positions are on one rank, which sends back twice as much.
    assert sorted(rank["skewed"] for rank in ranks) == [2 * (sent + 4 * 8), 2 * (3 * sent + 4 * 8)]


def test_a_benchmark_on_ranks_has_the_times_of_each_and_the_traffic(found: Any, folder: Path) -> None:
    ended = found["ended"]["bench"]
    assert ended["codes"] == [0, 0], ended["err"]
    assert ended["out"] == ["", ""]  # it went to the file
    report = Report.loads((folder / "bench.json").read_text())
    assert report.run is not None
    assert report.mesh is not None
    first, second = report.run.ranks
    assert (first.rank, second.rank, report.mesh.text) == (0, 1, "tp=2")
    # Three repeats on each, of each of which the whole is the slowest.
    assert report.run.latency is not None
    assert report.run.latency.times == tuple(map(max, first.times, second.times))
    for rank in (first, second):
        # One all-reduce of 4 · 10 float32.
        assert [(one.kind, one.dimension, one.calls, one.nbytes) for one in rank.traffic] == [
            ("all-reduce", "tp", 1, 160)
        ]
        assert rank.collective_seconds > 0
        assert 0 <= rank.hidden_seconds <= rank.collective_seconds
        # Half of (20 + 1) · 256 and of 256 · 10, and 10 biases.
        assert rank.params == (21 * 256 + 256 * 10) // 2 + 10


def test_traffic_that_a_router_spreads_is_compared_on_average(folder: Path) -> None:
    report = Report.loads((folder / "bench.json").read_text())
    assert report.run is not None
    # 160 bytes were predicted of each rank.
    for counted, mark in ((120, "as predicted on average"), (130, "differs")):
        ranks = [
            replace(rank, traffic=(replace(rank.traffic[0], nbytes=nbytes),))
            for rank, nbytes in zip(report.run.ranks, (counted, 200), strict=True)
        ]
        shown = render(replace(report, run=replace(report.run, ranks=tuple(ranks))), "table", Options(width=100))
        line = shown.partition("collectives of a rank in a forward")[2].splitlines()[3]
        assert line.split()[:8] == ["tp", "all-reduce", "1", "160", "B", "1", "200", "B"]
        assert line.endswith(mark)


def test_statistics_are_of_the_shards_of_all_ranks(found: Any, folder: Path) -> None:
    ended = found["ended"]["inspect"]
    assert ended["codes"] == [0, 0], ended["err"]
    report = Report.loads((folder / "inspect.json").read_text())
    hidden, out = (next(row for row in report.layers if row.path == path) for path in ("net.hidden.fc", "net.out"))
    assert hidden.stats is not None
    assert hidden.rank is not None
    assert out.stats is not None
    assert out.rank is not None
    # Each rank has half of the 64 · 256 of a layer that is split, with a std of its own; of sums it has all, 64 · 10.
    assert hidden.stats.elements == 64 * 256
    assert len(set(hidden.rank.stds)) == 2
    assert out.stats.elements == 2 * 64 * 10
    assert len(set(out.rank.stds)) == 1
    whole = fwdscope.inspect("mlp_blocks", device="cpu", variables={"B": 64}, latency=False)
    same = next(row.stats for row in whole.layers if row.path == "net.hidden.fc")
    assert same is not None
    assert (hidden.stats.mean, hidden.stats.std) == (pytest.approx(same.mean), pytest.approx(same.std))


def test_a_rank_that_fails_ends_all_with_its_message_and_code(found: Any) -> None:
    ended = found["ended"]["breaks"]
    assert ended["codes"] == [2, 2]
    assert ended["seconds"] < 10
    assert ended["err"][0] == ""
    assert ended["err"][1].startswith("rank 1 of 2 failed, so all end:\nerror: breaks:make cannot run on these inputs")
    assert "the second rank breaks" in ended["err"][1]


def test_ranks_that_were_given_different_networks_are_refused(found: Any) -> None:
    ended = found["ended"]["disagree"]
    assert ended["codes"] == [2, 2]
    (message,) = filter(None, ended["err"])
    assert "ranks 0 and 1 do not agree on the options: " in message
    assert "--set B=4 and " in message
