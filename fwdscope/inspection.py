"""A spec, read, built and traced: the whole way from text to Report."""

from __future__ import annotations

import contextlib
import gc
import inspect
import platform
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fwdscope
from fwdscope.report import Environment, Report, TensorInfo, Totals
from fwdscope.settings import META, RunSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fwdscope.language.check import Checked
    from fwdscope.model import Network
    from fwdscope.report.pictures import Picture
    from fwdscope.run.module import Call
    from fwdscope.targets.feeds import Feed
    from fwdscope.trace import Trace


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """A report makes many objects and no circles; to look for circles takes half of the time of a large one."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@_without_collecting()
def trace_spec(checked: Checked, feeds: Mapping[str, Feed], dtype: str) -> tuple[Network, Trace]:
    """The network of a checked spec on meta, and its forward pass. Raises SpecError where shapes do not fit."""
    import torch

    from fwdscope.language.replaced import point_at_set
    from fwdscope.model import build
    from fwdscope.trace import trace

    with point_at_set(checked.spec), warnings.catch_warnings():
        # torch's advice about its own calls is not about the spec.
        warnings.simplefilter("ignore")
        network = build(checked, {name: feed.meta() for name, feed in feeds.items()}, getattr(torch, dtype))
        return network, trace(network)


def inspect_spec(
    checked: Checked, feeds: Mapping[str, Feed] | None = None, dtype: str = "float32", settings: RunSettings = META
) -> Report:
    """Build a checked spec on meta and run it there; then once more on a device, where ``settings`` name one.

    ``feeds`` stand for inputs of the spec (``--input``); ``dtype`` is that of weights and of inputs that name
    none. Raises SpecError where shapes do not fit, RunError where it cannot be run as asked.
    """
    return run_spec(checked, feeds or {}, dtype, settings)[0]


def run_spec(
    checked: Checked, feeds: Mapping[str, Feed], dtype: str, settings: RunSettings
) -> tuple[Report, Picture | None]:
    """The report of a checked spec, and the picture that ``settings.show`` asks for, where it was run."""
    with _without_collecting():
        network, traced = trace_spec(checked, feeds, dtype)
        if settings.train:
            from fwdscope.trace import trace

            network.train()
            traced = trace(network)
        report = traced_report(checked, network, traced, feeds, dtype)
        if settings.device == "meta":
            del traced  # it goes by itself, where a search for circles would first look through it
            return _in_its_mode(report, settings), None
    from fwdscope.run.spec import run_network

    given = network.example.values()
    ran = run_network(network, traced, report, feeds, settings, lambda one: _totals(network, one, given))
    return _in_its_mode(ran.report, settings), ran.shown


def _in_its_mode(report: Report, settings: RunSettings) -> Report:
    """A report that says that its figures are those of training; a run says so itself."""
    if not settings.train or report.run is not None:
        return report
    return replace(report, notes=("in training mode (--train)", *report.notes))


@_without_collecting()
def traced_report(
    checked: Checked, network: Network, traced: Trace, feeds: Mapping[str, Feed] | None = None, dtype: str = "float32"
) -> Report:
    """The report of a network and its forward pass, as :func:`trace_spec` gave them."""
    from fwdscope.commands.check.expectations import with_shortfalls
    from fwdscope.trace import rows

    feeds = feeds or {}
    report = Report(
        name=checked.spec.name,
        inputs=_inputs(checked, network, feeds),
        outputs=tuple(TensorInfo(name, tuple(t.shape), _dtype(t.dtype)) for name, t in traced.outputs),
        layers=rows(traced),
        totals=_totals(network, traced, network.example.values()),
        uncounted=tuple(_uncounted(traced)),
        unused=traced.unused,
        environment=environment(),
        source=checked.spec.source.name,
        doc=checked.spec.doc,
        device="meta",
        dtype=dtype,
        notes=tuple(_notes(checked, network, feeds)),
    )
    return with_shortfalls(checked, report, hold_outputs=network.blueprint.check_promises)


def inspect_module(
    module: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    settings: RunSettings = META,
) -> Report:
    """Run a module once on example inputs and report it; then once more on a device, where ``settings`` name one.

    It runs on meta, with stand-ins for weights and inputs, or where it lives when it cannot; ``Report.device``
    says which. The module is left as it was: on a device a copy of it runs. Raises what the module raises on these
    inputs, RunError where it cannot be run as asked.
    """
    return run_module(module, args, dict(kwargs or {}), settings)[0]


def run_module(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    settings: RunSettings,
    make: Callable[[], Call] | None = None,
) -> tuple[Report, Picture | None]:
    """The report of a module, and the picture that ``settings.show`` asks for, where it was run.

    ``make`` makes the module and its inputs anew, with numbers in them, where these are on meta.
    """
    from fwdscope.torch_private import uncompiled
    from fwdscope.trace import without_compiling
    from fwdscope.trace.record import tensors

    module = uncompiled(module)
    with _without_collecting():
        traced, report = _traced_module(module, args, kwargs, settings.train)
        if settings.device == "meta":
            del traced  # it goes by itself, where a search for circles would first look through it
            return _in_its_mode(report, settings), None
    from fwdscope.run import module as on_device

    call, given = (module, tuple(args), dict(kwargs)), list(tensors([args, kwargs]))
    with without_compiling():
        ran = on_device.run_module(
            call, make, traced, report, settings, lambda t: _totals(module, t, given), lambda one: dict(_named(*one))
        )
    return _in_its_mode(ran.report, settings), ran.shown


def _traced_module(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], training: bool
) -> tuple[Trace, Report]:
    """One forward pass of a module, and its report."""
    from fwdscope.trace import rows, trace_module
    from fwdscope.trace.record import tensors

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced, device = trace_module(module, args, kwargs, training=training)
    first, layers = next(module.parameters(), None), rows(traced)
    return traced, Report(
        name=type(module).__name__,
        inputs=tuple(_named_inputs(module, args, kwargs)),
        outputs=tuple(TensorInfo(name, tuple(t.shape), _dtype(t.dtype)) for name, t in traced.outputs),
        layers=layers,
        totals=_totals(module, traced, tensors([args, kwargs])),
        uncounted=tuple(_uncounted(traced)) if any(row.uncounted for row in layers) else (),
        unused=traced.unused,
        environment=environment(),
        device=device,
        dtype=_dtype(first.dtype) if first is not None else "float32",
    )


def _named_inputs(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[TensorInfo]:
    for name, tensor in _named(module, args, kwargs):
        yield TensorInfo(name, tuple(tensor.shape), _dtype(tensor.dtype))


def _named(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a call by the names of ``forward``'s parameters; those inside lists are numbered."""
    from fwdscope.trace.record import tensors

    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        bound = {**{f"input.{i}": value for i, value in enumerate(args)}, **kwargs}
    for name, value in bound.items():
        found = list(tensors(value))
        for i, tensor in enumerate(found):
            yield name if len(found) == 1 else f"{name}.{i}", tensor


