"""Counters of the listen lane as plain numbers, read from the worker's metrics."""

from sidestream.streams.runtime.lane_metrics import LaneMetrics
from sidestream.streams.runtime.metrics import Metrics


class LaneCounts(LaneMetrics):
    def __init__(self):
        self.shown = Metrics()
        super().__init__(self.shown, "listens")

    def __getattr__(self, name):
        """Return a count by name: applied, stale, erased_users, …"""
        outcomes = {"applied": "applied", "repeats": "repeat", "late": "late", "stale": "stale"}
        users = {"erased_users": "erased", "forgotten_users": "forgotten"}
        if name in outcomes:
            return self.shown.listens.labels(outcomes[name])._value.get()
        if name == "expired_users":
            return self.shown.expired_states._value.get()
        if name in users:
            return self.shown.erasures.labels(users[name])._value.get()
        raise AttributeError(name)

    @property
    def refused_listens(self):
        return self.shown.listens.labels("erased")._value.get()

    @property
    def stray_records(self):
        return self.shown.stray_records._value.get()

    @property
    def bad_by_reason(self):
        (metric,) = self.shown.dead_letters.collect()
        return {s.labels["reason"]: s.value for s in metric.samples if s.name.endswith("_total") and s.value}
