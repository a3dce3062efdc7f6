"""What a command is pointed at: a spec, a module of Python's, or a saved report."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fwdscope.cli.boundary import InputError, pair
from fwdscope.commands.bench.sweep import is_sweep
from fwdscope.inspection import find_spec, inspect_subject, shipped
from fwdscope.language import load
from fwdscope.language.names import did_you_mean, likely, listed, nearest
from fwdscope.report import Report, ReportError
from fwdscope.settings import META, RunError, RunSettings
from fwdscope.targets import feeds

if TYPE_CHECKING:
    from torch import nn

    from fwdscope.language.check import Checked
    from fwdscope.report.pictures import Picture
    from fwdscope.run.subject import Subject
    from fwdscope.trace import Trace


def report_of(target: str, sets: list[str], inputs: list[str], dtype: str, allow_import: bool) -> Report:
    """The report of a target on meta: built and traced, or read where it was saved."""
    return run_of(target, sets, inputs, dtype, allow_import, META)[0]


def run_of(
    target: str, sets: list[str], inputs: list[str], dtype: str, allow_import: bool, settings: RunSettings
) -> tuple[Report, Picture | None]:
    """The report of a target, run as ``settings`` say, and the picture that they ask for."""
    if target.endswith(".json"):
        return _saved(target, bool(sets or inputs or dtype != "float32"), settings), None

    def make() -> Subject:
        return subject_of(target, sets, inputs, dtype, allow_import, settings.train)

    return run_user_code(target, lambda: inspect_subject(make, settings))


def subject_of(
    target: str, sets: list[str], inputs: list[str], dtype: str, allow_import: bool, training: bool = False
) -> Subject:
    """A spec's network or a module, traced."""
    if not is_module(target):
        checked, replaced = spec_of(target, sets, inputs, allow_import)
        from fwdscope.run.subject import SpecSubject

        return SpecSubject(checked, replaced, dtype, training)
    from fwdscope.run.placement import ModuleCall
    from fwdscope.run.subject import ModuleSubject

    def make() -> ModuleCall:
        return ModuleCall(*module_of(target, sets, inputs, dtype, numbers=True))

    def traced() -> Subject:
        call = ModuleCall(*module_of(target, sets, inputs, dtype))
        try:
            return ModuleSubject(call, training, make)
        except (InputError, RunError):
            raise
        except Exception:
            if not any(tensor.is_meta for tensor in call.tensors()):
                raise
            return ModuleSubject(make(), training, make)  # it was made on meta, and does not run there

    return run_user_code(target, traced)


def _saved(target: str, replaced: bool, settings: RunSettings) -> Report:
    """A saved report, which cannot be run."""
    if replaced:
        raise InputError(f"{target} is a saved report; --set, --input and --dtype are for specs")
    if settings.device not in (None, "meta") or settings.weights or settings.train or settings.show:
        raise InputError(f"{target} is a saved report; --device, --weights, --train and --show are for what can be run")
    try:
        text = Path(target).read_text(encoding="utf-8")
        if is_sweep(text):
            raise InputError(f"{target} holds a sweep, a report for each size: it is for fwdscope bench --against")
        return Report.loads(text)
    except OSError as error:
        raise InputError(f"{target} cannot be read: {error.strerror}") from None
    except ReportError as error:
        raise InputError(f"{target}: {error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{target} is not a report: it is not UTF-8") from None


def trace_of(target: str, sets: list[str], inputs: list[str], dtype: str, allow_import: bool) -> Trace:
    """The forward pass of a target, operator by operator."""
    if target.endswith(".json"):
        raise InputError(f"{target} is a saved report, which holds no operators: explain the spec or the module itself")
    return subject_of(target, sets, inputs, dtype, allow_import).trace


def is_module(target: str) -> bool:
    """Whether a target is ``package.module:factory``."""
    return ":" in target and find_spec(target) is None


def spec_of(
    target: str, sets: list[str], inputs: list[str], allow_import: bool
) -> tuple[Checked, dict[str, feeds.Feed]]:
    """A spec, checked, and what stands for its inputs."""
    path = find_spec(target)
    if path is None:
        raise InputError(_no_target(target))
    variables = dict(pair(item, "--set", "B=8") for item in sets)
    try:
        checked = load(path, str(path) if path == Path(target) else f"{path.stem}.yaml", variables, allow_import)
    except OSError as error:
        raise InputError(f"{target} cannot be read: {error.strerror}") from None
    if allow_import:
        sys.path.insert(0, str(Path.cwd()))
    replaced = {feed.name: feed for feed in map(feeds.parse, inputs)}
    for name in replaced:
        known = [one.name for one in checked.spec.inputs]
        if name not in known:
            meant = nearest(name, known)
            help = f"did you mean {meant}?" if meant else f"there is {listed(known)}"
            raise InputError(f"--input {name}: there is no input {name}; {help}")
    return checked, replaced


def module_of(
    target: str, sets: list[str], inputs: list[str], dtype: str, numbers: bool = False
) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """The model of ``package.module:factory`` and its inputs, on meta where that can be, or with ``numbers`` in them.

    Its code is run, since the user named it.
    """
    if sets or dtype != "float32":
        raise InputError(f"{target} is code of your own; --set and --dtype are for specs")
    replaced = {feed.name: feed for feed in map(feeds.parse, inputs)}
    sys.path.insert(0, str(Path.cwd()))
    from fwdscope.targets.module import TargetError, load_target

    try:
        with contextlib.redirect_stdout(sys.stderr):
            return load_target(target, replaced, numbers)
    except TargetError as error:
        raise InputError(str(error)) from None


T = TypeVar("T")


def run_user_code(target: str, run: Callable[[], T]) -> T:
    """Run something that calls a module of the user; its exceptions become InputErrors. A spec's are raised as is."""
    if not is_module(target):
        return run()
    from fwdscope.targets.module import said

    try:
        # Its prints must not end up in the report.
        with contextlib.redirect_stdout(sys.stderr):
            return run()
    except (InputError, RunError):
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{target} cannot run on these inputs: {said(error)}") from error


def _no_target(target: str) -> str:
    if not target.strip():
        return "the target is empty: give a spec file or the name of a spec that ships"
    if Path(target).is_dir():
        return f"{target} is a folder; name one spec in it, as in {target.rstrip('/')}/NAME.yaml"
    name = Path(target).stem
    if target.endswith((".yaml", ".yml")) and not likely(name, shipped()):
        beside = [str(path) for path in Path(target).parent.glob("*.y*ml")] if Path(target).parent.is_dir() else []
        near = likely(target, beside)
        help = f"did you mean {near[0]}?" if near else "give the path of a spec, or a name that `fwdscope specs` lists"
        return f"there is no file {target}; {help}"
    help = did_you_mean(name, shipped(), "specs that ship with fwdscope:")
    return f"there is no file {target}, and no spec of that name; {help}"
