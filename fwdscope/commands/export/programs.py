"""Writes the network of a spec with torch's own exporters: ``torch.export`` and ``torch.onnx``."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import torch

from fwdscope import disk
from fwdscope.errors import InputError, error_text
from fwdscope.language.check import Checked
from fwdscope.model import build
from fwdscope.model.build import example_inputs, named_outputs
from fwdscope.model.initialise import materialise
from fwdscope.model.process_state import seed_generators, torch_default_dtype
from fwdscope.model.straight import NotStraight, straight
from fwdscope.run.weights import Weights, load_into, match_weights


def check_packages(form: str) -> None:
    """Raise InputError if a package is missing that a format needs besides torch."""
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if form == "onnx" and missing:
        raise InputError(f"--to onnx needs {' and '.join(missing)}: pip install {' '.join(missing)}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch.onnx from telling its steps, and what it lacks for networks of torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def write_program(checked: Checked, form: str, file: Path, weights: Path | None = None) -> None:
    """Write the network, traced on its example inputs, with the weights of a file or as a seed of 0 draws them.

    ``form`` is ``pt2`` for ``torch.export.save`` or ``onnx``. Raises SpecError for a wrong spec, InputError for weights
    that do not fit and for what torch cannot export.
    """
    network = build(checked)
    given = match_weights(weights, network) if weights is not None else Weights()
    network = materialise(network, given=given.tensors)
    load_into(network, given.tensors)
    with seed_generators(torch.device("cpu"), 0), torch_default_dtype(network.blueprint.dtype):
        inputs = example_inputs(checked, "cpu")
        try:
            graph = straight(network, list(inputs.values())).eval()
            with _quiet():
                program = torch.export.export(graph, tuple(inputs.values()))
                if form == "onnx":  # which names a file of weights beside it
                    with torch.no_grad():
                        outputs = [name for name, _ in named_outputs(network, graph(*inputs.values()))]
                    torch.onnx.export(
                        program, f=str(file), input_names=list(inputs), output_names=outputs, dynamo=True, verbose=False
                    )
                else:
                    with disk.replacing(file) as temporary:
                        torch.export.save(program, temporary)
        except NotStraight as reason:
            raise InputError(f"{checked.spec.name} cannot be traced: {reason}; --to python can say it") from None
        except (RuntimeError, NotImplementedError, AssertionError) as error:
            raise InputError(f"torch cannot export {checked.spec.name}: {error_text(error)}") from error
