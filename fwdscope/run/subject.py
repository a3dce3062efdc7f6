"""What is inspected: a spec's network, or a module with its inputs, behind one interface.

A subject is traced on meta when it is made. :meth:`Subject.place` makes it on a device with real numbers, and
:meth:`Subject.run` runs it there under a recorder.
"""

from __future__ import annotations

import contextlib
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from fwdscope.errors import InputError, ShapeError
from fwdscope.language.budget import OverBudgetError
from fwdscope.language.check import Checked
from fwdscope.language.problems import Problem, SpecError
from fwdscope.language.replaced import point_at_set
from fwdscope.model import Network, build
from fwdscope.model.process_state import torch_default_dtype
from fwdscope.ops import find
from fwdscope.report import STEP_FIGURES, Environment, Report, TensorInfo, Totals, TrainingStep
from fwdscope.run.batch import batch_variable, resize, with_variable
from fwdscope.run.fused_attention import notes_on_fused_attention
from fwdscope.run.placement import ModuleCall, is_on, move, moved_call, real_inputs
from fwdscope.run.weights import load_into
from fwdscope.settings import Training, TrainingSettings
from fwdscope.targets.feeds import Feed
from fwdscope.trace import Recorder, Trace, rows_with_nodes, trace, trace_module
from fwdscope.trace.duplicate import Duplicate, tensors_inside, unwrapped
from fwdscope.trace.memory import sizes
from fwdscope.trace.module import (
    OwnCache,
    duplicate_with_values,
    meta_stand_in,
    record_copy,
    record_module,
    run_with_autograd,
    trace_until_failure,
)
from fwdscope.trace.network import build_and_trace
from fwdscope.trace.parameters import Modules, named_modules, named_parameters, named_tensors
from fwdscope.trace.step_memory import CopiesDifferError
from fwdscope.trace.training import notes_on_step, recorder_of, step_of
from fwdscope.version import __version__

_REGISTERED = "{}: counted by the formula registered with torch.utils.flop_counter; MACs are half of its FLOPs"


