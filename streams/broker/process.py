"""Processes that outlive the command that started them: spawn, recognise, stop; and locks between commands.

A process is recognised by its command line, not by its number alone: numbers are reused, and a stop must never
terminate an unrelated process.
"""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

POLL_S = 0.02
SPAWN_TIMEOUT_S = 5.0


@contextmanager
def exclusive(lock_file: Path) -> Iterator[None]:
    """Hold a lock between processes; waits for the holder, and is released when a holder dies.

    Args:
        lock_file: File that represents the lock; its folder must exist.

    Yields:
        Nothing, while the lock is held.
    """
    with lock_file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def spawn(
    command: Sequence[str], log_file: Path, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> int:
    """Start a program in the background as leader of its own session, its output appended to a file.

    Args:
        command: Program (absolute path) and arguments.
        log_file: File that its output is appended to.
        cwd: Its working folder; that of this process by default.
        env: Its environment; that of this process by default.

    Returns:
        Its process id; from then on `command_line` returns its command line.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    shell = ("/bin/sh", "-c", 'cd -- "$0" && exec "$@"')
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log_file), flags, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    if cwd is not None:
        # posix_spawn cannot change the folder; a shell can, and `exec` keeps the process id.
        command = [*shell, str(cwd), *command]
    # Not subprocess.Popen: it would warn when its object goes before the process, which is the point here.
    environment = os.environ if env is None else env
    pid = os.posix_spawn(command[0], list(command), environment, file_actions=actions, setsid=True)
    # For some 10 ms after its start a process has an empty command line, which would read as "has ended"; a shell has
    # its own before, which names the program as well.
    deadline = time.monotonic() + SPAWN_TIMEOUT_S
    try:
        while not _is_begun(command_line(pid), shell) and _exists(pid) and time.monotonic() < deadline:
            time.sleep(POLL_S / 10)
    except BaseException:
        # Interrupted before the caller knows the process id: it could never stop the process.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        raise
    return pid


def _is_begun(line: str, shell: Sequence[str]) -> bool:
    return bool(line) and not line.startswith(" ".join(shell))


def command_line(pid: int) -> str:
    """Return the command line of a process; empty if there is none or it has ended."""
    # A child process that has ended remains a zombie until it is waited for.
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    if Path("/proc/self/cmdline").exists():
        try:
            return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")).strip()
        except OSError:
            return ""
    answer = subprocess.run(  # noqa: S603
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip()


def is_running(pid: int, mark: str) -> bool:
    """Whether the process exists and is the one that was started.

    Args:
        pid: Process id.
        mark: Text that only the command line of that process contains.

    Returns:
        False also if the number now belongs to another program.
    """
    return pid > 0 and mark in command_line(pid)


def end(pid: int, mark: str, timeout_s: float) -> bool:
    """Stop a process with SIGTERM, or with SIGKILL at the deadline. A process without the mark is left alone.

    Args:
        pid: Process id.
        mark: Text that only the command line of that process contains.
        timeout_s: How long it may take to end after SIGTERM.

    Returns:
        Whether it ended without SIGKILL.
    """
    if not is_running(pid, mark):
        return True
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if wait_gone(pid, mark, timeout_s):
        return True
    if is_running(pid, mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_gone(pid, mark, timeout_s)
    return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_gone(pid: int, mark: str, timeout_s: float) -> bool:
    """Wait until a process has ended.

    Args:
        pid: Process id.
        mark: Text that only the command line of that process contains.
        timeout_s: How long to wait.

    Returns:
        Whether it has.
    """
    deadline = time.monotonic() + timeout_s
    while is_running(pid, mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
