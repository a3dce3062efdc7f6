"""The commands: options in, text out, exit code back.

Reports go to stdout, problems to stderr. Exit codes: 0 fine, 1 something fell short, 2 the input is wrong, 3 a defect
of ours. torch is loaded by what needs it, never by this file: help, ``layers``, ``schema`` and every spec error come
at once.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

import fwdscope
from fwdscope import feeds
from fwdscope.inspection import find_spec, inspect_module, inspect_spec, shipped, trace_spec
from fwdscope.limits import LIMITS, raised
from fwdscope.render import COLUMNS, FORMATS, Options, render
from fwdscope.report import Report, ReportError
from fwdscope.spec import load
from fwdscope.spec.names import listed, nearest
from fwdscope.spec.problems import SpecError

if TYPE_CHECKING:
    from torch import nn

    from fwdscope.spec.check import Checked
    from fwdscope.trace import Trace

FELL_SHORT, WRONG_INPUT, DEFECT, INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Inspect the forward pass of a neural network: every layer's shapes and parameters, from a YAML spec.",
    epilog="A first look: fwdscope inspect resnet50   ·   The layers there are: fwdscope layers",
)


class InputError(Exception):
    """What the user gave is wrong in a way that has no place in a file."""


def run() -> int:
    """The whole program: parse the arguments, run a command, give its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # The report draws with signs beyond ASCII; a pipe whose locale has none shows them as question marks rather
        # than fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    # torch says so on import where NumPy is missing; nothing here needs it but --input of NumPy's files, which says
    # so itself.
    warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
    try:
        app(standalone_mode=True)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _boundary(command: Callable[[], None], limits: list[str] | None = None) -> None:
    """Run a command; what goes wrong becomes a message and an exit code, here and nowhere else."""
    try:
        with raised(dict(map(_limit, limits or ()))):
            command()
        sys.stdout.flush()
    except SpecError as error:
        from fwdscope.render.problems import write_problems

        write_problems(error, sys.stderr)
        raise typer.Exit(WRONG_INPUT) from None
    except (InputError, feeds.FeedError, ReportError) as error:
        _complain(str(error))
        raise typer.Exit(WRONG_INPUT) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read has seen enough (`| head`). Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except (typer.Exit, typer.Abort):
        raise
    except RecursionError:
        _complain("this is nested deeper than Python can follow: keep --limit nesting and --limit blocks lower")
        raise typer.Exit(WRONG_INPUT) from None
    except Exception as error:
        if _interrupted(error):
            raise typer.Exit(INTERRUPTED) from None
        _complain(
            f"this is a defect of fwdscope {fwdscope.__version__}, not of your spec: {type(error).__name__}: {error}"
        )
        if os.environ.get("FWDSCOPE_DEBUG"):
            traceback.print_exc()
        else:
            sys.stderr.write("Set FWDSCOPE_DEBUG=1 to see where, and please report it with the spec.\n")
        raise typer.Exit(DEFECT) from None


def _interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an exception: in the middle of an import it comes out as another."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _complain(message: str) -> None:
    sys.stderr.write(f"error: {message}\n")


_TARGET = "A spec file, the name of a spec that ships with fwdscope, package.module:factory, or a saved report (.json)."
_DEPTH = "Levels of nesting to show; what is hidden counts in the row above it."
_COLUMNS = f"Columns of the table, with commas: {', '.join(COLUMNS)}."
_LAYER = "A path as in the report (layer1.0.conv2), or a line of the spec (:17)."
_LIMIT = f"Raise a bound on what a spec may ask for: {', '.join(LIMITS)}."
_SORT = "List single layers, the largest of a column first: macs, params, memory, …"
_TOP = "List the N single layers that cost most."
_STRICT = "Exit with 1 where an operator ran that no rule counts."
_INPUT = "Replace an input: image=8,3,224,224, or image=batch.npy (.npz, .pt)."
_IMPORT = "Import classes of your own that the spec names. This runs their code."
_Dtype = Literal["float32", "float64", "float16", "bfloat16"]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fwdscope {fwdscope.__version__}")
        raise typer.Exit(0)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command()
