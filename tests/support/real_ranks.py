"""Real gloo ranks for the tests: one program that forks 2 of them and then 4, which run all cases.

Each case is a small network on a mesh. Every rank runs it sharded, and counts what it holds, the products that it
computes (by torch's own formulas) and what it communicates, and how far the outputs are from those of the whole. Beside
them stands what the fake world of one process predicts.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 60
_SMALL = {"vocab": 64, "T": 8, "d": 16, "depth": 2, "heads": 4}
_GQA = {**_SMALL, "kv_heads": 4, "head_dim": 4, "d_ff": 32}
_PATCHES = {"image_size": 8, "patch": 4, "d": 16, "n_heads": 4, "depth": 2, "classes": 8}
_BLOCK = "model.layers.*"
_LLAMA = """
  model.layers.*.self_attn.q_proj: colwise
  model.layers.*.self_attn.k_proj: colwise
  model.layers.*.self_attn.v_proj: colwise
  model.layers.*.self_attn.o_proj: rowwise
  model.layers.*.mlp.gate_proj: colwise
  model.layers.*.mlp.up_proj: colwise
  model.layers.*.mlp.down_proj: rowwise
  lm_head: colwise
"""
_SEQUENCE = """
  model.layers.*.input_layernorm: sequence
  model.layers.*.post_attention_layernorm: sequence
  model.norm: sequence
"""
_GPT2 = """
  h.*.attn.c_attn: colwise 3
  h.*.attn.c_proj: rowwise
  h.*.mlp.c_fc: colwise
  h.*.mlp.c_proj: rowwise
"""
_VIT = """
  encoder.layers.*.mlp.0: colwise
  encoder.layers.*.mlp.3: rowwise
"""
_MLP = """
  net.hidden.fc: colwise
  net.out: rowwise
"""
_MOE = "\n".join(line for line in _LLAMA.splitlines() if "mlp" not in line)
_EXPERTS = "\n  model.layers.*.block_sparse_moe: expert"


class Case(NamedTuple):
    """A network on a mesh: a spec that ships, its vars, and the plan."""

    spec: str
    sets: dict[str, int]
    mesh: str
    shard: str = ""
    fsdp: str = ""
    stages: str = ""

    @property
    def ranks(self) -> int:
        """The ranks of the mesh."""
        product = 1
        for piece in self.mesh.split(","):
            product *= int(piece.partition("=")[2])
        return product


_NETWORKS: dict[str, tuple[dict[str, int], str, str]] = {
    "llama3_8b": (_GQA, _LLAMA, _BLOCK),
    "gpt2": ({**_SMALL, "context": 8}, _GPT2, "h.*"),
    "vit_b_16": (_PATCHES, _VIT, "encoder.layers.*"),
    # So many positions that each expert has some, and a gradient.
    "mixtral_8x7b": ({**_GQA, "experts": 4, "T": 32}, _MOE, _BLOCK),
    "mlp_blocks": ({"B": 4}, _MLP, "net.hidden"),
}


def cases() -> Iterator[Case]:
    """Each network over tp, fsdp, hsdp, and fsdp × tp; and split by positions, where it has a sequence."""
    for spec, (sets, shard, fsdp) in _NETWORKS.items():
        yield Case(spec, sets, "tp=2", shard)
        yield Case(spec, sets, "fsdp=2", "", fsdp)
        yield Case(spec, sets, "dp=2,fsdp=2", "", fsdp)
        yield Case(spec, sets, "fsdp=2,tp=2", shard, fsdp)
    yield Case("llama3_8b", _GQA, "tp=2", _LLAMA + _SEQUENCE)
    yield Case("llama3_8b", _GQA, "tp=4", _LLAMA)
    # Gradients of 2.4 MB: a bucket of 1 MiB, and the rest.
    yield Case("llama3_8b", {**_GQA, "d": 64, "d_ff": 512, "head_dim": 16, "vocab": 512}, "dp=2")
    for spec, stage in (("llama3_8b", "model.layers.1"), ("vit_b_16", "encoder.layers.1"), ("mlp_blocks", "net.out")):
        yield Case(spec, _NETWORKS[spec][0], "pp=2", stages=stage)
    yield Case("llama3_8b", _GQA, "pp=2,tp=2", _LLAMA, stages="model.layers.1")
    for mesh, shard in (("ep=2", ""), ("tp=2", _MOE), ("ep=2,tp=2", _MOE)):
        yield Case("mixtral_8x7b", _NETWORKS["mixtral_8x7b"][0], mesh, shard + _EXPERTS)


# A module that fails on the second rank, on a device.
BREAKS = """
import os
import torch

