"""Options that several commands share, with their help."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from fwdscope.cli import completion
from fwdscope.errors import InputError
from fwdscope.language.plan import Mesh
from fwdscope.language.plan_parser import load_plan
from fwdscope.limits import LIMITS, limit
from fwdscope.settings import DTYPES, ESTIMATED, LOSSES, TrainingSettings, dtype_name
from fwdscope.storage import PRODUCTS, Format, Stored, parse_format
from fwdscope.targets import Target, find_spec
from fwdscope.units import Figure, positions

_NETWORK = (
    "A spec file (FILE@REV in git, - from stdin), the name of a spec that ships with fwdscope, or a PyTorch model: "
    "package.module:name, transformers:llama, timm:resnet50, torchvision:resnet50, diffusers:FOLDER."
)
_TARGET = f"{_NETWORK[:-1]}; or a saved report (.json). Several get a table of their totals first."
_INPUT = "Replace an input: image=8,3,224,224, or image=batch.npy (.npz, .pt)."
_ARG = "An argument of a PyTorch model's function, class or configuration: width=64, layers=[2,2]. Repeatable."
_IMPORT = "Allow specs to import your own layer classes, and .pt2 to be loaded. This runs their code."
_LIMIT = f"Raise a limit on specs: {', '.join(LIMITS)}."
_DTYPE = f"Dtype of weights, and of inputs that name none: {', '.join(DTYPES)}; or short: bf16, fp16, …"
_DEVICE = "Where to run: cpu, cuda, cuda:1, mps; or meta, for shapes and costs alone."
_DEVICES = ("cpu", "cuda", "mps", "meta")
_SEED = "Random seed of weights, inputs and dropout."
_WEIGHTS = "Load weights from a .safetensors, .pt or .pth file; names and shapes must match."
_PARTIAL = "Initialize parameters that --weights lacks or has in another shape."
_TRAINING = "What a training step costs: forward, loss, backward and optimizer, and the memory over all of them."
_LOSS = f"The loss of --training: {', '.join(LOSSES)}. Default: the network's own, else the sum of its outputs."
_OPTIMIZER = "The optimizer of --training: sgd, momentum, adam, adamw, adafactor, …; sgd:momentum=0.9. Default: adamw."
_TRAIN_ONLY = "Freeze the parameters that no PATTERN matches, by their paths: '*lora*', fc. Repeatable."
_CHECKPOINT = (
    "Compute the modules whose paths match again in the backward, and keep only their inputs: 'h.*'. Repeatable."
)
_ACCUMULATE = "Add up the gradients of N micro-batches before the optimizer steps."
_STEP_AUTOCAST = "Run forward and loss under torch's autocast, as on a GPU: bf16 or fp16."
_MASTER_WEIGHTS = "With --dtype bf16: float32 copies of the weights, which the optimizer holds and steps."
_TRAIN = "Run in training mode: dropout drops, batch norms use the batch. Default: evaluation mode."


def _parse_dtype(text: str) -> str:
    try:
        return dtype_name(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _parse_estimated(text: str) -> str:
    return ESTIMATED.get(text.lower()) or _parse_dtype(text)


TargetTexts = Annotated[list[str], typer.Argument(metavar="TARGET", help=_TARGET, autocompletion=completion.targets)]
NetworkText = Annotated[str, typer.Argument(metavar="TARGET", help=_NETWORK, autocompletion=completion.targets)]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="VAR=VALUE", help="Replace a var of the spec: B=8.")]
Arguments = Annotated[list[str] | None, typer.Option("--arg", metavar="NAME=VALUE", help=_ARG)]
Inputs = Annotated[list[str] | None, typer.Option("--input", metavar="NAME=…", help=_INPUT)]
ModelDtype = Annotated[
    str,
    typer.Option(
        "--dtype", parser=_parse_dtype, metavar="DTYPE", help=_DTYPE, autocompletion=completion.one_of(DTYPES)
    ),
]
EstimatedDtype = Annotated[
    str,
    typer.Option(
        "--dtype", parser=_parse_estimated, metavar="DTYPE", help=f"{_DTYPE} With --on also fp8 and int8.",
        autocompletion=completion.one_of([*DTYPES, "fp8", "int8"]),
    ),
]  # fmt: skip
AllowImport = Annotated[bool, typer.Option("--allow-import", help=_IMPORT)]
Limits = Annotated[list[str] | None, typer.Option("--limit", metavar="NAME=N", help=_LIMIT)]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file.")]
ReportOutput = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file; its ending chooses the format.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Depth = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Levels of nesting to show; deeper rows are summed.")
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="DEVICE", help=_DEVICE, autocompletion=completion.one_of(_DEVICES))
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, max=2**32 - 2, help=_SEED)]
WeightsFile = Annotated[Path | None, typer.Option("--weights", metavar="FILE", help=_WEIGHTS)]
WeightsPartial = Annotated[bool, typer.Option("--weights-partial", help=_PARTIAL)]
_PAST = "Behind N earlier positions, whose keys and values are kept: --set T=1 --past 8k is a step of generation."


def _parse_positions(text: str) -> int:
    try:
        return positions(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Past = Annotated[int | None, typer.Option("--past", parser=_parse_positions, metavar="N", help=_PAST)]
_WEIGHTS_DTYPE = "Count weights as stored in int8, int4 or fp8, with scales: int4:g128 has one for each 128 of a row."
_KV_DTYPE = "Count keys and values of earlier positions as stored in fp8, int8 or int4."


def _parse_format(text: str) -> Format:
    try:
        return parse_format(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


WeightsFormat = Annotated[
    Format | None, typer.Option("--weights-dtype", parser=_parse_format, metavar="FORMAT", help=_WEIGHTS_DTYPE)
]
CacheFormat = Annotated[
    Format | None, typer.Option("--kv-dtype", parser=_parse_format, metavar="FORMAT", help=_KV_DTYPE)
]
_MEASURED = "How long a step of --training took on --on H100x8: says MFU and HFU, the shares of the peak that it used."


def _parse_seconds(text: str) -> float:
    try:
        found = Figure.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    seconds = (found.low + found.high) / 2 if found.low is not None and found.high is not None else 0
    if found.measure != "seconds" or not 1e-9 <= seconds <= 1e9:
        raise typer.BadParameter(f"{text!r}: expected a time, as 0.41s or 410ms")
    return float(seconds)


MeasuredTime = Annotated[
    float | None, typer.Option("--measured-step", parser=_parse_seconds, metavar="TIME", help=_MEASURED)
]
_BATCH = "Batch size; with max the largest that fits into the memory of the device of --on."


def _parse_batch(text: str) -> int | str:
    if text == "max" or (text.isdigit() and int(text)):
        return text if text == "max" else int(text)
    raise typer.BadParameter(f"{text!r}: expected a whole number above 0, or max")


Batch = Annotated[int | None, typer.Option("--batch", parser=_parse_batch, metavar="N", help=_BATCH)]
_MESH = "What one rank of a mesh of devices holds, computes and sends: tp=8, or dp=4,tp=8, or pp=2,fsdp=8,tp=4."
_SHARD = "The plan for --mesh: a file; auto proposes one, auto:plan.yaml writes it. Default: the spec's, else auto."


def _parse_mesh(text: str) -> Mesh:
    try:
        return Mesh.parse(text)
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


MeshOption = Annotated[Mesh | None, typer.Option("--mesh", parser=_parse_mesh, metavar="DIMENSIONS", help=_MESH)]
ShardOption = Annotated[str | None, typer.Option("--shard", metavar="FILE", help=_SHARD)]


def on_mesh(
    target: Target, mesh: Mesh | None, shard: str | None, is_varied: bool = False, others: Mapping[str, object] = {}
) -> Target:
    """The target on a mesh of devices, or on several, sharded as a file has it. Raises InputError."""
    if mesh is None and shard is not None and not is_varied:
        raise InputError(f"--shard {shard} is the plan for a mesh: add --mesh tp=8")
    for name in (name for name, value in others.items() if value and mesh is not None):
        raise InputError(f"--mesh counts one rank on meta, without a run: leave --{name} out; torchrun … bench runs it")
    return target._replace(mesh=mesh, plan=load_plan(shard))


Train = Annotated[bool, typer.Option("--train", help=_TRAIN)]


Training = Annotated[bool, typer.Option("--training", help=_TRAINING)]
Loss = Annotated[
    str | None, typer.Option("--loss", metavar="NAME", help=_LOSS, autocompletion=completion.one_of(LOSSES))
]
Optimizer = Annotated[str | None, typer.Option("--optimizer", metavar="NAME", help=_OPTIMIZER)]
TrainOnly = Annotated[list[str] | None, typer.Option("--train-only", metavar="PATTERN", help=_TRAIN_ONLY)]
Checkpoint = Annotated[list[str] | None, typer.Option("--checkpoint", metavar="PATTERN", help=_CHECKPOINT)]
Accumulate = Annotated[int | None, typer.Option("--accumulate", min=1, metavar="N", help=_ACCUMULATE)]
StepAutocast = Annotated[str | None, typer.Option("--autocast", metavar="DTYPE", help=_STEP_AUTOCAST)]
MasterWeights = Annotated[bool, typer.Option("--master-weights", help=_MASTER_WEIGHTS)]


def training_of(training: bool, given: Mapping[str, object], others: Mapping[str, object]) -> TrainingSettings | None:
    """The training step with settings by the names of their options; None without ``--training``.

    Raises InputError for a setting without it, and with it for another option that was given.
    """
    settings = {name: value for name, value in given.items() if value}
    if settings and not training:
        raise InputError(f"--{next(iter(settings)).replace('_', '-')} is of a training step: add --training")
    if not training:
        return None
    for name, value in others.items():
        if value:
            raise InputError(f"--training works out one step on meta, without a run: leave --{name} out")
    return TrainingSettings.of(settings)


def target_of(
    text: str,
    sets: list[str] | None,
    inputs: list[str] | None,
    dtype: str,
    allow_import: bool = False,
    arguments: list[str] | None = None,
    past: int | None = None,
) -> Target:
    """The target that a command's options describe. Raises InputError for a --set or --arg that is not NAME=VALUE."""
    variables = dict(split_pair(item, "--set", "B=8") for item in sets or ())
    target = Target(text, variables, tuple(inputs or ()), dtype, allow_import, content_of(text), past=past or 0)
    return target.with_arguments(dict(split_pair(item, "--arg", "width=64") for item in arguments or ()))


