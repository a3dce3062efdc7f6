"""``fwdscope schema``: the JSON Schema of specs, or of reports."""

from __future__ import annotations

from typing import Annotated

import typer

from fwdscope.cli.boundary import boundary, check_writable, choose_format, put
from fwdscope.cli.options import Output


def schema(
    report: Annotated[bool, typer.Option("--report", help="The schema of saved reports, for programs.")] = False,
    output: Output = None,
) -> None:
    """Print the JSON Schema of specs, for editors."""

    def command() -> None:
        if report:
            from fwdscope.report.schema import dumps
        else:
            from fwdscope.language.schema import dumps

        choose_format(None, output, ("json",))
        check_writable(output)
        put(dumps(), output)

    boundary(command)