class Breaks(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear(4, 8), torch.nn.Linear(8, 4)

    def forward(self, x):
        if x.device.type == "cpu" and os.environ["RANK"] == "1":
            raise ValueError("the second rank breaks")
        return self.down(self.up(x).relu())

def make():
    return Breaks()
"""
_BREAKS_PLAN = "shard:\n  up: colwise\n  down: rowwise\n"


def main(folder: Path) -> None:
    """Run everything, and write ``found.json`` into a folder."""
    import torch
    import torch.distributed.fsdp
    import torch.distributed.pipelining
    import torch.distributed.tensor  # once for all ranks

    import fwdscope.commands.bench.ranks  # noqa: F401

    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)  # its products are in one operator, for which torch has no formula
    every = list(cases())
    built = list(map(_subject, every))  # once for all ranks
    forward = [_predict(*one) for one in built]
    for size in (2, 4):
        mine = [(n, built[n]) for n, case in enumerate(every) if case.ranks == size]
        _start(folder, f"cases-{size}", size, lambda rank, mine=mine: _run_cases(folder, rank, mine))
    (folder / "breaks.py").write_text(BREAKS)
    (folder / "plan.yaml").write_text(_BREAKS_PLAN)
    os.chdir(folder)
    command = ["bench", "breaks:make", "--input", "x=2,4", "--mesh", "tp=2", "--shard", "plan.yaml", "--device", "cpu"]
    quick = ["--repeats", "3", "--device", "cpu"]
    net = ["bench", "mlp_blocks", "--mesh", "tp=2", "--shard", "net.yaml", *quick]
    (folder / "net.yaml").write_text(f"shard:{_MLP}")
    shown = ["--device", "cpu", "--set", "B=64", "-o", "inspect.json"]
    ended = {
        "breaks": _start(folder, "breaks", 2, lambda _: _run_command(command)),
        "disagree": _start(folder, "disagree", 2, lambda rank: _run_command([*net, "--set", f"B={4 + rank}"])),
        "inspect": _start(folder, "inspect", 2, lambda _: _run_command(["inspect", *net[1:6], *shown])),
        "bench": _start(folder, "bench", 2, lambda _: _run_command([*net, "--set", "B=4", "-o", "bench.json"])),
    }
    found = []
    for n, case in enumerate(every):
        measured = [json.loads((folder / f"{n}-{rank}.json").read_text()) for rank in range(case.ranks)]
        found.append({"ranks": measured, "predicted": {**forward[n], "backward": _predict_backward(*built[n])}})
    (folder / "found.json").write_text(json.dumps({"cases": found, "ended": ended}))


def _start(folder: Path, name: str, size: int, run: Callable[[int], None]) -> dict[str, Any]:
    """Fork ranks and wait for all: their exit codes, what they wrote, the seconds from the first end to the last."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    children = {}
    for rank in range(size):
        child = os.fork()
        if not child:
            try:
                signal.alarm(SECONDS)
                os.environ |= {
                    "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCH_CPP_LOG_LEVEL": "ERROR",
                }  # fmt: skip
                for stream in (1, 2):
                    file = os.open(folder / f"{name}-{rank}.{stream}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                    os.dup2(file, stream)
                run(rank)
                sys.stdout.flush()
                os._exit(0)
            except SystemExit as stop:
                sys.stdout.flush()
                os._exit(int(stop.code or 0))
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(99)
        children[child] = rank
    codes, ended = [0] * size, []
    while children:
        child, status = os.wait()
        codes[children.pop(child)] = os.waitstatus_to_exitcode(status)
        ended.append(time.monotonic())
    texts = [[(folder / f"{name}-{rank}.{stream}").read_text() for stream in (1, 2)] for rank in range(size)]
    if name.startswith("cases") and any(codes):
        raise RuntimeError(f"{name}: {codes}\n" + "\n".join(err for _, err in texts))
    return {
        "codes": codes,
        "out": [out for out, _ in texts],
        "err": [err for _, err in texts],
        "seconds": ended[-1] - ended[0],
    }


def _run_command(arguments: list[str]) -> None:
    sys.argv = ["fwdscope", *arguments]
    from fwdscope.cli import run

    raise SystemExit(run())


def _subject(case: Case) -> tuple[Any, Any, Any]:
    from fwdscope import inspection
    from fwdscope.cli.options import target_of
    from fwdscope.language.plan import Mesh, Plan
    from fwdscope.language.plan_parser import read_plan
    from fwdscope.language.problems import Source

    sets = [f"{name}={value}" for name, value in case.sets.items()]
    fsdp = f'\n  fsdp: ["{case.fsdp}"]' if case.fsdp else ""
    stages = f"\n  stages: [{case.stages}]" if case.stages else ""
    text = f"{case.shard}{fsdp}{stages}"
    plan = read_plan(Source("plan.yaml", f"shard:{text}\n")) if text else Plan()
    return (
        inspection.make_subject(target_of(case.spec, sets, None, "float32", False, None, None)),
        Mesh.parse(case.mesh),
        plan,
    )


def _run_cases(folder: Path, rank: int, mine: list[tuple[int, tuple[Any, Any, Any]]]) -> None:
    from fwdscope.run.ranks import RankSession, find_place, process_group

    place = find_place()
    assert place is not None
    session = RankSession(place)
    for n, (subject, mesh, plan) in mine:
        os.environ["TORCHELASTIC_RESTART_COUNT"] = str(n + 1)
        with process_group(place, dict(mesh.sizes), "cpu", {"case": str(n)}) as devices:
            found = _measure(subject, mesh, plan, devices)
        (folder / f"{n}-{rank}.json").write_text(json.dumps(found))
    session.end(0)


def _measure(subject: Any, mesh: Any, plan: Any, devices: Any) -> dict[str, Any]:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.parallel import DistributedDataParallel

    from fwdscope.mesh.ranks import CollectiveCounter, on_ranks, whole

    torch.manual_seed(mesh.batch_at(devices.get_coordinate()))
    with subject.placed(torch.device("cpu"), 0, {}, True) as call, sdpa_kernel(SDPBackend.MATH):
        skewed = None
        module, args, kwargs = call
        graph = partial(_straight, subject, call)
        with torch.no_grad():
            gates = _even_gates(module) if any(rule.style == "expert" for rule in plan.layers) else []
            before = [one.clone() for one in whole(module(*args, **kwargs))]
            expected = _with_equal_scores(gates, lambda: whole(module(*args, **kwargs)))
            with on_ranks(call, plan, mesh, devices, graph) as network:
                network.run()  # DTensor runs the first call of an operator on whole tensors too
                with CollectiveCounter(devices) as counter:
                    network.run()
                held = sum(one.numel() for one in network.held)
                outputs = network.outputs()
                after = before if outputs is None else whole(outputs)
                network.reshard()
                backward = CollectiveCounter(devices)
                if mesh.size("pp") == 1:
                    with torch.enable_grad():
                        if dict(mesh.sizes).keys() in ({"dp"}, {"ep"}):
                            module._ddp_params_and_buffers_to_ignore = [
                                name for name, _ in module.named_parameters() if ".experts." in name
                            ]
                            network.module = DistributedDataParallel(module)
                            _loss(network).backward()  # its first step has one bucket
                        loss = _loss(network)
                        with backward:
                            loss.backward()
                if gates:
                    with CollectiveCounter(devices) as skew:
                        after += _with_equal_scores(gates, lambda: whole(network.outputs()))
                    before += expected
                    skewed = sum(one.nbytes for one in skew.traffic if one.kind == "all-to-all")
    far = max(float((one - other).abs().max()) for one, other in zip(after, before, strict=True))
    traffic, back = ([list(vars(one).values()) for one in counted.traffic] for counted in (counter, backward))
    return {
        "params": held,
        "macs": counter.product_flops // 2,
        "traffic": traffic,
        "backward": back,
        "far": far,
        "skewed": skewed,
        "batch": float(args[0].sum()),
    }


def _even_gates(module: Any) -> list[Any]:
    """The routers, whose rows are made u, -u, v, -v: the two best of these scores are one of ±u and one of ±v."""
    gates = [inner.gate.weight for inner in module.modules() if hasattr(inner, "top_k")]
    for weight in gates:
        weight[1::2] = -weight[::2]
    return gates


def _with_equal_scores(gates: list[Any], run: Callable[[], list[Any]]) -> list[Any]:
    """What routers give that send all positions to the same two experts."""
    before = [weight.clone() for weight in gates]
    for weight in gates:
        weight.zero_()
    found = [one.clone() for one in run()] if gates else []
    for weight, one in zip(gates, before, strict=True):
        weight.copy_(one)
    return found


def _loss(network: Any) -> Any:
    from fwdscope.ops.nested import tensors

    return sum(one.sum() for one in tensors(network.outputs()) if one.is_floating_point())


def _straight(subject: Any, call: Any) -> Any:
    return subject.straight_graph(call)[0]


def _predict(subject: Any, mesh: Any, plan: Any) -> dict[str, Any]:
    from fwdscope.mesh.inspection import with_mesh
    from fwdscope.report.ranks import traffic_of

    found = with_mesh(subject, subject.report(), mesh, plan).mesh
    assert found is not None
    traffic = [list(vars(one).values()) for one in traffic_of(found.collectives)]
    # Of a pipeline the figures are those of the heaviest stage, whose ranks follow one another.
    first = found.stage * (found.ranks // max(1, len(found.stages)))
    return {"first": first, "params": found.rank.params, "macs": found.rank.macs, "traffic": traffic}


def _predict_backward(subject: Any, mesh: Any, plan: Any) -> list[Any]:
    from fwdscope.mesh.inspection import with_mesh
    from fwdscope.report.ranks import traffic_of
    from fwdscope.settings import TrainingSettings

    stepped = subject.again(TrainingSettings())
    found = with_mesh(stepped, stepped.report(), mesh, plan).mesh
    assert found is not None
    return [list(vars(one).values()) for one in traffic_of(found.collectives, "backward")]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
