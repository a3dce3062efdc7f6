"""The errors that fwdscope raises on purpose.

``except fwdscope.FwdscopeError`` catches all of them. An :class:`InputError` says what is wrong with the user's input;
the command line prints it and exits with code 2. Packages derive their own from these two: ``SpecError``
(``language``), ``ReportError`` (``report``), ``RunError`` (``settings``).
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor


class FwdscopeError(Exception):
    """Any error that fwdscope raises on purpose."""


class InputError(FwdscopeError):
    """An argument, an option or a file is wrong. The text says what to write instead."""


class TargetError(InputError, ValueError):
    """A target that is no spec, saved report or PyTorch model, or a model that fails on its inputs."""


class MissingTargetError(TargetError, FileNotFoundError):
    """A target that names no file, and no spec that ships with fwdscope."""


class StepError(InputError):
    """A training step that cannot be worked out as asked, whatever goes into the network."""


class ShapeError(InputError, RuntimeError):
    """A PyTorch model whose forward fails on its inputs. The text says where and what would fit; its ``__cause__`` is
    the error that torch raised, ``partial`` the report of what ran before, ``device`` where it ran.
    """

    # A fwdscope.report.Report, which this file may not import; None if there is none.
    partial: Any = None
    device: str = "meta"


# Tensors, each with one of its dimensions, counted from the front or, negative, from the end.
Sides: TypeAlias = "tuple[tuple[Tensor, int], ...]"


class LayerError(FwdscopeError):
    """Why a layer or function cannot be called; the caller adds the line and the call.

    ``message`` says what was found and what is expected, ``help`` what to write instead; ``sides`` are the dimensions
    of its inputs whose sizes do not fit. ``{0}`` and ``{1}`` in the message stand for the first two of these inputs.
    """

    def __init__(self, message: str, help: str | None = None, sides: Sides = (), code: str = "shape") -> None:
        super().__init__(message)
        self.message, self.help, self.sides, self.code = message, help, sides, code


# Out-of-memory messages of allocators other than torch's own: the CPU's, Metal's, the driver's, cuBLAS's and cuDNN's.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")

# torch's messages for a tensor on meta: it has no values, an operator has no meta or fake implementation, or a function
# takes only tensors of some devices.
_NO_VALUES = r"(\b|_)meta\b|\bfake impl|sparse tensor|supported on CUDA, CPU"


def error_text(error: BaseException) -> str:
    """An exception in one line: its type, and the first line of its message."""
    lines = str(error).strip().splitlines()
    return type(error).__name__ + (f": {lines[0]}" if lines else "")


def reason(error: BaseException) -> str:
    """The first line of an exception's message; its type if it has none."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def import_failure(error: BaseException) -> str | None:
    """The message for an exception that the import of another package raised; None for any other."""
    frames = [(f.f_globals.get("__name__", ""), f.f_code.co_name) for f, _ in traceback.walk_tb(error.__traceback__)]
    running = [name for name, code in frames if code == "<module>"]  # the modules whose import was under way
    if isinstance(error, ModuleNotFoundError) and not running:
        running = [error.name or ""]
    package = next((top for name in running if (top := name.partition(".")[0]) not in ("fwdscope", "__main__")), None)
    return f"{package} cannot be imported: {error_text(error)}" if package else None


def needs_values(error: BaseException | None) -> bool:
    """Whether a forward failed on meta because it needs the values of tensors, or an operator that meta lacks."""
    return any(map(lacks_values, causes(error)))


def lacks_values(error: BaseException) -> bool:
    """Whether this error itself, rather than its cause, is of a tensor without values."""
    kinds = (NotImplementedError, RuntimeError, TypeError, ValueError)
    is_others = isinstance(error, kinds) and not isinstance(error, FwdscopeError)
    return is_others and re.search(_NO_VALUES, str(error), re.IGNORECASE) is not None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device has no memory left, whichever library says so."""
    return type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in _OUT_OF_MEMORY)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, the error that caused it, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
