"""A mesh of devices and the plan that shards a network on it, as data, read without torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

from fwdscope.errors import InputError
from fwdscope.language.names import suggestion
from fwdscope.language.problems import Source, Span

Style = Literal["colwise", "rowwise", "sequence", "vocab", "expert", "replicate"]
STYLES: tuple[Style, ...] = get_args(Style)

# The dimensions that a mesh may have, and what is spread over each.
DIMENSIONS = {
    "pp": "stages of layers, one behind the other",
    "dp": "copies of the network, each with a batch of its own",
    "fsdp": "parameters, gathered where they are needed; each rank has a batch of its own",
    "ep": "the experts of mixtures; each rank has a batch of its own",
    "tp": "layers and heads",
}
_MOST_RANKS = 1_000_000


@dataclass(frozen=True)
class Mesh:
    """``dp=4,tp=8``: the ranks of each dimension, from the outermost to the innermost."""

    sizes: tuple[tuple[str, int], ...]

    @classmethod
    def parse(cls, text: str) -> Mesh:
        """The mesh in a text. Raises InputError."""
        found: dict[str, int] = {}
        for piece in text.split(","):
            matched = re.fullmatch(r"\s*(\w+)\s*=\s*([0-9][0-9_]*)\s*", piece)
            if matched is None:
                given = f"found {piece.strip()!r}" if piece.strip() else "found nothing"
                raise InputError(f"expected the ranks of each dimension, as dp=4,tp=8, {given}")
            name, size = matched[1], int(matched[2])
            if name not in DIMENSIONS:
                raise InputError(f"a mesh has no dimension {name}; {suggestion(name, DIMENSIONS)}")
            if name in found:
                raise InputError(f"the dimension {name} is given twice")
            if not 0 < size <= _MOST_RANKS:
                raise InputError(f"{name}={size:,}: a dimension has 1 to {_MOST_RANKS:,} ranks")
            found[name] = size
        if math.prod(found.values()) > _MOST_RANKS:
            raise InputError(f"{text.strip()} has more than {_MOST_RANKS:,} ranks")
        return cls(tuple(found.items()))

    def size(self, name: str) -> int:
        """The ranks of a dimension; 1 if the mesh does not have it."""
        return dict(self.sizes).get(name, 1)

    @property
    def ranks(self) -> int:
        """The number of all ranks."""
        return math.prod(dict(self.sizes).values())

    def batch_at(self, place: Sequence[int]) -> int:
        """Which batch the rank at a place of the mesh has, of as many as there are; ranks of pp and tp share one."""
        found = 0
        for (name, size), at in zip(self.sizes, place, strict=True):
            found = found * size + at if name in ("dp", "fsdp", "ep") else found
        return found

    def __str__(self) -> str:
        return ",".join(f"{name}={size}" for name, size in self.sizes)


@dataclass(frozen=True)
class LayerRule:
    """``h.*.mlp.c_fc: colwise``. The columns of ``colwise 3`` are those of three layers in one, as of q, k and v."""

    pattern: str
    style: Style
    packed: int = 1


@dataclass(frozen=True)
class Plan:
    """How a network is sharded: ``shard:`` of a spec, or a file of ``--shard``."""

    layers: tuple[LayerRule, ...] = ()
    # The blocks whose parameters are gathered together, and the first layer of each stage but the first.
    fsdp: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    # Where it was read, and the place of each pattern there.
    source: Source | None = field(default=None, compare=False, repr=False)
    spans: Mapping[str, Span] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def _matchers(self) -> list[tuple[re.Pattern[str], LayerRule]]:
        return [(matcher(rule.pattern), rule) for rule in reversed(self.layers)]

    def rule(self, path: str) -> LayerRule | None:
        """The rule of a layer: the last one whose pattern matches its path."""
        return next((rule for regex, rule in self._matchers if regex.fullmatch(path)), None)

    @property
    def name(self) -> str | None:
        """The file that it was read from."""
        return self.source.name if self.source is not None else None

    @property
    def splits_sequence(self) -> bool:
        """Whether activations between sharded layers are split by position."""
        return any(rule.style == "sequence" for rule in self.layers)

    def __str__(self) -> str:
        """The lines of ``shard:``."""
        lines = [f"{_key(one.pattern)}: {one.style}{f' {one.packed}' * (one.packed > 1)}" for one in self.layers]
        lists = {"fsdp": self.fsdp, "stages": self.stages}
        lines += [f"{key}: [{', '.join(map(_key, paths))}]" for key, paths in lists.items() if paths]
        return "\n".join(lines)


def _key(pattern: str) -> str:
    """A pattern in YAML, where a text may not begin with a star."""
    return f'"{pattern}"' if pattern.startswith("*") else pattern


def matcher(pattern: str) -> re.Pattern[str]:
    """The paths that a pattern matches: ``*`` stands for a name, or a part of one, as in torch's parallel plans."""
    return re.compile(r"[^.]*".join(map(re.escape, pattern.split("*"))))
