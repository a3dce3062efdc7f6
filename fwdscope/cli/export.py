"""``fwdscope export``: a spec as PyTorch code, as an exported program or as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fwdscope.cli import completion
from fwdscope.cli.boundary import boundary, check_writable, put, tell
from fwdscope.cli.options import AllowImport, Limits, Output, Sets, WeightsFile, files_of, target_of
from fwdscope.cli.progress import show_progress
from fwdscope.errors import InputError

_SPEC = "A spec file (FILE@REV in git, - from stdin), or the name of a spec that ships with fwdscope."
_TO = "python (a module to read and change), onnx, or pt2 (torch.export). Default: by the ending of -o, else python."
_FORMATS = {"python": ".py", "onnx": ".onnx", "pt2": ".pt2"}


def export(
    target: Annotated[str, typer.Argument(metavar="SPEC", help=_SPEC, autocompletion=completion.targets)],
    to: Annotated[
        str | None, typer.Option("--to", metavar="FORMAT", help=_TO, autocompletion=completion.one_of(tuple(_FORMATS)))
    ] = None,
    output: Output = None,
    weights: WeightsFile = None,
    set_: Sets = None,
    allow_import: AllowImport = False,
    limit: Limits = None,
) -> None:
    """Write a spec as PyTorch code, as ONNX or as an exported program.

    A module of Python needs no fwdscope: a class for each block, the sizes of `vars` as arguments, the same keys in its
    state_dict. It goes to stdout without -o; other formats to a file called after the spec, at the sizes of `vars`.
    """

    def command() -> None:
        form, file = _form_and_file(target, to, output)
        if weights is not None and form == "python":
            raise InputError("--weights is for onnx and pt2: a module of Python loads weights itself, load_state_dict")
        spec = target_of(target, set_, None, "float32", allow_import)
        spec.refuse_report(": export takes a spec")
        if spec.is_module:
            raise InputError(f"{target} is PyTorch already: export takes a spec")
        check_writable(file, [*files_of(spec), weights])
        checked, _ = spec.load_spec()
        with show_progress("loading torch"):
            from fwdscope.commands.export import to_python, write

            text = to_python(checked) if form == "python" else ""
            if not text and file is not None:
                write(checked, form, file, weights)
        if text:
            put(text, file)
        else:
            tell(f"wrote {file}\n")

    boundary(command, limit)


def _form_and_file(target: str, to: str | None, output: Path | None) -> tuple[str, Path | None]:
    """The format, and the file to write. Raises InputError if the two do not go together."""
    by_ending = {ending: form for form, ending in _FORMATS.items()}
    form = to or (by_ending.get(output.suffix.lower(), "") if output is not None else "python")
    if form not in _FORMATS:
        what = f"--to {to}" if to else f"-o {output}"
        raise InputError(f"{what}: export writes {', '.join(f'{name} ({end})' for name, end in _FORMATS.items())}")
    if output is not None and by_ending.get(output.suffix.lower(), form) != form:
        raise InputError(f"-o {output} is no name for {form}: let it end in {_FORMATS[form]}")
    if output is None and form != "python":
        stem = Path(target.partition("@")[0]).stem if target != "-" else "model"
        output = Path(f"{stem}{_FORMATS[form]}")
    return form, output
