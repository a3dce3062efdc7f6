"""``--show``: draw one output of a forward."""

from __future__ import annotations

from torch import Tensor

from fwdscope.language.names import listed, nearest
from fwdscope.report import LayerRow, Report
from fwdscope.report.pictures import Picture, parse_index, split_index
from fwdscope.run.maps import picture
from fwdscope.run.observation import WantedOutput
from fwdscope.settings import RunError

# Suffix of a path that means the attention weights inside it.
ATTENTION = ".weights"


def wanted_output(text: str, report: Report) -> WantedOutput:
    """The output that ``--show`` names. Raises RunError, with a similar path, where the report has no such row."""
    path, _ = _split(text)
    paths = [row.path for row in report.layers if row.path]
    if path in paths:
        return WantedOutput(path)
    around = path.removesuffix(ATTENTION)
    if path.endswith(ATTENTION) and around in paths:
        return WantedOutput(around, attention=True)
    meant = nearest(path, paths)
    help = f"did you mean {meant}?" if meant else f"there is {listed(paths)}"
    raise RunError(f"--show {text}: there is no layer {path}; {help}")


def picture_of(text: str, wanted: WantedOutput, kept: Tensor | None, row: LayerRow | None) -> Picture:
    """The picture of the kept output. Raises RunError where there is none, or the index does not fit it."""
    path, index = _split(text)
    if kept is None:
        what = "no attention ran in it" if wanted.attention else "it has no tensor as output in this run"
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
