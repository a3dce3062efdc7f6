"""``--show``: draw one output of a forward."""

from __future__ import annotations

import re

from torch import Tensor

from fwdscope.language.names import listed, nearest
from fwdscope.layers import LAYERS
from fwdscope.report import LayerRow, Report
from fwdscope.report.pictures import Picture, parse_index, split_index
from fwdscope.run.maps import picture
from fwdscope.run.observation import WantedOutput
from fwdscope.settings import RunError

_ATTENTION_DIMENSIONS = ("batch", "head", "query", "key")
_SPATIAL = ("depth", "height", "width")
# Layers whose output has features last.
_WITH_FEATURES = ("Linear", "Embedding", "LayerNorm", "RMSNorm")
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


def picture_of(text: str, wanted: WantedOutput, kept: Tensor | None, row: LayerRow | None, report: Report) -> Picture:
    """The picture of the kept output. Raises RunError where there is none, or the index does not fit it."""
    path, index = _split(text)
    if kept is None:
        what = "no attention ran in it" if wanted.attention else "it has no tensor as output in this run"
        raise RunError(f"--show {text}: {what}")
    kind = "attention weights" if wanted.attention else (row.text or row.type) if row else ""
    shape = f"({', '.join(map(str, kept.shape))})"
    try:
        title = "  ".join(filter(None, (path, kind, shape)))
        names = _ATTENTION_DIMENSIONS[-kept.dim() :] if wanted.attention else names_near(row, report) if row else ()
        return picture(kept, title, index, names=names if len(names) == kept.dim() else (), own_scales=wanted.attention)
    except ValueError as error:
        raise RunError(f"--show {text}: {error}") from None


def names_near(row: LayerRow, report: Report) -> tuple[str, ...]:
    """The names of an output's dimensions: by the layer type of the row or of the nearest one of the same shape, inside
    of it or before it; else by what the file promises of their shape.
    """
    index = report.layers.index(row)
    inside = [one for one in report.layers[index + 1 :] if row.path and one.path.startswith(f"{row.path}.")]
    near = (row, *reversed(inside), *reversed(report.layers[:index]))
    same = [one for one in near if one.output_shapes[:1] == row.output_shapes[:1] != ()]
    return next(filter(None, (name(one) for name in (_by_type, _by_promise) for one in same)), _by_type(row, True))


def _by_type(row: LayerRow, features: bool = False) -> tuple[str, ...]:
    """``batch, channel, height, width`` of a 2d layer; with ``features``, the last of a Linear and the like."""
    rank, spatial = len((*row.output_shapes, ())[0]), getattr(LAYERS.get(row.type), "dimensions", None)
    if spatial is not None and rank > spatial:
        return (*("batch",) * (rank - 1 - spatial), "channel", *_SPATIAL[-spatial:])
    return (*("",) * (rank - 1), "feature") if features and row.type in _WITH_FEATURES and rank else ()


def _by_promise(row: LayerRow) -> tuple[str, ...]:
    """The names in ``(B, T, 4 * d)``; a size that is no name has none."""
    promised = re.fullmatch(r"\(([^()]*)\)", row.promise.text) if row.promise else None
    sizes = [size.strip() for size in promised[1].rstrip(", ").split(",")] if promised else []
    names = tuple(size if size.isidentifier() and size != "_" else "" for size in sizes)
    return names if any(names) and len(names) == len(row.output_shapes[0]) else ()


def _split(text: str) -> tuple[str, str]:
    try:
        path, index = split_index(text)
        parse_index(index)
    except ValueError as error:
        raise RunError(f"--show {text}: {error}") from None
    if not path:
        raise RunError(f"--show {text}: write a path of the report, as in layer1.0.conv1 or layer1.0.conv1[0, 3]")
    return path, index
