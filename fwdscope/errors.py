"""The errors that fwdscope raises on purpose.

``except fwdscope.FwdscopeError`` catches all of them. An :class:`InputError` says what is wrong with the user's input;
the command line prints it and exits with code 2. Packages derive their own from these two: ``SpecError``
(``language``), ``ReportError`` (``report``), ``RunError`` (``settings``).
"""

from __future__ import annotations

import re


class FwdscopeError(Exception):
    """Any error that fwdscope raises on purpose."""


class InputError(FwdscopeError):
    """Something the user gave is wrong: an argument, an option, a file. The text says what to write instead."""


class TargetError(InputError, ValueError):
    """A target that is no spec, saved report or PyTorch model, or a model that fails on its inputs."""


class MissingTargetError(TargetError, FileNotFoundError):
    """A target that names no file, and no spec that ships with fwdscope."""


class LayerError(FwdscopeError):
    """Why a layer cannot be built or called; the caller adds the line and the call.

    ``message`` says what was found and what is expected, ``help`` what to write instead.
    """

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


# What torch says of a tensor on meta: that it has no values, that an operator has no meta or fake implementation, or
# that a function takes tensors of some devices only.
_NO_VALUES = r"(\b|_)meta\b|\bfake impl|sparse tensor|supported on CUDA, CPU"


def needs_values(error: BaseException | None) -> bool:
    """Whether a forward failed on meta because it needs the values of tensors, or an operator that meta lacks."""
    while error is not None:
        meant = isinstance(error, NotImplementedError | RuntimeError | TypeError | ValueError)
        if meant and re.search(_NO_VALUES, str(error), re.IGNORECASE):
            return True
        error = error.__cause__ or error.__context__
    return False
