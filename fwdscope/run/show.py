"""``--show``: one output of a forward, to be looked at."""

from __future__ import annotations

from torch import Tensor

from fwdscope.language.names import listed, nearest
from fwdscope.report import LayerRow, Report
from fwdscope.report.pictures import Picture, parse_index, split_index
from fwdscope.run.maps import picture
from fwdscope.run.observation import Wanted
from fwdscope.settings import RunError

# What is written behind a path for the weights of the attention inside.
ATTENTION = ".weights"


def wanted_output(text: str, report: Report) -> Wanted:
    """The output that ``--show`` means. Raises RunError, with the nearest path, where the report has none such."""
    path, _ = _split(text)
    paths = [row.path for row in report.layers if row.path]
    if path in paths:
        return Wanted(path)
    around = path.removesuffix(ATTENTION)
    if path.endswith(ATTENTION) and around in paths:
        return Wanted(around, attention=True)
    meant = nearest(path, paths)
    help = f"did you mean {meant}?" if meant else f"there is {listed(paths)}"
    raise RunError(f"--show {text}: there is no layer {path}; {help}")


def picture_of(text: str, wanted: Wanted, kept: Tensor | None, row: LayerRow | None) -> Picture:
    """The picture of the output that was kept. Raises RunError where none was, or the index does not fit it."""
    path, index = _split(text)
    if kept is None:
        what = "no attention ran in it" if wanted.attention else "nothing that can be drawn came out of it in this run"
        raise RunError(f"--show {text}: {what}")
    kind = "attention weights" if wanted.attention else (row.text or row.type) if row else ""
    shape = f"({', '.join(map(str, kept.shape))})"
    try:
        return picture(kept, "  ".join(filter(None, (path, kind, shape))), index)
    except ValueError as error:
        raise RunError(f"--show {text}: {error}") from None


def _split(text: str) -> tuple[str, str]:
    try:
        path, index = split_index(text)
        parse_index(index)
    except ValueError as error:
        raise RunError(f"--show {text}: {error}") from None
    if not path:
        raise RunError(f"--show {text}: write a path of the report, as in layer1.0.conv1 or layer1.0.conv1[0, 3]")
    return path, index
