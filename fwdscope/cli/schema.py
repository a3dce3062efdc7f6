"""``fwdscope schema``: the JSON Schema of specs."""

from __future__ import annotations

from fwdscope.cli.boundary import boundary, put
from fwdscope.cli.options import Output


def schema(output: Output = None) -> None:
    """Print the JSON Schema of specs, for editors."""

    def command() -> None:
        from fwdscope.language.schema import dumps

        put(dumps(), output)

    boundary(command)
