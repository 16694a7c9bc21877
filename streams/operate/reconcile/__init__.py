"""Reconciles the catalogue with a full dump: changed items are published, absent items are removed."""

from sidestream.streams.operate.reconcile.dump import Dump, Stored, read_dump
from sidestream.streams.operate.reconcile.plan import ReconcilePlan, make_plan
from sidestream.streams.operate.reconcile.run import apply_plan, read_stored

__all__ = ["Dump", "ReconcilePlan", "Stored", "apply_plan", "make_plan", "read_dump", "read_stored"]
