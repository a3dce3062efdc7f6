"""``inspect --mesh … --on H100x8``, from the command line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fwdscope.cli import app
from fwdscope.report import Report

_PLAN = "shard:\n  net.hidden.fc: colwise\n  net.out: rowwise\n"


def _run(folder: Path, *arguments: str) -> tuple[int, str]:
    (folder / "plan.yaml").write_text(_PLAN)
    shard = ["--shard", str(folder / "plan.yaml")] * ("--mesh" in arguments or "--vary" in arguments)
    done = CliRunner().invoke(app, ["inspect", "mlp_blocks", "--dtype", "bf16", *shard, *arguments])
    return done.exit_code, done.stdout + done.stderr


def test_a_mesh_has_times_on_a_cluster_in_text_and_json(tmp_path: Path) -> None:
    code, text = _run(tmp_path, "--mesh", "tp=2", "--on", "H100x2")
    assert code == 0, text
    assert "on 2 × H100 SXM 80GB (NVLink 4 450 GB/s) in bfloat16: about" in text
    # One all-reduce of 2 · 10 in bfloat16, by NCCL's protocol for small ones: 6.6 µs and two steps of 0.6.
    code, _ = _run(tmp_path, "--mesh", "tp=2", "--on", "H100x2", "-o", str(tmp_path / "net.json"))
    (found,) = Report.loads((tmp_path / "net.json").read_text()).mesh_estimates
    (cost,) = found.collectives
    assert (cost.kind, cost.dimension, cost.times, cost.nbytes) == ("all-reduce", "tp", 1, 40)
    assert cost.seconds == pytest.approx(7.8e-6, rel=0.01)


def test_several_clusters_are_rows_of_a_table(tmp_path: Path) -> None:
    code, text = _run(tmp_path, "--mesh", "tp=2", "--on", "H100,A100 x2")
    assert code == 0, text
    assert "2 × H100 SXM 80GB" in text
    assert "2 × A100 80GB SXM" in text


def test_meshes_are_compared_on_the_first_devices_of_a_cluster(tmp_path: Path) -> None:
    code, text = _run(tmp_path, "--vary", "mesh=tp=1,2", "--on", "H100x8", "--format", "csv")
    assert code == 0, text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["mesh"] for row in rows] == ["tp=1", "tp=2"]
    assert all(float(row["H100 SXM 80GB"]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mesh", "tp=2", "--on", "H100x4"), "--on H100x4: the mesh has 2 ranks, and 4 devices are given: write x2"),
        (("--mesh", "tp=2", "--on", "all"), "name the clusters of a mesh, as in --on H100x8,A100x8"),
        (("--mesh", "tp=2", "--on", "H100x2 nvlnk:2"), "there is no link 'nvlnk': did you mean nvlink?"),
        (("--on", "H100x2"), "several devices are for a mesh (add --mesh tp=8) or a --measured-step"),
        (("--on", "H100 nvlink:8"), "several devices are for a mesh (add --mesh tp=8) or a --measured-step"),
    ],
)
def test_a_cluster_that_does_not_fit_is_refused(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    code, text = _run(tmp_path, *arguments)
    assert code == 2
    assert message in text