class Subject(ABC):
    """A network that is traced on meta, and can be run on a device."""

    # The network with its inputs: a spec's on meta, a module as the caller gave it.
    call: ModuleCall
    # The forward on meta. Of a module that cannot run there: where it lives, which `device` names.
    trace: Trace
    device: str = "meta"
    name: str
    dtype: str
    training: Training
    # Earlier positions whose keys and values are kept.
    past: int = 0
    # Whether its weights are initialised when it is placed.
    draws_weights = False

    # --- on meta -----------------------------------------------------------------------------------------------------

    def report(self) -> Report:
        """The report of the forward on meta."""
        inputs = self.named_inputs(self.call)
        report = report_of(self.trace, self.totals(self.trace), self.name, inputs, self.device, self.dtype)
        if not self.past:
            return report
        if not report.totals.kv_cache:
            message = (
                f"--past: {self.name} keeps nothing of earlier positions: no attention, recurrent layer or causal "
                "convolution is seen, and no loop of a spec over positions; a loop in Python is not followed"
            )
            raise InputError(message)
        new = self.trace.past.new if self.trace.past is not None else None
        notes = (*report.notes, *_notes_on_past(self.trace, tuple(inputs)))
        return replace(report, past=self.past, new_positions=new, notes=notes)

    @property
    def module(self) -> nn.Module:
        """The network itself."""
        return unwrapped(self.call.module)

    def totals(self, trace: Trace) -> Totals:
        """The sums over a forward of this network."""
        return totals_of(trace, trace.module or self.module, tensors_inside([self.call.args, self.call.kwargs]))

    def peak_by_batch(self, batch: int | None) -> Callable[[int], int] | None:
        """A function from a batch size to the bytes at the peak; None where the batch cannot be changed."""
        if batch is None:
            return None

        def peak(size: int) -> int:
            resized = self.resized(batch, size)
            return resized.totals(resized.trace).peak_memory or 0

        try:
            peak(batch + 1)
        except Exception:  # whatever a network raises on inputs of a size that it was not made for
            return None
        return peak

    def other_passes(
        self, checked: Checked, report: Report | None = None
    ) -> tuple[dict[int, int | None], TrainingStep | None]:
        """What a spec expects something of besides its forward: bytes kept of earlier positions, and a training step.

        The step is that of a ``report`` of this network, if it is the expected one. Raises SpecError where there is
        none, or no optimizer of that name.
        """
        expect = checked.spec.expect
        numbers = sorted({one.past for one in expect.figures if one.name == "kv_cache"})
        behind = {past: self.again(False, past) for past in numbers}
        caches = {past: subject.totals(subject.trace).kv_cache for past, subject in behind.items()}
        settings = TrainingSettings.of({one.name: one.value for one in expect.training})
        if report is not None or not any(one.name in STEP_FIGURES for one in expect.figures):
            return caches, report.training if report is not None and self.training == settings else None
        try:
            subject = self.again(settings)
        except InputError as error:
            at = next((one for one in expect.training if str(error).startswith(f"--{one.name} ")), None)
            span = at.span if at else next(one.span for one in expect.figures if one.name in STEP_FIGURES)
            message, _, help = (str(error).partition(": ")[2] if at else str(error)).partition("; ")
            raise SpecError([Problem(checked.spec.source, span, "training", message, help or None)]) from None
        return caches, Subject.report(subject).training

    @abstractmethod
    def again(self, training: Training, past: int = 0) -> Subject:
        """The same network, looked at in another mode or behind earlier positions."""

    @abstractmethod
    def trace_as(self, training: Training) -> Trace:
        """The trace of this very network in a mode or a training step."""

    @abstractmethod
    def trace_every_copy(self) -> Trace:
        """The trace in which each of the equal copies of a stack has nodes of its own."""

    @abstractmethod
    def trace_by(self, make: Callable[[bool], Recorder]) -> Trace:
        """The network on meta, recorded by ``make(repeats)``: whether equal copies of a stack may run once."""

    @abstractmethod
    def named_inputs(self, call: ModuleCall) -> dict[str, Tensor]:
        """The input tensors of a call by name."""

    @abstractmethod
    def resized(self, batch: int, size: int) -> Subject:
        """The same network with another batch size, on meta."""

    @abstractmethod
    def cast(self, dtype: str) -> Subject:
        """The same network with floating-point weights and inputs of another dtype."""

    # --- on a device -------------------------------------------------------------------------------------------------

    def memory_to_allocate(self, device: torch.device, copied: bool) -> int:
        """Bytes that a forward on a device allocates at its peak. ``copied``: the weights there are copied."""
        return self.totals(self.trace).peak_memory or 0

    @abstractmethod
    def placed(
        self, device: torch.device, seed: int, given: Mapping[str, Tensor], weights_change: bool, on_host: bool = True
    ) -> AbstractContextManager[ModuleCall]:
        """The network and its inputs on a device, with numbers in them.

        ``given`` are weights by name; all others are initialised from ``seed``, on the CPU first with ``on_host``. With
        ``weights_change`` the weights may be changed inside. Raises RunError where it cannot be made there.
        """

    @abstractmethod
    def run(self, call: ModuleCall, recorder: Recorder) -> Trace:
        """Run the placed network once, recorded."""

    def straight_graph(self, call: ModuleCall) -> tuple[fx.GraphModule | None, str]:
        """The placed network as a graph of plain calls; None, with the reason, where the data decide what runs."""
        return None, ""

    @property
    def default_dtype(self) -> torch.dtype:
        """torch's default dtype while the network runs."""
        return torch.get_default_dtype()


