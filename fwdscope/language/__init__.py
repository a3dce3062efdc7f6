"""Text → ModelSpec: frozen objects with positions, every problem of a file told at once, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwdscope.language.check import Checked


def load(
    path: Path, name: str | None = None, variables: Mapping[str, str] | None = None, allow_import: bool = False
) -> Checked:
    """A spec file, read and checked; ``variables`` replace entries of ``vars``.

    Raises SpecError with every problem that the text shows, OSError where the file cannot be read.
    """
    from fwdscope.language.check import check
    from fwdscope.language.parser import parse
    from fwdscope.language.replaced import point_at_set
    from fwdscope.language.source import read

    spec = parse(read(path, name), variables)
    with point_at_set(spec):
        return check(spec, allow_import)
