from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwdscope.report import (
    SCHEMA,
    VERSION,
    ActivationStats,
    Backward,
    CachedTensor,
    DeviceState,
    Energy,
    Environment,
    Estimate,
    FusedTraffic,
    Histogram,
    Latency,
    LayerRow,
    Load,
    Moment,
    NonFinite,
    OperatorCost,
    Peaks,
    Phase,
    Promise,
    Report,
    ReportError,
    Run,
    Shortfall,
    Strip,
    TensorInfo,
    Totals,
    TrainingStep,
    Transfers,
    multiplicities,
    parents,
)
from fwdscope.report.cluster import Cluster, CollectiveCost, Interconnect, MeshEstimate
from fwdscope.report.mesh import Collective, MeshDimension, MeshReport, RankFigures, RowShare, Stage
from fwdscope.report.ranks import RankRun, Traffic
from fwdscope.report.report import MeasuredStep
from fwdscope.report.training import PHASES
from fwdscope.report.value import Element, Equation, Grid, GridRow, KeptValue, Subtotal, TableRow, ValueStep, ValueTable

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_counts = st.integers(0, 2**62)
_shapes = st.lists(st.integers(0, 2**40), max_size=4).map(tuple)
_unknown = st.one_of(st.none(), _counts)
_maybe = st.one_of(st.none(), st.integers(1, 10**6))


def _tuples(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=3).map(tuple)


_numbers = st.floats(allow_nan=False, allow_infinity=False)
_perhaps = st.one_of(st.none(), _numbers)
_histograms = st.builds(Histogram, _numbers, _numbers, _shapes)
_stats = st.builds(
    ActivationStats, _counts, *[_perhaps] * 4, *[_counts] * 3, st.one_of(st.none(), _histograms), _perhaps, _shapes
)
_amounts = st.one_of(st.none(), st.floats(1e-30, 1e29))
_times = st.lists(st.floats(1e-30, 1e6), min_size=1, max_size=5).map(Latency.of)
_peaks = st.builds(Peaks, _texts, _texts, _amounts, _amounts, _maybe, st.sampled_from(["table", "measured"]))
_nonfinite = st.builds(
    NonFinite, _texts, _texts, _maybe, _counts, _counts, _tuples(_stats), _tuples(_texts), _tuples(_stats)
)
_ranks = st.builds(
    RankRun, _counts, _texts, _texts, _tuples(st.floats(1e-30, 1e29)), *[st.floats(1e-30, 1e29)] * 3, _unknown, _counts,
    _tuples(st.builds(Traffic, st.just("send"), _texts, _counts, _counts)),
)  # fmt: skip
_seconds = st.floats(1e-30, 1e29)
_runs = st.builds(
    Run,
    device=_texts,
    device_name=_texts,
    dtype=_texts,
    seed=_counts,
    weights=st.one_of(st.none(), _texts),
    mode=st.sampled_from(["eval", "train"]),
    latency=st.one_of(st.none(), _times),
    layers_latency=_amounts,
    peak_memory=_unknown,
    first_nonfinite=st.one_of(st.none(), _nonfinite),
    peaks=st.one_of(st.none(), _peaks),
    precision=st.sampled_from([None, "cast", "autocast"]),
    compiled=st.booleans(),
    channels_last=st.booleans(),
    threads=_maybe,
    batch=_maybe,
    notes=_tuples(_texts),
    clock_noise=st.one_of(st.none(), _amounts),
    processes=_tuples(st.floats(1e-30, 1e29)),
    ranks=_tuples(_ranks),
    tf32=st.sampled_from([None, "on", "products", "convolutions", "off"]),
    cudnn_benchmark=st.sampled_from([None, True, False]),
    repeats_are=st.sampled_from(["queued", "alone"]),
    other_latency=_amounts,
    state=st.one_of(
        st.none(),
        st.builds(
            DeviceState, st.one_of(st.none(), _texts), _maybe, _maybe, _amounts, _amounts, _maybe, _tuples(_texts)
        ),
    ),
    reserved_memory=_unknown,
    compile_mode=st.one_of(st.none(), _texts),
    compile_seconds=st.one_of(st.none(), _seconds),
    is_graph=st.booleans(),
    is_cold=st.booleans(),
    load=st.one_of(
        st.none(), st.builds(Load, _counts, _seconds, _counts, _counts, _seconds, _seconds, _times, _seconds)
    ),
    transfers=st.one_of(st.none(), st.builds(Transfers, _counts, _seconds, _counts, _seconds)),
    energy=st.one_of(st.none(), st.builds(Energy, _seconds, _seconds, st.sampled_from(["NVML", "RAPL"]))),
)
_fused = st.builds(FusedTraffic, _counts, _counts, _tuples(st.tuples(_counts, _counts)), _counts)
_estimates = st.builds(Estimate, _peaks, *[_amounts] * 4, _unknown, st.sampled_from([None, True, False]))
_tensors = st.builds(
    TensorInfo, _texts, _shapes, _texts, st.one_of(st.none(), _texts), stats=st.one_of(st.none(), _stats)
)
_operators = st.builds(
    OperatorCost, _texts, *[_tuples(_shapes)] * 2, _tuples(_texts), *[_texts] * 2, *[_unknown] * 4, times=_counts
)
_promises = st.builds(Promise, _texts, st.booleans(), st.one_of(st.none(), _texts))
_rows = st.builds(
    LayerRow,
    path=_texts,
    type=_texts,
    kind=st.sampled_from(["layer", "block", "stack", "copies", "part", "loop", "parameter", "expression"]),
    depth=st.integers(1, 9),
    text=_texts,
    settings=_texts,
    label=_texts,
    line=_maybe,
    column=_maybe,
    input_shapes=_tuples(_shapes),
    output_shapes=_tuples(_shapes),
    output_dtypes=_tuples(_texts),
    params=_counts,
    trainable_params=_counts,
    buffers=_counts,
    macs=_unknown,
    flops=_unknown,
    bytes_read=_unknown,
    bytes_written=_unknown,
    output_bytes=_unknown,
    receptive_field=st.one_of(st.none(), _shapes),
    uncounted=_tuples(_texts),
    calls=_counts,
    repeat=st.integers(0, 10**6),
    call=_counts,
    varies=st.booleans(),
    reads=_tuples(_texts),
    parameters=_tuples(_tensors),
    sources=st.one_of(st.none(), _tuples(_counts)),
    network_inputs=_tuples(_counts),
    network_outputs=_tuples(_counts),
    live_bytes=st.one_of(st.none(), _counts),
    formulas=_tuples(_texts),
    operators=_tuples(_operators),
    promise=st.one_of(st.none(), _promises),
    cached=_tuples(
        st.builds(
            CachedTensor, _texts, st.sampled_from(["past", "window", "encoder", "state"]), _shapes, _texts, _counts
        )
    ),
    kv_cache=_unknown,
    backward=st.one_of(st.none(), st.builds(Backward, *[_counts] * 5, _tuples(_texts))),
    backward_operators=_tuples(_operators),
    eager=_amounts,
    rank=st.one_of(st.none(), st.builds(RowShare, *[_counts] * 13)),
    kernels=_counts,
    note=st.one_of(st.none(), _texts),
    stats=st.one_of(st.none(), _stats),
    copy_stds=_tuples(_perhaps),
    copy_item_stds=_tuples(_perhaps),
    latency=_amounts,
    latency_range=_tuples(st.floats(1e-30, 1e29)),
)


