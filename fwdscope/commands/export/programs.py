"""Exports the network of a spec by torch: as an ONNX file, or as a program of ``torch.export``."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch

from fwdscope.errors import InputError
from fwdscope.language.check import Checked
from fwdscope.model import build
from fwdscope.model.build import example_inputs
from fwdscope.model.initialise import materialise
from fwdscope.model.straight import NotStraight, straight
from fwdscope.run.weights import fill, read_weights

# What torch.onnx imports besides torch.
_ONNX = ("onnx", "onnxscript")


def check_packages(form: str) -> None:
    """Raise InputError if a package is missing that writes a format."""
    missing = [name for name in _ONNX if form == "onnx" and importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"--to onnx needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def write_program(checked: Checked, form: str, file: Path, weights: Path | None = None) -> None:
    """Write the network to a file as ``onnx`` or ``pt2``, with its weights from a file, or as a seed of 0 draws them.

    Raises SpecError or InputError.
    """
    raise NotImplementedError(Mapping, torch, build, example_inputs, materialise, NotStraight, straight, fill, read_weights)
