"""``fwdscope fit``: the values of vars with which a network meets budgets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fwdscope.cli.boundary import FELL_SHORT, boundary, check_writable, choose_format, put, tell, terminal_of
from fwdscope.cli.options import (
    Accumulate,
    AllowImport,
    Arguments,
    Checkpoint,
    Inputs,
    Limits,
    Loss,
    MasterWeights,
    ModelDtype,
    NetworkText,
    Optimizer,
    Past,
    Sets,
    StepAutocast,
    TrainOnly,
    files_of,
    target_of,
    training_of,
)
from fwdscope.cli.progress import show_progress
from fwdscope.errors import InputError
from fwdscope.targets import Target
from fwdscope.units import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fwdscope.commands.scale import Fitted, Speed
    from fwdscope.settings import TrainingSettings

_VARY = "A var and the values to try: d=256:8192:64, depth=4:96, heads=8,16,32. Repeatable."
_BUDGET = 'A budget for {}: "1.3G ± 2%", "<= 80 GB", "1.3G" for what rounds to it. Twice for a range.'
_TRAIN_MEMORY = 'A budget for the memory of a training step: "<= 80 GB"; --optimizer and others say which step.'
_RATE = 'A budget for tokens a second on --on H100: ">= 50"; with --past of each sequence. By the eager estimate.'
_ON = "The device of --tokens-per-second: H100."
_FUSED = "Take --tokens-per-second by the fused bound, which is the most, in place of the eager estimate."
_KEEP = "A ratio that gives a var: d/heads=64. Repeatable."
_NEAR = "A ratio to stay near: d/depth=128. Default: the present shape. Repeatable."
_CHINCHILLA = "The compute-optimal size for so many tokens: 26G. In place of --params."
_COMPUTE = "The compute-optimal size for a training with so many FLOPs: 1e21. In place of --params."
_FORMAT = "text or json. Default: text."
_OUTPUT = "Write the first answer: .yaml the spec with these vars; .json all of them."


def _budget(name: str) -> object:
    return typer.Option(metavar="FIGURE", help=_BUDGET.format(name))


def fit(
    target: NetworkText,
    vary: Annotated[list[str] | None, typer.Option("--vary", metavar="VAR=VALUES", help=_VARY)] = None,
    params: Annotated[list[str] | None, _budget("parameters")] = None,
    active_params: Annotated[list[str] | None, _budget("the parameters that a position uses")] = None,
    macs: Annotated[list[str] | None, _budget("MACs")] = None,
    flops: Annotated[list[str] | None, _budget("FLOPs")] = None,
    memory: Annotated[list[str] | None, _budget("the peak memory")] = None,
    train_memory: Annotated[list[str] | None, typer.Option(metavar="FIGURE", help=_TRAIN_MEMORY)] = None,
    kv_cache: Annotated[list[str] | None, _budget("the KV cache, with --past of all positions, else of one")] = None,
    tokens_per_second: Annotated[list[str] | None, typer.Option(metavar="FIGURE", help=_RATE)] = None,
    on: Annotated[str | None, typer.Option("--on", metavar="DEVICE", help=_ON)] = None,
    fused: Annotated[bool, typer.Option("--fused", help=_FUSED)] = False,
    chinchilla: Annotated[str | None, typer.Option(metavar="TOKENS", help=_CHINCHILLA)] = None,
    compute: Annotated[float | None, typer.Option(metavar="FLOPS", help=_COMPUTE)] = None,
    keep: Annotated[list[str] | None, typer.Option("--keep", metavar="A/B=N", help=_KEEP)] = None,
    near: Annotated[list[str] | None, typer.Option("--near", metavar="A/B=N", help=_NEAR)] = None,
    set_: Sets = None,
    arg: Arguments = None,
    input_: Inputs = None,
    dtype: ModelDtype = "float32",
    past: Past = None,
    loss: Loss = None,
    optimizer: Optimizer = None,
    train_only: TrainOnly = None,
    checkpoint: Checkpoint = None,
    accumulate: Accumulate = None,
    autocast: StepAutocast = None,
    master_weights: MasterWeights = False,
    format_: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help=_FORMAT)] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help=_OUTPUT)] = None,
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Find the sizes with which a network meets a budget: which width and depth have 1.3 billion parameters?

    The search runs over the formulas of `fwdscope scale`; each answer is built before it is shown.
    """

    def command() -> None:
        from fwdscope.commands.scale import BUDGETS, FitRequest, Ratio, parse_axes
        from fwdscope.commands.scale import fit as run
        from fwdscope.render.fit import as_json, draw

        is_spec = output is not None and output.suffix in (".yaml", ".yml")
        form = "text" if is_spec else choose_format(format_, output, ("text", "json"), (".yaml",))
        fitted = target_of(target, set_, input_, dtype, allow_import, arg, past)
        check_writable(output, files_of(fitted))
        fitted.refuse_report(", which has no vars: give the spec")
        given = {"loss": loss, "optimizer": optimizer, "train_only": train_only, "checkpoint": checkpoint,
                 "accumulate": accumulate, "autocast": autocast, "master_weights": master_weights}  # fmt: skip
        step = _step(train_memory, given, past)
        figures = params, active_params, macs, flops, memory, train_memory, kv_cache, tokens_per_second
        budgets = {
            name: _budget_of(f"--{BUDGETS[name]}", texts) for name, texts in zip(BUDGETS, figures, strict=True) if texts
        }
        speed, notes = _speed(tokens_per_second, on, fused, fitted.dtype), []
        if chinchilla is not None or compute is not None:
            if params or (chinchilla is not None and compute is not None):
                raise InputError("--chinchilla, --compute and --params each give the parameters: leave two of them out")
            budgets["params"], note = _by_law(chinchilla, compute)
            notes.append(note)
        if speed is not None:
            notes.append(speed.note(past))
        if not vary:
            raise InputError("fit needs the vars to change: --vary d=256:8192:64 --vary depth=4:96")
        if not budgets:
            raise InputError('fit needs a budget: --params "1.3G ± 2%", --memory "<= 80 GB", …')
        axes = parse_axes(vary)
        kept = [Ratio.parse(text, "--keep") for text in keep or ()]
        shape = [Ratio.parse(text, "--near") for text in near or ()]
        with show_progress("loading torch") as report_progress:
            found = run(FitRequest(fitted, axes, budgets, kept, shape, step, speed, on_progress=report_progress))
        width, color = terminal_of() if output is None else (100, False)
        if is_spec and output is not None:
            _write_spec(fitted, found, output)
            return
        put(
            json.dumps(as_json(found), indent=1, ensure_ascii=False)
            if form == "json"
            else draw(found, notes, width, color),
            output,
        )
        if not found.answers:
            raise typer.Exit(FELL_SHORT)

    boundary(command, limit)


