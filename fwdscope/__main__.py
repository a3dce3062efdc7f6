"""``python -m fwdscope`` and the command ``fwdscope``."""

from __future__ import annotations

import gc
import sys

from fwdscope.interrupt import handle_signals, ignore_signals


def main() -> None:
    """Run the command line."""
    handle_signals()
    # A command ends before circles of garbage could matter, and looking for them among all that torch loads costs a
    # fifth of the whole run.
    gc.disable()
    from fwdscope.cli import run

    code = run()
    # Python looks for circles once more on its way out, in all that torch made: a quarter of a second. What is frozen
    # is left out of that; what stands in line for the end of the program still runs.
    gc.freeze()
    ignore_signals()  # all is written
    sys.exit(code)


if __name__ == "__main__":
    main()
