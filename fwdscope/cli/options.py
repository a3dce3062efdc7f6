"""What options of several commands are called, and the words of help for them."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from fwdscope.limits import LIMITS

TARGET = "A spec file, the name of a spec that ships with fwdscope, package.module:factory, or a saved report (.json)."
_INPUT = "Replace an input: image=8,3,224,224, or image=batch.npy (.npz, .pt)."
_IMPORT = "Import classes of your own that the spec names. This runs their code."
_LIMIT = f"Raise a bound on what a spec may ask for: {', '.join(LIMITS)}."

Dtype: TypeAlias = Literal["float32", "float64", "float16", "bfloat16"]


_DTYPES: tuple[str, ...] = typing.get_args(Dtype)
_DTYPE = f"Of weights, and of inputs that name none: {', '.join(_DTYPES)}; bf16 and the like for short."
_SHORT = {"fp32": "float32", "fp64": "float64", "fp16": "float16", "half": "float16", "bf16": "bfloat16"}


def dtype_of(text: str) -> str:
    """torch's name of a dtype, which may be said shorter: ``bf16``. Raises BadParameter for any other."""
    name = _SHORT.get(text.lower(), text)
    if name not in _DTYPES:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(_DTYPES)}")
    return name


Target = Annotated[str, typer.Argument(metavar="TARGET", help=TARGET)]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="VAR=VALUE", help="Replace a var of the spec: B=8.")]
Inputs = Annotated[list[str] | None, typer.Option("--input", metavar="NAME=…", help=_INPUT)]
ModelDtype = Annotated[Dtype, typer.Option(parser=dtype_of, metavar="DTYPE", help=_DTYPE)]
AllowImport = Annotated[bool, typer.Option("--allow-import", help=_IMPORT)]
Limits = Annotated[list[str] | None, typer.Option("--limit", metavar="NAME=N", help=_LIMIT)]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file.")]

_DEVICE = "Where to run it: cpu, cuda, cuda:1, mps; or meta, for shapes and costs alone."
_SEED = "Of weights, inputs and dropout."
_WEIGHTS = "Take the weights from a .safetensors, .pt or .pth file; names or shapes that do not fit are an error."
_PARTIAL = "Leave what --weights lacks, or has in another shape, as it is initialised."
_TRAIN = "In training mode: dropout drops, batch norms use the batch. Not given: evaluation."

Device = Annotated[str | None, typer.Option("--device", metavar="DEVICE", help=_DEVICE)]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, max=2**32 - 2, help=_SEED)]
WeightsFile = Annotated[Path | None, typer.Option("--weights", metavar="FILE", help=_WEIGHTS)]
WeightsPartial = Annotated[bool, typer.Option("--weights-partial", help=_PARTIAL)]
Train = Annotated[bool, typer.Option("--train", help=_TRAIN)]
