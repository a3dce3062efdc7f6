"""``python -m fwdscope`` and the command ``fwdscope``."""

from __future__ import annotations

import gc
import signal
import sys


def main() -> None:
    """Run the command line."""
    # Ctrl-C ends the program at once, as it does a program in C. A KeyboardInterrupt could come out anywhere in torch's
    # import, where Python prints it as "ignored", with a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A command ends before circles of garbage could matter, and looking for them among all that torch loads costs a
    # fifth of the whole run.
    gc.disable()
    from fwdscope.cli import run

    code = run()
    # Python looks for circles once more on its way out, in all that torch made: a quarter of a second. What is frozen
    # is left out of that; what stands in line for the end of the program still runs.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
