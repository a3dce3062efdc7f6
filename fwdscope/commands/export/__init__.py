"""Writes a spec as code of PyTorch: a readable module of Python, an ONNX file, or an exported program."""

from __future__ import annotations

from fwdscope.language.check import Checked


def to_python(checked: Checked) -> str:
    """Return a module of Python with the network of a spec: the same keys of its ``state_dict``, the same outputs."""
    from fwdscope.commands.export.module import write_module
    from fwdscope.commands.export.observe import observe

    return write_module(checked, observe(checked))
