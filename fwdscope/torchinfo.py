"""``fwdscope.summary``: the report of a module by the arguments of torchinfo's ``summary``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fwdscope.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from fwdscope.report import Report

# Columns of torchinfo, and what they are called here.
_COLUMNS = {
    "input_size": "input", "output_size": "output", "num_params": "params", "kernel_size": "type",
    "mult_adds": "macs", "trainable": "trainable",
}  # fmt: skip
_ROW_SETTINGS = {"depth", "var_names"}


def summary(
    model: nn.Module,
    input_size: Sequence[Any] | None = None,
    input_data: Any = None,
    batch_dim: int | None = None,
    cache_forward_pass: bool | None = None,
    col_names: Sequence[str] | None = None,
    col_width: int | None = None,
    depth: int = 3,
    device: str | None = None,
    dtypes: Sequence[Any] | None = None,
    mode: str | None = None,
    row_settings: Sequence[str] | None = None,
    verbose: int | None = None,
    **kwargs: Any,
) -> Report:
    """Print a table of a module's layers and return its report, as ``torchinfo.summary`` does.

    ``input_size`` is a shape, or one for each input, which ``dtypes`` go with and into which ``batch_dim`` puts a batch
    of 1; ``input_data`` are the inputs themselves, and ``kwargs`` further ones. ``col_names`` are torchinfo's or ours;
    ``verbose`` 0 prints nothing. Without ``device`` nothing runs but on meta. What torchinfo has and this lacks raises
    InputError, which says what to use.
    """
    from fwdscope.inspection import inspect_module
    from fwdscope.render import COLUMNS, Options, render
    from fwdscope.settings import RunSettings

    lacks = {
        "cache_forward_pass": cache_forward_pass and "a forward on meta takes milliseconds: leave it out",
        "col_width": col_width is not None and "columns are as wide as what is in them: leave it out",
        "verbose": verbose == 2 and "`fwdscope.explain(model, path, x)` shows a layer's weights: write 1 or 0",
        "mode": mode not in (None, "same", "eval", "train") and "there are 'same', 'eval' and 'train'",
        "row_settings": set(row_settings or ()) - _ROW_SETTINGS and "rows have the names and depth: leave it out",
    }
    for name, reason in lacks.items():
        if reason:
            raise InputError(f"summary: {name}: {reason}")
    columns = ["layer", "type"]
    for one in col_names if col_names is not None else ("output_size", "num_params"):
        known = _COLUMNS.get(one, one)
        if known not in COLUMNS:
            others = ", ".join((*_COLUMNS, *COLUMNS))
            raise InputError(f"summary: there is no column {one}; there are {others}")
        columns += [known] if known not in columns else []
    args, named = _inputs(input_size, input_data, batch_dim, dtypes)
    train = model.training if mode in (None, "same") else mode == "train"
    settings = RunSettings(device or "meta", train=train, peaks=True)
    report = inspect_module(model, args, {**named, **kwargs}, settings)
    if verbose != 0:
        sys.stdout.write(render(report, "table", Options(depth=depth, columns=tuple(columns))) + "\n")
    return report


def _inputs(
    size: Sequence[Any] | None, data: Any, batch_dim: int | None, dtypes: Sequence[Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The inputs of the module, by position and by name."""
    import torch

    if (size is None) == (data is None):
        raise InputError("summary: give input_size or input_data: `summary(model, input_size=(1, 3, 224, 224))`")
    if data is not None:
        if isinstance(data, Mapping):
            return (), dict(data)
        return (tuple(data), {}) if isinstance(data, list | tuple) else ((data,), {})
    assert size is not None
    sizes = [tuple(size)] if all(isinstance(one, int) for one in size) else [tuple(one) for one in size]
    kinds = list(dtypes or ()) or [torch.float32] * len(sizes)
    if len(kinds) != len(sizes):
        raise InputError(f"summary: {len(sizes)} inputs and {len(kinds)} dtypes: give one for each")
    if batch_dim is not None:
        sizes = [(*one[:batch_dim], 1, *one[batch_dim:]) for one in sizes]
    return tuple(torch.empty(one, dtype=kind, device="meta") for one, kind in zip(sizes, kinds, strict=True)), {}
