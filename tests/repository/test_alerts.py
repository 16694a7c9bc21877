"""The alert rules ask for metrics, labels and outcomes that workers have, and name exit codes that they end with."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from prometheus_client import CollectorRegistry

from sidestream.models.records.candidates import FallbackReason
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.worker.watch.watchdog import ExitCode

FILE = Path(__file__).resolve().parents[2] / "deploy" / "alerts.yaml"
RULES = [rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]]
# What Prometheus itself and its client add.
FOREIGN = {"up", "process_start_time_seconds"}
FOREIGN_LABELS = {"job", "instance"}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


@pytest.fixture(scope="module")
def labels_by_metric():
    """Label names by the names under which Prometheus knows our metrics."""
    registry = CollectorRegistry()
    Metrics(registry)
    found = {}
    for collector in set(registry._names_to_collectors.values()):
        for suffix in SUFFIXES[collector._type]:
            found[collector._name + suffix] = {*collector._labelnames, *({"le"} if suffix == "_bucket" else ())}
    return found


def metrics_of(expression):
    return set(re.findall(r"\b(?:sidestream_\w+|up|process_\w+)\b", re.sub(r'"[^"]*"', "", expression)))


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_rules_go_by_what_workers_show(rule, labels_by_metric):
    asked = metrics_of(rule["expr"])
    assert asked
    assert asked <= labels_by_metric.keys() | FOREIGN
    known = set().union(FOREIGN_LABELS, *(labels_by_metric.get(name, ()) for name in asked))
    used = re.findall(r"(\w+)=~?\"", rule["expr"])
    for names in re.findall(r"by \(([^)]*)\)", rule["expr"]):
        used += names.split(", ")
    used += re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))
    assert set(used) <= known


def test_outcomes_of_sessions_are_those_of_the_contract():
    asked = [rule["expr"] for rule in RULES if "sidestream_sessions_total" in rule["expr"]]
    named = re.findall(r'outcome=~?"([^"]*)"', " ".join(asked))
    assert named
    assert {outcome for names in named for outcome in names.split("|")} <= set(get_args(FallbackReason))


def test_every_exit_code_is_explained():
    action = next(rule for rule in RULES if rule["alert"] == "SidestreamWorkerDown")["annotations"]["action"]
    assert {int(code) for code in re.findall(r"\b\d+\b", action)} == set(ExitCode) - {ExitCode.OK}


def test_every_rule_says_what_is_wrong_and_what_to_do():
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "action"}
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
