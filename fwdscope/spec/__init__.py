"""Text → ModelSpec: frozen objects with positions, every problem of a file told at once, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwdscope.spec.check import Checked


def load(
    path: Path, name: str | None = None, variables: Mapping[str, str] | None = None, allow_import: bool = False
) -> Checked:
    """A spec file, read and checked; ``variables`` replace entries of ``vars``.

    Raises SpecError with every problem that the text shows, OSError where the file cannot be read.
    """
    from fwdscope.spec.check import check
    from fwdscope.spec.parser import parse
    from fwdscope.spec.replaced import told_at_set
    from fwdscope.spec.source import read

    spec = parse(read(path, name), variables)
    with told_at_set(spec):
        return check(spec, allow_import)
