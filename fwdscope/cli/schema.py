"""``fwdscope schema``: the JSON Schema of specs."""

from __future__ import annotations

from fwdscope.cli.boundary import boundary, check_writable, choose_format, put
from fwdscope.cli.options import Output


def schema(output: Output = None) -> None:
    """Print the JSON Schema of specs, for editors."""

    def command() -> None:
        from fwdscope.language.schema import dumps

        choose_format(None, output, ("json",))
        check_writable(output)
        put(dumps(), output)

    boundary(command)
