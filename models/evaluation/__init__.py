"""Evaluation of recommenders: held-out items, full ranking, standard errors, baselines for comparison."""

from sidestream.models.evaluation.leave_one_out import (
    COLUMNS,
    Cases,
    Column,
    Scores,
    evaluate_ranker,
    evaluate_rankers,
    ranks_of,
)
from sidestream.models.evaluation.metrics import NOT_LISTED, Estimate, ndcg_at, recall_at, summary, target_rank
from sidestream.models.evaluation.report import footer, report, table

__all__ = [
    "Cases",
    "Column",
    "COLUMNS",
    "Scores",
    "Estimate",
    "NOT_LISTED",
    "evaluate_ranker",
    "evaluate_rankers",
    "ranks_of",
    "summary",
    "recall_at",
    "ndcg_at",
    "target_rank",
    "report",
    "table",
    "footer",
]
