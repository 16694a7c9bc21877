"""Errors of the operating system in one line: what failed, on which path, and what to do about it."""

import errno
from collections.abc import Mapping
from typing import Final

_PATH = "check the path"
_SPACE = "free some space there, or choose another disk"
_ACTIONS: Final[Mapping[int, str]] = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), or choose another disk",
    errno.EROFS: "choose a path that can be written",
    errno.EACCES: "check the path and its permissions",
    errno.EPERM: "check the path and its permissions",
    errno.ENOENT: _PATH,
    errno.ENOTDIR: _PATH,
    errno.EISDIR: _PATH,
    errno.EEXIST: _PATH,
    errno.ELOOP: _PATH,
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files of this machine",
    errno.ENOMEM: "free some memory",
    errno.EIO: "check the disk",
}


def explain_os_error(error: OSError) -> str:
    """Describe an error of the operating system.

    Args:
        error: The error; names a file if one is known.

    Returns:
        Path, cause, and what to do where that is known.
    """
    where = error.filename if error.filename2 is None else f"{error.filename} and {error.filename2}"
    cause = error.strerror or str(error) or type(error).__name__
    what = cause if where is None else f"{where}: {cause}"
    action = _ACTIONS.get(error.errno or 0)
    return f"{what}; {action}" if action else what
