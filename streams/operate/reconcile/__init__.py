"""Bringing the catalogue to what a full dump of it says: changed items are published, absent ones removed."""

from sidestream.streams.operate.reconcile.dump import Dump, Stored, read_dump
from sidestream.streams.operate.reconcile.plan import Plan, make_plan
from sidestream.streams.operate.reconcile.run import apply_plan, read_stored

__all__ = ["Dump", "Plan", "Stored", "apply_plan", "make_plan", "read_dump", "read_stored"]
