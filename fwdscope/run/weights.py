"""Weights from a file: a ``state_dict`` saved by torch, or safetensors. Reading one runs no code of the file.

Names and shapes are checked against the model's before any memory is allocated for it.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope import disk
from fwdscope.errors import reason
from fwdscope.language.names import nearest
from fwdscope.settings import RunError
from fwdscope.units import plural

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")

# Names under which training scripts save the weights, next to epochs and optimisers.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "weights", "params", "net")
# Prefixes that torch.compile and data-parallel wrappers put before every name.
_PREFIXES = ("_orig_mod.", "module.")
# At most so many names are listed of each kind.
_LISTED = 6


@dataclass(frozen=True)
class Weights:
    """The tensors of a file that fit a model, by the model's names, and notes on the others; empty without a file."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def match_weights(path: Path, model: nn.Module, partial: bool = False) -> Weights:
    """The weights of a file that fit a model, which may still be on meta.

    A note lists names that the model does not have. Raises RunError where the file cannot be read, and, unless
    ``partial``, where tensors of the model are missing or have another shape.
    """
    found = read_tensors(path, f"--weights {path}")
    own = dict(model.state_dict(keep_vars=True))
    unexpected = [name for name in found if name not in own]
    # A tied tensor may be saved under one of its names.
    given = {id(tensor) for name, tensor in own.items() if name in found}
    missing = [
        name
        for name, tensor in own.items()
        if name not in found and id(tensor) not in given and not name.endswith("num_batches_tracked")
    ]
    imaginary = [name for name in own if name in found and found[name].is_complex() and not own[name].is_complex()]
    if imaginary:
        raise RunError(f"{path}: {imaginary[0]} holds complex numbers, and the model's is {own[imaginary[0]].dtype}")
    misshaped = [name for name, tensor in own.items() if name in found and found[name].shape != tensor.shape]
    misfits = [
        *_describe("lacks", "of the model", {name: str(tuple(own[name].shape)) for name in missing}, unexpected),
        *_describe(
            "holds",
            "in another shape",
            {name: f"{tuple(found[name].shape)}, expected {tuple(own[name].shape)}" for name in misshaped},
        ),
    ]
    extra = _describe("holds", "that the model does not have", dict.fromkeys(unexpected, ""), missing)
    if misfits and not partial:
        help = "change the spec or the file, or keep these as initialised: --weights-partial"
        raise RunError("\n".join((f"{path} does not fit the model", *misfits, *extra, f"  {help}")))
    left = ["all other tensors are as initialised"] if misfits else []
    notes = [f"{path}: {' '.join(text.split())}" for text in (*misfits, *extra, *left)]
    return Weights({n: t for n, t in found.items() if n in own and n not in misshaped}, tuple(notes))


def load_into(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy weights into a model that is on a device already; they take the model's dtypes."""
    own = model.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


# --- files -----------------------------------------------------------------------------------------------------------


def read_tensors(path: Path, called: str) -> dict[str, Tensor]:
    """The tensors of a file by name; ``called`` names it in errors. Their numbers are mapped rather than read."""
    return _named(_read(path, called), called)


def _read(path: Path, called: str) -> Any:
    if path.suffix not in SUFFIXES:
        raise RunError(f"{called}: expected a file that ends in {', '.join(SUFFIXES)}")
    if path.is_dir():
        raise RunError(f"{called} is a folder; expected a file of weights")
    if not path.is_file():
        raise RunError(f"--weights: there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            try:
                from safetensors.torch import load_file
            except ImportError:
                raise RunError(f"{called} needs safetensors: pip install 'fwdscope[safetensors]'") from None
            return load_file(path)
        # Files of torch before 1.6 are not zip archives, and cannot be mapped into memory.
        with disk.open_file(path) as file:
            archive = file.read(2) == b"PK"
            if archive:
                disk.refuse_compressed(file)
        return torch.load(path, weights_only=True, map_location="cpu", mmap=archive)
    except RunError:
        raise
    except Exception as error:
        why = reason(error)
        if isinstance(error, pickle.UnpicklingError) and re.search("Unsupported (global|class)", str(error)):
            why = "it holds Python objects, which could run code; save `model.state_dict()` instead"
        elif isinstance(error, EOFError | pickle.UnpicklingError):
            why = "it is empty, truncated, or was not written by torch.save"
        raise RunError(f"{called} cannot be read: {why}") from None


def _named(loaded: Any, called: str) -> dict[str, Tensor]:
    """The tensors by name, unwrapped from the dictionary that a training script saved."""
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping) and not _direct(loaded):
            loaded = loaded[wrapper]
            break
    tensors = _direct(loaded) if isinstance(loaded, Mapping) else {}
    if not tensors:
        holds = ", ".join(map(str, list(loaded)[:_LISTED])) if isinstance(loaded, Mapping) else type(loaded).__name__
        raise RunError(f"{called} holds no named tensors, only {holds or 'nothing'}")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _direct(loaded: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in loaded.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _describe(verb: str, what: str, details: Mapping[str, str], candidates: Sequence[str] = ()) -> list[str]:
    """A line that counts and lists names with details, each with a similar name of the other side if there is one."""
    if not details:
        return []
    shown = []
    for name, detail in list(details.items())[:_LISTED]:
        near = nearest(name, candidates) if candidates else None
        shown.append(" ".join(filter(None, (name, detail, near and f"(is it {near}?)"))))
    more = f", and {len(details) - _LISTED} more" if len(details) > _LISTED else ""
    return [f"  it {verb} {plural(len(details), 'tensor')} {what}: {', '.join(shown)}{more}"]
