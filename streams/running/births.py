"""Tells one process from another that has its number later: the time at which it began."""

import subprocess
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
# Fields of /proc/PID/stat after the name, which may hold spaces and brackets: the state is the first.
_STATE, _STARTED_TICKS = 0, 19


def birth(pid: int) -> str:
    """Say when a process began.

    Args:
        pid: Process id.

    Returns:
        Text that no other process of this machine has together with this number, also after a restart of the machine;
        empty where there is no such process, or it has ended and waits for its parent.
    """
    if pid <= 0:
        return ""
    if not _BOOT.exists():
        return _birth_by_ps(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        boot = _BOOT.read_text().strip()
    except OSError:
        return ""
    return "" if fields[_STATE] == b"Z" else f"{boot}/{int(fields[_STARTED_TICKS])}"


def _birth_by_ps(pid: int) -> str:
    answer = subprocess.run(  # noqa: S603
        ["/bin/ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = answer.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()
