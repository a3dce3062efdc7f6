"""The errors that fwdscope raises on purpose.

``except fwdscope.FwdscopeError`` catches all of them. An :class:`InputError` says what is wrong with the user's input;
the command line prints it and exits with code 2. Packages derive their own from these two: ``SpecError``
(``language``), ``ReportError`` (``report``), ``RunError`` (``settings``).
"""

from __future__ import annotations


class FwdscopeError(Exception):
    """Any error that fwdscope raises on purpose."""


class InputError(FwdscopeError):
    """Something the user gave is wrong: an argument, an option, a file. The text says what to write instead."""


class TargetError(InputError, ValueError):
    """A target that is no spec, saved report or PyTorch model, or a model that fails on its inputs."""


class MissingTargetError(TargetError, FileNotFoundError):
    """A target that names no file, and no spec that ships with fwdscope."""