class SpecSubject(Subject):
    """The network of a checked spec. Raises SpecError where shapes do not fit.

    ``feeds`` replace inputs of the spec (``--input``); ``replaced`` does so by tensors on meta. ``dtype`` is that of
    weights, and of inputs that name none. A ``network`` that is built already is not built again; ``only_on_meta`` is
    faster, and it can be run on no device then.
    """

    draws_weights = True

    def __init__(
        self,
        checked: Checked,
        feeds: Mapping[str, Feed] | None = None,
        dtype: str = "float32",
        training: Training = False,
        replaced: Mapping[str, Tensor] | None = None,
        past: int = 0,
        network: Network | None = None,
        only_on_meta: bool = False,
    ) -> None:
        self.checked = checked
        self.past = past
        self.only_on_meta = only_on_meta
        self.feeds = dict(feeds or {})
        self.name = checked.spec.name
        self.dtype = dtype
        self.training = training
        with point_at_set(checked.spec):
            inputs = {**{name: feed.make_meta_tensor() for name, feed in self.feeds.items()}, **(replaced or {})}
            brief = only_on_meta and not past and network is None and isinstance(training, bool)
            found = self._build_once(inputs) if brief else None
            if found is None:
                self.network = network or build(checked, inputs, getattr(torch, dtype), training=bool(training))
                self.trace = trace(self.network, past=past) if past else self.trace_as(training)
            else:
                self.network, self.trace = found
        self.call = ModuleCall(self.network, tuple(self.network.example.values()), {})

    def _build_once(self, inputs: Mapping[str, Tensor]) -> tuple[Network, Trace] | None:
        """The network and its trace by one run; None where that takes two, or fails."""
        try:
            return build_and_trace(self.checked, inputs, getattr(torch, self.dtype), bool(self.training))
        except OverBudgetError:
            raise
        except SpecError:
            return None

    def report(self) -> Report:
        """The report of the forward on meta, with what the spec says itself."""
        from fwdscope.commands.check.expectations import with_shortfalls

        report = super().report()
        texts = {one.name: one.text for one in self.checked.spec.inputs}
        fed = self.feeds.items()
        texts |= {name: feed.made_by for name, feed in fed}
        source, blueprint = self.checked.spec.source, self.network.blueprint
        notes = [f"line {source.place(at.start)[0]}: {text}" for at, text in sorted(blueprint.notes.items())]
        notes += [f"{name} is {feed.shape} from {feed.made_by}, in place of the spec's" for name, feed in fed]
        if not blueprint.check_promises:
            notes.append("promised shapes are not checked, since an input has another shape than the spec's")
        notes += [f"line {source.place(note.span.start)[0]}: {note.text}" for note in self.checked.notes]
        report = replace(
            report,
            inputs=tuple(replace(one, made_by=texts[one.name]) for one in report.inputs),
            source=source.name,
            doc=self.checked.spec.doc,
            spec=source.text,
            notes=(*notes, *report.notes),
        )
        return with_shortfalls(self.checked, report, blueprint.check_promises, *self.other_passes(self.checked, report))

    def again(self, training: Training, past: int = 0) -> SpecSubject:
        """Built again."""
        return SpecSubject(self.checked, self.feeds, self.dtype, training, None, past, None, self.only_on_meta)

    def trace_as(self, training: Training) -> Trace:
        """Built as it is."""
        return self.trace_by(partial(recorder_of, training))

    def trace_by(self, make: Callable[[bool], Recorder]) -> Trace:
        """Built as it is."""
        try:
            return trace(self.network, make(True))
        except CopiesDifferError:
            return trace(self.network, make(False))

    def trace_every_copy(self) -> Trace:
        """A further run on meta, if copies were repeated in the first."""
        if any(node.repeat > 1 for node in self.trace.root.nodes()):
            self.trace = trace(self.network, recorder_of(self.training))
        return self.trace

    def named_inputs(self, call: ModuleCall) -> dict[str, Tensor]:
        """By the names in the spec."""
        return dict(zip(self.network.example, call.args, strict=True))

    def resized(self, batch: int, size: int) -> SpecSubject:
        """By the var that the batch is, else by the first dimension of every input that begins with it."""
        variable = batch_variable(self.checked, batch)
        if variable is not None:
            checked = with_variable(self.checked, variable, size)
            return SpecSubject(checked, {}, self.dtype, self.training, None, self.past, None, self.only_on_meta)
        inputs = resize(self.named_inputs(self.call), batch, size)
        return SpecSubject(self.checked, {}, self.dtype, self.training, inputs, self.past, None, self.only_on_meta)

    def cast(self, dtype: str) -> SpecSubject:
        """Built again; inputs whose lines name a dtype keep it."""
        return SpecSubject(self.checked, self.feeds, dtype, self.training, None, self.past, None, self.only_on_meta)

    @contextlib.contextmanager
    def placed(
        self, device: torch.device, seed: int, given: Mapping[str, Tensor], weights_change: bool, on_host: bool = True
    ) -> Iterator[ModuleCall]:
        """The network itself gets its weights: it is on meta no longer."""
        from fwdscope.model.initialise import materialise

        materialise(self.network, device, seed, given, on_host)
        load_into(self.network, given)
        yield ModuleCall(self.network, tuple(real_inputs(self.network, self.feeds, device).values()), {})

    def run(self, call: ModuleCall, recorder: Recorder) -> Trace:
        """Run the network on the inputs of a call, recorded."""
        return trace(self.network, recorder, self.named_inputs(call))

    def straight_graph(self, call: ModuleCall) -> tuple[fx.GraphModule | None, str]:
        """The spec's lines as a graph of plain calls, its nodes numbered as the steps of the trace."""
        from fwdscope.model.straight import NotStraight
        from fwdscope.timing.layers import straight_with_steps

        try:
            with torch.inference_mode(), torch_default_dtype(self.default_dtype):
                return straight_with_steps(self.network, call.args), ""
        except NotStraight as error:
            return None, str(error)

    @property
    def default_dtype(self) -> torch.dtype:
        """The dtype that the spec was built with."""
        return self.network.blueprint.dtype