def _step(train_memory: list[str] | None, given: Mapping[str, object], past: int | None) -> TrainingSettings | None:
    """The training step that a budget is for. Raises InputError for settings of one without a budget."""
    option = next((name.replace("_", "-") for name, value in given.items() if value), None)
    if not train_memory and option is not None:
        raise InputError(f'--{option} is of a training step: add a budget for it, --train-memory "<= 80 GB"')
    return training_of(bool(train_memory), given, {"past": past})


def _by_law(chinchilla: str | None, compute: float | None) -> tuple[Figure, str]:
    """The parameters of the compute-optimal network, and how they come about. Raises InputError."""
    from fwdscope.render.fit import law

    tokens = _parse_budget("--chinchilla", chinchilla) if chinchilla is not None else None
    if tokens is not None and (tokens.low is None or tokens.high is None or tokens.high <= 0):
        raise InputError(f"--chinchilla {chinchilla}: write the number of tokens, as in --chinchilla 26G")
    if compute is not None and not 0 < compute < float("inf"):
        raise InputError("--compute: write the FLOPs of the training, as in --compute 1e21")
    # A number without all its digits is the middle of what rounds to it.
    middle = (tokens.low + tokens.high) / 2 if tokens and tokens.low is not None and tokens.high else None
    return law(middle, compute)


