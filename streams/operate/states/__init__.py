"""All states of an installation while no worker runs: compared with the log, carried to another topic, removed."""

from sidestream.streams.operate.states.offline import Offline
from sidestream.streams.operate.states.rebase import RebaseReport, rebase_states
from sidestream.streams.operate.states.reset import ResetReport, reset_states
from sidestream.streams.operate.states.verify import VerifyReport, verify_states

__all__ = [
    "Offline",
    "RebaseReport",
    "ResetReport",
    "VerifyReport",
    "rebase_states",
    "reset_states",
    "verify_states",
]
