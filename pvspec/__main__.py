"""The command: `pvspec`, and `python -m pvspec`."""

import signal
import sys
from typing import NoReturn


def run() -> NoReturn:
    """Run the command line, and end the process."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as long as nothing has begun, nothing need be said either
    try:
        from pvspec.cli import main
        from pvspec.cli.outcome import end
    except (MemoryError, ImportError, SyntaxError, SystemError) as error:
        sys.exit(f"error: pvspec cannot be loaded: {error or 'not enough memory'}")
    end(main())


if __name__ == "__main__":
    run()