def environment() -> Environment:
    """What this runs on."""
    import torch

    return Environment(
        fwdscope.__version__, platform.python_version(), torch.__version__, f"{platform.system()} {platform.machine()}"
    )


def find_spec(target: str) -> Path | None:
    """The file of a target: a path, or the name of a spec that ships with fwdscope. None where there is neither."""
    path = Path(target)
    if path.is_file():
        return path
    return shipped().get(target.removesuffix(".yaml"))


def shipped() -> dict[str, Path]:
    """The specs that ship with fwdscope, by name."""
    here = Path(__file__).parent
    # In a wheel they lie inside the package, in a checkout beside it.
    folder = here / "specs" if (here / "specs").is_dir() else here.parent / "specs"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _inputs(checked: Checked, network: Network, feeds: Mapping[str, Feed]) -> tuple[TensorInfo, ...]:
    texts = {one.name: one.text for one in checked.spec.inputs}
    return tuple(
        TensorInfo(name, tuple(t.shape), _dtype(t.dtype), feeds[name].made_by if name in feeds else texts[name])
        for name, t in network.example.items()
    )


def _totals(network: nn.Module, traced: Trace, inputs: Iterable[Tensor]) -> Totals:
    from fwdscope.trace.memory import sizes
    from fwdscope.trace.parameters import held_parameters, held_tensors, named_modules

    modules = named_modules(network)
    params, trainable, param_bytes = sizes(held_parameters(modules))
    buffers, _, buffer_bytes = sizes(held_tensors(modules, "buffers"))
    input_bytes = sizes(inputs)[2]
    macs, flops, read, written = traced.root.cost()
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
        peak_memory=param_bytes + buffer_bytes + input_bytes + traced.peak,
        peak_activations=traced.peak,
        input_bytes=input_bytes,
        active_params=_active(modules, params),
    )


def _active(modules: Iterable[tuple[str, nn.Module]], params: int) -> int:
    """Of all parameters those that one position meets: of a mixture's experts those of any top k."""
    idle = 0
    for _, module in modules:
        if type(module).__name__ != "MixtureOfExperts":
            continue
        experts, top_k = getattr(module, "experts", None), getattr(module, "top_k", None)
        if experts is not None and isinstance(top_k, int):
            idle += sum(p.numel() for p in experts.parameters()) * (len(experts) - top_k) // len(experts)
    return params - idle


def _uncounted(traced: Trace) -> dict[str, None]:
    """Names of the operators that no rule knows, in the order they ran."""
    return dict.fromkeys([record.op.name for record in traced.root.records() if record.cost is None])


def _notes(checked: Checked, network: Network, feeds: Mapping[str, Feed]) -> list[str]:
    source, blueprint = checked.spec.source, network.blueprint
    notes = [f"line {source.place(span.start)[0]}: {text}" for span, text in sorted(blueprint.data_dependent.items())]
    for name, feed in feeds.items():
        notes.append(f"{name} is {feed.shape} from {feed.made_by}, in place of the spec's")
    if not blueprint.check_promises:
        notes.append("promised shapes are not held, since an input has another shape than the spec's")
    notes += [f"line {source.place(note.span.start)[0]}: {note.text}" for note in checked.notes]
    return notes


def _dtype(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")
