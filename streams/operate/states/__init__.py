"""Offline operations on all states of an installation: compare with the log, carry over to another topic, remove."""

from sidestream.streams.operate.states.offline import OfflineStates
from sidestream.streams.operate.states.rebase import RebaseReport, rebase_states
from sidestream.streams.operate.states.reset import ResetReport, reset_states
from sidestream.streams.operate.states.verify import VerifyReport, verify_states

__all__ = [
    "OfflineStates",
    "RebaseReport",
    "ResetReport",
    "VerifyReport",
    "rebase_states",
    "reset_states",
    "verify_states",
]
