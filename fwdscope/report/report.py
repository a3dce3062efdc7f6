"""The report of a forward pass as plain data, to and from JSON.

Findings, expectations and every renderer read a :class:`Report` and nothing else, so they work on a saved report on a
machine without torch. Units are elements and bytes; text is made at the edge (:mod:`fwdscope.units`).

**Rows** stand in order of execution, a parent before what it contains (``depth`` 1 is the top level). They conserve:

    row.params == own parameters + sum(child.params * child.repeat for child in its children)

A row with ``repeat`` n stands for n equal copies side by side and its figures are those of ONE copy. ``calls`` is the
number of calls a row stands for (the rounds of a loop); a layer called again further down has a row of its own with
``call`` 2 and no parameters.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
import typing
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from statistics import NormalDist
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from fwdscope.display import Paged, drawn
from fwdscope.errors import InputError
from fwdscope.limits import at_most, limit
from fwdscope.report.cluster import MeshEstimate
from fwdscope.report.mesh import MeshReport, RowShare
from fwdscope.report.pictures import Strip
from fwdscope.report.ranks import RankRun
from fwdscope.report.training import PHASES, Backward, PhaseName, TrainingStep
from fwdscope.report.value import Value, lean
from fwdscope.units import byte_size

# A report of version 1 lacks `network_inputs`, `network_outputs` and `live_bytes` of rows; one of version 2 `settings`,
# `formulas`, `operators` and `latency_range`.
VERSION = 3
# What the `$schema` of a saved report names; `fwdscope schema --report` prints it.
SCHEMA = f"urn:fwdscope:report:{VERSION}"
# The device of a file of weights.
STORED = "as stored"

CONVENTION = (
    "MACs are the multiply-accumulates of matrix products and convolutions, bias excluded. "
    "FLOPs are two for each MAC and one for every other arithmetic result. "
    "Bytes: each operand read once, each result written once, views free. Parameters count once."
)

# Figures of a file are 0, or lie between LEAST and MOST: sums, products and quotients of a few of them fit a float.
MOST, LEAST = 10**30, 1e-30
Seconds = Annotated[float, (LEAST, MOST, False)]
# How deep rows of a file may be nested.
DEEPEST = 256

# Types of rows that are a ReLU.
RELUS = ("ReLU", "relu", "ReLU6", "relu6")

Shape = tuple[int, ...]
Kind = Literal["layer", "block", "stack", "copies", "part", "loop", "parameter", "expression"]


class ReportError(InputError, ValueError):
    """A text that is not a report of a version this program reads."""


@dataclass(frozen=True)
class Histogram:
    """How many values lie in each of equal bins from ``low`` to ``high``; the last bin holds ``high`` too.

    ``low`` and ``high`` are those of all values. Of many values the counts are estimates, from values evenly spaced
    among them; they need not add up to all.
    """

    low: Value
    high: Value
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ActivationStats:
    """The values of tensors that a run made.

    ``mean``, ``std`` (of the population, as numpy's), ``min``, ``max`` and the histogram are those of the finite
    values, so that one NaN does not hide the rest; None where there is no finite value.
    """

    elements: int
    mean: Value | None
    std: Value | None
    min: Value | None
    max: Value | None
    zeros: int
    nans: int = 0
    infs: int = 0
    histogram: Histogram | None = None
    # How far the items of a batch differ: the std over the items, root-mean-square over a sample of the places in an
    # item. None unless the first dimension is a batch of several.
    item_std: Value | None = None
    # Of a ReLU, how many indices of each dimension but the first hold only zeros, whatever the others.
    zero_slices: tuple[int, ...] = ()


@dataclass(frozen=True)
class TensorInfo:
    """An input, an output or a parameter."""

    name: str
    shape: Shape
    dtype: str
    # The expression of the spec that makes it (``randint(0, vocab, (B, T))``), or the file it came from.
    made_by: str | None = None
    stats: ActivationStats | None = None


@dataclass(frozen=True)
class Promise:
    """A shape promised behind a line by ``->``."""

    text: str
    held: bool
    # The actual shape as text, if it differs.
    got: str | None = None


@dataclass(frozen=True)
class OperatorCost:
    """An operator that ran, by its ATen name, and its cost; None if no rule counts it.

    ``sizes`` are the computed sizes of its first result; ``macs_formula`` and ``flops_formula`` give the count in
    symbols, with numbers inserted, and its value, and are empty if it is zero. ``times`` is the number of equal calls.
    """

    name: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    sizes: tuple[str, ...]
    macs_formula: str
    flops_formula: str
    macs: int | None
    flops: int | None
    bytes_read: int | None
    bytes_written: int | None
    times: int = 1


@dataclass(frozen=True)
class CachedTensor:
    """A tensor that is kept between steps of generation: with the earlier positions as they are before the step.

    ``past`` grows with the positions, ``window`` up to its length, ``encoder`` is what an encoder gave once, ``state``
    is that of a recurrent layer.
    Repeated elements count once, in ``shape`` and in ``nbytes``.
    """

    name: str
    kind: Literal["past", "window", "encoder", "state"]
    shape: Shape
    dtype: str
    nbytes: int


@dataclass(frozen=True)
class LayerRow:
    """One step of the forward pass: a layer, a block, a stack, or an expression between them.

    ``kind`` says what it is: ``copies`` stands for equal members of a stack, ``loop`` for the rounds of a ``for`` or
    ``while``, ``parameter`` for a ``Parameter`` or ``Buffer`` of the file. ``type`` is the layer's class, the block's
    name or the outermost function of an expression; ``text`` the same with what matters of it (``Conv2d 7×7 /2``,
    ``cat([skip, prev], dim=1)``).
    """

    path: str
    type: str
    kind: Kind
    depth: int
    text: str = ""
    # How the file names this row: the last piece of the path, or ``0–11`` for copies. Empty for an unnamed expression.
    label: str = ""
    line: int | None = None
    column: int | None = None
    input_shapes: tuple[Shape, ...] = ()
    output_shapes: tuple[Shape, ...] = ()
    output_dtypes: tuple[str, ...] = ()
    # Elements of the parameters that this row is the first to use, of one copy; of those, the trainable ones.
    params: int = 0
    trainable_params: int = 0
    buffers: int = 0
    # Costs of one copy, all its calls together; None in a report that did not count. If operators without a rule ran
    # (``uncounted``), the figures are lower bounds.
    macs: int | None = None
    flops: int | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None
    # Bytes of the results of one call.
    output_bytes: int | None = None
    # The most bytes of activations alive at once while it runs, in any of its copies and calls.
    live_bytes: int | None = None
    # How many positions of the input one of the output depends on, along each axis of the windows: height and width,
    # or length. Of copies the last one's. None if no convolution or pooling came before.
    receptive_field: tuple[int, ...] | None = None
    # Operators without a rule that ran here or inside, by ATen's names.
    uncounted: tuple[str, ...] = ()
    calls: int = 1
    repeat: int = 1
    # The number of the call of its layer: 2 where a layer is used again.
    call: int = 1
    # Whether the shapes differ between the calls of the row; those given are the last call's.
    varies: bool = False
    # Tensors of layers elsewhere that this row reads: ``wte.weight`` of a tied head.
    reads: tuple[str, ...] = ()
    # The layer's own parameters, named within it: ``weight``, ``bias``. Empty where it is called again.
    parameters: tuple[TensorInfo, ...] = ()
    # Indices in ``Report.layers`` of the childless rows whose results this row takes, in the order of its inputs,
    # without inputs of the network. None if they are not known.
    sources: tuple[int, ...] | None = None
    # Of a childless row, the indices in ``Report.inputs`` of what it takes, and in ``Report.outputs`` of what it makes.
    network_inputs: tuple[int, ...] = ()
    network_outputs: tuple[int, ...] = ()
    # The layer with all settings that are not the defaults, as a spec writes it: ``Conv2d(64, 7, stride=2)``.
    settings: str = ""
    # Of one call: how its sizes and the elements of its parameters come about, ``H′ = ⌊H / 2⌋ = ⌊9 / 2⌋ = 4``; and the
    # operators that it runs itself.
    formulas: tuple[str, ...] = ()
    operators: tuple[OperatorCost, ...] = ()
    promise: Promise | None = None
    note: str | None = None
    # What it keeps between steps of generation, and the bytes of that here and inside, of one copy; None without
    # earlier positions.
    cached: tuple[CachedTensor, ...] = ()
    kv_cache: int | None = None
    # Of a training step: the backward of one copy, and the operators of one call's that it runs itself.
    backward: Backward | None = None
    backward_operators: tuple[OperatorCost, ...] = ()
    # Statistics of the results of a run, of all calls of one copy: the last one. If the row stands for several copies,
    # the std of each in order, and in a batch of several the `item_std` of each.
    stats: ActivationStats | None = None
    copy_stds: tuple[Value | None, ...] = ()
    # Seconds on the device, the median of a few passes: of one copy, all its calls together.
    latency: float | None = None
    # The fastest and the slowest of those passes.
    latency_range: tuple[float, ...] = ()
    # Kernels that run here and inside: operators that move anything, of one copy, all its calls together.
    kernels: int = lean(0)
    # Seconds on the one device of ``--on``, run eagerly, of one copy: of a forward, or of forward and backward of all
    # micro-batches of a training step.
    eager: float | None = lean(None)
    copy_item_stds: tuple[Value | None, ...] = lean(())
    # What one rank of a mesh of devices has of one copy.
    rank: RowShare | None = lean(None)  # noqa: RUF009 - None is immutable


@dataclass(frozen=True)
class FusedTraffic:
    """Bytes that a forward moves however well its operators are fused: each weight and input is read once."""

    weights: int
    # Inputs and outputs.
    ends: int
    # The sizes of results that no fusion keeps on the chip, unless its cache holds them, and how many there are of
    # each: written once, and read once.
    between: tuple[tuple[int, int], ...]
    # FLOPs that are counted and need not be done: the masked half of causal attention.
    skipped_flops: int


@dataclass(frozen=True)
class Totals:
    """Sums over the whole network. Shared parameters count once; ``None`` is a figure that is not known."""

    params: int
    trainable_params: int
    buffers: int
    param_bytes: int
    buffer_bytes: int
    macs: int | None = None
    flops: int | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None
    # The most bytes alive at once in an inference forward: weights, buffers and inputs throughout, and the
    # activations apart. None where the forward is part of a training step.
    peak_memory: int | None = None
    peak_activations: int | None = None
    input_bytes: int | None = None
    # Parameters that one position uses: all of them, unless a mixture of experts skips some.
    active_params: int | None = None
    # Bytes kept between steps of generation, which are part of the peak; None without earlier positions.
    kv_cache: int | None = None
    # None in a report that did not follow it.
    fused: FusedTraffic | None = None


# The quantile by which measurements are compared.
FAST = 0.1


@dataclass(frozen=True)
class Latency:
    """How long something took, in seconds; :meth:`of` derives the other figures from ``times``."""

    # Each repeat, in the order they ran.
    times: tuple[Seconds, ...]
    median: Seconds
    # The interquartile range, and the 90th and 99th percentile.
    iqr: float
    p90: Seconds
    p99: Seconds

    @classmethod
    def of(cls, times: Sequence[float]) -> Latency:
        """The figures of some times, at least one; quantiles between two repeats are interpolated."""
        ordered = sorted(times)
        quarter, three = quantile(ordered, 0.25), quantile(ordered, 0.75)
        middle, p90, p99 = (quantile(ordered, q) for q in (0.5, 0.9, 0.99))
        return cls(tuple(times), middle, three - quarter, p90, p99)

    @property
    def p10(self) -> Seconds:
        """The 10th percentile, which other programs disturb least."""
        return quantile(sorted(self.times), FAST)


def quantile(ordered: Sequence[float], q: float) -> float:
    """The q-quantile of sorted values, linear between two of them (numpy's default)."""
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def median_interval(times: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """The confidence interval of the median, by order statistics; None with too few times.

    Each of n times is below the median with probability one half, so the number of those below it is binomial
    (Conover, Practical Nonparametric Statistics, 3.2).
    """
    rank = _rank(len(times), confidence)
    if rank is None:
        return None
    ordered = sorted(times)
    return ordered[rank], ordered[-1 - rank]


@cache
def _rank(n: int, confidence: float) -> int | None:
    """The largest rank (from 0) whose time exceeds the true median with probability (1 − confidence) / 2 at most."""
    tail = (1 - confidence) / 2
    if n > 1_000:
        # The normal limit: 1.96 deviations of sqrt(n) / 2 for 95 %.
        return math.floor((n - 1) / 2 + NormalDist().inv_cdf(tail) * math.sqrt(n) / 2)
    below, rank = 0.0, None
    for k in range(n // 2 + 1):
        below += math.comb(n, k) / 2**n
        if below > tail:
            break
        rank = k
    return rank


@dataclass(frozen=True)
class Peaks:
    """The most a device can do: FLOP/s at a dtype, bytes a second, bytes of memory. None is not known."""

    name: str
    dtype: str
    flops: float | None
    bandwidth: float | None
    memory: Annotated[int, (1, MOST, False)] | None
    # The table of published figures, or a large product and a large copy on the device itself.
    source: Literal["table", "measured"]
    # FLOP/s of convolutions if torch computes them faster than matrix products: on GPUs in TF32 for float32, on CPUs by
    # another library.
    convolution_flops: float | None = None
    # The shares of the peaks of products and of the bandwidth that were measured and published; None if none are.
    achieved_flops: float | None = None
    achieved_bandwidth: float | None = None
    # Bytes of the last cache before the memory.
    cache: int | None = None


# What float32 is computed in TF32, in 10 bits of mantissa: products and convolutions, one of them, or neither.
Tf32: TypeAlias = Literal["on", "products", "convolutions", "off"]


@dataclass(frozen=True)
class DeviceState:
    """The state of a GPU under load, from its driver; None if not known."""

    driver: str | None = None
    # Of the multiprocessors, in MHz; power in watts; degrees Celsius.
    clock: int | None = None
    max_clock: int | None = None
    power: float | None = None
    power_limit: float | None = None
    temperature: int | None = None
    # What holds its clock down: ``power cap``, ``heat``.
    slowed_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class NonFinite:
    """The first step with NaN or infinity in its output, and the statistics of its inputs."""

    path: str
    text: str
    line: int | None
    nans: int
    infs: int
    inputs: tuple[ActivationStats, ...]
    # The operator of the step that made it, by ATen's name, and those that ran after it; what went into the first, with
    # its weights and numbers. Empty where it is not known.
    operators: tuple[str, ...] = ()
    operands: tuple[ActivationStats, ...] = ()


@dataclass(frozen=True)
class Load:
    """Requests that were served, each by a forward: sent at a rate, or by each worker when its last one ended."""

    # Workers: threads of the host, each with a stream of its own on a GPU.
    concurrency: int
    # Requests a second, at times drawn from a Poisson process; None if there is always one to serve.
    rate: Seconds | None
    sent: int
    served: int
    # Served a second; and at most, by the workers' mean time of a forward.
    throughput: Seconds
    capacity: Seconds
    # From when a request was sent to the end of its forward; and its forward alone.
    latency: Latency
    service: Seconds

    @property
    def is_kept(self) -> bool:
        """Whether the rate can be kept: otherwise the queue grows, and the latencies with it."""
        return self.rate is None or self.rate < self.capacity


@dataclass(frozen=True)
class Transfers:
    """Copies of the inputs from the host's ordinary memory to a device, and of the outputs back, in medians."""

    input_bytes: int
    input_seconds: Seconds
    output_bytes: int
    output_seconds: Seconds


@dataclass(frozen=True)
class Energy:
    """What a device used while forwards ran one behind another: of all of it, with what it uses at rest."""

    # Joules of a forward.
    joules: Seconds
    watts: Seconds
    source: Literal["NVML", "RAPL"]


@dataclass(frozen=True)
class Run:
    """A forward with real numbers on a device: its settings, times and memory."""

    # ``cpu``, ``cuda:0``; and its name, ``NVIDIA H100 80GB HBM3``.
    device: str
    device_name: str
    dtype: str
    seed: int
    # The file of the weights; None if they were initialised, or are a Python module's own.
    weights: str | None = None
    mode: Literal["eval", "train"] = "eval"
    # The whole model without hooks, and the sum of its layers, measured in separate passes.
    latency: Latency | None = None
    layers_latency: float | None = None
    # Seconds below which the clock does not know the time of a layer's call; None if layers were not timed.
    clock_noise: Seconds | None = None
    # Bytes at the peak, by what the device's allocator gave out; None if unknown.
    peak_memory: int | None = None
    first_nonfinite: NonFinite | None = None
    peaks: Peaks | None = None
    # Whether weights and inputs were cast to ``dtype``, or autocast was used; None if ``dtype`` is the model's own.
    precision: Literal["cast", "autocast"] | None = None
    compiled: bool = False
    channels_last: bool = False
    threads: int | None = None
    # Items of the first input's batch in one forward; None if it has no batch.
    batch: int | None = None
    # Whether the times can be trusted: noise, launch gaps, a budget that ran out.
    notes: tuple[str, ...] = ()
    # The 10th percentile of each process, if several measured it one after the other; ``latency`` has all their times.
    processes: tuple[Seconds, ...] = ()
    # If several ranks measured it together, what each found; ``latency`` is that of the slowest of each repeat.
    ranks: tuple[RankRun, ...] = lean(())
    # Of CUDA devices: what float32 is computed in TF32, and whether cuDNN tries its algorithms.
    tf32: Tf32 | None = None
    cudnn_benchmark: bool | None = None
    # Whether forwards are queued one behind another, so that a time is that from one's end to the next's, or each waits
    # until the one before is done; and the median the other way, of an asynchronous device.
    repeats_are: Literal["queued", "alone"] = "alone"
    other_latency: Seconds | None = None
    # The device while it worked, and the most bytes that its allocator held, with what is lost between tensors.
    state: DeviceState | None = None
    reserved_memory: int | None = None
    # How torch.compile was asked to, None for its default; and the seconds of the first forward, which compiles.
    compile_mode: str | None = None
    compile_seconds: Seconds | None = None
    # Whether a captured CUDA graph was replayed, and whether caches were filled with other data before each forward.
    is_graph: bool = False
    is_cold: bool = False
    load: Load | None = None
    transfers: Transfers | None = None
    energy: Energy | None = None


@dataclass(frozen=True)
class GenerationEstimate:
    """What follows from the least time of a step of generation, for other batches and lengths; None is not known."""

    # Seconds of a forward over a prompt as long as the earlier positions: the time to the first token.
    prompt_seconds: float | None
    # New positions a second, of one sequence and of all.
    rate: float | None
    rate_of_all: float | None
    # The number of sequences from which a step is compute-bound, or that it is memory-bound with any number of them.
    compute_bound_from: int | None
    stays_memory_bound: bool | None
    # The most sequences with as many positions that fit, and the most positions of as many sequences.
    most_sequences: int | None
    most_positions: int | None


@dataclass(frozen=True)
class PhaseEstimate:
    """The time of a part of a training step, as :class:`Estimate` has that of the whole."""

    name: PhaseName
    seconds: float | None
    compute_seconds: float | None
    memory_seconds: float | None
    eager_seconds: float | None


@dataclass(frozen=True)
class LargestBatch:
    """The largest batch that fits into a device's memory, 0 if none does, and the bytes that the next one needs."""

    batch: int
    next_needed: int


@dataclass(frozen=True)
class Estimate:
    """The time of a forward or a training step on a device that is not here: the least if fused, and run eagerly."""

    peaks: Peaks
    # However well it is fused: the slower of its arithmetic and its traffic, in each phase; then both alone.
    seconds: float | None
    compute_seconds: float | None
    memory_seconds: float | None
    # Each operator at the rates that the device reaches, and no kernel faster than it is launched.
    eager_seconds: float | None
    # Bytes needed at the peak, and whether the device has them.
    needed: int | None
    fits: bool | None
    # Of a step of generation.
    generation: GenerationEstimate | None = None
    # Of a training step, whose phases these are.
    phases: tuple[PhaseEstimate, ...] = ()
    # If it was looked for; the report is of this batch, or of the smallest one where none fits.
    largest_batch: LargestBatch | None = None


@dataclass(frozen=True)
class MeasuredStep:
    """How much of their peak devices used in a training step that took so long.

    Model FLOPs are those of PaLM's appendix B (Chowdhery et al. 2022): six for each token and parameter, and six for
    each MAC of attention in the forward; without tokens, six for each MAC of the forward. Hardware FLOPs are those that
    are counted here, with what is recomputed. ``needed`` leaves out the scores that causality masks. The utilisations,
    MFU and HFU, are None if the peak is not known.
    """

    seconds: Seconds
    devices: int
    peaks: Peaks
    model_flops: int
    model_flops_needed: int
    hardware_flops: int
    hardware_flops_needed: int
    mfu: float | None
    mfu_needed: float | None
    hfu: float | None
    hfu_needed: float | None


@dataclass(frozen=True)
class Environment:
    """The versions that made the report."""

    fwdscope: str
    python: str
    torch: str
    platform: str


@dataclass(frozen=True)
class Shortfall:
    """An expectation of the file that is not met."""

    what: str
    expected: str
    got: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True)
class Report(Paged):
    """A forward pass, row by row. See the module's docstring for what the rows mean."""

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    layers: tuple[LayerRow, ...]
    totals: Totals
    environment: Environment
    source: str | None = None
    doc: str | None = None
    # The text of the spec, which the rows' lines are in.
    spec: str | None = None
    device: str = "meta"
    dtype: str = "float32"
    # Whether the figures can be trusted: data-dependent lines, replaced inputs.
    notes: tuple[str, ...] = ()
    shortfalls: tuple[Shortfall, ...] = ()
    # Operators without a rule: they are not counted, and the totals are "at least".
    uncounted: tuple[str, ...] = ()
    # Parameters declared but read by no operator.
    unused: tuple[str, ...] = ()
    # The number of earlier positions whose keys and values are kept (``--past``), and of new ones in each sequence.
    past: int | None = None
    new_positions: int | None = None
    # A run on a device, if one was asked for; estimates for devices that are not here.
    run: Run | None = None
    estimates: tuple[Estimate, ...] = ()
    # The training step that the forward is part of, if one was asked for.
    training: TrainingStep | None = None
    # How long that step took somewhere, if it was given.
    measured_step: MeasuredStep | None = None
    # Small pictures of outputs, in order of execution, if the run was to draw them all.
    strips: tuple[Strip, ...] = ()
    # What one rank has of it, if it was counted on a mesh of devices.
    mesh: MeshReport | None = lean(None)  # noqa: RUF009 - None is immutable
    # Its times there on clusters that are not here.
    mesh_estimates: tuple[MeshEstimate, ...] = lean(())
    convention: str = CONVENTION
    # The dtype that products run in for the estimates, ``float8`` or ``int8``, if it is another than ``dtype``.
    products: str | None = lean(None)

    @property
    def is_stored(self) -> bool:
        """Whether it is of a file of weights, which has no forward."""
        return self.device == STORED

    def to_json(self) -> dict[str, Any]:
        """The report as JSON's own types, with its schema and ``version`` first.

        Each formula and each operator is there once, in a list of its own: rows have their indices in it.
        """
        found = _plain(dataclasses.replace(self, layers=()))
        del found["layers"]
        has_backward = any(row.backward_operators for row in self.layers)
        names = [name for name in SHARED if has_backward or name != "backward_operators"]
        tables: dict[str, dict[Any, int]] = {name: {} for name in names}
        layers = []
        for row in self.layers:
            given = {k: v for k, v in vars(row).items() if k not in SHARED and (v or k not in _LEAN)}
            layers.append({name: _plain(value) for name, value in given.items()})
            for name, table in tables.items():
                layers[-1][name] = [table.setdefault(value, len(table)) for value in getattr(row, name)]
        shared = {name: [_plain(value) for value in table] for name, table in tables.items()}
        return {"$schema": SCHEMA, "version": VERSION, **found, **shared, "layers": layers}

    @classmethod
    def from_json(cls, data: Any) -> Report:
        """The report in data of :meth:`to_json`. Raises ReportError, with the place, for any other data."""
        if other := next((what for key, what in _OTHERS.items() if isinstance(data, dict) and key in data), None):
            raise ReportError(f"it is {other}")
        if not isinstance(data, dict) or "version" not in data:
            raise ReportError("this is no fwdscope report: it has no version")
        if type(data["version"]) is not int or not 1 <= data["version"] <= VERSION:
            raise ReportError(
                f"this report has version {shortened(data['version'])}; this fwdscope reads versions 1 to {VERSION}"
            )
        own = {key: value for key, value in data.items() if key not in ("version", "$schema", *SHARED)}
        own |= {"layers": _with_shared(data)} if "layers" in data else {}
        report = read_dataclass(cls, own, "report")
        if report.run and report.run.latency and not report.run.latency.times:
            raise ReportError("report.run.latency.times: expected at least one time, found none")
        check_rows(report.layers)
        if report.training is not None:
            _check_step(report.training, len(report.layers))
        for index, strip in enumerate(report.strips):
            if strip.row is not None and not 0 <= strip.row < len(report.layers):
                raise ReportError(f"report.strips[{index}].row: there is no row {strip.row}")
            try:
                deque(strip.cells(), 0)
            except ValueError as error:
                raise ReportError(f"report.strips[{index}]: {error}") from None
        return report

    def show(self, layer: str | None = None) -> None:
        """Print the report, or all that it knows of one layer; in a notebook, display it.

        Raises LookupError, with the nearest path, if there is no such layer.
        """
        drawn("show", self, layer)

    def to_dataframe(self) -> Any:
        """The rows as a ``pandas.DataFrame``, with the columns of the CSV. Raises ImportError without pandas."""
        return drawn("dataframe", self)

    def dumps(self) -> str:
        """The report as JSON text, one row a line, so that it diffs well."""
        return dump_rows(self.to_json())

    @classmethod
    def loads(cls, text: str) -> Report:
        """The report in a JSON text. Raises ReportError if it is none."""
        return cls.from_json(parse_json(text))


def dump_rows(data: dict[str, Any], on_one_line: Sequence[str] = ()) -> str:
    """Data as JSON text: each layer, strip, formula and operator, and each value of ``on_one_line``, on a line of its
    own.
    """
    lists = [key for key in (*SHARED, *["strips"] * bool(data.get("strips")), "layers") if key in data]
    rest = {key: value for key, value in data.items() if key not in (*lists, *on_one_line)}
    text = json.dumps(rest, indent=2, ensure_ascii=False)[:-2]
    text += "".join(f',\n  "{key}": {json.dumps(data[key])}' for key in on_one_line)
    for key in lists:
        rows = ",\n    ".join(json.dumps(row, ensure_ascii=False) for row in data[key])
        text += f',\n  "{key}": [' + (f"\n    {rows}\n  " if rows else "") + "]"
    return f"{text}\n}}\n"


def parents(rows: Sequence[LayerRow]) -> tuple[int | None, ...]:
    """For each row the index of the row that contains it; None at the top level."""
    found: list[int | None] = []
    open_rows: list[int] = []
    for index, row in enumerate(rows):
        while open_rows and rows[open_rows[-1]].depth >= row.depth:
            open_rows.pop()
        found.append(open_rows[-1] if open_rows else None)
        open_rows.append(index)
    return tuple(found)


def depth_within(depths: Sequence[int], most: int) -> int:
    """The deepest level down to which at most so many rows, of these depths, are seen; at least 1."""
    at, found, seen = Counter(depths), 1, 0
    for depth in range(1, max(depths, default=1) + 1):
        seen += at[depth]
        found = depth if seen <= most else found
    return found


def multiplicities(rows: Sequence[LayerRow]) -> tuple[int, ...]:
    """For each row how many equal ones it stands for: its ``repeat`` times that of every row around it."""
    found: list[int] = []
    for row, parent in zip(rows, parents(rows), strict=True):
        found.append(row.repeat * (1 if parent is None else found[parent]))
    return tuple(found)


# Bytes of memory that values of JSON take for each of these characters, at most; and that one text may take.
_BYTES = {"[": 72, "{": 72, ":": 50, '"': 25, ",": 32}
MOST_MEMORY = 256 * 1024**2


def parse_json(text: str) -> Any:
    """The data of a JSON text. Raises ReportError."""
    needed = sys.getsizeof(text) + sum(text.count(character) * size for character, size in _BYTES.items())
    if needed > MOST_MEMORY:
        raise ReportError(f"reading it takes {byte_size(needed)} of memory; at most {byte_size(MOST_MEMORY)} are used")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ReportError(f"this is not JSON: {error}") from None
    except RecursionError:
        raise ReportError("this is no JSON that fwdscope wrote: it is nested too deeply") from None
    except ValueError:
        raise ReportError("this is no JSON that fwdscope wrote: a number has too many digits") from None


def check_count(rows: Sequence[object], what: str = "rows") -> None:
    """Raise ReportError for a file of more rows than are read."""
    if len(rows) > limit("rows"):
        raise ReportError(f"it has {len(rows):,} {what}; {at_most('rows')}")


def check_rows(rows: Sequence[LayerRow]) -> None:
    """Raise ReportError where rows of a file are no tree: deeper than those before them allow, or too many copies."""
    for index, (row, times) in enumerate(zip(rows, multiplicities(rows), strict=True)):
        deepest = min(index + 1, DEEPEST)
        if not 1 <= row.depth <= deepest:
            raise ReportError(f"report.layers[{index}].depth: expected 1 to {deepest}, found {row.depth}")
        if times > MOST:
            raise ReportError(
                f"report.layers[{index}].repeat: expected at most {MOST:g} copies with the rows around it"
            )
    if (edges := sum(len(row.sources or ()) for row in rows)) > 10 * limit("rows"):
        raise ReportError(f"its rows have {edges:,} sources; at most {10 * limit('rows'):,}, ten a row of --limit rows")


def _check_step(step: TrainingStep, rows: int) -> None:
    """Raise ReportError where a training step lacks a part, or points at a row that there is not."""
    if (found := tuple(one.name for one in step.phases)) != PHASES:
        raise ReportError(f"report.training.phases: expected {', '.join(PHASES)}, found {', '.join(found) or 'none'}")
    for row in {step.peak_row, *(one.row for one in step.curve)}:
        if row is not None and not 0 <= row < rows:
            raise ReportError(f"report.training: there is no row {row}")


# Fields of rows that are left out of JSON where they are empty.
_LEAN = frozenset(f.name for f in dataclasses.fields(LayerRow) if f.metadata)
# Fields of rows whose values many rows share.
SHARED: dict[str, type] = {"formulas": str, "operators": OperatorCost, "backward_operators": OperatorCost}


def _with_shared(data: dict[str, Any]) -> Any:
    """The layers of a report's JSON with the formulas and operators that they have the indices of."""
    tables = {}
    for name, kind in SHARED.items():
        tables[name] = _read(tuple[kind, ...], data.get(name, []), f"report.{name}")  # type: ignore[valid-type]
    layers = data["layers"]
    if not isinstance(layers, list) or not all(isinstance(row, dict) for row in layers):
        return layers  # reading the rows reports it
    check_count(layers)
    rows = []
    read_row, read_indices = _reader(LayerRow), _reader(tuple[int, ...])
    for i, row in enumerate(layers):
        found, name = {}, ""
        try:
            for name, table in tables.items():
                found[name] = [table[index] for index in read_indices(row.get(name, []))]
            rows.append(read_row(row | found))
        except IndexError:
            wrong = f": expected indices in the {len(table)} {name}, found {shortened(row[name])}"
            raise ReportError(f"report.layers[{i}].{name}{wrong}") from None
        except ReportError as error:
            part = "" if len(found) == len(tables) else f".{name}"
            raise ReportError(f"report.layers[{i}]{part}{error}") from None
    return rows


# What else the commands save as JSON, by a key of its own.
_OTHERS = {
    "sweep": "a sweep, a report for each size: it is for fwdscope bench --against and fwdscope view",
    "rounds": "two networks measured in turn: it is for fwdscope view",
    "specs": "a check: it is for fwdscope view",
    "changes": "a comparison, without the networks themselves: fwdscope diff BEFORE AFTER -o page.html draws both",
    "before": "two reports to compare: they are for fwdscope view",
}

T = TypeVar("T")


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):  # as mostly
        return value
    if dataclasses.is_dataclass(value):
        found = ((f, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {f.name: _plain(item) for f, item in found if not (f.metadata and item == f.default)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


# Reads one value of JSON. A ReportError that it raises begins at the value: ``: expected int, found 'x'``.
_Read = Callable[[Any], Any]


@cache
def _reader(annotation: Any, bounded: bool = True) -> _Read:
    """What reads the values of an annotation."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        inner = _reader(arguments[0], False)
        return lambda value: check_number(inner(value), "", *arguments[1])
    if origin in (types.UnionType, typing.Union):
        kinds = [a for a in arguments if a is not types.NoneType]
        inner = _reader(kinds[0]) if len(kinds) == 1 else partial(_read_one_of, kinds)
        return lambda value: None if value is None and len(kinds) < len(arguments) else inner(value)
    if origin is tuple:
        return partial(_read_list, _reader(arguments[0]))
    if origin is Literal:
        return partial(_read_literal, arguments)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return _reader_of_dataclass(annotation)
    return partial(_read_plain, annotation, bounded and annotation in (int, float))


def _read_list(read: _Read, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ReportError(f": expected a list, found {shortened(value)}")
    found: list[Any] = []
    try:
        for item in value:
            found.append(read(item))  # its length is the place of an error
    except ReportError as error:
        raise ReportError(f"[{len(found)}]{error}") from None
    return tuple(found)


def _read_one_of(kinds: Sequence[Any], value: Any) -> Any:
    for kind in kinds:
        if dataclasses.is_dataclass(kind):
            fits = isinstance(value, dict) and value.keys() <= {f.name for f in dataclasses.fields(kind)}
        else:
            fits = isinstance(value, str) == (kind is str) and not isinstance(value, dict)
        if fits:
            return _reader(kind)(value)
    raise ReportError(f": expected another kind of value, found {shortened(value)}")


def _read_literal(allowed: tuple[Any, ...], value: Any) -> Any:
    if value not in allowed:
        raise ReportError(f": expected one of {', '.join(map(repr, allowed))}, found {shortened(value)}")
    return value


def _read_plain(kind: Any, bounded: bool, value: Any) -> Any:
    if kind is float and type(value) is int:
        value = float(check_number(value, ""))
    if type(value) is not kind:
        raise ReportError(f": expected {kind.__name__}, found {shortened(value)}")
    if kind is str and not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ReportError(f": expected text, found half of a character in {value!r}")
    return check_number(value, "") if bounded else value


def _reader_of_dataclass(cls: type) -> _Read:
    fields = dataclasses.fields(cls)
    required = [f.name for f in fields if f.default is dataclasses.MISSING]
    hints, readers = typing.get_type_hints(cls, include_extras=True), dict[str, _Read]()

    def read(value: Any) -> Any:
        if type(value) is cls:
            return value
        if not isinstance(value, dict):
            raise ReportError(f": expected an object, found {shortened(value)}")
        found: dict[str, Any] = {}
        try:
            for name, item in value.items():
                found[name] = readers[name](item)
        except ReportError as error:
            raise ReportError(f".{name}{error}") from None
        except KeyError:
            raise ReportError(f": unknown key {name!r}") from None
        if missing := [name for name in required if name not in found]:
            raise ReportError(f": missing {missing[0]!r}")
        return cls(**found)

    readers |= {f.name: _reader(hints[f.name]) for f in fields}
    return read


def check_number(value: float, where: str, low: float = LEAST, high: float = MOST, zero: bool = True) -> float:
    """A number of a file. Raises ReportError if it is out of bounds, as NaN is; ``zero`` says whether 0 is not."""
    if (zero and value == 0) or low <= value <= high:
        return value
    raise ReportError(f"{where}: expected {min(low, 0) if zero else low:g} to {high:g}, found {shortened(value)}")


def shortened(value: Any) -> str:
    """A wrong value in a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}… ({len(text):,} characters)"


def read_dataclass(cls: type[T], value: Any, where: str) -> T:
    """An object of a dataclass from JSON, checked against its annotations. Raises ReportError with the place."""
    return typing.cast(T, _read(cls, value, where))


def _read(annotation: Any, value: Any, where: str) -> Any:
    try:
        return _reader(annotation)(value)
    except ReportError as error:
        raise ReportError(f"{where}{error}") from None
