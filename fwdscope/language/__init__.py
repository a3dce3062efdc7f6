"""The language of specs: reads a file into a tree of frozen objects with places, and checks it without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwdscope.language.check import Checked
    from fwdscope.language.problems import Source


def load(
    path: Path, name: str | None = None, variables: Mapping[str, str] | None = None, allow_import: bool = False
) -> Checked:
    """Read and check a spec file; ``variables`` replace entries of ``vars``.

    Raises SpecError with every problem that the text shows, OSError if the file cannot be read.
    """
    from fwdscope.language.source import read

    return check_source(read(path, name), variables, allow_import)


def check_source(source: Source, variables: Mapping[str, str] | None = None, allow_import: bool = False) -> Checked:
    """Parse and check the text of a spec. Raises SpecError with every problem that it shows."""
    from fwdscope.language.check import check_all
    from fwdscope.language.parser import parse_all
    from fwdscope.language.problems import SpecError
    from fwdscope.language.replaced import point_at_set

    spec, problems = parse_all(source, variables)
    if spec is None:
        raise SpecError(problems)
    with point_at_set(spec):
        checked, more = check_all(spec, allow_import)
        if problems or more:
            raise SpecError([*problems, *more])
    return checked
