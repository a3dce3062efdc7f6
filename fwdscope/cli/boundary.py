"""Where a command's failures become messages and exit codes, and its results text on stdout or in a file."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Collection
from pathlib import Path

import typer

import fwdscope
from fwdscope.language.names import listed, nearest
from fwdscope.language.problems import SpecError
from fwdscope.limits import LIMITS, raised
from fwdscope.report import ReportError
from fwdscope.settings import RunError
from fwdscope.targets import feeds

# What the ending of a file says about its form; text where it says nothing.
ENDINGS = {".json": "json", ".csv": "csv", ".md": "markdown", ".xml": "junit"}

FELL_SHORT, WRONG_INPUT, DEFECT, INTERRUPTED = 1, 2, 3, 130


class InputError(Exception):
    """What the user gave is wrong in a way that has no place in a file."""


def boundary(command: Callable[[], None], limits: list[str] | None = None) -> None:
    """Run a command; what goes wrong becomes a message and an exit code, here and nowhere else."""
    try:
        with raised(dict(map(_limit, limits or ()))):
            command()
        sys.stdout.flush()
    except SpecError as error:
        from fwdscope.render.problems import write_problems

        write_problems(error, sys.stderr)
        raise typer.Exit(WRONG_INPUT) from None
    except (InputError, feeds.FeedError, ReportError, RunError) as error:
        complain(str(error))
        raise typer.Exit(WRONG_INPUT) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read has seen enough (`| head`).
        _close_stdout()
        raise typer.Exit(0) from None
    except (typer.Exit, typer.Abort):
        raise
    except RecursionError:
        complain("this is nested deeper than Python can follow: keep --limit nesting and --limit blocks lower")
        raise typer.Exit(WRONG_INPUT) from None
    except Exception as error:
        if _interrupted(error):
            raise typer.Exit(INTERRUPTED) from None
        complain(
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


def complain(message: str) -> None:
    """One message on stderr."""
    sys.stderr.write(f"error: {message}\n")


def _limit(text: str) -> tuple[str, int]:
    name, value = pair(text, "--limit", "items=2000000")
    if name not in LIMITS:
        raise InputError(f"--limit {name}: there is no such bound; there are {listed(LIMITS, 20)}")
    if not value.replace("_", "").isdigit():
        raise InputError(f"--limit {text}: a bound is a whole number")
    return name, int(value)


def pair(text: str, option: str, example: str) -> tuple[str, str]:
    """NAME=VALUE in two."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise InputError(f"{option} {text}: write {option} {example}")
    return name.strip(), value.strip()


def terminal_of() -> tuple[int, bool]:
    """The width of stdout, and whether it takes colour."""
    if not sys.stdout.isatty():
        return 100, False
    return os.get_terminal_size(sys.stdout.fileno()).columns, "NO_COLOR" not in os.environ


def hold_output(output: Path | None) -> None:
    """Refuse a file that cannot be written, before what is to stand in it is made. Raises InputError."""
    if output is None:
        return
    if output.is_dir():
        raise InputError(f"{output} cannot be written: it is a folder")
    if not output.parent.is_dir():
        raise InputError(f"{output} cannot be written: there is no folder {output.parent}")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise InputError(f"{output} cannot be written: permission denied")


def form_of(given: str | None, output: Path | None, forms: Collection[str]) -> str:
    """The form of a result: the one asked for, else what the file's ending says, else the first.

    Raises InputError for a form that is not among ``forms``.
    """
    form = given or ENDINGS.get(output.suffix if output else "", next(iter(forms)))
    if form in forms:
        return form
    if given is None:
        raise InputError(f"-o {output}: this command writes no {form}; it writes {', '.join(forms)} (--format)")
    meant = nearest(form, forms)
    help = f"did you mean {meant}?" if meant else f"there are: {', '.join(forms)}"
    raise InputError(f"unknown format {form}; {help}")


def put(text: str, output: Path | None) -> None:
    """Text on stdout, or into a file, which is then said on stderr. Raises InputError where it cannot be written."""
    text = text if text.endswith("\n") else text + "\n"
    if output is None:
        say(text)
        return
    try:
        # The name of a file may hold bytes that are no text.
        output.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}") from None
    sys.stderr.write(f"wrote {output}\n")


def say(text: str) -> None:
    """Text on stdout, at once. Where nobody reads on (`| head`) the command goes on in silence, to its exit code.

    Raises InputError where it cannot be written.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _close_stdout()
    except OSError as error:
        _close_stdout()
        raise InputError(f"stdout cannot be written: {error.strerror}") from None


def _close_stdout() -> None:
    """Let what is still to be written go nowhere: Python would complain once more when it closes stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
