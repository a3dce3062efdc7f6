"""A forward with real numbers: its statistics, decisions of the data, and shapes and costs as on meta."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy
import pytest
import torch
from torch import Tensor, nn

import fwdscope
from fwdscope.inspection import inspect_spec
from fwdscope.language import load
from fwdscope.report import LayerRow, Report
from fwdscope.settings import RunError, RunSettings
from fwdscope.targets import shipped_specs

SPECS = Path(__file__).parent / "specs"
LOOKED = RunSettings(device="cpu", latency=False)


def looked_at(name: str, **settings: object) -> Report:
    """The report of a spec of this folder, run on the CPU."""
    return inspect_spec(load(SPECS / f"{name}.yaml"), settings=dataclasses.replace(LOOKED, **settings))


def row(report: Report, path: str) -> LayerRow:
    return next(row for row in report.layers if row.path == path)


def static(row: LayerRow) -> LayerRow:
    """A row without what a run saw."""
    return dataclasses.replace(row, stats=None, copy_stds=(), copy_item_stds=(), latency=None)


# --- shapes and costs ------------------------------------------------------------------------------------------------

SMALL = (
    "computation_graph", "cross_entropy", "edge_filters", "lstm", "mnist_cnn", "multi_head_attention", "norms",
    "transformer_decoder_layer", "vit_b_16",
)  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_shapes_and_costs_are_those_of_meta_on_every_device(name: str) -> None:
    small = {"depth": "2", "image_size": "64", "d": "96", "n_heads": "4"} if name == "vit_b_16" else {}
    checked = load(shipped_specs()[name], variables=small)
    meta, run = inspect_spec(checked), inspect_spec(checked, settings=LOOKED)
    assert [static(row) for row in run.layers] == list(meta.layers)
    assert (run.totals, run.uncounted, run.unused, run.notes) == (meta.totals, meta.uncounted, meta.unused, meta.notes)
    assert all(row.stats is not None for row in run.layers)


def test_a_run_in_training_mode_has_the_costs_of_training() -> None:
    checked = load(shipped_specs()["resnet18"], variables={"B": "2"})
    meta = inspect_spec(checked, settings=RunSettings(train=True))
    run = inspect_spec(checked, settings=dataclasses.replace(LOOKED, train=True))
    assert [static(row) for row in run.layers] == list(meta.layers)
    assert meta.totals.flops != inspect_spec(checked).totals.flops
    assert run.run is not None
    assert run.run.mode == "train"


# --- statistics ------------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_statistics_are_numpys_of_the_same_tensors(tmp_path: Path) -> None:
    values = numpy.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    numpy.save(tmp_path / "x.npy", values)
    (tmp_path / "net.yaml").write_text(
        "inputs: {x: 'randn(64, 3)'}\nlayers:\n  - fc = Linear(3)\n  - act = ReLU\n  - act * 2\n"
        "init:\n  fc.weight: eye()\n  fc.bias: constant(0.5)\n"
    )
    from fwdscope.targets import feeds

    given = {"x": feeds.parse(f"x={tmp_path / 'x.npy'}")}
    report = inspect_spec(load(tmp_path / "net.yaml"), given, settings=LOOKED)
    expected = [values, values + 0.5, numpy.maximum(values + 0.5, 0), 2 * numpy.maximum(values + 0.5, 0)]
    found = [report.inputs[0].stats, *(row.stats for row in report.layers)]
    for wanted, stats in zip(expected, found, strict=True):
        assert stats is not None
        exact = wanted.astype("float64")
        figures = (stats.mean, stats.std, stats.min, stats.max)
        assert figures == pytest.approx((exact.mean(), exact.std(), exact.min(), exact.max()), rel=1e-5)
        assert (stats.elements, stats.zeros) == (192, (wanted == 0).sum())
    assert report.outputs[0].stats == report.layers[-1].stats


def test_an_in_place_layer_does_not_change_earlier_statistics() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.act = nn.Linear(4, 64), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.fc(x))

    report = fwdscope.inspect(Net(), torch.randn(32, 4), device="cpu", latency=False)
    before, after = row(report, "fc").stats, row(report, "act").stats
    assert before is not None
    assert after is not None
    assert before.min is not None
    assert (before.min < 0, before.zeros) == (True, 0)
    assert (after.min, after.zeros > 0) == (0, True)


def test_copies_keep_the_spread_of_each() -> None:
    report = looked_at("exploding_stack")
    stack = row(report, "stack.0")
    assert (stack.repeat, len(stack.copy_stds)) == (64, 64)
    # Each layer of 64 inputs with weights of std 1 multiplies the std by √64, until some of the values overflow.
    stds = [std for std in stack.copy_stds[:40] if std is not None]
    assert [later / earlier for earlier, later in pairwise(stds)] == pytest.approx([8] * 39, rel=0.3)
    assert stack.copy_stds[-1] is None


def test_a_folded_row_has_the_statistics_of_its_last_copy(tmp_path: Path) -> None:
    # Weights are the identity, and each block doubles: with x = ±1, copy n gives ±2^n, whose mean is 0 and std 2^n.
    values = numpy.repeat([[1.0], [-1.0]], 4, axis=1).astype("float32")
    numpy.save(tmp_path / "x.npy", values)
    (tmp_path / "net.yaml").write_text(
        "inputs: {x: 'randn(2, 4)'}\nblocks:\n  Twice():\n    - fc = Linear(4, bias=False)\n    - fc * 2\n"
        "layers:\n  - h = 3 * Twice()\ninit:\n  fc.weight: eye()\n"
    )
    from fwdscope.targets import feeds

    given = {"x": feeds.parse(f"x={tmp_path / 'x.npy'}")}
    report = inspect_spec(load(tmp_path / "net.yaml"), given, settings=LOOKED)
    fc = next(row for row in report.layers if row.path.endswith("fc"))
    assert fc.stats is not None
    assert (fc.stats.elements, fc.stats.mean, fc.stats.std, fc.stats.max) == (8, 0.0, 4.0, 4.0)
    # The two items of the batch differ by as much.
    assert (fc.copy_stds, fc.copy_item_stds) == ((1.0, 2.0, 4.0), (1.0, 2.0, 4.0))


@pytest.mark.core
def test_the_same_seed_gives_the_same_numbers_and_another_others() -> None:
    one, same, other = (looked_at("dead_relu", seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert row(one, "fc1").stats != row(other, "fc1").stats


def test_torchs_generator_is_left_as_it_was() -> None:
    before = torch.get_rng_state()
    looked_at("dead_relu", train=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_statistics_the_run_still_counts_what_the_data_decide() -> None:
    report = looked_at("halving", stats=False)
    assert all(row.stats is None for row in report.layers)
    assert report.layers[1].calls == 6


def test_a_saved_report_with_a_run_loads_back() -> None:
    for name in ("exploding_stack", "routing"):
        report = looked_at(name, latency=True)
        assert Report.loads(report.dumps()) == report


# --- what went wrong -------------------------------------------------------------------------------------------------


def test_a_dead_relu_gives_zeros_alone() -> None:
    stats = row(looked_at("dead_relu"), "dead").stats
    assert stats is not None
    assert (stats.zeros, stats.elements) == (32 * 64, 32 * 64)


def test_the_first_step_that_made_an_infinity_is_named_with_what_went_in() -> None:
    report = looked_at("softmax_overflow")
    assert report.run is not None
    bad = report.run.first_nonfinite
    assert bad is not None
    # exp of 200 overflows in every one of the 4 · 8 places; inf / inf, further down, is not the first.
    assert (bad.path, bad.line, bad.nans, bad.infs) == ("e", 8, 0, 32)
    assert bad.inputs[0].min == pytest.approx(200, rel=0.01)
    last = report.layers[-1].stats
    assert last is not None
    assert (last.nans, last.mean) == (32, None)


def test_the_logarithm_of_zero_is_named() -> None:
    report = looked_at("log_of_zero")
    assert report.run is not None
    bad, zeros = report.run.first_nonfinite, row(report, "act").stats
    assert bad is not None
    assert zeros is not None
    assert (bad.path, bad.nans, bad.infs, bad.inputs) == ("logs", 0, zeros.zeros, (zeros,))


def test_an_exploding_stack_names_the_copy_that_overflows() -> None:
    run = looked_at("exploding_stack").run
    assert run is not None
    assert run.first_nonfinite is not None
    # 8 ** 42 = 8.5e37, and the largest float32 is 3.4e38.
    assert run.first_nonfinite.path in {f"stack.{i}" for i in range(40, 44)}


def test_infinities_written_by_a_mask_do_not_count() -> None:
    report = looked_at("masked")
    masked = row(report, "masked").stats
    assert masked is not None
    # Above the diagonal of two 6 × 6 maps: 2 · 15.
    assert masked.infs == 30
    assert report.run is not None
    assert report.run.first_nonfinite is None


def test_infinities_inside_a_block_are_located_there() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)
            nn.init.constant_(self.fc.bias, float("inf"))

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x)

    net = nn.Sequential(nn.Linear(4, 4), Inner(), nn.Linear(4, 4))
    run = fwdscope.inspect(net, torch.randn(2, 4), device="cpu", latency=False).run
    assert run is not None
    assert run.first_nonfinite is not None
    assert run.first_nonfinite.path == "1.fc"


# --- what the data decide --------------------------------------------------------------------------------------------


@pytest.mark.core
def test_a_while_shows_the_rounds_that_ran() -> None:
    checked = load(SPECS / "halving.yaml")
    meta, run = inspect_spec(checked), looked_at("halving")
    assert (meta.layers[1].calls, run.layers[1].calls) == (1, 6)
    assert run.layers[1].flops == 6 * (meta.layers[1].flops or 0)
    assert "line 6: the data decided: 6 rounds in this run" in run.notes
    assert not any("one round" in (text or "") for text in (*run.notes, *(row.note for row in run.layers)))


def test_a_while_that_runs_once_is_noted(tmp_path: Path) -> None:
    spec = tmp_path / "once.yaml"
    spec.write_text(
        "inputs: {x: ones(4)}\nlayers:\n  - while: prev.sum() > 3\n    do:\n      - prev / 2\n  - prev + 1\n"
    )
    report = inspect_spec(load(spec), settings=LOOKED)
    assert report.notes == ("line 3: the data decided: 1 round in this run",)
    assert report.layers[0].note == "the data decided: 1 round in this run"


def test_a_while_that_never_runs_costs_nothing(tmp_path: Path) -> None:
    spec = tmp_path / "never.yaml"
    spec.write_text(
        "inputs: {x: zeros(4)}\nlayers:\n  - while: prev.sum() > 3\n    do:\n      - prev / 2\n  - prev + 1\n"
    )
    report = inspect_spec(load(spec), settings=LOOKED)
    assert "the data decided: 0 rounds in this run" in (report.layers[0].note or "")
    assert not [row for row in report.layers if row.type == "div"]


def test_a_mixture_shows_the_rows_that_each_expert_got() -> None:
    report = looked_at("routing")
    rows = {row.path: row.input_shapes[0] for row in report.layers if row.kind == "block"}
    assert rows == {"moe.experts.0": (2, 3), "moe.experts.2": (1, 3)}
    # Expert 1 got no row; it is no unused weight all the same.
    assert report.unused == ()
    # The gate's 3 · 3 · 3, and each of 3 rows through one expert of 3 · 3.
    assert report.totals.macs == 27 + 27
    assert report.notes == ("line 12: the data decided what ran inside; shown is what this run did",)
    assert report.uncounted == ()


def test_expectations_are_checked_against_the_trace_on_meta() -> None:
    checked = load(shipped_specs()["moe_small"])
    report = inspect_spec(checked, settings=LOOKED)
    assert report.shortfalls == ()
    assert report.totals.params == inspect_spec(checked).totals.params


# --- latency ---------------------------------------------------------------------------------------------------------


def test_each_layer_and_the_whole_have_a_latency() -> None:
    report = inspect_spec(load(shipped_specs()["mnist_cnn"]), settings=RunSettings(device="cpu"))
    assert report.run is not None
    assert report.run.latency is not None
    assert report.run.latency.median > 0
    assert report.run.layers_latency is not None
    assert report.run.layers_latency > 0
    assert all(row.latency is not None and row.latency >= 0 for row in report.layers)


def test_without_latency_nothing_is_timed() -> None:
    report = looked_at("dead_relu")
    assert report.run is not None
    assert (report.run.latency, report.run.layers_latency) == (None, None)
    assert all(row.latency is None for row in report.layers)


# --- modules --------------------------------------------------------------------------------------------------------


class Tied(nn.Module):
    """An embedding whose weights are the head's, with dropout, and a batch norm that training would change."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.drop = nn.Embedding(10, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        head: Tensor = self.head(self.drop(self.norm(self.embed(ids))))
        return head


