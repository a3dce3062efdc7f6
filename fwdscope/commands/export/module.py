"""Puts the classes of a spec together as a module of Python."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fwdscope.commands.export.forward import ClassWriter
from fwdscope.commands.export.initialisation import initialisation
from fwdscope.commands.export.layout import docstring
from fwdscope.commands.export.observe import BodyView
from fwdscope.commands.export.shared import PythonModule
from fwdscope.commands.export.sources import SOURCES
from fwdscope.language import tree
from fwdscope.language.check import Checked


def write_module(checked: Checked, views: Sequence[BodyView]) -> str:
    """Return the text of the module. Raises SpecError for what cannot be exported."""
    module = PythonModule(checked, views, _write_block)
    name = module.class_name(checked.spec.name)
    network = ClassWriter(module, name, checked.layers, [view for view in views if view.body.template is None])
    network.inputs = [one.name for one in checked.spec.inputs]
    network.after = initialisation(network)
    network.write()
    return "\n".join(_lines(module)) + "\n"


def _write_block(module: PythonModule, block: tree.Block) -> ClassWriter:
    views = [view for view in module.views if view.body.template and view.body.template.name == block.name]
    writer = ClassWriter(module, block.name, block.body, views, block)
    writer.doc = module.comment(block.span)
    writer.write()
    return writer


def _lines(module: PythonModule) -> Iterator[str]:
    yield from docstring(module.spec.doc or f"The network {module.spec.name}.", 0)
    yield ""
    parts = [SOURCES[name].strip().split("\n") for name in sorted(module.helpers)]
    parts += [list(one.lines()) for one in module.classes]
    whole = "\n".join(line for part in parts for line in part)

    def used(pattern: str) -> bool:
        return re.search(rf"(?<![\w.]){pattern}", whole) is not None

    standard = [f"import {name}" for name in ("functools", "math", "operator") if used(rf"{name}\.")]
    standard += ["from collections import OrderedDict"] * used(r"OrderedDict\(")
    standard += ["from collections.abc import Callable"] * used(r"Callable\[")
    standard += ["from typing import Any"] * used(r"Any\b")
    yield from [*standard, *[""] * bool(standard)]
    yield from ["import torch"] * used(r"torch\.")
    yield from ["import torch.nn.functional as F"] * used(r"F\.")
    yield f"from torch import {'Tensor, ' * used('Tensor')}nn"
    yield from [f"import {name}" for name in sorted(module.imports)]
    for part in parts:
        yield from ["", "", *part]
