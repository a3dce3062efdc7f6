"""Which rank a process is, and the process group that it uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch.distributed import HashStore  # type: ignore[attr-defined]

from fwdscope.commands.bench.ranks import overlap_of
from fwdscope.errors import InputError
from fwdscope.language import load
from fwdscope.language.plan import Mesh
from fwdscope.run.choose import find_device
from fwdscope.run.prepare import prepared
from fwdscope.run.ranks import RankPlace, find_place, process_group
from fwdscope.run.subject import SpecSubject
from fwdscope.settings import BenchSettings
from fwdscope.targets import shipped_specs

_TORCHRUN = {
    "RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "MASTER_ADDR": "node0", "MASTER_PORT": "29500",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}  # fmt: skip


def test_the_place_of_a_rank_is_what_its_launcher_says() -> None:
    assert find_place(_TORCHRUN) == RankPlace(5, 8, 1, "node0", 29500, True)
    assert find_place({}) is None
    # slurm sets a rank and an address, and no port.
    with pytest.raises(InputError, match="RANK is set, and MASTER_PORT is not: start the ranks with torchrun"):
        find_place({name: value for name, value in _TORCHRUN.items() if name != "MASTER_PORT"})
    with pytest.raises(InputError, match="does not say which rank this is: RANK=five"):
        find_place({**_TORCHRUN, "RANK": "five"})


def test_ranks_with_batches_of_their_own_draw_them_for_the_same_weights() -> None:
    mesh = Mesh.parse("pp=2,dp=2,ep=2,tp=2")
    places = (0, 0, 0, 1), (1, 0, 1, 0), (0, 1, 0, 0), (1, 1, 1, 1)
    assert [mesh.batch_at(place) for place in places] == [0, 1, 2, 3]
    found = []
    for draw in range(2):
        subject = SpecSubject(load(shipped_specs()["mlp_blocks"], variables={"B": "2"}))
        with prepared(subject, subject.report(), find_device("cpu"), BenchSettings(), copied=True, draw=draw) as ready:
            found.append((ready.call.args[0], next(ready.call.module.parameters())))
    (x, weight), (other, same) = found
    assert not torch.equal(x, other)
    assert torch.equal(weight, same)


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of the caller, of one rank."""
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def test_the_group_of_the_caller_is_used_and_stays(group: None) -> None:
    mine = dist.group.WORLD
    with process_group(None, {"tp": 1}, "cpu", {}) as devices:
        assert devices.mesh_dim_names == ("tp",)
        assert dist.group.WORLD is mine
    assert dist.group.WORLD is mine


def test_a_group_of_the_caller_of_other_size_or_kind_is_refused(group: None) -> None:
    with (
        pytest.raises(InputError, match="mesh dp=2,tp=2 has 4 ranks, and this process is one of 1 of a process group"),
        process_group(None, {"dp": 2, "tp": 2}, "cpu", {}),
    ):
        pass
    with (
        pytest.raises(InputError, match="the process group here is of gloo, and cuda needs nccl: it is left as it is"),
        process_group(None, {"tp": 1}, "cuda", {}),
    ):
        pass
    assert dist.get_world_size() == 1


def test_a_process_alone_is_a_mesh_of_one_rank_and_no_more() -> None:
    with process_group(None, {"tp": 1}, "cpu", {}) as devices:
        assert devices.size() == 1
    assert not dist.is_initialized()
    with (
        pytest.raises(InputError, match="torchrun --nproc-per-node=4 -m fwdscope"),
        process_group(None, {"tp": 4}, "cpu", {}),
    ):
        pass


def test_a_collective_is_under_way_while_nothing_else_is_computed(group: None) -> None:
    x = torch.ones(1_000_000)
    # One all-reduce that is waited for, and a product beside it that is not part of it.
    inside, hidden = overlap_of(
        lambda: (dist.all_reduce(x), torch.mm(torch.ones(64, 64), torch.ones(64, 64))), x.device
    )
    assert inside > 0
    assert 0 <= hidden <= inside
    assert overlap_of(lambda: torch.ones(3) + 1, x.device) == (0, 0)