class ModuleSubject(Subject):
    """A module and its inputs. Raises what the module raises on these inputs.

    ``make`` makes both anew with numbers in them, for a module that was made on meta. One that cannot run there runs
    where it lives, or raises InputError if it may run ``only_on_meta``.
    """

    def __init__(
        self,
        call: tuple[nn.Module, Iterable[Any], Mapping[str, Any]],
        training: Training = False,
        make: Callable[[], ModuleCall] | None = None,
        only_on_meta: bool = False,
        past: int = 0,
        cache: OwnCache | None = None,
    ) -> None:
        module, args, kwargs = call
        self.past, self.cache = past, cache
        self.call = ModuleCall(module, tuple(args), dict(kwargs))
        # What runs on a device, and the dtype it gets there: of a cast module `call` is a copy, on meta where possible.
        self.original = self.call
        self.cast_to: torch.dtype | None = None
        self.make = make
        self.training = training
        self.name = type(unwrapped(module)).__name__
        first = next(module.parameters(), None)
        self.dtype = dtype_name(first.dtype) if first is not None else "float32"
        try:
            self.trace, self.device = trace_module(
                module, self.call.args, self.call.kwargs, training=training, only_on_meta=only_on_meta,
                past=past, cache=cache,
            )  # fmt: skip
        except ShapeError as error:
            self.device = error.device
            with contextlib.suppress(TypeError):  # inputs that have no stand-in on meta, as sparse ones
                self.trace = trace_until_failure(module, self.call.args, self.call.kwargs, training, error.device)
                error.partial = replace(self.report(), notes=("it fails behind the last layer shown",))
            raise

    def totals(self, trace: Trace) -> Totals:
        """The sums over a forward, in which a cache of its own is no input."""
        if self.cache is None:
            return super().totals(trace)
        held = self.cache.tensors
        inputs = [one for one in tensors_inside([self.call.args, self.call.kwargs]) if id(one) not in held]
        found = totals_of(trace, trace.module or unwrapped(self.call.module), inputs)
        kept = sum(one.nbytes for one in held.values())
        # Its tensors live and end as activations do.
        peak = (found.peak_memory or 0) - (found.kv_cache or 0)
        return replace(found, kv_cache=kept, peak_memory=peak, peak_activations=(found.peak_activations or 0) - kept)

    def again(self, training: Training, past: int = 0) -> ModuleSubject:
        """Traced again."""
        return ModuleSubject(self.call, training, self.make, past=past)

    def trace_as(self, training: Training) -> Trace:
        """Traced again."""
        module, args, kwargs = self.call
        return trace_module(module, args, kwargs, training=training, only_on_meta=self.device == "meta")[0]

    def trace_by(self, make: Callable[[bool], Recorder]) -> Trace:
        """A copy of it on meta."""
        if self.device != "meta" or self.cache is not None:
            why = "keeps earlier positions in a cache of its own" if self.cache else "does not run on meta"
            raise InputError(f"{self.name} {why}, so that a mesh cannot be counted")
        module, args, kwargs = self.call
        return record_copy(Duplicate(module, args, kwargs, meta_stand_in), make(False), self.training)

    def trace_every_copy(self) -> Trace:
        """The trace itself: every call of a module is recorded."""
        return self.trace

    def named_inputs(self, call: ModuleCall) -> dict[str, Tensor]:
        """By the names of ``forward``'s parameters."""
        return call.named_inputs()

    def resized(self, batch: int, size: int) -> ModuleSubject:
        """By the first dimension of every input that begins with the batch."""
        module, args, kwargs = self.call
        call = module, resize(args, batch, size), resize(kwargs, batch, size)
        return ModuleSubject(call, self.training, past=self.past)

    def cast(self, dtype: str) -> ModuleSubject:
        """The original is cast when it is placed; until then a copy says what that gives."""
        module, args, kwargs = self.original
        on_meta, to = self.device == "meta", getattr(torch, dtype)
        copied = (
            Duplicate(module, args, kwargs, meta_stand_in) if on_meta else duplicate_with_values(module, args, kwargs)
        )
        with copied.shared_state_restored():
            call = move(ModuleCall(copied.module, copied.args, copied.kwargs), torch.device(self.device), to)
            subject = ModuleSubject(call, self.training, self.make, past=self.past)
        subject.name, subject.original, subject.cast_to = self.name, self.original, to
        return subject

    def memory_to_allocate(self, device: torch.device, copied: bool) -> int:
        """Without the inputs and weights that are on the device already."""
        if self.cast_to is not None:
            return super().memory_to_allocate(device, copied)
        inputs = tensors_inside([self.call.args, self.call.kwargs])
        given = inputs if copied else [t for t in self.call.tensors() if not nn.parameter.is_lazy(t)]
        there = [tensor for tensor in given if is_on(tensor, device)]
        return max(0, super().memory_to_allocate(device, copied) - sum(t.numel() * t.element_size() for t in there))

    @contextlib.contextmanager
    def placed(
        self, device: torch.device, seed: int, given: Mapping[str, Tensor], weights_change: bool, on_host: bool = True
    ) -> Iterator[ModuleCall]:
        """A copy of the module and its inputs, unless they were made just now."""
        weights_change = weights_change or bool(given) or "writes" in self.trace.uses
        with moved_call(self.original, self.make, device, weights_change, self.cast_to) as call:
            load_into(call.module, given)
            if "autograd" in self.trace.uses:
                run_with_autograd(unwrapped(call.module), self.trace.takes_gradients)
            yield call

    def run(self, call: ModuleCall, recorder: Recorder) -> Trace:
        """Run the placed module, recorded."""
        return record_module(unwrapped(call.module), call.args, call.kwargs, recorder, self.training)