def _as_tree(rows: tuple[LayerRow, ...]) -> tuple[LayerRow, ...]:
    return tuple(replace(row, depth=min(row.depth, index + 1)) for index, row in enumerate(rows))


ELEMENT = Element("fc", (0, 2), -1e-9, "layer", 1)
# Of everything that a step may hold: a table of elements, numbers and texts, grids with padding, an equation.
_value = KeptValue(
    2,
    ELEMENT,
    (
        ValueStep(
            "linear",
            ELEMENT,
            "é",
            (
                ValueTable("", ("x", "y"), (TableRow((ELEMENT, 1.5, "−∞", None), "marked"), TableRow((), "rest"))),
                GridRow(
                    (Grid("x", "input", 0, (0,), ((1.0, None),), (0,), (None, 1), (0, 1)),), (Subtotal("sum", 0.0),)
                ),
                GridRow((), (), 3),
                Equation("", "x", "1", 1.0, (ELEMENT,), "since x > 0"),
            ),
        ),
    ),
    ("a note",),
)
_strips = st.builds(
    Strip,
    _texts,
    st.none(),
    st.sampled_from(["maps", "lines", "grid", "bars"]),
    _shapes,
    st.just(1),
    st.just(3),
    _tuples(st.just("AP8B")),
    _tuples(_counts),
    _counts,
    *[st.one_of(st.none(), st.floats(-1e300, 1e300))] * 2,
    st.floats(0, 1).filter(lambda share: not share or share >= 1e-30),
    _tuples(st.sampled_from([_value, KeptValue(0, ELEMENT, ())])),
)
_phases = st.sampled_from(PHASES)
_steps = st.builds(
    TrainingStep,
    _texts,
    _texts,
    st.tuples(*[st.builds(Phase, st.just(name), *[_counts] * 5, _tuples(_texts)) for name in PHASES]),
    *[_counts] * 5,
    _phases,
    st.none(),
    *[_counts] * 2,
    _tuples(st.builds(Moment, _phases, st.none(), _counts)),
)
_collectives = st.builds(
    Collective, st.sampled_from(["all-reduce", "send"]), _texts, *[_counts] * 3, _texts, st.just("backward"), _unknown
)
_meshes = st.builds(
    MeshReport, _tuples(st.builds(MeshDimension, _texts, _counts)), _texts,
    st.builds(RankFigures, *[_counts] * 10, *[_unknown] * 4), _counts, _counts, _tuples(_collectives),
    _tuples(st.builds(Stage, _texts, *[_counts] * 6)), _counts, _counts, _tuples(_texts),
)  # fmt: skip
_latencies_of_links = _tuples(st.one_of(st.none(), st.floats(1e-30, 1e29)))
_links = st.one_of(
    st.none(),
    st.builds(
        Interconnect, _texts, st.floats(1, 1e29), st.sampled_from(["switch", "torus"]), st.floats(0.1, 1),
        *[_latencies_of_links] * 3,
    ),
)  # fmt: skip
_mesh_estimates = st.builds(
    MeshEstimate, st.builds(Cluster, _texts, _counts, _counts, _links, _links), _texts, *[_amounts] * 3,
    *[st.floats(1e-30, 1e29)] * 2, _texts, _amounts, _counts, _unknown, st.one_of(st.none(), st.booleans()),
    _tuples(st.builds(
        CollectiveCost, st.just("send"), _texts, st.just("forward"), *[_counts] * 2, *[st.floats(1e-30, 1e29)] * 3,
        *[_texts] * 2,
    )),
)  # fmt: skip
_reports = st.builds(
    Report,
    name=_texts,
    inputs=_tuples(_tensors),
    outputs=_tuples(_tensors),
    layers=_tuples(_rows).map(_as_tree),
    measured_step=st.one_of(
        st.none(), st.builds(MeasuredStep, st.floats(1e-30, 1e29), _counts, _peaks, *[_counts] * 4, *[_amounts] * 4)
    ),
    totals=st.builds(Totals, *[_counts] * 5, *[_unknown] * (len(fields(Totals)) - 6), st.one_of(st.none(), _fused)),
    environment=st.builds(Environment, _texts, _texts, _texts, _texts),
    source=st.one_of(st.none(), _texts),
    doc=st.one_of(st.none(), _texts),
    spec=st.one_of(st.none(), _texts),
    device=_texts,
    dtype=_texts,
    notes=_tuples(_texts),
    shortfalls=_tuples(st.builds(Shortfall, _texts, _texts, _texts, _maybe, _maybe)),
    uncounted=_tuples(_texts),
    unused=_tuples(_texts),
    run=st.one_of(st.none(), _runs),
    estimates=_tuples(_estimates),
    past=_unknown,
    new_positions=_unknown,
    training=st.one_of(st.none(), _steps),
    strips=_tuples(_strips),
    mesh=st.one_of(st.none(), _meshes),
    mesh_estimates=_tuples(_mesh_estimates),
    convention=_texts,
    products=st.one_of(st.none(), _texts),
)

