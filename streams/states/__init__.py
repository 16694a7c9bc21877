"""All states of an installation while no worker runs: compared with the log, carried to another topic, removed."""

from streams.states.offline import Offline
from streams.states.rebase import RebaseReport, rebase_states
from streams.states.reset import ResetReport, reset_states
from streams.states.verify import VerifyReport, verify_states

__all__ = [
    "Offline",
    "RebaseReport",
    "ResetReport",
    "VerifyReport",
    "rebase_states",
    "reset_states",
    "verify_states",
]