def report_of(trace: Trace, totals: Totals, name: str, inputs: Mapping[str, Tensor], device: str, dtype: str) -> Report:
    """The report of a trace."""
    with_nodes = rows_with_nodes(trace)
    is_counted: dict[str, bool] = {}
    for record in trace.root.records():
        operator = record.op.name
        is_counted[operator] = record.cost is not None and is_counted.get(operator, True)
    return Report(
        name=name,
        inputs=tuple(tensor_info(name, tensor) for name, tensor in inputs.items()),
        outputs=tuple(tensor_info(name, tensor) for name, tensor in trace.outputs),
        layers=tuple([row for row, _ in with_nodes]),
        totals=totals,
        training=step_of(trace, with_nodes, totals),
        uncounted=tuple([name for name in is_counted if not is_counted[name]]),
        unused=trace.unused,
        environment=Environment(
            __version__, platform.python_version(), torch.__version__, f"{platform.system()} {platform.machine()}"
        ),
        device=device,
        dtype=dtype,
        notes=(
            *trace.notes,
            *notes_on_fused_attention(trace),
            *notes_on_step(trace),
            *[_REGISTERED.format(name) for name in is_counted if is_counted[name] and not find(name)],
        ),
    )


def totals_of(trace: Trace, module: nn.Module, inputs: Sequence[Tensor], modules: Modules | None = None) -> Totals:
    """The sums over a trace of a module. ``modules`` are its :func:`named_modules`, if known already."""
    modules = named_modules(module) if modules is None else modules
    params, trainable, param_bytes = sizes([tensor for _, tensor in named_parameters(module, modules)])
    buffers, _, buffer_bytes = sizes([tensor for _, tensor in named_tensors(module, "buffers", modules)])
    input_bytes = sizes(inputs)[2]
    nodes = () if trace.past is None else trace.root.nodes()
    kept = sum([one.nbytes for node in nodes for one in node.cached])
    macs, flops, read, written = trace.root.cost()
    return Totals(
        params=params,
        trainable_params=trainable,
        buffers=buffers,
        param_bytes=param_bytes,
        buffer_bytes=buffer_bytes,
        macs=macs,
        flops=flops,
        bytes_read=read,
        bytes_written=written,
        peak_memory=None if trace.step else param_bytes + buffer_bytes + input_bytes + trace.peak + kept,
        peak_activations=None if trace.step else trace.peak,
        input_bytes=input_bytes,
        active_params=_active_parameters(modules, params),
        kv_cache=kept if trace.past is not None else None,
        fused=trace.fused and replace(trace.fused, ends=trace.fused.ends + kept),
    )