ROW = LayerRow("fc", "Linear", "layer", 1, output_shapes=((1, 10),), params=7850)
REPORT = Report(
    name="net",
    inputs=(TensorInfo("x", (1, 784), "float32"),),
    outputs=(TensorInfo("", (1, 10), "float32"),),
    layers=(ROW, replace(ROW, path="relu", type="ReLU", params=0)),
    totals=Totals(7850, 7850, 0, 31400, 0),
    environment=Environment("0.1.0", "3.11", "2.13.0", "linux"),
)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(_reports)
def test_every_report_loads_back_into_the_same_report(report: Report) -> None:
    assert Report.loads(report.dumps()) == report


def test_the_strategy_covers_every_field() -> None:
    # A field added to a row or a report has to be in the round trip above.
    for cls, strategy in ((LayerRow, _rows), (Report, _reports), (Run, _runs)):
        given_names = set(strategy.wrapped_strategy.kwargs)  # type: ignore[attr-defined]
        assert given_names == {field.name for field in fields(cls)}


def test_formulas_and_operators_that_rows_share_are_written_once() -> None:
    sum_ = OperatorCost("add", ((2,), (2,)), ((2,),), (), "", "N = 2", 0, 2, 16, 8)
    rows = [
        replace(ROW, formulas=("a", "b"), operators=(sum_,)),
        replace(ROW, formulas=("b", "b"), operators=(sum_, replace(sum_, times=2))),
    ]
    report = replace(REPORT, layers=tuple(rows))
    data = report.to_json()
    assert data["formulas"] == ["a", "b"]
    assert [one["times"] for one in data["operators"]] == [1, 2]
    assert [(row["formulas"], row["operators"]) for row in data["layers"]] == [([0, 1], [0]), ([1, 1], [0, 1])]
    assert Report.from_json(data) == report


