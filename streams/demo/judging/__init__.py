"""Judges candidate sets against the catalogue and the history that each of them names, knowing the topics alone."""

from sidestream.streams.demo.judging.history import CatalogueHistory
from sidestream.streams.demo.judging.judge import Fault, faults_of
from sidestream.streams.demo.judging.listens import ListenHistory
from sidestream.streams.demo.judging.verdict import Verdict, busy_machine, judge_run

__all__ = ["CatalogueHistory", "Fault", "ListenHistory", "Verdict", "busy_machine", "faults_of", "judge_run"]