def inspect(
    target: Annotated[str, typer.Argument(metavar="TARGET", help=_TARGET)],
    depth: Annotated[int | None, typer.Option(min=1, metavar="N", help=_DEPTH)] = None,
    columns: Annotated[str | None, typer.Option(metavar="NAMES", help=_COLUMNS)] = None,
    sort: Annotated[str | None, typer.Option(metavar="NAME", help=_SORT)] = None,
    top: Annotated[int | None, typer.Option(min=1, metavar="N", help=_TOP)] = None,
    strict: Annotated[bool, typer.Option("--strict", help=_STRICT)] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="VAR=VALUE", help="Replace a var of the spec: B=8.")
    ] = None,
    input_: Annotated[list[str] | None, typer.Option("--input", metavar="NAME=…", help=_INPUT)] = None,
    dtype: Annotated[_Dtype, typer.Option(help="Of weights, and of inputs that name none.")] = "float32",
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(FORMATS)}; table if not given.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file; its ending says the format.")
    ] = None,
    allow_import: Annotated[bool, typer.Option("--allow-import", help=_IMPORT)] = False,
    limit: Annotated[list[str] | None, typer.Option("--limit", metavar="NAME=N", help=_LIMIT)] = None,
) -> None:
    """Show every layer's shapes, parameters and costs."""

    def command() -> None:
        form = _format(format_, output)
        _refuse_unheeded(form, depth=depth, columns=columns, sort=sort, top=top)
        report = _report(target, set_ or [], input_ or [], dtype, allow_import)
        extra = [f"--set {item}" for item in set_ or []] + [f"--input {item}" for item in input_ or []]
        extra += [f"--dtype {dtype}"] * (dtype != "float32") + ["--allow-import"] * allow_import
        names = tuple(name.strip() for name in columns.split(",")) if columns else None
        saved = output is not None and form == "json"
        _write(report, form, Options(depth, names, None, " ".join([target, *extra]), saved, sort, top), output)
        if strict and report.uncounted:
            _complain(f"no rule counts {', '.join(report.uncounted)}")
            raise typer.Exit(FELL_SHORT)

    _boundary(command, limit)


@app.command()
def explain(
    target: Annotated[str, typer.Argument(metavar="TARGET", help=_TARGET)],
    layer: Annotated[str, typer.Argument(metavar="LAYER", help=_LAYER)],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="VAR=VALUE", help="Replace a var of the spec: B=8.")
    ] = None,
    input_: Annotated[list[str] | None, typer.Option("--input", metavar="NAME=…", help=_INPUT)] = None,
    dtype: Annotated[_Dtype, typer.Option(help="Of weights, and of inputs that name none.")] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="As data.")] = False,
    allow_import: Annotated[bool, typer.Option("--allow-import", help=_IMPORT)] = False,
    limit: Annotated[list[str] | None, typer.Option("--limit", metavar="NAME=N", help=_LIMIT)] = None,
) -> None:
    """Show the arithmetic of one layer: its shape, parameters and costs as formulas with the numbers put in."""

    def command() -> None:
        from fwdscope.explain import explain as explained
        from fwdscope.render import explanation

        trace = _trace(target, set_ or [], input_ or [], dtype, allow_import)
        try:
            found = explained(trace, layer)
        except LookupError as error:
            raise InputError(str(error.args[0])) from None
        _put(explanation.as_json(found) if as_json else explanation.draw(found, *_terminal()), None)

    _boundary(command, limit)


@app.command()
def layers(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A layer, function, method or attribute; or a word to look for."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole vocabulary as data.")] = False,
) -> None:
    """List the layers and functions that specs may use, or show one with its settings."""

    def command() -> None:
        from fwdscope.render import vocabulary

        width, colour = _terminal()
        if as_json:
            sys.stdout.write(vocabulary.as_json())
            return
        try:
            text = vocabulary.page_of(name, width, colour) if name else vocabulary.listing(None, width, colour)
        except LookupError as error:
            raise InputError(str(error.args[0])) from None
        sys.stdout.write(text if text.endswith("\n") else text + "\n")

    _boundary(command)


@app.command()
def schema(
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file.")] = None,
) -> None:
    """Print the JSON Schema of specs, for editors."""

    def command() -> None:
        from fwdscope.spec.schema import dumps

        _put(dumps(), output)

    _boundary(command)


# --- what the commands are made of -----------------------------------------------------------------------------------