@pytest.mark.core
def test_a_module_runs_on_its_own_weights_and_is_left_as_it_was() -> None:
    net = Tied()
    nn.init.constant_(net.embed.weight, 2.0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for train in (False, True):
        report = fwdscope.inspect(net, torch.arange(10), device="cpu", train=train)
        embedded = row(report, "embed").stats
        assert embedded is not None
        assert (embedded.mean, embedded.std) == (2.0, 0.0)
        assert net.training
        assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not net._forward_hooks
    assert not net.embed._forward_hooks


def test_dropout_drops_only_in_training_mode() -> None:
    net = nn.Sequential(nn.Dropout(0.5))
    for train in (False, True):
        report = fwdscope.inspect(net, torch.ones(1000), device="cpu", train=train, latency=False)
        stats = report.layers[0].stats
        assert stats is not None
        assert (stats.zeros > 300) == train


def test_a_module_on_meta_cannot_be_run() -> None:
    with torch.device("meta"):
        net = nn.Linear(4, 4)
    with pytest.raises(RunError, match="without numbers"):
        fwdscope.inspect(net, torch.randn(2, 4), device="cpu")


def test_a_module_that_looks_at_data_is_reported_as_it_ran() -> None:
    class Choosing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.few, self.many = nn.Linear(4, 4), nn.Linear(4, 8)

        def forward(self, x: Tensor) -> Tensor:
            chosen: Tensor = self.many(x) if x.sum() > 0 else self.few(x)
            return chosen

    report = fwdscope.inspect(Choosing(), torch.ones(2, 4), device="cpu", latency=False)
    assert [(row.path, row.output_shapes) for row in report.layers if row.kind == "layer"] == [("many", ((2, 8),))]
    assert row(report, "many").stats is not None


class Between(nn.Module):
    """A logarithm of negative numbers between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Identity(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.log(self.first(x)))


def test_a_nan_made_between_the_layers_of_a_module_is_the_modules_own() -> None:
    report = fwdscope.inspect(Between(), torch.tensor([-1.0, 2.0, -3.0]), device="cpu", latency=False)
    assert report.run is not None
    broken = report.run.first_nonfinite
    assert broken is not None
    assert (broken.path, broken.text, broken.nans) == ("log", "log", 2)
    assert [stats.min for stats in broken.inputs] == [-3.0]
    own = row(report, "log").stats
    assert own is not None
    assert own.nans == 2


@pytest.mark.parametrize(
    ("layer", "has"), [("Linear(4)", True), ("Conv1d(3, 2)", True), ("x @ x.mT", True), ("ReLU", False)]
)
def test_a_run_notes_that_kernels_of_products_take_scratch_beyond_the_peak(
    tmp_path: Path, layer: str, has: bool
) -> None:
    (tmp_path / "net.yaml").write_text(f"inputs:\n  x: randn(2, 3, 8)\nlayers:\n  - {layer}\n")
    report = fwdscope.inspect(tmp_path / "net.yaml", device="cpu", latency=False)
    assert report.run is not None
    assert any("beyond kernels' scratch" in note for note in report.run.notes) == has
    assert not any("scratch" in note for note in fwdscope.inspect(tmp_path / "net.yaml", device="meta").notes)
