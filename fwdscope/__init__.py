"""fwdscope: a command-line inspector of forward passes.

From Python::

    report = fwdscope.inspect("resnet50")        # what `fwdscope inspect resnet50` shows, as data
    report = fwdscope.inspect(module, x)         # the same for a PyTorch module and its inputs
    report = fwdscope.load("report.json")        # a saved report

:func:`bench`, :func:`check`, :func:`diff`, :func:`explain`, :func:`export` and :func:`scale` do what the commands of
these names do, and :func:`versus` what ``fwdscope bench --vs`` does. torch is loaded when a network is built, not by
``import fwdscope``. Every error is a :class:`FwdscopeError`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwdscope.errors import FwdscopeError, InputError, ShapeError, TargetError
from fwdscope.version import __version__

if TYPE_CHECKING:
    from torch import nn

    from fwdscope.commands.check.outcome import CheckRun
    from fwdscope.commands.diff import Comparison
    from fwdscope.commands.explain import Explanation
    from fwdscope.commands.scale import Scaling
    from fwdscope.language.problems import SpecError
    from fwdscope.ops.base import cost_rule, flops, macs
    from fwdscope.report import Report, ReportError
    from fwdscope.report.value import ValueExplanation
    from fwdscope.report.versus import Versus
    from fwdscope.run.recorded import Recorded
    from fwdscope.settings import RunError
    from fwdscope.targets import Target
    from fwdscope.torchinfo import summary

__all__ = [
    "FwdscopeError",
    "InputError",
    "ReportError",
    "RunError",
    "ShapeError",
    "SpecError",
    "TargetError",
    "__version__",
    "bench",
    "check",
    "cost_rule",
    "diff",
    "explain",
    "export",
    "flops",
    "inspect",
    "load",
    "macs",
    "record",
    "scale",
    "summary",
    "versus",
]

# What is imported when it is first asked for, so that `import fwdscope` stays fast.
_LAZY = {
    "ReportError": "fwdscope.report",
    "RunError": "fwdscope.settings",
    "SpecError": "fwdscope.language.problems",
    "cost_rule": "fwdscope.ops.base",
    "flops": "fwdscope.ops.base",
    "macs": "fwdscope.ops.base",
    "summary": "fwdscope.torchinfo",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'fwdscope' has no attribute {name!r}")


def inspect(
    target: str | os.PathLike[str] | nn.Module,
    /,
    *inputs: Any,
    variables: Mapping[str, object] | None = None,
    arguments: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    device: str | None = "auto",
    seed: int = 0,
    weights: str | os.PathLike[str] | None = None,
    train: bool = False,
    training: bool | Mapping[str, Any] = False,
    stats: bool = True,
    latency: bool = True,
    past: int = 0,
    weights_dtype: str | None = None,
    kv_dtype: str | None = None,
    mesh: str | None = None,
    shard: str | os.PathLike[str] | None = None,
    **keywords: Any,
) -> Report:
    """Report every layer's shapes, parameters and costs, for a spec or a PyTorch module.

    ``fwdscope.inspect("resnet50", variables={"B": 8})`` reports a spec (a file, the name of one that ships, or
    ``FILE@REV``, a file at a git revision) with entries of its ``vars`` replaced;
    ``fwdscope.inspect("transformers:llama", arguments={"hidden_size": 512}, variables={"T": 128})`` a model of
    transformers, timm, torchvision or diffusers, or one named as ``package.module:name``, built with these arguments
    and inputs of these sizes. ``fwdscope.inspect(module, x,
    mask=m)`` runs a copy of ``module(x, mask=m)`` on the meta device, or where the module lives if values decide what
    it runs (``report.device`` says which, ``report.notes`` why). With ``device="meta"`` a module that needs values
    raises :class:`InputError`.

    ``device="cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or None for one that is here and fast enough, runs it once
    more on real numbers and fills ``report.run`` and the rows' ``stats`` and ``latency``. Weights are initialized from
    ``seed`` or loaded from the file ``weights`` (.safetensors, .pt, .pth); a module keeps its own. It runs in
    evaluation mode, or in training mode with ``train``. ``stats=False`` and ``latency=False`` leave a part out.

    ``past`` is the number of earlier positions whose keys and values are kept: ``report.totals.kv_cache`` are the bytes
    of these, the rows' ``cached`` the tensors, and all costs those of the step behind them. With
    ``weights_dtype="int4:g128"`` weights count as stored in that format, with ``kv_dtype="fp8"`` keys and values.

    ``training=True`` works out a training step on the meta device: ``report.training`` has what forward, loss, backward
    and optimizer compute and hold, and the rows' ``backward`` each layer's part. A mapping says how it trains, by the
    names of the options: ``training={"optimizer": "sgd", "train_only": ["*lora*"], "accumulate": 4}``.

    With ``mesh="dp=4,tp=8"`` ``report.mesh`` has what one rank of such a mesh of devices holds, computes and sends, and
    the rows' ``rank`` each layer's part. The plan is the spec's ``shard:``, or that of a file (``shard="plan.yaml"``),
    else a proposed one (``shard="auto"``).

    Raises :class:`SpecError` with every problem of a spec and its place, :class:`TargetError` (a FileNotFoundError) if
    there is no such spec, :class:`RunError` if it cannot run as asked, :class:`ShapeError` where a module's inputs or
    layers do not fit, with torch's error as its cause, and whatever the module itself raises.
    """
    from fwdscope.inspection import inspect_module, inspect_target
    from fwdscope.language.plan import Mesh
    from fwdscope.language.plan_parser import load_plan
    from fwdscope.settings import RunSettings, TrainingSettings
    from fwdscope.storage import stored_in

    stored = stored_in(weights_dtype, kv_dtype)
    file = Path(weights) if weights is not None else None
    parsed, plan = Mesh.parse(mesh) if mesh is not None else None, load_plan(shard)
    if (mesh is None and shard is not None) or (mesh is not None and device not in ("auto", "meta")):
        raise InputError("mesh and shard are of a rank that is counted on meta: give a mesh, and no device")
    step = TrainingSettings.of(training) if training is not False else None
    if step is not None and device not in ("auto", "meta"):
        raise InputError(f"a training step is worked out on meta, without a run: leave device={device!r} out")
    settings = RunSettings(
        device,
        seed,
        file,
        train=train,
        training=step,
        alternatives=step is not None,
        stats=stats,
        latency=latency,
        peaks=latency,
    )
    if not isinstance(target, str | os.PathLike):
        return inspect_module(target, inputs, keywords, settings, past, stored, parsed, plan)
    given = _target(target, inputs, keywords, variables, arguments, dtype)
    given = given._replace(past=past, stored=stored, mesh=parsed, plan=plan)
    return inspect_target(given, settings)[0]


def bench(
    target: str | os.PathLike[str] | nn.Module,
    /,
    *inputs: Any,
    variables: Mapping[str, object] | None = None,
    arguments: Mapping[str, Any] | None = None,
    device: str | None = None,
    dtype: str = "float32",
    layers: bool = True,
    budget: float = 5.0,
    past: int = 0,
    latency: bool = False,
    tf32: bool | None = None,
    **keywords: Any,
) -> Report:
    """Measure how long a forward takes: ``report.run.latency`` and the rows' ``latency``, in seconds.

    ``fwdscope.bench("resnet50", variables={"B": 8}, device="cuda")`` measures a spec; ``fwdscope.bench(module, x)`` a
    PyTorch module in evaluation mode, on a copy. ``device`` None is the fastest here; weights and inputs are cast to
    ``dtype``; ``budget`` is the seconds for the whole model, and as many for its layers. With ``past`` it is a step
    behind so many earlier positions, with tensors for what is kept of them. With ``latency`` each forward is waited for
    before the next, which a GPU otherwise has queued; ``tf32`` computes float32 in TF32 there, or not.
    ``report.run.notes`` say how far the times can be trusted. Ctrl-C raises KeyboardInterrupt. Raises as
    :func:`inspect` does.
    """
    from fwdscope.commands.bench.request import BenchRequest, measure, run_benchmark
    from fwdscope.settings import BenchSettings

    settings = BenchSettings(device=device, dtype=dtype, layers=layers, budget=budget, latency=latency, tf32=tf32)
    if isinstance(target, str | os.PathLike):
        given = _target(target, inputs, keywords, variables, arguments, "float32")._replace(past=past)
        measured = run_benchmark(BenchRequest(given, settings))
    else:
        from fwdscope.run.subject import ModuleSubject

        measured = measure(ModuleSubject((target, inputs, keywords), past=past), settings)
    if measured.interrupted:
        raise KeyboardInterrupt
    return measured.report


def versus(
    one: str | os.PathLike[str] | nn.Module,
    other: str | os.PathLike[str] | nn.Module | None = None,
    /,
    *inputs: Any,
    variables: Mapping[str, object] | None = None,
    changes: Mapping[str, object] | None = None,
    device: str | None = None,
    dtype: str = "float32",
    layers: bool = True,
    budget: float = 5.0,
    **keywords: Any,
) -> Versus:
    """Measure two networks in turn and compare their times, in all and by layer, as ``fwdscope bench --vs`` does.

    ``fwdscope.versus("model.yaml@main", "model.yaml")`` compares two specs, ``fwdscope.versus(module, faster, x)`` two
    modules that take the same inputs. ``changes`` are values of the second alone, also of one target without another:
    ``{"dtype": "bf16"}``, ``{"compile": True}``, ``{"threads": 1}`` or a var of a spec. ``.speedup.answer`` is faster,
    slower or cannot tell; ``.layers`` has the layers of both. Ctrl-C raises KeyboardInterrupt. Raises as
    :func:`inspect` does.
    """
    from fwdscope.commands.bench.request import BenchRequest, modules_in_turn, run_in_turn, second_of
    from fwdscope.settings import BenchSettings

    settings = BenchSettings(device=device, dtype=dtype, layers=layers, budget=budget)
    values = [
        (name, {"True": "yes", "False": "no"}.get(str(value), str(value))) for name, value in (changes or {}).items()
    ]
    second = one if other is None else other
    if isinstance(one, str | os.PathLike) and isinstance(second, str | os.PathLike):
        request = BenchRequest(_target(one, inputs, keywords, variables, None, "float32"), settings)
        target = _target(second, (), {}, variables, None, "float32")
        found = run_in_turn(request, second_of(request, target, values), values)
    elif isinstance(one, str | os.PathLike) or isinstance(second, str | os.PathLike):
        raise TypeError("both are paths or names, or both are modules")
    else:
        found = modules_in_turn((one, second), inputs, keywords, settings, values)
    if found.interrupted:
        raise KeyboardInterrupt
    return found


def explain(
    target: str | os.PathLike[str] | nn.Module,
    layer: str,
    /,
    *inputs: Any,
    variables: Mapping[str, object] | None = None,
    arguments: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    value: Sequence[int] | None = None,
    output: int = 0,
    device: str | None = None,
    seed: int = 0,
    weights: str | os.PathLike[str] | None = None,
    past: int = 0,
    weights_dtype: str | None = None,
    kv_dtype: str | None = None,
    training: bool | Mapping[str, Any] = False,
    formulas: bool = False,
    **keywords: Any,
) -> Explanation | ValueExplanation:
    """Explain how a layer's shape, parameters and costs are computed: formulas with the numbers put in.

    ``fwdscope.explain("resnet50", "layer1.0.conv2")`` explains a layer of a spec, by its path or its line (``":17"``);
    ``fwdscope.explain(module, "encoder.0", x)`` a layer of a PyTorch module that is called on ``x``.

    ``value=(0, 3, 5, 5)`` explains that number of the layer's output, or of its ``output`` 1, 2, …: how the numbers
    that went in gave it, step by step. The network runs once on ``device``, the CPU by default, with the weights and
    inputs that :func:`inspect` makes from ``seed`` or loads from ``weights``; a module has its own. Without ``value``,
    ``past``, ``weights_dtype``, ``kv_dtype`` and ``training`` are as for :func:`inspect`.

    ``formulas=True`` gives a layer's figures in the vars of a spec too, as ``.formulas``.

    Raises LookupError with the nearest paths if there is no such layer, otherwise as :func:`inspect` does.
    """
    from fwdscope.commands.explain.arithmetic import as_stored
    from fwdscope.commands.explain.arithmetic import explain as explain_layer
    from fwdscope.inspection import make_subject, refuse_stored
    from fwdscope.run.subject import ModuleSubject, Subject
    from fwdscope.settings import TrainingSettings
    from fwdscope.storage import stored_in

    if training is not False and (past or value is not None):
        raise InputError("a training step has neither a value nor earlier positions (past) to explain")
    step = TrainingSettings.of(training) if training is not False else False
    stored = stored_in(weights_dtype, kv_dtype)
    refuse_stored(stored, past, is_counted=value is None and not step)
    subject: Subject
    if isinstance(target, str | os.PathLike):
        given = _target(target, inputs, keywords, variables, arguments, dtype)._replace(past=past)
        subject = make_subject(given, step)
    else:
        subject = ModuleSubject((target, inputs, keywords), step, past=past)
    if value is None:
        trace = subject.trace_every_copy()
        found = explain_layer(trace, layer)
        found = as_stored(found, trace, layer, stored) if any(stored) else found
        if formulas and isinstance(target, str | os.PathLike):
            from fwdscope.commands.scale import with_formulas

            found = with_formulas(given, found, None)
        return found
    from fwdscope.run.explain import explain_value
    from fwdscope.settings import DeviceSettings

    file = Path(weights) if weights is not None else None
    return explain_value(subject, layer, value, DeviceSettings(device, seed, file), output)


def export(
    target: str | os.PathLike[str],
    file: str | os.PathLike[str] | None = None,
    *,
    to: str = "python",
    variables: Mapping[str, object] | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> str | None:
    """Export a spec: ``"python"`` is a module of PyTorch, ``"onnx"`` and ``"pt2"`` (``torch.export``) are files.

    ``fwdscope.export("resnet50")`` returns the text of a module with a class for each block, whose ``state_dict`` has
    the spec's keys; with a ``file``, the text goes there. The other formats need a ``file``, and take ``weights``.

    Raises :class:`SpecError` for what cannot be exported, at its line, otherwise as :func:`inspect` does.
    """
    from fwdscope.commands.export import to_python, write

    if to not in ("python", "onnx", "pt2") or (file is None and to != "python"):
        raise InputError(f"export to {to!r}: there are python, and onnx and pt2, which need a file")
    checked, _ = _target(target, (), {}, variables, None, "float32").load_spec()
    if file is None:
        return to_python(checked)
    write(checked, to, Path(file), Path(weights) if weights is not None else None)
    return None


def check(
    *targets: str | os.PathLike[str],
    baseline: str | os.PathLike[str] | None = None,
    tolerance: float = 0.0,
    update: bool = False,
    dtype: str = "float32",
    jobs: int = 1,
    cached: bool = True,
    allow_import: bool = False,
    grow: bool = False,
) -> CheckRun:
    """Check specs against their promised shapes, expectations and baselines.

    ``fwdscope.check("specs")`` checks the specs of a folder; targets are files, folders, globs and names of specs that
    ship. ``.exit_code`` is 0 if all is well, 1 if a spec fails, 2 if one is invalid; ``.outcomes`` say what was found
    in each. ``baseline`` is a folder of baselines, from which costs may differ by ``tolerance`` (0.01 is 1 %);
    ``update`` writes them. With ``cached``, a spec that has not changed since an earlier run is not built again.
    With ``grow``, formulas under ``expect`` are checked at other values of their vars too.

    Raises :class:`TargetError` for a target that names no spec. A mistake in a spec is an outcome, not an exception.
    """
    from fwdscope.commands.check.baseline import BaselineFolder
    from fwdscope.commands.check.files import files
    from fwdscope.commands.check.one import CheckSettings
    from fwdscope.commands.check.run import CheckPlan, check_files

    folder = BaselineFolder(Path(baseline), update, tolerance) if baseline is not None else None
    plan = CheckPlan(CheckSettings(dtype, allow_import, grow), jobs, cached, folder)
    return check_files(files([os.fspath(target) for target in targets]), plan)


def scale(
    target: str | os.PathLike[str],
    names: Sequence[str] | str = (),
    *,
    variables: Mapping[str, object] | None = None,
    arguments: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    past: int = 0,
    training: bool | Mapping[str, Any] = False,
) -> Scaling:
    """The costs of a network as exact formulas in its vars, the first of its whole numbers if no ``names`` are given.

    ``growth = fwdscope.scale("gpt2", "T,d,depth")``: ``growth["macs"]`` is a formula, which prints, adds, and
    evaluates at numbers or NumPy arrays, ``growth["macs"](T=1024, d=768, depth=12)``; ``growth(d=1600)`` are all
    figures there, other vars as they are. ``growth.ranges`` say which values formulas were checked for, and
    ``growth.figures["macs"].broken`` in which vars there is none. ``training`` and what is raised are as
    for :func:`inspect`.
    """
    from fwdscope.commands.scale import grow
    from fwdscope.settings import TrainingSettings

    step = TrainingSettings.of(training) if training is not False else None
    if step is not None and past:
        raise InputError("a training step has no earlier positions (past)")
    listed = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
    return grow(_target(target, (), {}, variables, arguments, dtype)._replace(past=past), listed, training=step)


def record() -> Recorded:
    """Record whatever runs in a ``with``, and report it: ``with fwdscope.record() as rec: …``, then ``rec.report``.

    The modules that this thread calls are its rows, on the devices where they are, with gradients as they are; what
    runs outside any module has rows of its own.
    """
    from fwdscope.run.recorded import Recorded

    return Recorded()


def load(path: str | os.PathLike[str]) -> Report:
    """Load a report that was saved as JSON. Raises :class:`ReportError` if the file is not one."""
    from fwdscope import disk
    from fwdscope.report import Report

    return Report.loads(disk.read_text(Path(path)))


def diff(before: Report | str | os.PathLike[str], after: Report | str | os.PathLike[str]) -> Comparison:
    """Compare two networks, each given as a report, a saved report (``.json``), a spec, ``FILE@REV`` or a file of
    weights (names, shapes and dtypes).

    ``fwdscope.diff(a, b).total("macs").ratio`` is 0.05 if the second costs 5 % more; ``.changes`` are the rows that
    changed. Raises as :func:`inspect` does.
    """
    from fwdscope.commands.diff import compare
    from fwdscope.inspection import inspect_target
    from fwdscope.report import Report
    from fwdscope.targets.target import load_checkpoints

    sides = [one if isinstance(one, Report) else _target(one, (), {}, None, None, "float32") for one in (before, after)]
    if all(not isinstance(one, Report) and one.is_checkpoint for one in sides):
        return compare(*load_checkpoints([one for one in sides if not isinstance(one, Report)]))
    return compare(*(one if isinstance(one, Report) else inspect_target(one)[0] for one in sides))


def _target(
    target: str | os.PathLike[str],
    inputs: tuple[Any, ...],
    keywords: dict[str, Any],
    variables: Mapping[str, object] | None,
    arguments: Mapping[str, Any] | None,
    dtype: str,
) -> Target:
    """The target of a path or name. Raises TypeError for inputs, which are only for modules."""
    from fwdscope.targets import Target

    if inputs or keywords:
        raise TypeError("a spec says its inputs itself; replace its vars with variables={...}")
    given = {name: str(value) for name, value in (variables or {}).items()}
    # From Python, a program is loaded as torch.export.load does.
    text = os.fspath(target)
    return Target(text, given, dtype=dtype, arguments=arguments or {}, allow_import=text.endswith(".pt2"))
