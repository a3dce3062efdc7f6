"""The edge of the program: exceptions become messages and exit codes, results go to stdout or to a file."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import typer

from fwdscope import disk
from fwdscope.cli.options import split_pair
from fwdscope.errors import InputError, ShapeError, causes, import_failure
from fwdscope.interrupt import INTERRUPTED, run_command
from fwdscope.language.names import listed, nearest
from fwdscope.language.problems import SpecError
from fwdscope.limits import LIMITS, raised
from fwdscope.printable import escaped
from fwdscope.version import __version__

# The format that the ending of an output file chooses.
ENDINGS = {
    ".txt": "text",
    ".json": "json",
    ".csv": "csv",
    ".md": "markdown",
    ".svg": "graph",
    ".dot": "dot",
    ".gv": "dot",
    ".mmd": "mermaid",
    ".html": "html",
    ".xml": "junit",
    ".sarif": "sarif",
    ".tex": "latex",
    ".py": "python",
}

FELL_SHORT, WRONG_INPUT, DEFECT = 1, 2, 3


def boundary(command: Callable[[], None], limits: list[str] | None = None) -> None:
    """Run a command. The only place where an exception becomes a message and an exit code."""
    try:
        with raised(dict(map(_parse_limit, limits or ()))):
            command()
        sys.stdout.flush()
    except InputError as error:
        write_error(error)
        raise typer.Exit(WRONG_INPUT) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # The reader stopped early (`| head`).
        _close_stdout()
        raise typer.Exit(0) from None
    except (typer.Exit, typer.Abort):
        raise
    except RecursionError:
        complain("this is nested deeper than Python can follow: lower --limit nesting and --limit blocks")
        raise typer.Exit(WRONG_INPUT) from None
    except Exception as error:
        # Ctrl-C in the middle of an import surfaces as another exception.
        if any(isinstance(one, KeyboardInterrupt) for one in causes(error)):
            raise typer.Exit(INTERRUPTED) from None
        if failure := import_failure(error):
            complain(failure)
            raise typer.Exit(WRONG_INPUT) from None
        if isinstance(error, OSError):
            complain(f"{error.filename or 'the current folder'}: {error.strerror or error}")
            raise typer.Exit(WRONG_INPUT) from None
        if isinstance(error, MemoryError):
            complain("memory ran out; smaller sizes need less")
            raise typer.Exit(WRONG_INPUT) from None
        complain(f"this is a bug in fwdscope {__version__}, not in your spec: {type(error).__name__}: {error}")
        if os.environ.get("FWDSCOPE_DEBUG"):
            traceback.print_exc()
        else:
            tell("Set FWDSCOPE_DEBUG=1 for a traceback, and please report it with the spec.\n")
        raise typer.Exit(DEFECT) from None


def write_error(error: InputError) -> None:
    """Print what is wrong with the input on stderr."""
    from fwdscope.render.lines import takes_color

    tell(draw_error(error, takes_color(sys.stderr)))


def draw_error(error: InputError, color: bool) -> str:
    """What is wrong with the input: each problem of a spec, or one message."""
    if isinstance(error, SpecError):
        from fwdscope.render.problems import draw_problems

        return draw_problems(error, color)
    return f"{error}\n" if isinstance(error, ShapeError) else f"error: {error}\n"


def complain(message: str) -> None:
    """Print one error on stderr."""
    tell(f"error: {message}\n")


def _parse_limit(text: str) -> tuple[str, int]:
    name, value = split_pair(text, "--limit", "items=2000000")
    if name not in LIMITS:
        raise InputError(f"--limit {name}: there is no such limit; there are {listed(LIMITS, 20)}")
    if not re.fullmatch(r"[0-9][0-9_]{0,25}", value):
        raise InputError(f"--limit {name}: a limit is a whole number, of at most 26 digits")
    return name, int(value)


def terminal_of() -> tuple[int, bool]:
    """The width of stdout, and whether it takes colour."""
    from fwdscope.render.lines import takes_color

    # A terminal without a size, as some programs start one, says 0.
    width = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 0
    return width or 100, takes_color(sys.stdout)


def check_writable(output: Path | None, read: Iterable[Path | None] = ()) -> None:
    """Raise InputError if a file cannot be written, or is one that is ``read``, before its content is computed."""
    if output is None:
        return
    for file in read:
        if file is not None and file.is_file() and output.exists() and output.samefile(file):
            raise InputError(f"-o {output} would replace what this command reads: give another name")
    if output.is_dir():
        raise InputError(f"{output} cannot be written: it is a folder")
    if not output.parent.is_dir():
        raise InputError(f"{output} cannot be written: there is no folder {output.parent}")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise InputError(f"{output} cannot be written: permission denied")


def choose_format(given: str | None, output: Path | None, forms: Collection[str], others: Collection[str] = ()) -> str:
    """The format of a result: ``given``, or that of the file's ending, or the first of ``forms``, which a name without
    an ending or with .txt has. The command writes to names with ``others`` as endings too.

    Raises InputError for a format that is not among ``forms``, or an ending that is of none of them.
    """
    first = next(iter(forms))
    ending = output.suffix.lower() if output else ""
    endings = {end: form for end, form in ENDINGS.items() if form in forms}
    if first not in endings.values():
        endings = {".txt": first, **endings}
    form = given or ({"": first} | endings).get(ending, "")
    if form in forms:
        return form
    if given is None:
        writes = f"writes no {ENDINGS.get(ending, ending[1:])}; it writes {', '.join(forms)}"
        other = ", and --format under any" if len(forms) > 1 else ""
        raise InputError(
            f"-o {output}: this command {writes}, to names that end in {', '.join([*endings, *others])}{other}"
        )
    meant = nearest(form, forms)
    help = f"did you mean {meant}?" if meant else f"there are: {', '.join(forms)}"
    raise InputError(f"unknown format {form}; {help}")


def put(text: str, output: Path | None) -> None:
    """Write text to stdout, or to a file, and name the file on stderr. Raises InputError if it cannot be written."""
    text = text if text.endswith("\n") else text + "\n"
    if output is None:
        say(text)
        return
    # The name of a file may hold bytes that are not UTF-8.
    put_bytes(escaped(text).encode("utf-8", errors="backslashreplace"), output)


def put_bytes(data: bytes, output: Path) -> None:
    """Write bytes to a file, and name it on stderr. Raises InputError if it cannot be written."""
    try:
        disk.write(output, data, special=True)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}") from None
    tell(f"wrote {output}\n")


def page(text: str) -> None:
    """Write text to stdout; what is longer than the terminal goes through $PAGER, as git's output does."""
    command = shlex.split(os.environ.get("PAGER", "less"))
    is_short = not sys.stdout.isatty() or text.count("\n") < os.get_terminal_size(sys.stdout.fileno()).lines
    if is_short or not sys.stdin.isatty() or not command or shutil.which(command[0]) is None:
        say(text)
        return
    # Ctrl-C is the pager's own key.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run_command(command, text.encode(), stdin=subprocess.PIPE, env={"LESS": "FRX", **os.environ})
    finally:
        signal.signal(signal.SIGINT, before)


def say(text: str, unchanged: bool = False) -> None:
    """Write text to stdout and flush it. If the reader is gone (`| head`), carry on quietly to the exit code.

    What a program reads as the user's own file stays ``unchanged``: line ends, and signs that a terminal would obey.
    Raises InputError if stdout cannot be written.
    """
    from fwdscope.render.lines import takes_color

    try:
        as_it_is = unchanged and not sys.stdout.isatty()
        sys.stdout.write(text if as_it_is else escaped(text, takes_color(sys.stdout)))
        sys.stdout.flush()
    except BrokenPipeError:
        _close_stdout()
    except OSError as error:
        _close_stdout()
        if os.name == "nt" and error.errno == errno.EINVAL:  # what a closed pipe is there
            return
        raise InputError(f"stdout cannot be written: {error.strerror}") from None


def tell(text: str) -> None:
    """Write text to stderr. If it cannot be written, the exit code says enough."""
    from fwdscope.render.lines import takes_color

    with contextlib.suppress(OSError):
        sys.stderr.write(escaped(text, takes_color(sys.stderr)))
        sys.stderr.flush()


def _close_stdout() -> None:
    """Discard what is still buffered: Python would complain again when it closes stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