def _speed(rate: list[str] | None, on: str | None, fused: bool, dtype: str) -> Speed | None:
    """The device that tokens a second are of. Raises InputError."""
    from fwdscope.commands.scale import Speed
    from fwdscope.device.table import UnknownAcceleratorError, accelerator

    if not rate:
        if option := "--on" if on is not None else "--fused" if fused else "":
            raise InputError(f'{option} is for a budget of tokens a second: add --tokens-per-second ">= 50"')
        return None
    if on is None:
        raise InputError("--tokens-per-second needs the device: --on H100")
    try:
        return Speed(accelerator(on).peaks(dtype), fused)
    except UnknownAcceleratorError as error:
        raise InputError(f"--on {on}: {error}") from None


def _budget_of(option: str, texts: Sequence[str]) -> Figure:
    """The budget that holds where all of them do. Raises InputError where none can."""
    found = [_parse_budget(option, text) for text in texts]
    lows, highs = [one.low for one in found if one.low is not None], [one.high for one in found if one.high is not None]
    low, high, text = max(lows, default=None), min(highs, default=None), " and ".join(one.text for one in found)
    if low is not None and high is not None and low > high:
        raise InputError(f"{option}: no number is {text}")
    return found[0]._replace(text=text, low=low, high=high, strict=any(one.strict for one in found))


def _parse_budget(option: str, text: str) -> Figure:
    try:
        found = Figure.parse(text)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None
    measure = "bytes" if option.endswith(("memory", "cache")) else None
    if found.measure not in (None, measure):
        right = "bytes, as in 80 GB" if measure else "a number, as in 1.3G"
        raise InputError(f"{option} {text}: these are {found.measure}; write {right}")
    return found


def _write_spec(target: Target, found: Fitted, output: Path) -> None:
    """Write the spec with the values of the first answer. Raises InputError without one."""
    if not found.answers:
        raise InputError("no values meet the budgets: there is no spec to write")
    text, gone = _with_values(target, found.answers[0].values)
    put(text, output)
    tell(" ".join(f"--set {name}={value}" for name, value in found.answers[0].values.items()) + "\n")
    for name in gone:
        tell(f"expect: there is no layer {name} with these vars: remove its line\n")


def _with_values(target: Target, values: Mapping[str, int]) -> tuple[str, list[str]]:
    """The text of a spec with other values of vars, and the layers that it expects something of and has no longer.

    Figures that it expects as numbers become those that it has.
    """
    from fwdscope.commands.check.expectations import row_at, verdicts
    from fwdscope.run.model_spec import subject_of

    if target.is_module:
        raise InputError(f"{target.text} is no spec: write the values as --arg")
    checked, _ = target.load_spec()
    text = checked.spec.source.text
    given = {**target.variables, **values}
    for one in sorted(checked.spec.variables, key=lambda one: -one.value.span.start):
        if one.name in given and one.given is None:
            text = text[: one.value.span.start] + str(given[one.name]) + text[one.value.span.end :]
    plain = Target("-", {}, (), target.dtype, target.allow_import, text.encode())
    written, feeds = plain.load_spec()
    subject = subject_of(written, feeds, target.dtype, False, True)
    report = subject.report()
    found = [one for one in verdicts(written, report, True, None, *subject.other_passes(written)) if one.by is not None]
    for verdict in sorted(found, key=lambda one: -one.span.start):
        text = text[: verdict.span.start] + verdict.got.replace(",", "_") + text[verdict.span.end :]
    expect = written.spec.expect
    layers = dict.fromkeys(one.layer for many in (expect.figures, expect.outputs) for one in many if one.layer)
    return text, [name for name in layers if row_at(report.layers, name) is None]
