"""What options of several commands are called, and the words of help for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from fwdscope.limits import LIMITS

TARGET = "A spec file, the name of a spec that ships with fwdscope, package.module:factory, or a saved report (.json)."
_INPUT = "Replace an input: image=8,3,224,224, or image=batch.npy (.npz, .pt)."
_IMPORT = "Import classes of your own that the spec names. This runs their code."
_LIMIT = f"Raise a bound on what a spec may ask for: {', '.join(LIMITS)}."

Dtype: TypeAlias = Literal["float32", "float64", "float16", "bfloat16"]

Target = Annotated[str, typer.Argument(metavar="TARGET", help=TARGET)]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="VAR=VALUE", help="Replace a var of the spec: B=8.")]
Inputs = Annotated[list[str] | None, typer.Option("--input", metavar="NAME=…", help=_INPUT)]
ModelDtype = Annotated[Dtype, typer.Option(help="Of weights, and of inputs that name none.")]
AllowImport = Annotated[bool, typer.Option("--allow-import", help=_IMPORT)]
Limits = Annotated[list[str] | None, typer.Option("--limit", metavar="NAME=N", help=_LIMIT)]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file.")]
