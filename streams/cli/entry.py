"""The first line of the `sidestream` command: Ctrl-C while its modules still load ends it as quietly as later on."""

import sys

from sidestream.streams.runtime.termination import INTERRUPTED


def main() -> None:
    """Load the command line and run it."""
    try:
        from sidestream.streams.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