def _notes_on_past(trace: Trace, inputs: Sequence[str]) -> Iterator[str]:
    """How the step of generation was counted, where that is not plain."""
    past = trace.past
    if past is None:
        return
    yield from past.notes
    if past.new is not None and past.new > 1:
        yield f"a step of {past.new:,} new positions: --set T=1, or what their number is called, is one token"
    if past.is_of_network:
        yield "a step with the network's own cache, which its code keeps, copies and replaces"
        return
    if past.fixed:
        names = " and ".join(inputs[i] for i in past.fixed if i < len(inputs))
        yield f"what {names} alone decides ran with the first position: it is kept, and not counted in the step"
    if not past.grown:
        return
    yield (
        "arange, rotary tables and masks cost what they cost for the new positions alone; "
        "a window in a mask is not seen: all positions are kept and read"
    )


def _active_parameters(modules: Iterable[tuple[str, nn.Module]], params: int) -> int:
    """How many of the parameters one position uses: of a mixture's experts only the top k."""
    for _, module in modules:
        if type(module).__name__ == "MixtureOfExperts":
            experts, top_k = getattr(module, "experts", None), getattr(module, "top_k", None)
            if experts is not None and isinstance(top_k, int):
                params -= sum(p.numel() for p in experts.parameters()) * (len(experts) - top_k) // len(experts)
    return params


def tensor_info(name: str, tensor: Tensor) -> TensorInfo:
    """A tensor's name, shape and dtype."""
    return TensorInfo(name, tuple(tensor.shape), dtype_name(tensor.dtype))


def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")
