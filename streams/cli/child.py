"""The `sidestream` command as a child process of another: it ends with its parent."""

from sidestream.streams.cli.entry import main
from sidestream.streams.runtime.parent import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    main()
