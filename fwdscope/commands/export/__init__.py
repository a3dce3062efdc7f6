"""Writes a spec as code: a module of Python for people to read, an exported program or an ONNX file for machines.

A module of Python follows the text of the spec. The sizes that a spec leaves out come from runs on meta, as the file is
and with each var changed (:mod:`fwdscope.commands.export.observe`).
"""

from __future__ import annotations

from pathlib import Path

from fwdscope import disk
from fwdscope.errors import InputError
from fwdscope.language.check import Checked


def to_python(checked: Checked) -> str:
    """Return a module with the network of a spec: the same keys of the ``state_dict``, the same outputs.

    Raises SpecError for a wrong spec, and for what cannot be said in a module, at its line.
    """
    from fwdscope.commands.export.module import write_module
    from fwdscope.commands.export.observe import observe

    if checked.spec.model is not None:
        raise InputError(f"{checked.spec.name} is a model in code: it is PyTorch already")
    return write_module(checked, observe(checked))


def write(checked: Checked, form: str, file: Path, weights: Path | None = None) -> None:
    """Write the network of a spec to a file. Raises InputError, SpecError, and OSError if it cannot be written."""
    if form == "python":
        disk.write(file, to_python(checked))
        return
    from fwdscope.commands.export.programs import check_packages, write_program

    if checked.spec.model is not None:
        raise InputError(
            f"{checked.spec.name} is a model in code: export it with torch.{form.replace('pt2', 'export')}"
        )
    check_packages(form)
    write_program(checked, form, file, weights)