def _report(target: str, sets: list[str], inputs: list[str], dtype: str, allow_import: bool) -> Report:
    """The report of a target: built and traced, or read where it was saved."""
    if target.endswith(".json"):
        if sets or inputs or dtype != "float32":
            raise InputError(f"{target} is a saved report; --set, --input and --dtype are for specs")
        try:
            return Report.loads(Path(target).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{target} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InputError(f"{target} is not a report: it is not UTF-8") from None
    if _is_module(target):
        module, args, kwargs = _module(target, sets, inputs, dtype)
        return _run_module(target, lambda: inspect_module(module, args, kwargs))
    return inspect_spec(*_spec(target, sets, inputs, allow_import), dtype)


def _trace(target: str, sets: list[str], inputs: list[str], dtype: str, allow_import: bool) -> Trace:
    """The forward pass of a target, operator by operator."""
    if target.endswith(".json"):
        raise InputError(f"{target} is a saved report, which holds no operators: explain the spec or the module itself")
    if _is_module(target):
        from fwdscope.trace import trace_module

        module, args, kwargs = _module(target, sets, inputs, dtype)
        return _run_module(target, lambda: trace_module(module, args, kwargs)[0])
    return trace_spec(*_spec(target, sets, inputs, allow_import), dtype)[1]


def _is_module(target: str) -> bool:
    return ":" in target and find_spec(target) is None


def _spec(target: str, sets: list[str], inputs: list[str], allow_import: bool) -> tuple[Checked, dict[str, feeds.Feed]]:
    """A spec, checked, and what stands for its inputs."""
    path = find_spec(target)
    if path is None:
        raise InputError(_no_target(target))
    variables = dict(_pair(item, "--set", "B=8") for item in sets)
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


def _module(target: str, sets: list[str], inputs: list[str], dtype: str) -> tuple[nn.Module, Any, Any]:
    """The model of ``package.module:factory`` and its inputs. Its code is run, since the user named it."""
    if sets or dtype != "float32":
        raise InputError(f"{target} is code of your own; --set and --dtype are for specs")
    replaced = {feed.name: feed for feed in map(feeds.parse, inputs)}
    sys.path.insert(0, str(Path.cwd()))
    from fwdscope.target import TargetError, load_target

    try:
        return load_target(target, replaced)
    except TargetError as error:
        raise InputError(str(error)) from None


T = TypeVar("T")


def _run_module(target: str, run: Callable[[], T]) -> T:
    """Run a model of the user's; what goes wrong in it is no defect of ours."""
    try:
        return run()
    except Exception as error:
        raise InputError(f"{target} cannot run on these inputs: {type(error).__name__}: {error}") from error


def _no_target(target: str) -> str:
    if Path(target).is_dir():
        return f"{target} is a folder; inspect takes one spec, as in: fwdscope inspect {target.rstrip('/')}/NAME.yaml"
    known = shipped()
    meant = nearest(Path(target).stem, known)
    help = f"did you mean {meant}?" if meant else f"specs that ship with fwdscope: {listed(known, 100)}"
    return f"there is no file {target}" + (
        "" if target.endswith((".yaml", ".yml")) and not meant else f", and no spec of that name; {help}"
    )


def _limit(text: str) -> tuple[str, int]:
    name, value = _pair(text, "--limit", "items=2000000")
    if name not in LIMITS:
        raise InputError(f"--limit {name}: there is no such bound; there are {listed(LIMITS, 20)}")
    if not value.replace("_", "").isdigit():
        raise InputError(f"--limit {text}: a bound is a whole number")
    return name, int(value)


def _pair(text: str, option: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise InputError(f"{option} {text}: write {option} {example}")
    return name.strip(), value.strip()


_ENDINGS = {".json": "json", ".csv": "csv", ".md": "markdown", ".txt": "table"}


def _format(given: str | None, output: Path | None) -> str:
    form = given or (_ENDINGS.get(output.suffix, "table") if output else "table")
    if form not in FORMATS:
        meant = nearest(form, FORMATS)
        raise InputError(
            f"unknown format {form}; " + (f"did you mean {meant}?" if meant else f"there are: {', '.join(FORMATS)}")
        )
    return form


def _refuse_unheeded(form: str, **given: object) -> None:
    """Options that mean nothing to a format are refused rather than left unsaid."""
    for name, value in given.items():
        if value is not None and name not in FORMATS[form].heeds:
            raise InputError(f"--{name} means nothing to the format {form}")


def _terminal() -> tuple[int, bool]:
    """The width of stdout, and whether it takes colour."""
    if not sys.stdout.isatty():
        return 100, False
    return os.get_terminal_size(sys.stdout.fileno()).columns, "NO_COLOR" not in os.environ


def _write(report: Report, form: str, options: Options, output: Path | None) -> None:
    try:
        if form == "table" and output is None and sys.stdout.isatty():
            from rich.console import Console

            from fwdscope.render.terminal import print_report

            print_report(report, Console(), options)
        else:
            _put(render(report, form, options), output)
    except ValueError as error:
        # An unknown column: the renderer names those there are.
        raise InputError(str(error)) from None


def _put(text: str, output: Path | None) -> None:
    text = text if text.endswith("\n") else text + "\n"
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}") from None
    sys.stderr.write(f"wrote {output}\n")
