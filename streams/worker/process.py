"""A worker as a child process: started with given settings, awaited until ready, stopped or killed.

It ends with its parent.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr

from sidestream.streams.errors import SettingsError, SidestreamError
from sidestream.streams.runtime.parent import lifeline
from sidestream.streams.settings import env_name, given_secrets

POLL_S = 0.05


class WorkerProcess:
    """One `sidestream worker` as a separate process.

    Args:
        flags: Settings by dotted name, as `--set` takes them; `web.port` must be among them. Secrets are passed in the
            environment, because every user of the machine can read arguments.
        log_file: File that its output is appended to.
        config: TOML settings file, if any.

    Raises:
        SettingsError: A secret is given inside a group instead of under its own name.
    """

    def __init__(self, flags: Mapping[str, Any], log_file: Path, config: Path | None = None) -> None:
        self.log_file = log_file
        self.url = f"http://127.0.0.1:{flags['web.port']}"
        log_file.parent.mkdir(parents=True, exist_ok=True)
        command, env = worker_command(flags, config)
        with log_file.open("ab") as log:
            # A separate session: Ctrl-C in the terminal reaches only the parent, which stops the worker in order.
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=lifeline(),
                env=env,
                start_new_session=True,
            )

    def wait_ready(self, timeout_s: float = 60.0, on_reason: Callable[[str], None] | None = None) -> None:
        """Wait until `/readyz` returns 200.

        Args:
            timeout_s: Give up after so long without a reason that was not given before: reasons tell how far it is.
            on_reason: Called with each new reason why it is not ready yet.

        Raises:
            SidestreamError: The worker ended, or the deadline passed; names the log file and its last line.
        """
        deadline = time.monotonic() + timeout_s
        last, told = "", set[str]()
        while time.monotonic() < deadline:
            self.require_running()
            ready, reasons = self.readiness()
            if ready:
                return
            reason = "; ".join(reasons)
            if reason and reason not in told:
                told.add(reason)
                deadline = time.monotonic() + timeout_s
            if reason and reason != last and on_reason is not None:
                on_reason(reason)
            last = reason or last
            time.sleep(POLL_S)
        msg = f"worker not ready, no progress for {timeout_s:.0f} s: {last or 'no answer'} (log: {self.log_file})"
        raise SidestreamError(msg)

    def require_running(self) -> None:
        """Check that the worker has not ended.

        Raises:
            SidestreamError: It has; names its exit code, its last line and the log file.
        """
        if self.process.poll() is not None:
            msg = f"worker ended with code {self.process.returncode}: {self.last_line()} (log: {self.log_file})"
            raise SidestreamError(msg)

    def readiness(self) -> tuple[bool, list[str]]:
        """Read `/readyz` once.

        Returns:
            Whether the worker is ready, and the reasons if not.
        """
        status, body = self.get("/readyz")
        return status == 200, list(body.get("reasons", [])) if isinstance(body, dict) else []

    def get(self, path: str) -> tuple[int, Any]:
        """Read one of the worker's HTTP pages.

        Args:
            path: For example `/readyz`.

        Returns:
            Status (0 means no answer) and the body, decoded if it is JSON.
        """
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:  # noqa: S310 - loopback
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as exc:
            status, body = exc.code, exc.read()
        except OSError:
            return 0, None
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body.decode(errors="replace")

    def last_line(self) -> str:
        """The last line of its log, for error messages."""
        lines = [line for line in self.log_file.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else "(nothing in its log)"

    def stop(self, timeout_s: float = 20.0) -> int:
        """Stop the worker with SIGTERM, or with SIGKILL after the deadline.

        Args:
            timeout_s: How long a normal shutdown may take.

        Returns:
            Its exit code.
        """
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        return int(self.process.returncode)

    def kill(self) -> None:
        """Kill the worker at once, as a crash would."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def __enter__(self) -> Self:
        """Return the running worker."""
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the worker."""
        self.stop()


def worker_command(flags: Mapping[str, Any], config: Path | str | None = None) -> tuple[list[str], dict[str, str]]:
    """Build the command that runs one worker; its standard input must be `lifeline`.

    Args:
        flags: Settings by dotted name, as `--set` takes them; secrets are passed in the environment.
        config: TOML settings file, if any.

    Returns:
        Arguments and environment.

    Raises:
        SettingsError: A secret is given inside a group instead of under its own name.
    """
    command = [sys.executable, "-m", "sidestream.streams.cli.child"]
    if config is not None:
        command += ["--config", str(config)]
    secrets = _secrets_of(flags)
    for name, value in flags.items():
        if name not in secrets:
            command += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return [*command, "worker"], os.environ | {env_name(name): value for name, value in secrets.items()}


def _secrets_of(flags: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in given_secrets(flags):
        if name not in flags:
            msg = (
                f"setting {name}: expected a secret under its own full name, got it inside a group; "
                "give each setting by its full dotted name"
            )
            raise SettingsError(msg)
        value = flags[name]
        found[name] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return found