@pytest.mark.core
def test_the_json_has_the_version_first_and_one_row_a_line() -> None:
    text = REPORT.dumps()
    assert text.startswith(f'{{\n  "$schema": "{SCHEMA}",\n  "version": {VERSION},\n')
    assert sum('"path"' in line for line in text.splitlines()) == 2
    assert json.loads(text) == REPORT.to_json()
    empty = replace(REPORT, layers=())
    assert Report.loads(empty.dumps()) == empty


def test_a_report_of_version_1_is_read() -> None:
    added = ("network_inputs", "network_outputs", "live_bytes")
    data = _changed(version=1)
    data["layers"] = [{key: value for key, value in row.items() if key not in added} for row in data["layers"]]
    assert Report.from_json(data).layers[0].network_inputs == ()
    assert Report.from_json(data).layers[0].live_bytes is None


def _changed(**changes: Any) -> dict[str, Any]:
    return REPORT.to_json() | changes


def _changed_row(**changes: Any) -> dict[str, Any]:
    data = REPORT.to_json()
    data["layers"][1].update(changes)
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "this is no fwdscope report: it has no version"),
        ({}, "this is no fwdscope report: it has no version"),
        (_changed(version=99), "this report has version 99; this fwdscope reads versions 1 to 3"),
        (_changed(version=0), "this report has version 0; this fwdscope reads versions 1 to 3"),
        (_changed(version=True), "this report has version True; this fwdscope reads versions 1 to 3"),
        (_changed(name=3), "report.name: expected str, found 3"),
        (_changed(colour="red"), "report: unknown key 'colour'"),
        (_changed(layers={}), "report.layers: expected a list, found {}"),
        (_changed(totals=[]), "report.totals: expected an object, found []"),
        (_changed_row(params="7850"), "report.layers[1].params: expected int, found '7850'"),
        (_changed_row(params=True), "report.layers[1].params: expected int, found True"),
        (_changed_row(varies=1), "report.layers[1].varies: expected bool, found 1"),
        (_changed_row(kind="leaf"), "report.layers[1].kind: expected one of 'layer', "),
        (_changed_row(output_shapes=[[1, "C"]]), "report.layers[1].output_shapes[0][1]: expected int, found 'C'"),
        (_changed_row(promise={"text": "(B,)"}), "report.layers[1].promise: missing 'held'"),
        (_changed_row(formulas=[1]), "report.layers[1].formulas: expected indices in the 0 formulas, found [1]"),
        (_changed_row(operators=["add"]), "report.layers[1].operators[0]: expected int, found 'add'"),
        (_changed(operators=[{"name": "add"}]), "report.operators[0]: missing 'inputs'"),
        (_changed_row(sources=[None]), "report.layers[1].sources[0]: expected int, found None"),
    ],
)
def test_what_is_no_report_is_told_with_its_place(data: Any, message: str) -> None:
    with pytest.raises(ReportError) as caught:
        Report.loads(json.dumps(data))
    assert str(caught.value).startswith(message)


def test_a_missing_key_is_named() -> None:
    data = REPORT.to_json()
    del data["totals"]
    with pytest.raises(ReportError, match="report: missing 'totals'"):
        Report.from_json(data)


@pytest.mark.parametrize("text", ["", "{", "net.yaml", '{"version": 1'])
def test_what_is_no_json_is_told(text: str) -> None:
    with pytest.raises(ReportError, match="this is not JSON: "):
        Report.loads(text)


def test_a_text_nested_too_deeply_is_an_error_and_no_crash() -> None:
    with pytest.raises(ReportError):
        Report.loads("[" * 100_000)


def _at(depth: int, repeat: int = 1) -> LayerRow:
    return LayerRow("", "Linear", "layer", depth, repeat=repeat)


def test_parents_are_the_nearest_rows_above_of_a_lesser_depth() -> None:
    rows = [_at(1), _at(1), _at(2), _at(3), _at(3), _at(2), _at(1)]
    assert parents(rows) == (None, None, 1, 2, 2, 1, None)


@pytest.mark.core
def test_a_row_stands_for_its_repeats_times_those_around_it() -> None:
    rows = [_at(1), _at(2, repeat=12), _at(3, repeat=2), _at(3), _at(1)]
    assert multiplicities(rows) == (1, 12, 24, 12, 1)
