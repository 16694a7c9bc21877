"""Start time of a process, which distinguishes it from a later process with the same id."""

import subprocess
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
# Indexes of /proc/PID/stat fields after the name, which may contain spaces and parentheses: the state comes first.
_STATE, _STARTED_TICKS = 0, 19


def birth(pid: int) -> str:
    """Return the start time of a process as an opaque string.

    Args:
        pid: Process id.

    Returns:
        A string that, together with the process id, is unique on this machine, even across reboots; empty if there is
        no such process or it is a zombie.
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