def content_of(text: str) -> bytes | None:
    """The spec on stdin for the target ``-``, None for any other. Raises InputError if stdin was read before."""
    if text != "-":
        return None
    if sys.stdin.isatty():
        sys.stderr.write("a spec from the terminal, ended by Ctrl-D:\n")
    data = sys.stdin.buffer.read(limit("bytes") + 1)
    if not data:
        raise InputError("stdin holds nothing for the target -: give one spec, as in fwdscope inspect - < model.yaml")
    return data


def files_of(target: Target) -> Iterator[Path]:
    """The files that a target and its ``--input`` read; of ``package.module:name`` the module's, if it is here."""
    text = (target.revision or (target.text,))[0]
    module = Path(text.partition(":")[0].replace(".", "/") + ".py")
    yield module if target.is_module and not target.is_program else find_spec(text) or Path(text)
    yield from (Path(item.partition("=")[2].strip()) for item in target.inputs)


def dtype_given(target: Target) -> str | None:
    """What ``--dtype`` says of a target; None if it is not needed."""
    products = target.stored.products
    return next((name for name, dtype in PRODUCTS.items() if dtype == products), None) or (
        target.dtype if target.dtype != "float32" else None
    )


def command_line(target: Target, options: Mapping[str, object]) -> str:
    """A target and options, quoted for a shell; options that are None or False are left out."""
    words, products = [target.text], target.stored.products
    implied = Stored().with_products(dtype_given(target) or "").weights if products else None
    given = [("--set", f"{name}={value}") for name, value in target.variables.items()]
    given += [("--arg", f"{name}={value}") for name, value in target.arguments.items()]
    given += [("--input", item) for item in target.inputs]
    stored = {
        "--past": target.past or None,
        "--weights-dtype": target.stored.weights if target.stored.weights != implied else None,
        "--kv-dtype": target.stored.cache,
        "--mesh": target.mesh,
        "--shard": target.plan if isinstance(target.plan, str) else target.plan and target.plan.name,
    }
    given += [(name, str(value)) for name, value in stored.items() if value is not None]
    for name, value in options.items():
        given += [(name, one) for one in (value if isinstance(value, tuple) else (value,))]
    for name, value in [*given, ("--allow-import", target.allow_import)]:
        if value is not None and value is not False:
            words += [name] if value is True else [name, str(value)]
    return shlex.join(words)


def split_pair(text: str, option: str, example: str) -> tuple[str, str]:
    """NAME=VALUE as two strings."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not name or not value:
        raise InputError(f"{option} {text}: write {option} {example}")
    return name, value
